"""What a remote was allowed for one tunnel, and how much of it is used up.

Pure: times are passed in. `wall` is Unix seconds, because rights end at dates; `now` is monotonic.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from edge_tunnel.access.rights import Grant, Principal
from edge_tunnel.protocol.frames import Position
from edge_tunnel.reasons import Reason

__all__ = ["Permit"]

_SOONEST: Final = 1.0
_LATEST: Final = 60.0
_SELDOMER: Final = 8
"""Seconds between two looks at when a session began, and which part of the time since its attach:
another node's row comes within milliseconds, or when the store is back."""


class Permit:
    """One tunnel's, at the node that its remote is linked to."""

    __slots__ = ("_quiet_since", "_seen", "_since", "_streams", "began", "grant", "principal")

    def __init__(self, principal: Principal, grant: Grant, began: float, now: float) -> None:
        """`began`: when the tunnel was opened, Unix seconds: before any resume."""
        self.principal = principal
        self.grant = grant
        self.began = began
        self._streams: dict[int, set[bool]] = {}  # which sides have ended it
        self._quiet_since = self._since = now
        self._seen = 0

    @property
    def ends(self) -> float:
        """Unix seconds at which it is over; infinity: never."""
        grant = self.grant
        session = math.inf if grant.session is None else self.began + grant.session
        dates = (grant.until, self.principal.until)
        return min(session, *(math.inf if date is None else date for date in dates))

    def next_look(self, now: float) -> tuple[float, float]:
        """When `why_over` may say something else, or the grant be another: Unix seconds, and
        seconds as `now`. What passes meanwhile puts the second one off."""
        grant = self.grant
        wall = self.ends if grant.review is None else min(self.ends, grant.review)
        idle = math.inf if grant.idle is None else self._quiet_since + grant.idle
        if grant.session is None:
            return wall, idle
        # an earlier start may come to be known: soon after the attach, or hardly ever
        pause = min(max((now - self._since) / _SELDOMER, _SOONEST), _LATEST)
        return wall, min(idle, now + pause)

    def why_over(self, wall: float, now: float, passed: int) -> tuple[Reason, str] | None:
        """Why the tunnel has to end now, if it has. `passed`: the bytes that it carried so far."""
        if passed != self._seen:
            self._seen, self._quiet_since = passed, now
        if wall >= self.ends:
            return Reason.SESSION_ENDED, "the session is over: the policy ends it here"
        idle = self.grant.idle
        if idle is not None and now - self._quiet_since >= idle:
            return Reason.IDLE, f"no byte for {idle:g} s: the policy ends it here"
        return None

    # -- streams: counted from what passes by, because nodes keep none

    def resumed(self, positions: Iterable[Position]) -> None:
        """The remote named all streams that it has."""
        self._streams = {each.stream: set() for each in positions}

    def opened(self, stream: int) -> bool:
        """One more; False: that is one too many."""
        self._streams[stream] = set()
        most = self.grant.max_streams
        return most is None or len(self._streams) <= most

    def ended(self, stream: int, *, by_edge: bool) -> None:
        """END passed by, in one direction; after the other the stream is over."""
        sides = self._streams.get(stream, set())
        sides.add(by_edge)
        if len(sides) == 2:
            self.reset(stream)

    def reset(self, stream: int) -> None:
        """It is over."""
        self._streams.pop(stream, None)
