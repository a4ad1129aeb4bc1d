"""A log for its readers: its files in order, its lines, and which records somebody asks for."""

from __future__ import annotations

import gzip
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO, Final

from edge_tunnel.audit.chain import MAX_LINE, Seal, Sealed, Unsound

__all__ = ["STDIN", "Wanted", "in_order", "lines_of"]

STDIN: Final = "-"

_PRIORITY: Final = re.compile(rb"<\d{1,3}>(?=\{)")
"""In front of lines that were meant for the journal."""


def in_order(names: Sequence[str]) -> list[str]:
    """The files of one log as they were written, whatever order a shell gave them in.

    Raises OSError.
    """
    return sorted(names, key=_first_seq)


def _first_seq(name: str) -> int:
    if name != STDIN:
        for line in lines_of(name):
            try:
                return Seal.claims(line.rstrip(b"\n")).seq
            except Unsound:
                continue
    return 0


def lines_of(name: str) -> Iterator[bytes]:
    """The lines of a file, packed by gzip or not, with their ends. Raises OSError, EOFError."""
    if name == STDIN:
        yield from _lines(sys.stdin.buffer)
    elif name.endswith(".gz"):
        with gzip.open(name) as packed:
            yield from _lines(packed)  # type: ignore[arg-type]
    else:
        with Path(name).open("rb") as file:
            yield from _lines(file)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(MAX_LINE + 1):
        yield _PRIORITY.sub(b"", line, count=1) if line.startswith(b"<") else line
        if len(line) > MAX_LINE:  # it is told of once; its rest is no line of its own
            while len(line) > MAX_LINE and not line.endswith(b"\n"):
                line = file.readline(MAX_LINE + 1)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which records; empty: all. Patterns are a shell's (``device-*``)."""

    thing: str = ""
    who: str = ""
    """The principal's name, or the address."""

    since: str = ""
    """ISO time in UTC, as in the records."""

    kinds: tuple[str, ...] = ()

    def wants(self, record: Sealed) -> bool:
        fields = record.fields
        return (
            _fits(self.thing, fields.get("thing"))
            and (_fits(self.who, fields.get("who")) or _fits(self.who, fields.get("address")))
            and (not self.kinds or record.kind in self.kinds)
            and str(fields.get("time", "")) >= self.since
        )


def _fits(pattern: str, value: object) -> bool:
    return not pattern or fnmatchcase(str(value or ""), pattern)
