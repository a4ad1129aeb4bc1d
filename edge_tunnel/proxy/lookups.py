"""Asking the engine itself for a thing that nobody here has heard of.

The watch is some milliseconds behind, or a second after a failover. Who attaches to a device that
was bound at another node a moment ago must not hear that there is none; so a miss, and nothing
else, costs one linearizable read. What keeps strangers from loading the engine with it: only an
attach that is allowed gets here; attaches of one identity have a rate (`rates`); and here misses of
one thing share one read, few reads are under way at once, and there is a rate for all of them
together. Whoever finds no place is answered from the map in memory, as if the engine were away.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.proxy.admission import Bucket
from edge_tunnel.proxy.etcd_http import EngineError

__all__ = ["Lookups"]

_DEADLINE: Final = 1.0
"""Seconds for a read and for its turn: a person waits, and a healthy engine needs milliseconds."""

_UNDER_WAY: Final = 0.2
"""Seconds after a read that found nothing: a bind is announced to its device at once, and written
to the engine some milliseconds later, with others; it comes over the watch then."""

_READS: Final = 4
"""Reads under way at once; the client keeps as many connections."""

_MOST: Final = 64
"""Things that are looked for at once."""

_RATE: Final = (50.0, 100.0)
"""Reads a second, and at once: an engine of three members on two cores answers some thousands."""


class Lookups:
    """Those of one node."""

    def __init__(
        self,
        read: Callable[[str], Awaitable[bool]],
        done: Callable[[str], None],
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        """Nothing is read unless `run` does.

        Args:
          read: ask the engine for a thing, and learn what it says; whether it is known then. May
            raise EngineError.
          done: called for each thing at the end, found or not.
          clock: seconds that never go back.
        """
        self._read = read
        self._done = done
        self._clock = clock
        self._pending: set[str] = set()
        self._bucket = Bucket(*_RATE)
        self._reads = trio.CapacityLimiter(_READS)
        self._nursery: trio.Nursery | None = None

    def ask(self, thing: str) -> bool:
        """Whether the engine is asked for this thing now; `done` is called later then."""
        if thing in self._pending:
            return True
        full = self._nursery is None or len(self._pending) >= _MOST
        if full or not self._bucket.take(self._clock()):
            return False
        assert self._nursery is not None
        self._pending.add(thing)
        self._nursery.start_soon(self._look, thing)
        return True

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with open_plain_nursery() as self._nursery:
                await trio.sleep_forever()
        finally:
            self._nursery = None
            self._pending.clear()

    async def _look(self, thing: str) -> None:
        found = False
        try:
            with trio.move_on_after(_DEADLINE):
                async with self._reads:
                    found = await self._read(thing)
            if not found:
                await trio.sleep(_UNDER_WAY)
        except EngineError:
            pass  # the registry's own tasks notice, and say so
        self._pending.discard(thing)
        self._done(thing)
