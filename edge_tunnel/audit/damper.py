"""A flood of refusals is not a flood of records.

Anybody who reaches the node can be refused as often as he likes. The first refusals of a source are
recorded one by one, the others of that minute are counted, and the count is a record. Pure: the
time is the event's own.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from edge_tunnel.audit.records import Event, Kind

__all__ = ["Damper"]

_DAMPED: Final = frozenset(
    {
        Kind.LINK_REFUSED,
        Kind.API_REFUSED,
        Kind.BIND_REFUSED,
        Kind.TUNNEL_DENIED,
        Kind.TICKET_REFUSED,
    }
)
_EACH: Final = 20
"""Refusals of one source in a minute with a record of their own: a person's, and a script's."""

_PERIOD: Final = 60.0

_MOST_SOURCES: Final = 1024
"""Sources that are told apart; beyond it, the others of that minute are one."""


class _Count:
    __slots__ = ("last", "more", "seen")

    def __init__(self) -> None:
        self.seen = 0
        self.more = 0
        self.last: Event | None = None


class Damper:
    """Decides which events become records."""

    def __init__(self) -> None:
        self._counts: dict[tuple[Kind, str], _Count] = {}
        self._until = 0.0

    def take(self, event: Event) -> list[Event]:
        """What to record for this event, in order: nothing, it, or counts of before as well."""
        records = self.due(event.time)
        if event.kind not in _DAMPED:
            return [*records, event]
        source = event.who or event.address.rpartition(":")[0]
        if (event.kind, source) not in self._counts and len(self._counts) >= _MOST_SOURCES:
            source = "others"
        count = self._counts.setdefault((event.kind, source), _Count())
        count.seen += 1
        if count.seen <= _EACH:
            return [*records, event]
        count.more += 1
        count.last = event
        return records

    def due(self, now: float) -> list[Event]:
        """The counts, if their minute is over. `now`: seconds since 1970."""
        if now < self._until and self._until - now <= _PERIOD:  # else the clock was set back
            return []
        self._until = now + _PERIOD
        return self.rest()

    def rest(self) -> list[Event]:
        """The counts up to now."""
        counts, self._counts = self._counts, {}
        return [
            dataclasses.replace(each.last, repeated=each.more)
            for each in counts.values()
            if each.last is not None
        ]
