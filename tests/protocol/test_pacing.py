"""protocol/pacing.py: a frame takes about 10 ms, whatever the path."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_tunnel.protocol.frames import MAX_DATA
from edge_tunnel.protocol.pacing import FrameSize


@pytest.mark.parametrize(
    ("rate", "size"),
    [(10_000, 4096), (1_000_000, 10_000), (3_000_000, 30_000), (1e9, MAX_DATA)],
)
def test_what_the_path_delivers_in_ten_milliseconds(rate: float, size: int) -> None:
    """Between a smallest and the largest frame; credit comes for half a window each time."""
    frame = FrameSize()
    for number in range(4):
        frame.delivered(128 * 1024, number * 128 * 1024 / rate, more=True)
    assert frame.size == pytest.approx(size, rel=0.01)


def test_a_pause_is_not_the_path() -> None:
    """A user who types, or a service that thinks, says nothing of how fast bytes would go."""
    frame = FrameSize()
    frame.delivered(128 * 1024, 0.0, more=True)
    frame.delivered(128 * 1024, 0.001, more=False)
    assert frame.size == MAX_DATA
    for number in range(100):
        frame.delivered(10_000, 10.0 + number, more=False)
    frame.delivered(50_000, 200.0, more=True)
    assert frame.size == MAX_DATA
    frame.delivered(128 * 1024, 200.5, more=True)
    assert frame.size == pytest.approx(4096)


def test_few_bytes_are_not_measured() -> None:
    """A delayed credit for one line of text comes when its timer says."""
    frame = FrameSize()
    first = frame.size
    for number in range(6):
        frame.delivered(10_000, number * 0.2, more=True)
    assert frame.size == first


@example([(2**40, 1.0, True), (2**40, 5e-324, True)])
@example([(2**40, 0.0, True), (2**40, 5e-324, True)])
@given(st.lists(st.tuples(st.integers(1, 2**40), st.floats(0, 100), st.booleans())))
def test_always_between_the_bounds(credits_: list[tuple[int, float, bool]]) -> None:
    """Whatever the far end says, and when; a clock that stands still, too."""
    frame, now = FrameSize(), 0.0
    for count, pause, more in credits_:
        now += pause
        frame.delivered(count, now, more=more)
        assert 4096 <= frame.size <= MAX_DATA
