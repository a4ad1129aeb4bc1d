"""Seals records and writes them, to a file, to the journal, or to both.

After an error - a full disk - part of a line may be on disk. Then the file is opened anew before
the next write, as after a crash: its last sound record is looked up, what stands behind it is told
of in a `recovered` record, and what was not written is written again.

Waits for the disk and raises OSError: for a thread, one call at a time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from edge_tunnel.audit.chain import Chain, Seal
from edge_tunnel.audit.file import LogFile
from edge_tunnel.audit.records import Event, Kind, fields_of
from edge_tunnel.audit.tail import last_claim, read_tail

__all__ = ["JOURNAL", "AuditLog"]

_SLICE: Final = 256
"""Records in one write: by so many a file may grow past the size at which it is rotated."""

JOURNAL: Final = "the journal"
"""What is named where it cannot be written."""

_PRIORITY: Final = b"<5>"
"""Notice, as sd-daemon(3) has it: the journal takes it off the line."""


class AuditLog:
    """A chain, and where it goes."""

    def __init__(
        self, node: str, seal: Seal, *, file: LogFile | None = None, journal: int | None = None
    ) -> None:
        """`node`: its name, in each record. `journal`: a descriptor that systemd reads."""
        self.file = file
        self.chain = Chain()
        self._node = node
        self._seal = seal
        self._journal = journal
        self._unwritten: list[Event] = []
        self._attempted: list[str] = []  # hashes of the lines of a write that failed
        self._recovered: Event | None = None  # to be written before all others
        self._led = 0  # 1: the write that failed began with such a record
        self._glue = b""

    def open(self) -> None:
        """Find out where the log goes on."""
        if self.file is not None:
            self._adopt(self.file, self.file.open())

    def write(self, events: Sequence[Event] = ()) -> None:
        """Write these, after what could not be written before."""
        self._unwritten += events
        while self._unwritten or self._recovered is not None:
            self._make_room()
            self._write_slice()

    def reopen(self) -> None:
        """Begin a new file now, if somebody moved this one away."""
        if self.file is not None and self.file.is_open and self.file.was_moved:
            self.open()

    def sync(self) -> None:
        """Wait until the disk has all that was written."""
        if self.file is not None:
            self.file.sync()

    def close(self) -> None:
        if self.file is not None:
            self.file.close()

    # -- where to

    def _make_room(self) -> None:
        """A file that is open, in its place, and not to be rotated."""
        file = self.file
        if file is None:
            return
        if not file.is_open or file.was_moved:
            self.open()
        elif file.is_due:
            file.put_aside(self.chain.seq)
            self.open()

    def _adopt(self, file: LogFile, data: bytes) -> None:
        tail = read_tail(data, self._seal)
        self._glue, self._recovered = b"", None
        if tail.last is not None:
            if not self._is_ours(tail.last.hash) and not self.chain.seq:
                self.chain = Chain(tail.last.seq, tail.last.hash)
            self._glue, self._recovered = tail.glue, tail.recovered()
        elif data and tail.damage is None:
            self._begin_beside(file, data)
        else:
            self._glue, self._recovered = tail.glue, tail.recovered()
            if not self.chain.seq:
                self._continue(file.sibling_tail())
        self._attempted = []

    def _is_ours(self, last: str) -> bool:
        """The last record on disk is of the write that failed: what was written counts.

        If it is neither that nor the one before, somebody cut the file meanwhile. Then the chain
        goes on as we know it, and `verify` shows what is missing.
        """
        if last not in self._attempted:
            return False
        done = self._attempted.index(last) + 1
        self.chain = Chain(self.chain.seq + done, last)
        del self._unwritten[: done - self._led]
        return True

    def _begin_beside(self, file: LogFile, data: bytes) -> None:
        """Nothing in the file is sealed as we do: another key, or no log at all. Leave it whole."""
        claim = last_claim(data)
        aside = file.put_aside(claim.seq if claim is not None else 0)
        file.open()
        if not self.chain.seq:
            self._continue(data)
        reason = f"the file before has no record under this seal; it is {aside.name} now"
        self._recovered = Event(kind=Kind.RECOVERED, reason=reason)

    def _continue(self, data: bytes) -> None:
        """After the last record of a file that we do not go on in."""
        claim = last_claim(data)
        self.chain = Chain() if claim is None else Chain(claim.seq, claim.hash)

    # -- lines

    def _write_slice(self) -> None:
        events = self._unwritten[:_SLICE]
        self._led = 0 if self._recovered is None else 1
        if self._recovered is not None:
            events = [self._recovered, *events]
        chain = self.chain.copy()
        lines, heads = [], []
        for event in events:
            lines.append(chain.add(fields_of(event, self._node), self._seal))
            heads.append(chain.head)
        self._write_lines(lines, heads)
        self.chain, self._attempted, self._recovered, self._glue = chain, [], None, b""
        del self._unwritten[: len(events) - self._led]
        if self.file is not None:
            self._tell_journal(lines)

    def _write_lines(self, lines: list[bytes], heads: list[str]) -> None:
        if self.file is None:
            self._tell_journal(lines)
            return
        self._attempted = heads
        try:
            self.file.append(self._glue + b"".join(lines))
        except OSError:
            self.file.close()
            raise

    def _tell_journal(self, lines: list[bytes]) -> None:
        if self._journal is not None:
            view = memoryview(b"".join(_PRIORITY + line for line in lines))
            try:
                while view:
                    view = view[os.write(self._journal, view) :]
            except OSError as error:
                error.filename = JOURNAL  # the file beside it may be well
                raise

    @property
    def head(self) -> tuple[int, str]:
        """Number and hash of the last record that was written."""
        return self.chain.seq, self.chain.head
