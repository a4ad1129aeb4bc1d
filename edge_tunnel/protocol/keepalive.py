"""When a link is pinged, and when it has been silent for too long. No clock here.

Two rhythms. A tunnel's users must hear soon that an end is gone, so the link of one is kept
*tight*. A link that no tunnel uses *rests*: 10,000 of them are most of what a node does otherwise,
and a device's radio is woken by each. Nobody waits for a resting link; and somebody who begins to
use one that is dead learns it as soon as on a tight one.

Liveness is inbound silence. One end pings when for its interval it received nothing or sent
nothing, so that both ends hear something; each end ends a link on which nothing came for too long.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

__all__ = ["KeepAlive", "Look", "Rhythm", "rhythms"]

_GRACE: Final = 0.03
"""Part of the silence that a link gets more before it is ended. A process that was stopped itself
(a laptop's lid, a node's long turn) has unread messages, and takes them in that time."""

_SHORTEST: Final = 1.0
"""Seconds of silence; below it a busy node would take itself for a dead network."""


class Rhythm(NamedTuple):
    """How often, and how long. Seconds."""

    interval: float
    """Quiet for so long, it is pinged; `math.inf`: that is the other end's business."""

    silence: float
    """Nothing came for so long: it is over."""

    @property
    def of_pinged(self) -> Rhythm:
        """For the end whose other end pings: it asks by itself only when a ping is long overdue."""
        return Rhythm((self.interval + self.silence) / 2, self.silence)


def rhythms(silence: float, ping: float, idle: float, longest: float) -> tuple[Rhythm, Rhythm]:
    """Tight and resting, of what an endpoint asks its node for.

    Args:
      silence: seconds that the endpoint may be quiet while a tunnel is attached.
      ping: seconds after which the node shall ping; 0: the endpoint pings by itself, also where it
        rests.
      idle: the same while no tunnel is attached; 0: as `ping`.
      longest: seconds of silence that the node grants at most. A link is pinged in time for that.
    """
    tight = _within(silence, ping, longest)
    if not ping or not idle:
        return tight, tight
    return tight, _within(silence + idle - ping, idle, longest)


def _within(asked: float, ping: float, longest: float) -> Rhythm:
    silence = max(min(asked, longest), _SHORTEST)
    if not ping:
        return Rhythm(math.inf, silence)
    in_time = silence >= asked and ping < silence
    return Rhythm(ping if in_time else min(ping, silence / 2), silence)


class Look(NamedTuple):
    """What a look at a link has shown."""

    ping: bool
    """It is to be pinged now."""

    silent: float | None
    """It is over: it was silent for longer than this, in seconds."""

    again: float
    """When to look again; nothing is missed before that unless `used` changes."""


class KeepAlive:
    """Of one link. Times are seconds of any clock."""

    __slots__ = ("_last_ping", "_over_at", "_tight_since", "resting", "tight")

    def __init__(self, now: float, tight: Rhythm, resting: Rhythm) -> None:
        self.tight = tight
        self.resting = resting
        self._last_ping = now
        self._tight_since: float | None = None  # None: it rests
        self._over_at: float | None = None  # it was over then, and has its grace

    def look(self, now: float, received: float, sent: float, *, used: bool) -> Look:
        """`received` and `sent`: when something last was; `used`: by a tunnel."""
        if not used:
            self._tight_since = None
        elif self._tight_since is None:
            self._tight_since = now
        rhythm = self.tight if used else self.resting
        over = self._over(received, rhythm)
        if now >= over:
            if self._over_at == over:
                return Look(ping=False, silent=rhythm.silence, again=math.inf)
            self._over_at = over
            return Look(ping=False, silent=None, again=now + _GRACE * rhythm.silence)
        ping = now >= self._ping_at(received, sent, rhythm)
        if ping:
            self._last_ping = now
        return Look(ping=ping, silent=None, again=self.next(received, sent))

    def next(self, received: float, sent: float) -> float:
        """When to look next, if it is used as it was at the last look."""
        rhythm = self.resting if self._tight_since is None else self.tight
        return min(self._ping_at(received, sent, rhythm), self._over(received, rhythm))

    def _ping_at(self, received: float, sent: float, rhythm: Rhythm) -> float:
        return max(min(received, sent), self._last_ping) + rhythm.interval

    def _over(self, received: float, rhythm: Rhythm) -> float:
        """A link that begins to be used may have been quiet for longer than a tight one may; but
        whoever asks for it again and again does not keep it alive beyond what it rests."""
        if self._tight_since is None:
            return received + rhythm.silence
        patience = max(received, self._tight_since) + rhythm.silence
        return min(patience, max(received + self.resting.silence, received + rhythm.silence))
