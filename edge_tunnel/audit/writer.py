"""Between a node, which never waits, and a disk, which may be slow or full.

Events go into a bounded queue; one task hands what is there to a thread, and has the disk told to
keep it (fsync) at an interval. If the queue is full, events are lost, counted, and a `gap` record
stands where they are missing. If the disk refuses, it is tried again every second. Whether new
tunnels are refused meanwhile is the site's choice: `refuses` says so to the node.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import trio

from edge_tunnel.audit.damper import Damper
from edge_tunnel.audit.log import JOURNAL, AuditLog
from edge_tunnel.audit.records import Audit, Event, Kind

__all__ = ["Writer", "open_audit", "why_not_written"]

_QUEUE: Final = 10_000
"""Events, some 10 MB: a burst of all links of a node that a network's failure ends at once."""

_RETRY: Final = 1.0
"""Seconds after which a disk that refused is asked again."""

_LOOK: Final = 60.0
"""Seconds after which counted refusals are looked after, if nothing else happens."""

_LAST_WORDS: Final = 5.0
"""Seconds that the last records may take when the node ends."""


class Writer(Audit):
    """Use `open_audit`."""

    def __init__(
        self,
        log: AuditLog,
        emit: Callable[..., None],
        *,
        refuse: bool,
        sync_interval: float,
        head_interval: float,
    ) -> None:
        self.lost = 0
        """Events since the last batch that found no place in the queue."""
        self._gap = 0  # those of the batch before, until their record is written
        self._trouble = False  # the disk refused, and has not taken anything since
        self._log = log
        self._emit = emit
        self._refuse = refuse
        self._sync_interval = sync_interval
        self._head_interval = head_interval
        self._damper = Damper()
        self._queue: deque[Event] = deque()
        self._wake = trio.Event()
        self._closing = False
        self._reopen = False
        self._sync_at = math.inf  # when what was written is to be on disk
        self._head_at = trio.current_time() + head_interval
        self._told_head = log.head
        self._threads = trio.CapacityLimiter(1)  # a stuck disk takes no thread from anybody else

    @property
    def refuses(self) -> bool:
        return self._refuse and bool(self._trouble or self.lost or self._gap)

    def record(self, event: Event) -> None:
        for each in self._damper.take(event):
            self._enqueue(each)
        self._wake.set()

    def reopen(self) -> None:
        """Somebody moved the file away: begin a new one."""
        self._reopen = True
        self._wake.set()

    def close(self) -> None:
        """The node ends; `run` does when all is written."""
        for each in (*self._damper.rest(), Event(kind=Kind.STOPPED)):
            self._enqueue(each)
        self._closing = True
        self._wake.set()

    def _enqueue(self, event: Event) -> None:
        if self._closing:
            return
        if len(self._queue) < _QUEUE:
            self._queue.append(event)
            return
        self.lost += 1
        if self.lost == 1 and not self._trouble:
            self._say_failed(f"the disk is slow: {_QUEUE} records wait for it")

    # -- the one task

    async def run(self) -> None:
        """Write until `close`, and all that is left then."""
        while not await self._write() or self._queue or self.lost or not self._closing:
            await self._wait()
        await self._in_thread(self._log.sync)
        self._tell_head()
        await self._in_thread(self._log.close)

    async def _wait(self) -> None:
        """For an event; or for the time at which something is due without one."""
        if self._trouble:
            await trio.sleep(_RETRY)  # the queue fills meanwhile
        else:
            latest = trio.current_time() + _LOOK
            with trio.move_on_at(min(self._sync_at, self._head_at, latest)):
                await self._wake.wait()
        if not self._closing:
            self._wake = trio.Event()
        for each in self._damper.due(time.time()):
            self._enqueue(each)

    async def _write(self) -> bool:
        """Whether the disk took it."""
        batch = [] if self._trouble else self._batch()  # what it refused is in the log's hands
        if batch or self._trouble:
            self._sync_at = min(self._sync_at, trio.current_time() + self._sync_interval)
        due = trio.current_time() >= self._sync_at
        try:
            await self._in_thread(self._write_in_thread, batch, due)
        except OSError as error:
            if not self._trouble:
                self._say_failed(why_not_written(self._log, error))
            self._trouble = True
            return False
        self._written(synced=due)
        return True

    def _batch(self) -> list[Event]:
        batch = list(self._queue)
        self._queue.clear()
        if self.lost:
            batch.append(Event(kind=Kind.GAP, lost=self.lost))
            self._gap, self.lost = self.lost, 0
        return batch

    def _write_in_thread(self, batch: list[Event], sync: bool) -> None:
        if self._reopen:
            self._reopen = False
            self._log.reopen()
        self._log.write(batch)
        if sync:
            self._log.sync()

    def _written(self, *, synced: bool) -> None:
        if self._gap or (self._trouble and not self.lost):
            self._emit("audit_recovered", lost=self._gap)
        self._trouble, self._gap = False, 0
        if self._queue or self.lost:
            self._wake.set()
        if synced:
            self._sync_at = math.inf
        if trio.current_time() >= self._head_at:
            self._tell_head()

    async def _in_thread(self, function: Callable[..., None], *args: object) -> None:
        await trio.to_thread.run_sync(
            function, *args, abandon_on_cancel=True, limiter=self._threads
        )

    # -- what it says

    def _say_failed(self, reason: str) -> None:
        what = "new tunnels are refused" if self._refuse else "the node goes on"
        self._emit("audit_failed", reason=reason, meanwhile=what)

    def _tell_head(self) -> None:
        self._head_at = trio.current_time() + self._head_interval
        if self._log.head != self._told_head:
            self._told_head = self._log.head
            seq, head = self._log.head
            self._emit("audit_head", seq=seq, head=head)


def why_not_written(log: AuditLog, error: OSError) -> str:
    """One line for people."""
    place = JOURNAL if log.file is None or error.filename == JOURNAL else str(log.file.path)
    return f"{place}: {error.strerror or error}"


@asynccontextmanager
async def open_audit(
    log: AuditLog,
    emit: Callable[..., None],
    *,
    refuse: bool = False,
    sync_interval: float = 1.0,
    head_interval: float = 300.0,
) -> AsyncIterator[Writer]:
    """A node's audit for the length of the block; what it was told is written before it ends.

    Args:
      log: open; it is closed here.
      emit: ``emit(event, **data)`` is told of `audit_failed`, `audit_recovered`, and the chain's
        head (`audit_head`): from there on nobody can cut the end off unseen.
      refuse: refuse new tunnels while nothing can be recorded.
      sync_interval: seconds until what was written is on the disk.
      head_interval: seconds between two `audit_head`.
    """
    writer = Writer(
        log, emit, refuse=refuse, sync_interval=sync_interval, head_interval=head_interval
    )
    scope = trio.CancelScope(shield=True)  # a cancelled node still says how it ended

    async def write() -> None:
        with scope, suppress(OSError):
            await writer.run()
            return
        emit("audit_failed", reason="the last records could not be written", meanwhile="the end")

    writer.record(Event(kind=Kind.STARTED))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        try:
            yield writer
        finally:
            writer.close()
            scope.deadline = trio.current_time() + _LAST_WORDS
