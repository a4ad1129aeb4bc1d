"""protocol/keepalive.py: when a link is pinged, and when it is over."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_tunnel.protocol.keepalive import KeepAlive, Rhythm, rhythms

TIGHT = Rhythm(5, 15)
RESTING = Rhythm(20, 30)


def keep(tight: Rhythm = TIGHT, resting: Rhythm = RESTING) -> KeepAlive:
    return KeepAlive(0.0, tight, resting)


@pytest.mark.parametrize(("used", "interval"), [(True, 5), (False, 20)])
def test_a_quiet_link_is_pinged_after_its_interval(used: bool, interval: float) -> None:
    """Not before, once, and again one interval later."""
    link = keep()
    assert not link.look(interval - 0.01, 0, 0, used=used).ping
    first = link.look(interval, 0, 0, used=used)
    assert first.ping
    assert not link.look(interval + 0.01, 0, 0, used=used).ping
    answered = link.look(2 * interval, interval, interval, used=used)
    assert answered.ping


@pytest.mark.parametrize(("received", "sent"), [(4, 0), (0, 4)])
def test_what_goes_one_way_alone_is_quiet(received: float, sent: float) -> None:
    """Both ends must hear something."""
    assert keep().look(5, received, sent, used=True).ping
    assert not keep().look(5, 4, 4, used=True).ping


@pytest.mark.parametrize(("used", "silence"), [(True, 15), (False, 30)])
def test_silence_ends_a_link_at_the_second_look(used: bool, silence: float) -> None:
    """A process that was stopped has messages that it has not read: they get a moment."""
    link = keep()
    link.look(0, 0, 0, used=used)
    assert link.look(silence - 0.01, 0, 0, used=used).silent is None
    first = link.look(silence, 0, 0, used=used)
    assert first.silent is None
    assert silence < first.again < 1.05 * silence
    assert link.look(first.again, 0, 0, used=used).silent == silence


def test_a_message_in_the_moment_of_grace_saves_the_link() -> None:
    """It was there before, and only not read."""
    link = keep()
    again = link.look(100, 0, 0, used=True).again
    assert link.look(again, 100, 0, used=True).silent is None


def test_who_begins_to_use_a_quiet_link_waits_for_a_tight_silence() -> None:
    """It is pinged at once, not ended at once, and over after the time of a tight one."""
    link = keep()
    link.look(0, 0, 0, used=False)
    begun = link.look(14, 0, 0, used=True)
    assert begun.ping
    assert begun.silent is None
    assert link.look(28.9, 0, 0, used=True).silent is None
    over = link.look(29.1, 0, 0, used=True)
    assert link.look(over.again, 0, 0, used=True).silent == 15


def test_who_uses_a_dead_link_again_and_again_does_not_keep_it_alive() -> None:
    """Its silence is never longer than that of one that rests."""
    link = keep()
    now = 0.0
    while now < 40:
        begun = link.look(now, 0, 0, used=True)
        if begun.silent is not None:
            break
        now += 1
        link.look(now, 0, 0, used=False)
    assert 30 <= now <= 33


@given(
    st.lists(st.tuples(st.floats(0, 3), st.booleans(), st.booleans(), st.booleans()), max_size=40)
)
def test_nothing_is_missed_between_two_looks(steps: list[tuple[float, bool, bool, bool]]) -> None:
    """As long as `used` stays, `again` comes before any ping or end that is due."""
    link = keep()
    now = received = sent = 0.0
    for step, hears, says, used in steps:
        now += step
        received = now if hears else received
        sent = now if says else sent
        look = link.look(now, received, sent, used=used)
        assert look.silent is not None or look.again > now
        assert look.again <= now + (RESTING if not used else TIGHT).interval


def test_the_end_that_is_pinged_asks_late() -> None:
    """Its own ping is due between the other's and the end."""
    assert TIGHT.of_pinged == Rhythm(10, 15)
    assert RESTING.of_pinged == Rhythm(25, 30)


@pytest.mark.parametrize(
    ("asked", "tight", "resting"),
    [
        ((15, 0, 0, 600), Rhythm(math.inf, 15), Rhythm(math.inf, 15)),
        ((15, 0, 20, 600), Rhythm(math.inf, 15), Rhythm(math.inf, 15)),
        ((15, 5, 20, 600), TIGHT, RESTING),
        ((15, 5, 0, 600), TIGHT, TIGHT),
        ((65, 55, 55, 600), Rhythm(55, 65), Rhythm(55, 65)),
        ((15, 5, 20, 25), TIGHT, Rhythm(12.5, 25)),
        ((15, 5, 20, 8), Rhythm(4, 8), Rhythm(4, 8)),
        ((0, 0.001, 0, 600), Rhythm(0.001, 1), Rhythm(0.001, 1)),
    ],
)
def test_what_a_node_makes_of_a_greeting(
    asked: tuple[float, float, float, float], tight: Rhythm, resting: Rhythm
) -> None:
    """Within its bounds; and a link is always pinged in time."""
    assert rhythms(*asked) == (tight, resting)
