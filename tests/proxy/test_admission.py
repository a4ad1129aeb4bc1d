"""proxy/admission.py: a rate that holds, promises that are spread, and a crowd that gets in."""

from __future__ import annotations

import heapq
import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from edge_tunnel.proxy.admission import Admission, Bucket

rates = st.floats(0.5, 5000)
bursts = st.floats(1, 1000)
steps = st.lists(st.floats(0, 3).map(lambda step: step**4), max_size=300)


@given(rates, bursts, steps)
def test_no_stretch_of_time_has_more_than_its_part(
    rate: float, burst: float, waits: list[float]
) -> None:
    """Whenever it is asked: at most the burst, and the rate for the time between."""
    bucket = Bucket(rate, burst)
    taken = [now for now in itertools.accumulate(waits) if bucket.take(now)]
    for first, start in enumerate(taken):
        for last in range(first, len(taken)):
            allowed = burst + rate * (taken[last] - start)
            assert last - first + 1 <= allowed + 0.01


@given(rates, bursts, st.lists(st.tuples(st.floats(0, 2), st.booleans()), max_size=300))
def test_promises_never_exceed_the_rate(
    rate: float, burst: float, asked: list[tuple[float, bool]]
) -> None:
    """Any two promised moments are as far apart as the rate says, those of both shares counted."""
    admission, now = Admission(rate, burst), 0.0
    promised: dict[bool, list[float]] = {True: [], False: []}
    for step, hurried in asked:
        now += step
        wait = admission.ask(now, hurried=hurried)
        if wait:
            assert wait > 0
            promised[hurried].append(now + wait)
    for moments in promised.values():
        assert moments == sorted(moments)
    every = sorted(promised[True] + promised[False])
    for first, start in enumerate(every):
        for last in range(first, len(every)):
            assert last - first <= rate * (every[last] - start) + 1.01
    assert admission.refused == len(every)


@given(st.integers(1, 500), st.integers(1, 50), st.integers(4, 50))
def test_a_crowd_gets_in_as_promised(crowd: int, rate: int, burst: int) -> None:
    """All come at once and come back when they were told: nobody is sent away again.

    A burst below 4 has no room for those who come a millisecond late, as all do.
    """
    admission, queue, asked = Admission(rate, burst), [(0.0, who) for who in range(crowd)], 0
    while queue:
        now, who = heapq.heappop(queue)
        asked += 1
        wait = admission.ask(now)
        if wait:
            heapq.heappush(queue, (now + math.ceil(wait * 1000) / 1000, who))
    assert asked <= 2 * crowd


def test_the_hurried_have_a_share_and_what_is_left() -> None:
    """They are not behind a crowd; and alone they have the whole burst."""
    admission = Admission(100, 40)
    assert sum(not admission.ask(0) for _ in range(1000)) == 30
    assert sum(not admission.ask(0, hurried=True) for _ in range(1000)) == 10
    assert admission.refused == 970 + 990
    admission = Admission(100, 40)
    assert sum(not admission.ask(0, hurried=True) for _ in range(1000)) == 40
    assert admission.ask(0) > 0


def test_both_kinds_together_keep_the_rate() -> None:
    """However many ask, of whichever kind; and none of it is wasted while somebody asks."""
    admission = Admission(100, 40)
    let_in = sum(not admission.ask(ms / 1000, hurried=ms % 2 == 0) for ms in range(10_000))
    assert 1000 <= let_in <= 1040
