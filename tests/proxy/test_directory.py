"""proxy/directory.py: the highest epoch wins, whatever the engine's events do on their way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edge_tunnel.protocol.outlet import Outlet
from edge_tunnel.proxy.directory import (
    Announcement,
    Claim,
    Decision,
    Directory,
    Displaced,
    Moved,
    NodeGone,
    NodeInfo,
    Withdrawal,
)
from edge_tunnel.proxy.lease import Lease
from edge_tunnel.proxy.port import Port


def port(peer: str = "p") -> Port:
    return Port("edge", peer, Outlet())


def directory(*others: str) -> Directory:
    """Of the node n, which knows itself and others."""
    made = Directory("n")
    for name in ("n", *others):
        made.learn_node(NodeInfo(name))
    return made


# -- one step at a time


def test_higher_claim_elsewhere_displaces() -> None:
    """The port is reported once, with the epoch that won; the thing is located there."""
    here, edge = directory("z"), port()
    assert here.bind("t", 5, edge) == (True, 5, None)
    assert here.learn_thing("t", 6, "z") == [Displaced("t", edge, 6), Moved("t")]
    assert here.learn_thing("t", 6, "z") == []
    assert here.learn_thing("t", 7, "z") == [Moved("t")]
    assert (edge.binds, len(here), here.locate("t")) == ({}, 0, "z")
    assert not here.unbind("t", edge)


def test_lower_claim_elsewhere_is_answered() -> None:
    """A bind of ours stands against a lower claim, and is written over it."""
    here, edge = directory("z"), port()
    here.bind("t", 5, edge)
    here.to_announce(9)
    assert here.learn_thing("t", 4, "z") == []
    assert here.locate("t") is edge
    assert here.to_announce(9) == [Announcement("t", 5)]


def test_bind_below_a_claim_elsewhere_is_refused() -> None:
    """With the epoch that is to be beaten; one more than that is enough."""
    here, edge = directory("z"), port()
    here.learn_thing("t", 5, "z")
    assert here.bind("t", 4, edge) == (False, 5, None)
    assert edge.binds == {}
    assert here.bind("t", 6, edge) == (True, 6, None)
    assert here.locate("t") is edge


@pytest.mark.parametrize(("other", "wins"), [("a", True), ("z", False)])
def test_equal_epochs_are_told_apart_by_name(other: str, wins: bool) -> None:
    """Both nodes come to the same end, whoever hears of the other first."""
    here = directory(other)
    here.learn_thing("t", 5, other)
    assert here.bind("t", 5, port())[0] is wins
    here = directory(other)
    here.bind("t", 5, port())
    assert bool(here.learn_thing("t", 5, other)) is not wins


def test_a_thing_is_located_at_known_nodes_only() -> None:
    """There is no hop to a node whose address is not known; when it is, waiting attaches go."""
    here = directory()
    assert here.learn_thing("t", 5, "z") == []
    assert here.locate("t") is None
    assert list(here.things()) == []
    assert here.learn_node(NodeInfo("z")) == [Moved("t")]
    assert here.learn_node(NodeInfo("z", draining=True)) == []
    assert here.locate("t") == "z"
    assert list(here.things()) == [("t", Claim(5, "z"))]
    assert here.forget_node("z") == [NodeGone("z")]
    assert here.forget_node("z") == []
    assert here.locate("t") is None


def test_late_claim_below_the_known_one() -> None:
    """An event that was overtaken on its way does not lower what is known."""
    here = directory("y", "z")
    here.learn_thing("t", 6, "z")
    assert here.learn_thing("t", 5, "y") == []
    assert here.locate("t") == "z"
    assert here.bind("t", 6, port()) == (False, 6, None)


def test_late_end_of_an_older_claim() -> None:
    """The deletion of a row that was overtaken deletes nothing."""
    here = directory("y", "z")
    here.learn_thing("t", 6, "z")
    assert here.forget_thing("t", 5, "y") == []
    assert here.locate("t") == "z"
    assert here.forget_thing("t", 6, "z") == [Moved("t")]
    assert here.locate("t") is None
    assert here.forget_thing("t", 6, "z") == []


def test_expired_rows_are_announced_again() -> None:
    """Rows that vanish while the bind stands are written again, and only those."""
    here, edge = directory(), port()
    for thing in ("t", "u"):
        here.bind(thing, 5, edge)
    assert here.to_announce(1) == [Announcement("t", 5)]
    assert here.to_announce(9) == [Announcement("u", 5)]
    here.learn_thing("t", 5, "n")
    assert here.to_announce(9) == []
    here.forget_thing("t", 5, "n")
    assert here.to_announce(9) == [Announcement("t", 5)]


def test_row_of_an_earlier_life_is_withdrawn_first() -> None:
    """The engine refuses a claim below it, so it goes first; then the bind is written."""
    here = directory()
    here.snapshot({"t": Claim(9, "n"), "u": Claim(9, "n")}, [NodeInfo("n")])
    assert here.locate("t") is None
    assert here.bind("t", 5, port()) == (True, 5, None)
    assert set(here.to_announce(9)) == {Withdrawal("t", 9), Withdrawal("u", 9)}
    here.forget_thing("t", 9, "n")
    here.forget_thing("u", 9, "n")
    assert here.to_announce(9) == [Announcement("t", 5)]


def test_unbind_while_its_bind_is_under_way() -> None:
    """The row that comes after the unbind is withdrawn."""
    here, edge = directory(), port()
    here.bind("t", 5, edge)
    here.to_announce(9)
    here.unbind("t", edge)
    assert here.to_announce(9) == []
    here.learn_thing("t", 5, "n")
    assert here.to_announce(9) == [Withdrawal("t", 5)]


def test_lost_answer_is_asked_again_in_its_new_form() -> None:
    """What is announced again is what stands now, not what stood when it was first written."""
    here, edge = directory(), port()
    here.bind("t", 5, edge)
    batch = here.to_announce(9)
    here.bind("t", 6, edge)
    here.announce_again(batch)
    assert here.to_announce(9) == [Announcement("t", 6)]


def test_snapshot_replaces_the_map() -> None:
    """What is not in it is gone, what is lower in it is taken; own binds are written again."""
    here, edge = directory("y", "z"), port()
    here.bind("mine", 5, edge)
    here.to_announce(9)
    here.learn_thing("t", 9, "y")
    here.learn_thing("u", 9, "y")
    decisions = here.snapshot({"t": Claim(3, "y"), "mine": Claim(4, "y")}, [NodeInfo("y")])
    assert decisions == [NodeGone("z"), Moved("u"), Moved("t")]
    assert here.nodes.keys() == {"n", "y"}  # a node never forgets itself
    assert here.forget_node("n") == []
    assert (here.locate("t"), here.locate("u")) == ("y", None)
    assert here.to_announce(9) == [Announcement("mine", 5)]


def test_claims_end_a_lease_after_the_renewal_was_sent() -> None:
    """A renewal that is answered late is worth only what is left of it since it was sent."""
    lease = Lease(1, until=0)
    assert not lease.holds(0)
    lease.renewed(sent=100, ttl=10)
    assert lease.holds(109.9)
    assert not lease.holds(110)
    lease.renewed(sent=95, ttl=10)  # an older one, answered later
    assert lease.holds(109.9)


# -- three nodes and an engine, and everything that can happen between them

NODES = ("a", "b", "c")
THINGS = ("t", "u")
nodes, things = st.sampled_from(NODES), st.sampled_from(THINGS)


class Event(NamedTuple):
    """What the engine's watch says: a row was written (or deleted)."""

    thing: str
    claim: Claim
    gone: bool = False


Batch: TypeAlias = Sequence[tuple[Announcement | Withdrawal, Claim | None]]
"""What is to be written, and what the node believes that the row says."""


class Engine:
    """What the transactions of rows.py do, and who has not heard of it yet."""

    def __init__(self) -> None:
        self.rows: dict[str, Claim] = {}
        self.watches: dict[str, deque[Event]] = {name: deque() for name in NODES}

    def write(self, node: str, batch: Batch) -> None:
        """First the guess, for all together; if it was wrong, each for itself."""
        if any(self.rows.get(wish.thing) != row for wish, row in batch):
            self.write_guarded(node, (wish for wish, _ in batch))
            return
        for wish, row in batch:
            assert row is None or row <= Claim(wish.epoch, node)  # no epoch ever goes down
            assert isinstance(wish, Announcement) or row == Claim(wish.epoch, node)
        self.write_guarded(node, (wish for wish, _ in batch))

    def write_guarded(self, node: str, batch: Iterable[Announcement | Withdrawal]) -> None:
        for wish in batch:
            claim, row = Claim(wish.epoch, node), self.rows.get(wish.thing)
            if isinstance(wish, Announcement) and (row is None or row <= claim):
                self.rows[wish.thing] = claim
                self.tell(Event(wish.thing, claim))
            elif isinstance(wish, Withdrawal) and row == claim:
                self.delete(wish.thing)

    def delete(self, thing: str) -> None:
        self.tell(Event(thing, self.rows.pop(thing), gone=True))

    def tell(self, event: Event) -> None:
        for watch in self.watches.values():
            watch.append(event)


class Cluster(RuleBasedStateMachine):
    """Events and writes may be late, lost or repeated; binds and unbinds come at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = Engine()
        self.directories = {name: Directory(name) for name in NODES}
        self.epoch = 0
        self.bound: dict[tuple[str, str], Port] = {}  # what each node's edges believe
        self.heard: dict[str, list[Event]] = {name: [] for name in NODES}
        self.late_writes: list[Callable[[], None]] = []
        for each in self.directories.values():
            for name in NODES:
                each.learn_node(NodeInfo(name))

    # -- edges

    @rule(node=nodes, thing=things, step=st.integers(-2, 2))
    def bind(self, node: str, thing: str, step: int) -> None:
        """An edge, with an epoch near the highest: below, equal, above."""
        epoch, edge = max(1, self.epoch + step), port()
        before = self.bound.get((node, thing))
        holds, held, loser = self.directories[node].bind(thing, epoch, edge)
        assert holds == (held == epoch and edge.binds.get(thing) == epoch)
        assert loser is (before if holds else None)
        self.epoch = max(self.epoch, epoch)
        if holds:
            self.bound[node, thing] = edge

    @rule(node=nodes, thing=things)
    def unbind(self, node: str, thing: str) -> None:
        edge = self.bound.pop((node, thing), None)
        if edge is not None:
            assert self.directories[node].unbind(thing, edge)

    # -- to the engine

    @rule(node=nodes, most=st.integers(1, 2), answered=st.booleans())
    def write(self, node: str, most: int, answered: bool) -> None:
        batch = self.to_write(node, most)
        self.engine.write(node, batch)
        if not answered:
            self.directories[node].announce_again(wish for wish, _ in batch)

    def to_write(self, node: str, most: int) -> Batch:
        here = self.directories[node]
        return [(wish, here.row(wish.thing)) for wish in here.to_announce(most)]

    @rule(node=nodes)
    def give_up_writing(self, node: str) -> None:
        """The engine may still do it, much later."""
        batch = self.to_write(node, 2)
        self.directories[node].announce_again(wish for wish, _ in batch)
        self.late_writes.append(partial(self.engine.write, node, batch))

    @rule(number=st.integers(0, 9))
    def write_late(self, number: int) -> None:
        if self.late_writes:
            self.late_writes.pop(number % len(self.late_writes))()

    @rule(node=nodes)
    def lease_expires(self, node: str) -> None:
        for thing in [thing for thing, row in self.engine.rows.items() if row.node == node]:
            self.engine.delete(thing)

    @rule(node=nodes)
    def new_lease(self, node: str) -> None:
        self.directories[node].announce_all()

    # -- from the engine

    def hear(self, node: str, event: Event) -> None:
        here = self.directories[node]
        react = here.forget_thing if event.gone else here.learn_thing
        self.obey(node, react(event.thing, *event.claim))
        self.heard[node].append(event)

    def obey(self, node: str, decisions: Iterable[Decision]) -> None:
        for decision in decisions:
            if isinstance(decision, Displaced):  # exactly once: it is popped, and must be there
                assert self.bound.pop((node, decision.thing)) is decision.port
                assert decision.thing not in decision.port.binds
            elif isinstance(decision, Moved):
                assert not isinstance(self.directories[node].locate(decision.thing), Port)

    @rule(node=nodes)
    def deliver(self, node: str) -> None:
        if self.engine.watches[node]:
            self.hear(node, self.engine.watches[node].popleft())

    @rule(node=nodes)
    def lose(self, node: str) -> None:
        if self.engine.watches[node]:
            self.engine.watches[node].popleft()

    @rule(node=nodes, number=st.integers(0, 99))
    def repeat(self, node: str, number: int) -> None:
        if self.heard[node]:
            self.hear(node, self.heard[node][number % len(self.heard[node])])

    @rule(node=nodes)
    def take_snapshot(self, node: str) -> None:
        self.engine.watches[node].clear()
        infos = [NodeInfo(name) for name in NODES]
        self.obey(node, self.directories[node].snapshot(self.engine.rows, infos))

    # -- promises

    @invariant()
    def every_loser_was_told(self) -> None:
        """A node's binds are exactly what its edges believe, and each port knows its own."""
        for node, here in self.directories.items():
            mine = {thing: edge for (name, thing), edge in self.bound.items() if name == node}
            assert {thing: here.locate(thing) for thing in mine} == mine
            assert len(here) == len(mine)
            assert all(thing in edge.binds for thing, edge in mine.items())

    def teardown(self) -> None:
        """Once the engine is quiet, every node and the engine agree, and the highest claim won."""
        while self.late_writes:
            self.late_writes.pop()()
        rows, best = dict(self.engine.rows), self.claims()
        self.settle()
        held = self.claims()
        assert len(held) == len(self.bound)  # one holder each
        assert self.engine.rows == held
        for node, here in self.directories.items():
            for thing in THINGS:
                holder = held.get(thing)
                elsewhere = None if holder is None else holder.node
                assert here.locate(thing) == self.bound.get((node, thing), elsewhere)
        for thing, claim in best.items():
            # A row of a bind that is over may stand above; its edge was told what to beat.
            if rows.get(thing, claim) <= claim:
                assert held[thing] == claim

    def claims(self) -> dict[str, Claim]:
        """The highest claim of the edges for each thing."""
        best: dict[str, Claim] = {}
        for (node, thing), edge in self.bound.items():
            best[thing] = max(best.get(thing, Claim(0, "")), Claim(edge.binds[thing], node))
        return best

    def settle(self) -> None:
        for node in NODES:
            self.take_snapshot(node)
        for _ in range(8):
            for node in NODES:
                self.engine.write(node, self.to_write(node, 99))
            for node in NODES:
                while self.engine.watches[node]:
                    self.deliver(node)
        assert all(here.to_announce(9) == [] for here in self.directories.values())


class LongCluster(Cluster):
    """The same, for as long as CI has time."""


Cluster.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
LongCluster.TestCase.settings = settings(max_examples=1000, stateful_step_count=50, deadline=None)
test_cluster_of_three = Cluster.TestCase
test_cluster_of_three_for_long = pytest.mark.slow(LongCluster.TestCase)
