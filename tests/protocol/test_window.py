"""The window: what a path carries, twice; and the budget that growth comes from."""

from __future__ import annotations

from edge_tunnel.protocol.window import (
    INITIAL_WINDOW,
    LEAST_WINDOW,
    MAX_WINDOW,
    TUNNEL_BUDGET,
    Budget,
    Window,
)


def feed(
    window: Window, *, rate: float, trip: float, seconds: float, start: float = 1000.0
) -> None:
    """Deliver at `rate` bytes a second, in steps of a tenth of the round trip."""
    now, step = start, trip / 10
    for _ in range(int(seconds / step)):
        now += step
        window.delivered(int(rate * step), now, trip)


def test_grows_to_twice_rate_times_trip() -> None:
    """10 MB/s at 100 ms fill a window of 2 MB."""
    window = Window(Budget())
    feed(window, rate=10e6, trip=0.1, seconds=2)
    assert 1.9e6 < window.size < 2.4e6


def test_stays_small_for_a_keystroke() -> None:
    """A slow stream keeps its initial window."""
    window = Window(Budget())
    feed(window, rate=1000, trip=0.1, seconds=5)
    assert window.size == INITIAL_WINDOW


def test_never_beyond_the_maximum() -> None:
    """Not even at 10 GB/s."""
    window = Window(Budget())
    feed(window, rate=10e9, trip=0.1, seconds=1)
    assert window.size == MAX_WINDOW


def test_a_pause_says_nothing() -> None:
    """A burst after a long silence is not measured over the silence, nor taken for a rate."""
    window = Window(Budget())
    window.delivered(1, 1000.0, 0.1)
    window.delivered(10**9, 1100.0, 0.1)
    assert window.size == INITIAL_WINDOW


def test_growth_comes_out_of_the_budget() -> None:
    """Streams of one tunnel share it, and give it back when they are over."""
    budget = Budget()
    windows = [Window(budget) for _ in range(6)]
    for window in windows:
        feed(window, rate=10e9, trip=0.1, seconds=1)
    assert budget.left == 0
    assert sum(window.size - INITIAL_WINDOW for window in windows) == TUNNEL_BUDGET
    assert windows[-1].size == INITIAL_WINDOW
    for window in windows:
        window.release()
        window.release()
    assert budget.left == TUNNEL_BUDGET


def test_a_later_stream_need_not_find_out_again() -> None:
    """One that fills its window gets what the path has proven to carry; one that does not, not."""
    budget = Budget()
    feed(Window(budget), rate=10e6, trip=0.1, seconds=2)
    second, third = Window(budget), Window(budget)
    feed(second, rate=3e6, trip=0.1, seconds=0.25, start=1003)  # a window each round trip, at first
    assert second.size > 1.9e6
    feed(third, rate=1e6, trip=0.1, seconds=2, start=1004)
    assert third.size == INITIAL_WINDOW


def test_streams_at_once_do_not_all_get_what_one_has_filled() -> None:
    """They share the path: sixteen of such windows would lie about at the node."""
    budget = Budget()
    feed(Window(budget), rate=100e6, trip=0.02, seconds=2)
    assert budget.proven > 3.9e6
    windows = [Window(budget) for _ in range(16)]
    for turn in range(4000):
        windows[turn % 16].delivered(65536, 1003 + turn * 0.0005, 0.02)
    assert sum(window.size for window in windows) < 16 * INITIAL_WINDOW + 4e6


def test_shrinks_when_the_budget_is_short() -> None:
    """A stream that has become slow gives back what others need, and keeps what it uses."""
    budget = Budget()
    windows = [Window(budget) for _ in range(4)]
    for window in windows:
        feed(window, rate=84e6, trip=0.1, seconds=1)
    assert budget.is_short
    feed(windows[0], rate=10e6, trip=0.1, seconds=1, start=1001.0)
    assert 1.9e6 < windows[0].size < 2.4e6
    feed(windows[1], rate=1000, trip=0.1, seconds=1, start=1001.0)
    assert windows[1].size == INITIAL_WINDOW
    assert sum(window.size - INITIAL_WINDOW for window in windows) == TUNNEL_BUDGET - budget.left


def test_keeps_its_size_while_there_is_plenty() -> None:
    """A path that stutters is filled again at once."""
    window = Window(Budget())
    feed(window, rate=10e6, trip=0.1, seconds=1)
    before = window.size
    feed(window, rate=1000, trip=0.1, seconds=1, start=1001.0)
    assert window.size == before


def test_makes_way_for_a_thin_stream() -> None:
    """On a short path bulk keeps the processes busy; beside a keystroke it takes what it needs."""
    budget = Budget()
    bulk, keys = Window(budget), Window(budget)
    feed(bulk, rate=500e6, trip=0.0003, seconds=1)
    assert bulk.size > 7e6
    now = 1001.0
    for _ in range(20):
        keys.delivered(1, now, 0.0003)
        keys.thin(now)
        feed(bulk, rate=200e6, trip=0.0003, seconds=0.05, start=now)
        now += 0.05
    assert bulk.size == LEAST_WINDOW
    assert budget.left == TUNNEL_BUDGET + INITIAL_WINDOW - LEAST_WINDOW
    feed(bulk, rate=500e6, trip=0.0003, seconds=1, start=now)
    assert bulk.size > 7e6
    assert TUNNEL_BUDGET - budget.left == bulk.size - INITIAL_WINDOW


def test_a_long_path_stays_filled_beside_a_thin_stream() -> None:
    """It needs its window; so the keystroke gains nothing and bulk loses nothing."""
    budget = Budget()
    bulk, keys = Window(budget), Window(budget)
    for step in range(40):
        keys.thin(1000 + step / 10)
        feed(bulk, rate=10e6, trip=0.1, seconds=0.1, start=1000 + step / 10)
    assert 1.9e6 < bulk.size < 2.4e6


def test_makes_no_way_for_itself() -> None:
    """The last bytes of a burst are few as well."""
    bulk = Window(Budget())
    for step in range(20):
        bulk.thin(1000 + step / 10)
        feed(bulk, rate=500e6, trip=0.0003, seconds=0.1, start=1000 + step / 10)
    assert bulk.size > 7e6


def test_what_was_promised_to_bulk_stays_promised() -> None:
    """Making way takes nothing back: it is paid for until it has arrived, and nothing is added."""
    budget = Budget()
    bulk, keys = Window(budget), Window(budget)
    feed(bulk, rate=500e6, trip=0.0003, seconds=1)
    keys.thin(1001.1)
    bulk.delivered(1, 1001.1, 0.0003, promised=3_000_000)
    assert (bulk.size, bulk.held) == (LEAST_WINDOW, 3_000_000)
    assert TUNNEL_BUDGET - budget.left == 3_000_000 - INITIAL_WINDOW
    bulk.delivered(1, 1001.2, 0.0003, promised=100_000)
    assert bulk.held == LEAST_WINDOW
