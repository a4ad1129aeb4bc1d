"""access/sessions.py: the earliest start of a tunnel that any node knows is everybody's."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_tunnel.access.sessions import (
    MARGIN,
    Sessions,
    Start,
    read_start,
    session_key,
    start_row,
)
from edge_tunnel.access.store import MemoryStore, StoreAway, Write

TUNNEL = bytes(range(16))
KEY = session_key(TUNNEL)


class View(MemoryStore):
    """One node's: writes go to the engine; what the others wrote is seen after `catch_up`."""

    def __init__(self, engine: MemoryStore) -> None:
        super().__init__(lambda: 0.0)
        self.engine = engine
        self.seen: str | None = None
        self.away = False

    async def commit(self, *writes: Write) -> None:
        if self.away:
            raise StoreAway("gone")
        await self.engine.commit(*writes)

    def session(self, key: str) -> str | None:
        assert key == KEY
        return self.seen

    def catch_up(self) -> None:
        self.seen = self.engine.session(KEY)


class Node:
    def __init__(self, engine: MemoryStore) -> None:
        self.view = View(engine)
        self.sessions = Sessions(self.view, lambda: 0.0)

    def remember(self, began: float, user: str = "anna") -> None:
        self.sessions.remember(TUNNEL, Start(began, user), 300.0)


STEPS = st.tuples(
    st.integers(0, 2),
    st.sampled_from(["remember", "write", "watch", "go", "return"]),
    st.integers(-100, 100).map(float),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_the_earliest_start_counts(steps: list[tuple[int, str, float]]) -> None:
    """Whoever wrote first, whatever was away, and however late each node's watch is."""

    async def play() -> None:
        engine = MemoryStore(lambda: 0.0)
        nodes = [Node(engine) for _ in range(3)]
        told: set[float] = set()
        for number, step, began in steps:
            node = nodes[number]
            if step == "remember":
                node.remember(began)
                told.add(began)
            elif step == "write":
                await node.sessions.write_down()
            elif step == "watch":
                node.view.catch_up()
            else:
                node.view.away = step == "go"
            if (known := node.sessions.start(TUNNEL)) is not None:
                assert known.began in told
        for node in nodes * 4:
            node.view.away = False
            node.view.catch_up()
            await node.sessions.write_down()
        for node in nodes:
            node.view.catch_up()
            known = node.sessions.start(TUNNEL)
            assert (None if known is None else known.began) == min(told, default=None)
            await node.sessions.write_down()
            assert not node.sessions._due  # nothing is kept that all know

    trio.run(play)


@pytest.mark.parametrize(
    "row",
    ["", "x", "[]", "{}", '{"began": "1", "user": "a"}', '{"began": true, "user": "a"}',
     '{"began": 1, "user": 2}', '{"began": 1, "user": "a", "more": 0}'],
)  # fmt: skip
async def test_a_row_that_is_not_ours(row: str) -> None:
    """Says nothing, and is not written over: a newer program may have made it."""
    assert read_start(row) is None
    store = MemoryStore(lambda: 0.0)
    await store.commit(Write(KEY, row, ttl=60))
    sessions = Sessions(store, lambda: 0.0)
    sessions.remember(TUNNEL, Start(1.0, "anna"), 10.0)
    assert sessions.start(TUNNEL) == Start(1.0, "anna")
    await sessions.write_down()
    assert store.session(KEY) == row and not sessions._due


async def test_nobody_takes_over_anothers_row() -> None:
    """A tunnel has one user; an earlier start by somebody else is not written."""
    store = MemoryStore(lambda: 0.0)
    await store.commit(Write(KEY, start_row(Start(5.0, "anna")), ttl=60))
    sessions = Sessions(store, lambda: 0.0)
    sessions.remember(TUNNEL, Start(1.0, "ben"), 10.0)
    await sessions.write_down()
    assert sessions.start(TUNNEL) == Start(5.0, "anna")


async def test_a_row_lives_as_long_as_its_tunnel_may() -> None:
    """And a margin; one that is over is not written at all."""
    now = [0.0]
    store = MemoryStore(lambda: now[0])
    sessions = Sessions(store, lambda: now[0])
    now[0] = 50.0
    sessions.remember(TUNNEL, Start(10.0, "anna"), 300.0)
    await sessions.write_down()
    now[0] = 310.0 + MARGIN - 1
    assert sessions.start(TUNNEL) == Start(10.0, "anna")
    now[0] += 1
    assert sessions.start(TUNNEL) is None
    sessions.remember(TUNNEL, Start(10.0, "anna"), 300.0)
    await sessions.write_down()
    assert sessions.start(TUNNEL) is None


async def test_what_is_remembered_is_written_when_the_store_is_back(
    autojump_clock: object,
) -> None:
    """`run` does it by itself; until then this node knows alone."""
    engine = MemoryStore(lambda: 0.0)
    node, other = Node(engine), Node(engine)
    node.view.away = True
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.sessions.run)
            node.remember(7.0)
            await trio.sleep(30)
            assert node.sessions.start(TUNNEL) == Start(7.0, "anna")
            node.view.away = False
            await trio.sleep(2)
            assert engine.session(KEY) is not None
            other.view.catch_up()
            assert other.sessions.start(TUNNEL) == Start(7.0, "anna")
            nursery.cancel_scope.cancel()


def test_what_waits_is_bounded() -> None:
    """A store that is away for days costs no node its memory."""
    store = View(MemoryStore())
    sessions = Sessions(store, lambda: 0.0)
    store.session = lambda key: None  # type: ignore[method-assign]  # noqa: ARG005
    for number in range(10_001):
        sessions.remember(number.to_bytes(16, "big"), Start(1.0, "anna"), 10.0)
    assert len(sessions._due) == 10_000
    assert sessions.start(bytes(16)) is None
