"""proxy/routes.py against random stories: links that come, go and are displaced, tunnels that are
attached, moved and closed, and bytes in between."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import Close, Data, Detached
from edge_tunnel.protocol.head import peek
from edge_tunnel.protocol.outlet import Outlet
from edge_tunnel.proxy.budget import Budget
from edge_tunnel.proxy.port import Port
from edge_tunnel.proxy.route import Route
from edge_tunnel.proxy.routes import Routes
from edge_tunnel.reasons import Reason
from tests.proxy.peers import attach, attached

_ROLES = ("edge", "edge", "node", "remote", "remote", "node")
_THINGS = ("pump", "press")


class Story:
    """A node's table, its ports, and what they did."""

    def __init__(self) -> None:
        self.routes = Routes(lambda *_, **__: None, budget=Budget(100_000))
        self.all: list[Port] = []
        self.ports = [self.port(role) for role in _ROLES]
        self.epochs: Counter[int] = Counter()  # of each tunnel
        self.sent = 0  # each DATA has its number as its offset
        self.seen: dict[tuple[Port, bytes, int], int] = {}

    def port(self, role: str) -> Port:
        self.all.append(Port(role, f"{role} {len(self.all)}", Outlet()))
        return self.all[-1]

    def edge(self, pick: int) -> Port:
        return self.ports[pick % 3]

    def remote(self, pick: int) -> Port:
        return self.ports[3 + pick % 3]

    def route(self, pick: int) -> Route | None:
        return self.routes.get(_name(pick))

    # -- what may happen; `some` picks one

    def attach(self, pick: int, some: int) -> None:
        self.epochs[pick] += 1
        frame = attach()._replace(
            tunnel=_name(pick), epoch=self.epochs[pick], thing=_THINGS[pick % 2]
        )
        edge, remote = self.edge(some), self.remote(some // 3)
        if edge.is_hop and remote.is_hop:
            return
        older = [] if remote.is_hop else self.routes.supersede(frame, remote)
        self.routes.attach(frame, encode(frame), remote, edge)
        self.routes.superseded(frame.tunnel, older)
        route = self.route(pick)
        mine = [] if route is None else [each.remote for each in route.candidates.values()]
        assert remote.is_hop or mine.count(remote) < 2, "it takes the answer to the last one only"

    def answer(self, pick: int, some: int) -> None:
        frame = attached()._replace(
            tunnel=_name(pick), epoch=max(0, self.epochs[pick] - some // 3 % 3)
        )
        self.routes.attached(frame, encode(frame), self.edge(some))

    def stand(self, pick: int, some: int) -> None:
        self.attach(pick, some)
        self.answer(pick, some % 3)

    def data(self, pick: int, some: int) -> None:
        """Most of it goes where the tunnel is attached."""
        route, source = self.route(pick), self.ports[some % 6]
        ends = () if route is None else (route.edge, route.remote)
        if some % 7 and ends and ends[some % 2] is not None:
            source = ends[some % 2] or source
        for stream in range(1, 2 + some % 3):
            self.sent += 1
            size = (10, 3000, 20_000)[some % 3]
            message = encode(Data(_name(pick), stream, 1, self.sent, bytes(size)))
            self.routes.forward(peek(message), message, source)

    def drain(self, _pick: int, some: int) -> None:
        port = self.ports[some % 6]
        for _ in range(1 + some // 6):
            message = port.outlet.next_message()
            if message is None:
                return
            frame = decode(message)
            if isinstance(frame, Data):
                where = (port, frame.tunnel, frame.stream)
                assert frame.offset > self.seen.get(where, 0), "twice, or in another order"
                self.seen[where] = frame.offset

    def lose(self, pick: int, _some: int) -> None:
        pick %= 6
        port, self.ports[pick] = self.ports[pick], self.port(_ROLES[pick])
        self.routes.lost(port, "lost")
        assert not port.routes and not port.outlet._turns

    def displace(self, pick: int, some: int) -> None:
        self.routes.displaced(self.edge(some), _THINGS[pick % 2], "displaced")

    def move(self, pick: int, some: int) -> None:
        self.routes.moved(_THINGS[pick % 2], (None, self.ports[2])[some % 2])

    def close(self, pick: int, some: int) -> None:
        frame = Close(_name(pick), 0, self.epochs[pick] - some // 6 % 2, Reason.DONE, "")
        self.routes.close(frame, encode(frame), self.ports[some % 6])

    def detach(self, pick: int, some: int) -> None:
        reason = (Reason.PEER_LEFT, Reason.NO_SUCH_THING)[some % 2]
        frame = Detached(_name(pick), 0, max(0, self.epochs[pick] - some // 2 % 2), reason, "")
        self.routes.detached(frame, encode(frame), self.ports[(2, 5)[some // 4 % 2]])

    def end(self, pick: int, _some: int) -> None:
        route = self.route(pick)
        if route is not None:
            self.routes.end(route, Reason.DONE, "")

    # -- what must hold

    def check(self) -> None:
        queues = [queue for route in self.routes for queue in route.queues.values()]
        assert self.routes.budget.held == sum(queue.held for queue in queues)
        assert all(queue.pending for queue in queues)
        waiting = [source for port in self.all for source in port.outlet._turns]
        assert Counter(map(id, waiting)) == Counter(map(id, queues)), "in no outlet, or in two"
        for port in self.all:
            assert port.routes == {route for route in self.routes if port in _ports_of(route)}
        assert self.routes.asking == {route for route in self.routes if route.candidates}
        for route in self.routes:
            assert any(not port.is_hop for port in _ports_of(route)), "no end of it is here"
            assert route in self.routes.of_thing(route.thing)


def _name(pick: int) -> bytes:
    return bytes([1 + pick]) * 16


def _ports_of(route: Route) -> set[Port]:
    ends = {port for port in (route.edge, route.remote) if port is not None}
    for candidate in route.candidates.values():
        ends |= {candidate.edge, candidate.remote}
    return ends


Verb = Callable[[Story, int, int], None]
_VERBS: dict[Verb, int] = {
    Story.attach: 3, Story.answer: 3, Story.stand: 8, Story.data: 30, Story.drain: 15,
    Story.lose: 2, Story.displace: 1, Story.move: 1, Story.close: 1, Story.detach: 1, Story.end: 1,
}  # fmt: skip
"""And how often, of each."""


@pytest.mark.parametrize("block", range(4))
def test_nothing_is_left_behind(block: int) -> None:
    """What is held is counted, is in the one outlet where it belongs, and goes with its tunnel."""
    for seed in range(block * 12, block * 12 + 12):
        walk(random.Random(seed), 200)


def walk(rng: random.Random, steps: int) -> None:
    story = Story()
    for verb in rng.choices(list(_VERBS), list(_VERBS.values()), k=steps):
        verb(story, rng.randrange(4), rng.randrange(60))
        story.check()
    for number in range(6):
        story.lose(number, 0)
    assert story.routes.budget.held == 0
    assert not len(story.routes) and not story.routes.asking
    assert not any(story.routes.of_thing(thing) for thing in _THINGS)


def test_a_refused_attach_of_a_tunnel_that_is_elsewhere() -> None:
    """Its edge's link is gone and its remote is at another node: nothing of it is here any more."""
    story = Story()
    edge, other, remote, _, hop = story.ports[0], story.ports[1], *story.ports[3:]
    for epoch, source, target in ((1, hop, edge), (2, remote, other)):
        story.routes.attach(attach(epoch), encode(attach(epoch)), source, target)
    story.routes.attached(attached(), encode(attached()), edge)
    story.routes.lost(edge, "lost")
    assert len(story.routes) == 1
    refusal = Close(attach().tunnel, 0, 2, Reason.UNKNOWN_TUNNEL, "")
    story.routes.close(refusal, encode(refusal), other)
    assert not len(story.routes)
    assert not hop.routes
