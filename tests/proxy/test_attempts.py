"""proxy/attempts.py: who guesses waits, and nobody else."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_tunnel.proxy.attempts import Attempts

steps = st.lists(st.floats(0, 3).map(lambda step: step**3), max_size=100)


@settings(deadline=None)
@given(st.integers(1, 30), steps)
def test_no_minute_has_more_guesses_than_it_may(most: int, waits: list[float]) -> None:
    """However they are spread: in any stretch at most the burst, and the rate for its length."""
    attempts, looked_at = Attempts(most), []
    for number, now in enumerate(itertools.accumulate(waits)):
        if not attempts.wait("192.0.2.1:5", f"guess {number}", now):
            attempts.failed("192.0.2.1:5", f"guess {number}", now)
            looked_at.append(now)
    for first, start in enumerate(looked_at):
        for last in range(first, len(looked_at)):
            assert last - first + 1 <= most + most / 60 * (looked_at[last] - start) + 0.01


def guess(attempts: Attempts, times: int, peer: str = "192.0.2.1:5", now: float = 0.0) -> None:
    for number in range(times):
        attempts.failed(peer, f"guess {number}", now)


def test_an_accepted_key_is_looked_at_whatever_its_neighbours_do() -> None:
    """Behind one address many live: the guesses of one do not lock out who was in before."""
    attempts = Attempts(20)
    attempts.worked("192.0.2.1:1000", "right")
    guess(attempts, 500)
    assert attempts.wait("192.0.2.1:2000", "right", 0.0) == 0
    assert attempts.wait("192.0.2.1:2000", "new", 0.0) > 0
    assert attempts.wait("192.0.2.2:2000", "new", 0.0) == 0


def test_it_is_known_where_it_was_accepted_and_nowhere_else() -> None:
    """Another address waits with the same key; so does nothing at all, which everybody has."""
    attempts = Attempts(3)
    attempts.worked("192.0.2.1:1000", "right")
    attempts.worked("192.0.2.1:1000", "")
    guess(attempts, 3)
    guess(attempts, 3, "192.0.2.2:1")
    assert attempts.wait("192.0.2.1:7", "right", 0.0) == 0
    assert attempts.wait("192.0.2.1:7", "", 0.0) > 0
    assert attempts.wait("192.0.2.2:7", "right", 0.0) > 0


def test_a_key_that_is_no_longer_right_is_a_guess() -> None:
    """Revoked: the first try forgets it, and then its address waits."""
    attempts = Attempts(1)
    attempts.worked("192.0.2.1:1", "once right")
    attempts.failed("192.0.2.1:1", "once right", 0.0)
    assert attempts.wait("192.0.2.1:1", "once right", 0.0) > 0


def test_a_new_right_key_gets_its_turn_soon() -> None:
    """Three seconds after the guessing ends, at 20 a minute."""
    attempts = Attempts(20)
    guess(attempts, 20)
    assert 0 < attempts.wait("192.0.2.1:7", "new", 0.0) <= 3.0
    assert attempts.wait("192.0.2.1:7", "new", 3.1) == 0


def test_memory_is_bounded() -> None:
    """The oldest accepted key is forgotten for a new one; none is kept as it is."""
    attempts = Attempts(1, most_known=10)
    for number in range(100):
        attempts.worked("192.0.2.1:1", f"key {number}")
    guess(attempts, 1)
    known = [not attempts.wait("192.0.2.1:1", f"key {number}", 0.0) for number in range(100)]
    assert known == [False] * 90 + [True] * 10
    assert "key 99" not in repr(vars(attempts))


def test_no_limit_counts_nothing() -> None:
    """0, as behind a balancer of TCP."""
    attempts = Attempts(0)
    guess(attempts, 10_000)
    attempts.worked("192.0.2.1:1", "right")
    assert attempts.wait("192.0.2.1:1", "new", 0.0) == 0
    assert not attempts._known
