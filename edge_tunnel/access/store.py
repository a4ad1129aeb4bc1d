"""Where keys, policy and tickets are kept: rows of text, changed by compare and set.

A row is expected to have a value when it is written; if it has another by then, nothing of the
commit happens. That is all the concurrency that is needed: of two administrators who push at once
one is told of the other, and of two nodes that redeem one ticket one gets it.

Rows with a time to live (tickets) are written and taken, and never seen in `rows`.
"""

from __future__ import annotations

import enum
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from edge_tunnel.errors import EdgeTunnelError

__all__ = ["ANYTHING", "Conflict", "MemoryStore", "Store", "StoreAway", "Write"]

_MOST_SHORT: Final = 10_000
"""Tickets at once of a node that is alone: what ten minutes of one a second would leave."""


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
    """Seconds that it lives."""


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
        """A row that lasts, as the engine has it now. Raises StoreAway."""
        return self.rows.get(key)

    @abstractmethod
    async def take(self, key: str) -> str | None:
        """Delete a row that lives for a time; its value, for one caller in the whole cluster.

        Raises StoreAway.
        """


class MemoryStore(Store):
    """The rows of a node that is alone: gone when it ends."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._rows: dict[str, str] = {}
        self._short: dict[str, tuple[str, float]] = {}

    @property
    def rows(self) -> Mapping[str, str]:
        return self._rows

    async def commit(self, *writes: Write) -> None:
        self._forget_old()
        for write in writes:
            if write.expected is not ANYTHING and self._value(write.key) != write.expected:
                raise Conflict(f"the row {write.key} was changed meanwhile")
        lasting = [write for write in writes if write.ttl is None]
        if lasting:
            rows = dict(self._rows)
            for write in lasting:
                _put(rows, write)
            self._keep(rows)
            self._rows = rows
        for write in writes:
            if write.ttl is not None and write.value is not None:
                self._put_short(write.key, write.value, write.ttl)
        if lasting:
            self.on_change()

    async def take(self, key: str) -> str | None:
        self._forget_old()
        return self._short.pop(key, (None, 0.0))[0]

    def _keep(self, rows: Mapping[str, str]) -> None:
        """Make it last. Raises StoreAway."""

    def _value(self, key: str) -> str | None:
        short = self._short.get(key)
        return short[0] if short is not None else self._rows.get(key)

    def _put_short(self, key: str, value: str, ttl: float) -> None:
        if len(self._short) >= _MOST_SHORT:
            raise StoreAway("too many tickets are not redeemed yet: try again in some seconds")
        self._short[key] = (value, self._now() + ttl)

    def _forget_old(self) -> None:
        now = self._now()
        self._short = {key: row for key, row in self._short.items() if now < row[1]}


def _put(rows: dict[str, str], write: Write) -> None:
    if write.value is None:
        rows.pop(write.key, None)
    else:
        rows[write.key] = write.value
