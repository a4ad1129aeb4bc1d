"""Whether a log is as it was written: one problem for each place where it is not.

A line that a crash has cut is no problem if the `recovered` record after it knows it, by its hash.
What is odd but honest - a crash, records that were lost - is a note. Pure: lines in, a report out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from edge_tunnel.audit.chain import START, Seal, Sealed, Unsound
from edge_tunnel.audit.records import Kind

__all__ = ["Place", "Report", "Verifier"]

_MOST_PENDING: Final = 1024
"""Unsound lines in a row that may still be one crash's; more are told at once."""


class Place(NamedTuple):
    """Where, and what."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}" if self.line else f"{self.file}: {self.what}"


@dataclass
class Report:
    """What was found."""

    problems: list[Place] = field(default_factory=list)
    notes: list[Place] = field(default_factory=list)
    records: int = 0
    first: Sealed | None = None
    last: Sealed | None = None
    after_expected: int | None = None
    """Records after the one whose hash was expected; None: it was not there."""


class _Bad(NamedTuple):
    line: int
    text: bytes
    what: str


class Verifier:
    """Takes the lines of a log, file by file in the order in which they were written."""

    def __init__(self, seal: Seal, *, expect_head: str = "") -> None:
        """`expect_head`: a hash that was told elsewhere; a record must have it."""
        self.report = Report()
        self._seal = seal
        self._expect = expect_head
        self._bad: list[_Bad] = []  # unsound lines since the last sound one
        self._file = ""

    def file(self, name: str, lines: Iterable[bytes], *, restarts: bool = False) -> None:
        """The lines of the next file, each with its line end.

        `restarts`: a chain may begin anew at a start of the node (a journal, which it cannot read).
        """
        self._file = name
        number = 0
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                text = "is not whole: cut by a crash, by somebody, or just being written"
                self._unsound(_Bad(number, line, text))
                continue
            try:
                record = self._seal.check(line[:-1])
            except Unsound as error:
                self._unsound(_Bad(number, line[:-1], str(error)))
                continue
            self._sound(number, record, restarts=restarts)
        self._give_up()
        if not number:
            self._problem(0, "is empty")

    def end(self) -> Report:
        """All files were given."""
        if self._expect and self.report.after_expected is None:
            what = f"no record has the hash {self._expect}: the end was cut off, or written anew"
            self._problem(0, what)
        return self.report

    # -- lines

    def _unsound(self, bad: _Bad) -> None:
        self._bad.append(bad)
        if len(self._bad) > _MOST_PENDING:
            self._give_up()

    def _give_up(self) -> None:
        """Nothing explains the unsound lines."""
        for bad in self._bad:
            self._problem(bad.line, bad.what)
        self._bad = []

    def _sound(self, number: int, record: Sealed, *, restarts: bool) -> None:
        skipped = self._explain(number, record)
        last = self.report.last
        if last is None:
            self._begin(number, record)
        elif restarts and record.kind == Kind.STARTED and record.previous == START:
            self._note(number, f"a new chain begins here; the one before ends with {last.hash}")
        else:
            self._follow(number, last, record, skipped)
        self._tell(number, record)
        self._count(record)

    def _explain(self, number: int, record: Sealed) -> int:
        """Unsound lines before this record that it does not explain: how many."""
        bad, told = self._bad, record.kind == Kind.RECOVERED and "cut" in record.fields
        if not told:
            self._give_up()
            return len(bad)
        damage = b"\n".join(each.text for each in bad)
        if bad and record.fields["cut"] == hashlib.sha256(damage).hexdigest():
            for each in bad:
                self._note(each.line, f"was cut by a crash, as line {number} says")
            self._bad = []
            return 0
        what = "tells of a line that a crash has cut, but that line is not here as it was"
        self._problem(number, what)
        self._give_up()
        return len(bad)

    def _begin(self, number: int, record: Sealed) -> None:
        if (record.seq == 1) is not (record.previous == START):
            self._problem(number, "claims to be the first record, and is not")
        elif record.seq > 1:
            what = f"the log begins here with record {record.seq}; {record.previous} is before it"
            self._note(number, what)

    def _follow(self, number: int, last: Sealed, record: Sealed, skipped: int) -> None:
        expected = last.seq + 1 + skipped
        if record.seq > expected:
            count = record.seq - expected
            missing = f"record {expected} is" if count == 1 else f"{count} records are"
            self._problem(number, f"is record {record.seq} after {last.seq}: {missing} missing")
        elif record.seq < expected:
            what = f"record {record.seq} stands after {last.seq}: moved, put in or written anew"
            self._problem(number, what)
        elif record.previous != last.hash and not skipped:
            self._problem(number, f"does not continue record {last.seq}: one of them was replaced")

    def _tell(self, number: int, record: Sealed) -> None:
        last = self.report.last
        if record.kind == Kind.GAP:
            self._note(number, f"{record.fields.get('lost')} records were lost before this one")
        elif record.kind == Kind.STARTED and last is not None and last.kind != Kind.STOPPED:
            text = "the node started anew and had not stopped: killed, crashed, or the end was cut"
            self._note(number, text)

    def _count(self, record: Sealed) -> None:
        report = self.report
        report.records += 1
        report.first = report.first or record
        report.last = record
        if report.after_expected is not None:
            report.after_expected += 1
        elif record.hash == self._expect:
            report.after_expected = 0

    def _problem(self, line: int, what: str) -> None:
        self.report.problems.append(Place(self._file, line, what))

    def _note(self, line: int, what: str) -> None:
        self.report.notes.append(Place(self._file, line, what))
