"""Where keys, policy and tickets are kept: rows of text, changed by compare and set.

A row is expected to have a value when it is written; if it has another by then, nothing of the
commit happens. That is all the concurrency that is needed: of two administrators who push at once
one is told of the other, and of two nodes that redeem one ticket one gets it.

Rows below `TICKETS` and `SESSIONS` live for a time, and are never in `rows`. A ticket's is read
from the engine each time; a session's (when a tunnel began) is in every node's memory, and no
change of it is told: nothing has to be judged again for it.
"""

from __future__ import annotations

import enum
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from edge_tunnel.errors import EdgeTunnelError

__all__ = [
    "ANYTHING",
    "PASSING",
    "SESSIONS",
    "TICKETS",
    "Conflict",
    "MemoryStore",
    "Store",
    "StoreAway",
    "Write",
]

TICKETS: Final = "tickets/"
SESSIONS: Final = "sessions/"
PASSING: Final = (TICKETS, SESSIONS)
"""Where rows live for a time."""

_MOST_PASSING: Final = 10_000
"""Tickets at once of a node that is alone, and sessions: many more than one node's users have."""


class Conflict(EdgeTunnelError):
    """A row was not what it was expected to be; nothing was written."""


class StoreAway(EdgeTunnelError):
    """The store cannot be reached or written; nothing is known to have been written."""


class Anything(enum.Enum):
    """A row may have any value."""

    ANYTHING = "anything"


ANYTHING: Final = Anything.ANYTHING


class Write(NamedTuple):
    """One row of a commit."""

    key: str

    value: str | None
    """None: delete it."""

    expected: str | Anything | None = None
    """What it has before; None: it must not be there."""

    ttl: float | None = None
    """Seconds that it lives: for rows below `PASSING`, unless they are deleted."""


class Store(ABC):
    """Rows, seen from memory and changed through the engine."""

    on_change: Callable[[], None] = staticmethod(lambda: None)
    """Called after `rows` has changed, by whomever."""

    @property
    @abstractmethod
    def rows(self) -> Mapping[str, str]:
        """All rows that last, as this node knows them."""

    @property
    def why_not_ready(self) -> str | None:
        """Why `rows` means nothing yet; None: it was read."""
        return None

    @abstractmethod
    async def commit(self, *writes: Write) -> None:
        """Write all or nothing; afterwards `rows` shows it. Raises Conflict, StoreAway."""

    async def read(self, key: str) -> str | None:
        """Any row, as the engine has it now. Raises StoreAway."""
        return self.rows.get(key)

    @abstractmethod
    def session(self, key: str) -> str | None:
        """A row below `SESSIONS`, as this node knows it."""


class MemoryStore(Store):
    """The rows of a node that is alone: gone when it ends."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._rows: dict[str, str] = {}
        self._passing: dict[str, dict[str, tuple[str, float]]] = {each: {} for each in PASSING}

    @property
    def rows(self) -> Mapping[str, str]:
        return self._rows

    async def commit(self, *writes: Write) -> None:
        self._forget_old()
        for write in writes:
            if write.expected is not ANYTHING and self._value(write.key) != write.expected:
                raise Conflict(f"the row {write.key} was changed meanwhile")
        lasting = [write for write in writes if not write.key.startswith(PASSING)]
        passing = [write for write in writes if write.key.startswith(PASSING)]
        for write in passing:
            self._demand_room(write)
        if lasting:
            rows = dict(self._rows)
            for write in lasting:
                _put(rows, write)
            self._keep(rows)
            self._rows = rows
        for each in PASSING:
            self._pass(each, [write for write in passing if write.key.startswith(each)])
        if lasting:
            self.on_change()

    async def read(self, key: str) -> str | None:
        self._forget_old()
        return self._value(key)

    def session(self, key: str) -> str | None:
        value, ends = self._passing[SESSIONS].get(key, (None, 0.0))
        return value if self._now() < ends else None

    def _keep(self, rows: Mapping[str, str]) -> None:
        """Make it last. Raises StoreAway."""

    def _keep_sessions(self, sessions: Mapping[str, tuple[str, float]]) -> None:
        """Values, and when they end (Unix seconds): let them outlast this process. Raises
        StoreAway."""

    def _value(self, key: str) -> str | None:
        if key.startswith(PASSING):
            return self._beside(key).get(key, (None, 0.0))[0]
        return self._rows.get(key)

    def _beside(self, key: str) -> dict[str, tuple[str, float]]:
        return self._passing[SESSIONS if key.startswith(SESSIONS) else TICKETS]

    def _demand_room(self, write: Write) -> None:
        there = self._beside(write.key)
        if write.key not in there and len(there) >= _MOST_PASSING:
            raise StoreAway("too many tickets or sessions at once: try again in some seconds")

    def _pass(self, where: str, writes: Sequence[Write]) -> None:
        if not writes:
            return
        there = dict(self._passing[where])
        for write in writes:
            there.pop(write.key, None)
            if write.value is not None and write.ttl is not None:
                there[write.key] = (write.value, self._now() + write.ttl)
        if where == SESSIONS:
            self._keep_sessions(there)
        self._passing[where] = there

    def _forget_old(self) -> None:
        now = self._now()
        for name, rows in self._passing.items():
            self._passing[name] = {key: row for key, row in rows.items() if now < row[1]}


def _put(rows: dict[str, str], write: Write) -> None:
    if write.value is None:
        rows.pop(write.key, None)
    else:
        rows[write.key] = write.value
