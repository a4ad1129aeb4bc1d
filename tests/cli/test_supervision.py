"""Which worker is started when, and what the parent ends with."""

from __future__ import annotations

import signal

from hypothesis import given
from hypothesis import strategies as st

from edge_tunnel.cli.exits import Exit
from edge_tunnel.cli.supervision import FIRST_PAUSE, LONGEST_PAUSE, STEADY, Supervision


def running(count: int = 2) -> Supervision:
    """All have been started at 0, as processes 101, 102, ..."""
    supervision = Supervision(count)
    for worker in supervision.due(0.0):
        supervision.started(worker, 100 + worker, 0.0)
    return supervision


def test_all_are_due_at_once() -> None:
    assert Supervision(3).due(0.0) == [1, 2, 3]
    assert running().due(1e9) == []
    assert running().pids == {101: 1, 102: 2}


def test_one_that_dies_is_started_again_and_the_others_stay() -> None:
    supervision = running()
    end = supervision.ended(102, -signal.SIGKILL, 10.0)
    assert (end.worker, end.how, end.again) == (2, "killed by SIGKILL", FIRST_PAUSE)
    assert supervision.pids == {101: 1}
    assert supervision.due(10.0) == []
    assert supervision.pause(10.0) == FIRST_PAUSE
    assert supervision.due(10.0 + FIRST_PAUSE) == [2]
    assert not supervision.is_over


def test_it_comes_later_each_time_that_it_did_not_last() -> None:
    supervision, now, pauses = running(1), 0.0, []
    for _ in range(9):
        end = supervision.ended(next(iter(supervision.pids)), 1, now)
        assert end.again is not None
        pauses.append(end.again)
        now += end.again
        supervision.started(1, 200, now)
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    now += STEADY
    assert supervision.ended(200, 1, now).again == FIRST_PAUSE


def test_what_cannot_be_started_at_all_ends_everything() -> None:
    supervision = running()
    end = supervision.ended(101, Exit.CONFIGURATION, 0.2)
    assert end.again is None
    assert supervision.stopping and not supervision.is_over
    supervision.ended(102, Exit.DONE, 0.3)
    assert supervision.is_over
    assert supervision.code == Exit.CONFIGURATION


def test_what_was_broken_later_does_not_end_those_that_run() -> None:
    supervision = running()
    supervision.ended(101, -signal.SIGSEGV, 100.0)
    supervision.started(1, 201, 100.5)
    assert supervision.ended(201, Exit.CONFIGURATION, 100.6).again is not None
    assert not supervision.stopping


def test_one_that_ended_unasked_comes_back() -> None:
    assert running().ended(101, Exit.DONE, 5.0).again == FIRST_PAUSE


def test_nobody_is_started_after_the_stop() -> None:
    supervision = running()
    supervision.ended(101, 1, 1.0)
    supervision.stop()
    assert (supervision.due(1e9), supervision.pause(1.0)) == ([], None)
    assert supervision.ended(102, 0, 2.0).again is None
    assert supervision.is_over


def test_the_code_says_how_the_end_went() -> None:
    for code, counted in (
        (0, Exit.DONE),
        (-signal.SIGTERM, Exit.DONE),  # told twice
        (-signal.SIGKILL, Exit.INTERNAL),
        (Exit.INTERNAL, Exit.INTERNAL),
    ):
        supervision = running()
        supervision.stop()
        supervision.ended(101, code, 1.0)
        supervision.ended(102, 0, 1.0)
        assert supervision.code == counted


@given(st.lists(st.tuples(st.sampled_from([-9, -15, 0, 1, 70, 78]), st.floats(0, 200))))
def test_nobody_is_forgotten(ends: list[tuple[int, float]]) -> None:
    """However they end: each runs, or is due at a known time, or all is ending."""
    supervision, now, pid = running(3), 0.0, 1000
    for code, seconds in ends:
        now += seconds
        for worker in supervision.due(now):
            pid += 1
            supervision.started(worker, pid, now)
        if not supervision.pids:
            assert supervision.is_over or supervision.pause(now) is not None
            continue
        end = supervision.ended(min(supervision.pids), code, now)
        assert end.again is None or FIRST_PAUSE <= end.again <= LONGEST_PAUSE
        waiting = len(supervision.due(now + LONGEST_PAUSE))
        assert supervision.stopping or waiting + len(supervision.pids) == 3
