"""proxy/pace.py: a rate that holds for each key, waits that are true, and a bounded table."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_tunnel.proxy.pace import Pace

rates = st.floats(0.1, 1000)
bursts = st.integers(1, 100)
steps = st.lists(st.floats(0, 3).map(lambda step: step**4), max_size=200)


@given(rates, bursts, steps)
def test_no_stretch_of_time_has_more_than_its_part(
    rate: float, burst: int, waits: list[float]
) -> None:
    """Whenever it is asked: at most the burst, and the rate for the time between."""
    pace = Pace(rate, burst)
    taken = [now for now in itertools.accumulate(waits) if not pace.take("a", now)]
    for first, start in enumerate(taken):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + rate * (taken[last] - start) + 0.01


@given(rates, bursts, st.integers(0, 300))
def test_who_waits_as_told_is_let_in(rate: float, burst: int, spent: int) -> None:
    """The wait is enough, and half of it is not."""
    pace, now = Pace(rate, burst), 7.0
    for _ in range(spent):
        pace.spend("a", now)
    wait = pace.wait("a", now)
    assert (wait > 1e-9) == (spent >= burst)
    assert pace.wait("a", now + wait / 2) == pytest.approx(wait / 2, abs=1e-6)
    assert pace.take("a", now + wait + 1e-6) == 0


def test_a_quiet_key_is_as_one_never_seen() -> None:
    """A burst, a pause, and the whole burst again."""
    pace = Pace(rate=2, burst=6)
    for start in (0.0, 3.0):
        assert [pace.take("a", start) for _ in range(6)] == [0.0] * 6
        assert pace.take("a", start) == pytest.approx(0.5)


def test_keys_do_not_share() -> None:
    """What one has used up the others have; costs are counted."""
    pace = Pace(rate=1, burst=10)
    assert pace.take("a", 0, cost=10) == 0
    assert pace.take("a", 0) == 1
    assert pace.take("b", 0) == 0


def test_what_never_fits_at_once_waits_until_nothing_is_owed() -> None:
    """A cost above the burst is not refused for ever."""
    pace = Pace(rate=10, burst=10)
    assert pace.take("a", 0, cost=50) == 0
    assert pace.take("a", 0, cost=50) == 5
    assert pace.take("a", 5, cost=50) == 0


def test_the_table_is_bounded() -> None:
    """A flood of keys is not a flood of memory; the key that is busy stays counted."""
    pace = Pace(rate=0.001, burst=1, most_keys=100)
    for number in range(10_000):
        pace.take(number, 0)
        pace.spend("busy", 0)
    assert len(pace) == 100
    assert pace.wait("busy", 0) > 0
    pace.forget("busy")
    assert pace.wait("busy", 0) == 0
