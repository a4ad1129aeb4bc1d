"""Who is looked at each second: the heap, and a guard that looks at what is due beside one that
looks at everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_tunnel.access.rights import Principal
from edge_tunnel.protocol.frames import Attach, Attached, Kind
from edge_tunnel.protocol.head import Head
from edge_tunnel.protocol.outlet import Outlet
from edge_tunnel.proxy.deadlines import Deadlines
from edge_tunnel.proxy.guard import Guard
from edge_tunnel.proxy.permit import Permit
from edge_tunnel.proxy.port import Port
from edge_tunnel.proxy.routes import Routes
from edge_tunnel.reasons import Reason
from tests.proxy.rules import Rules

USERS = ("alice", "bob")
TUNNELS = tuple(bytes([number]) * 16 for number in range(3))

# -- the heap


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 20) | st.none())  # a key's, or taken back
        | st.integers(0, 8)  # time goes by
    )
)
def test_those_are_due_whose_time_has_come(steps: list[tuple[int, int | None] | int]) -> None:
    deadlines: Deadlines[int] = Deadlines()
    plain: dict[int, float] = {}
    now = 0
    for step in steps:
        if isinstance(step, int):
            now += step
            due = {key for key, when in plain.items() if when <= now}
            taken = deadlines.take(now)
            assert taken == sorted(taken, key=plain.__getitem__) and set(taken) == due
            plain = {key: when for key, when in plain.items() if key not in due}
            continue
        key, when = step
        if when is None:
            deadlines.drop(key)
            plain.pop(key, None)
        else:
            deadlines.put(key, when)
            plain[key] = when
        assert len(deadlines) == len(plain)


def test_what_does_not_hold_any_more_takes_no_room() -> None:
    deadlines: Deadlines[str] = Deadlines()
    for when in range(10_000):
        deadlines.put("put off for ever", when)
        deadlines.put(f"came and went {when}", 10**9)
        deadlines.drop(f"came and went {when}")
    assert len(deadlines._heap) < 100


# -- the guard


class LookingAtAll(Guard):
    """The rule in its plainest form."""

    def check(self, now: float) -> None:
        wall = self._clock()
        for route in self._routes:
            if route.permit is not None:
                self._look_at(route, route.permit, wall, now)


class World:
    """A node's tables and a guard."""

    def __init__(self, kind: type[Guard]) -> None:
        self.now, self.wall = 0, 1000
        self.rules = Rules()
        self.rules.grants.clear()
        self.over: list[tuple[object, ...]] = []
        self.routes = Routes(self._emit)
        self.guard = kind(self.rules, self.routes, self._emit, lambda: self.wall)
        self.edge = Port("edge", "device", Outlet())
        self.remotes = {user: self._remote(user) for user in USERS}
        self.epochs = dict.fromkeys(TUNNELS, 0)

    def _emit(self, event: str, **data: object) -> None:
        if event == "tunnel_closed":
            self.over.append((self.now, data["tunnel"], data["reason"]))

    def _remote(self, user: str) -> Port:
        return Port("remote", user, Outlet(), Principal(role="remote", name=user, via="key"))

    def attach(self, tunnel: bytes, user: str) -> None:
        self.epochs[tunnel] += 1
        epoch, remote = self.epochs[tunnel], self.remotes[user]
        fresh = self.routes.get(tunnel) is None
        frame = Attach(tunnel, 0, epoch, "t", "ssh", fresh, bytes(32), 1000, (), bytes(32))
        permit = self.guard.permit(remote, frame, self.now)
        if isinstance(permit, Permit):
            self.routes.attach(frame, b"attach", remote, self.edge, permit)
            answer = Attached(tunnel, 0, epoch, 0, 1000, (), bytes(32))
            self.routes.attached(answer, b"attached", self.edge)

    def carry(self, tunnel: bytes) -> None:
        self.routes.forward(Head(Kind.PROBE, tunnel, 0), b"bytes", self.edge)

    def lose(self, user: str) -> None:
        self.routes.lost(self.remotes[user], "gone")

    def grant(self, user: str, limits: dict[str, Any], *, told: bool) -> None:
        dates = {each: self.wall + limits[each] for each in ("until", "review") if each in limits}
        self.rules.allow(user, **(limits | dates))
        if told:
            self.guard.judge_tunnels()

    def deny(self, user: str) -> None:
        self.rules.grants.pop((user, "t", "ssh"), None)
        self.guard.judge_tunnels()

    def go_on(self, seconds: int, jump: int) -> None:
        self.now += seconds
        self.wall += seconds + jump  # somebody sets the clock
        self.guard.check(self.now)


def _step(what: str, *arguments: st.SearchStrategy[Any], **more: Any) -> st.SearchStrategy[Any]:
    def made(*drawn: Any) -> Callable[[World], None]:
        return lambda world: getattr(world, what)(*drawn, **more)

    return st.builds(made, *arguments)


users, tunnels = st.sampled_from(USERS), st.sampled_from(TUNNELS)
limits = st.dictionaries(
    st.sampled_from(["until", "review", "idle", "session"]), st.integers(2, 12), max_size=2
)
steps = st.one_of(
    _step("attach", tunnels, users),
    _step("carry", tunnels),
    _step("lose", users),
    _step("grant", users, limits, told=True),
    _step("grant", users, limits, told=False),
    _step("deny", st.just("bob")),  # or few live to see an end of their own
    _step("go_on", st.just(1), st.just(0)),
    _step("go_on", st.integers(1, 4), st.sampled_from([0, 0, 0, 3, -3])),
)


@settings(deadline=None, max_examples=100)
@given(limits, st.lists(steps, min_size=10, max_size=40))
def test_it_ends_what_looking_at_all_would_end(
    limits: dict[str, Any], steps: list[Callable[[World], None]]
) -> None:
    """At the same moment, for the same reason."""
    worlds = World(Guard), World(LookingAtAll)
    for world in worlds:
        for user in USERS:
            world.grant(user, limits, told=False)
        for tunnel in TUNNELS:
            world.attach(tunnel, "alice")
        for step in steps:
            step(world)
        for _ in range(20):
            world.go_on(1, 0)
    due, everything = worlds
    assert sorted(due.over, key=str) == sorted(everything.over, key=str)
    assert {each.tunnel for each in due.routes} == {each.tunnel for each in everything.routes}


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 500), st.integers(1, 30))
def test_an_earlier_start_that_is_known_late_holds_soon(after: int, ago: int) -> None:
    """Another node's row may come when the store is back: the older the tunnel, the less it
    matters when."""
    world = World(Guard)
    world.grant("alice", {"session": 10_000}, told=False)
    world.attach(TUNNELS[0], "alice")
    for _ in range(after):
        world.go_on(1, 0)
    world.rules.starts[TUNNELS[0]] = 1000 - 100 * ago
    waited = 0
    route = world.routes.get(TUNNELS[0])
    assert route is not None and route.permit is not None
    while route.permit.began == 1000:
        world.go_on(1, 0)
        waited += 1
    assert waited <= 1 + min(max(after / 8, 1), 60)


def test_what_is_idle_is_not_looked_at() -> None:
    """A thousand seconds, some tunnels with far limits: a look at each attach, and no more."""
    looks = 0

    class Counting(Guard):
        def _look_at(self, *about: Any) -> None:
            nonlocal looks
            looks += 1
            super()._look_at(*about)

    world = World(Counting)
    world.grant("alice", {"until": 10**6, "review": 10**6, "idle": 10**6}, told=False)
    for tunnel in TUNNELS:
        world.attach(tunnel, "alice")
    for _ in range(1000):
        world.go_on(1, 0)
    assert looks == len(TUNNELS)
    for tunnel in TUNNELS:
        world.routes.end(world.routes.get(tunnel), Reason.DONE, "")  # type: ignore[arg-type]
    assert not len(world.guard._at_dates) and not len(world.guard._at_times)
