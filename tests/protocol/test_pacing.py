"""protocol/pacing.py: a frame takes about 10 ms, whatever the path."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_tunnel.protocol.pacing import FULL_FRAME, Meter, Pace


@pytest.mark.parametrize(
    ("rate", "size"),
    [(10_000, 4096), (1_000_000, 10_000), (3_000_000, 30_000), (1e9, FULL_FRAME)],
)
def test_what_the_path_delivers_in_ten_milliseconds(rate: float, size: int) -> None:
    """Between a smallest and the largest frame; credit comes for half a window each time."""
    frame = Meter(Pace())
    for number in range(4):
        frame.delivered(128 * 1024, number * 128 * 1024 / rate, more=True)
    assert frame.size == pytest.approx(size, rel=0.01)


def test_a_pause_is_not_the_path() -> None:
    """A user who types, or a service that thinks, says nothing of how fast bytes would go."""
    frame = Meter(Pace())
    frame.delivered(128 * 1024, 0.0, more=True)
    frame.delivered(128 * 1024, 0.001, more=False)
    assert frame.size == FULL_FRAME
    for number in range(100):
        frame.delivered(10_000, 10.0 + number, more=False)
    frame.delivered(50_000, 200.0, more=True)
    assert frame.size == FULL_FRAME
    frame.delivered(128 * 1024, 200.5, more=True)
    assert frame.size == pytest.approx(4096)


def test_the_share_of_a_stream_is_not_the_path() -> None:
    """Sixteen downloads at once have whole frames; one that began with a small one, too."""
    pace = Pace()
    meters = [Meter(pace) for _ in range(16)]
    for turn in range(16 * 20):  # 50 MB/s, and one has a twentieth of what the others have
        count = 3200 if turn % 16 == 0 else 64_000
        meters[turn % 16].delivered(count, turn * count / 50e6, more=True)
    assert {each.size for each in meters} == {FULL_FRAME}


def test_a_slow_path_is_slow_for_all() -> None:
    """What counts is how long a frame takes on it."""
    pace = Pace()
    meters = [Meter(pace) for _ in range(16)]
    for turn in range(16 * 20):
        meters[turn % 16].delivered(8192, turn * 8192 / 1e6, more=True)
    assert pace.size == pytest.approx(10_000, rel=0.01)
    pace.begin()  # another path
    assert meters[0].size == Meter(Pace()).size


def test_few_bytes_are_not_measured() -> None:
    """A delayed credit for one line of text comes when its timer says."""
    frame = Meter(Pace())
    first = frame.size
    for number in range(6):
        frame.delivered(10_000, number * 0.2, more=True)
    assert frame.size == first


@example([(2**40, 1.0, True), (2**40, 5e-324, True)])
@example([(2**40, 0.0, True), (2**40, 5e-324, True)])
@given(st.lists(st.tuples(st.integers(1, 2**40), st.floats(0, 100), st.booleans())))
def test_always_between_the_bounds(credits_: list[tuple[int, float, bool]]) -> None:
    """Whatever the far end says, and when; a clock that stands still, too."""
    frame, now = Meter(Pace()), 0.0
    for count, pause, more in credits_:
        now += pause
        frame.delivered(count, now, more=more)
        assert 4096 <= frame.size <= FULL_FRAME
