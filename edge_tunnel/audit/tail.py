"""Where a log goes on: the last sound record of what is on disk, and what a crash left after it.

Pure.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

from edge_tunnel.audit.chain import Seal, Sealed, Unsound
from edge_tunnel.audit.records import Event, Kind

__all__ = ["Tail", "last_claim", "read_tail"]


class Tail(NamedTuple):
    """The end of a file."""

    last: Sealed | None
    """None: nothing in it is a record under our seal."""

    glue: bytes
    """To be written first: ends a line that has no end."""

    damage: bytes | None
    """What is after the last record, without its last line end; None: nothing."""

    def recovered(self) -> Event | None:
        """The record that tells of the damage."""
        if self.damage is None:
            return None
        digest = hashlib.sha256(self.damage).hexdigest()
        return Event(kind=Kind.RECOVERED, lost_bytes=len(self.damage), cut=digest)


def read_tail(data: bytes, seal: Seal) -> Tail:
    """`data`: the end of the file; its first line may be cut."""
    whole = data.endswith(b"\n") or not data
    lines = data.split(b"\n")
    if whole:
        lines.pop()
    for index in range(len(lines) - 1, -1, -1):
        try:
            last = seal.check(lines[index])
        except Unsound:
            continue
        bad = lines[index + 1 :]
        return Tail(last, b"" if whole else b"\n", b"\n".join(bad) if bad else None)
    if lines and all(_was_begun(line) for line in lines):
        return Tail(None, b"" if whole else b"\n", b"\n".join(lines))
    return Tail(None, b"", None)


_BEGINNING: Final = b'{"seq":'


def _was_begun(line: bytes) -> bool:
    """It is what a crash left of a file's first record."""
    if line[: len(_BEGINNING)] != _BEGINNING[: len(line)]:
        return False
    try:
        Seal.claims(line)
    except Unsound:
        return True
    return False


def last_claim(data: bytes) -> Sealed | None:
    """The last line that looks like a record under any seal."""
    for line in reversed(data.split(b"\n")):
        try:
            return Seal.claims(line)
        except Unsound:
            continue
    return None
