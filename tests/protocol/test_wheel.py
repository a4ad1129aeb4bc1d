"""protocol/wheel.py: who is due when."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from edge_tunnel.protocol.wheel import Wheel


@given(
    st.lists(st.tuples(st.integers(0, 5), st.one_of(st.none(), st.floats(0, 10))), max_size=30),
    st.lists(st.tuples(st.floats(0, 3), st.integers(1, 4)), max_size=20),
)
def test_nobody_is_early_or_forgotten(
    puts: list[tuple[int, float | None]], takes: list[tuple[float, int]]
) -> None:
    """Against a dictionary; None: it leaves."""
    wheel: Wheel[int] = Wheel(0.5)
    known: dict[int, float] = {}
    for item, due in puts:
        known.pop(item, None)
        if due is None:
            wheel.discard(item)
        else:
            wheel.put(item, due)
            known[item] = due
    now = 0.0
    for step, most in takes:
        now += step
        taken = wheel.take(now, most)
        assert len(taken) <= most
        assert all(known.pop(item) <= now for item in taken)
        if len(taken) < most:
            assert all(due > now - 0.5 for due in known.values())
        assert len(wheel) == len(known)
    assert known or wheel.next() == math.inf
    assert all(wheel.next() <= due + 0.5 for due in known.values())


def test_never() -> None:
    """An infinite time is none; who was due before is due no more."""
    wheel: Wheel[str] = Wheel(0.1)
    wheel.put("a", 1.0)
    wheel.put("a", math.inf)
    assert wheel.next() == math.inf
    assert wheel.take(100.0, 10) == []


def test_in_order() -> None:
    """Those that are overdue for longer come first."""
    wheel: Wheel[str] = Wheel(0.1)
    for item, due in (("c", 3.0), ("a", 1.0), ("b", 2.0)):
        wheel.put(item, due)
    assert wheel.take(10.0, 2) == ["a", "b"]
    assert wheel.take(10.0, 2) == ["c"]
