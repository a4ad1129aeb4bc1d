"""The chain: each line carries the hash of the line before, and its own.

A line is ``{"seq":7, ..., "previous":"<hash of line 6>","sha256":"<its own>"}``; its own hash is
over all bytes before the last comma. With a key it is an HMAC, and the field is ``hmac_sha256``.

What it shows: a line that was changed, removed, put in or moved, anywhere between the first line
and the last that are there. What it cannot show: that lines are missing after the last one, unless
their hash was told elsewhere; and without a key, a log that was written anew from some line to the
end. Pure.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

__all__ = ["MAX_LINE", "START", "Chain", "Seal", "Sealed", "Unsound"]

START: Final = "0" * 64
"""`previous` of the first line of all."""

MAX_LINE: Final = 64 * 1024
"""Bytes. Twelve texts of 256 characters, each escaped as 12 bytes at most, are below it."""

_MOST_SEQ: Final = 2**63 - 1

_END = re.compile(rb',"(sha256|hmac_sha256)":"([0-9a-f]{64})"\}')
_END_SIZES: Final = (len(',"sha256":""}') + 64, len(',"hmac_sha256":""}') + 64)


class Unsound(Exception):
    """A line that is no record, or not as it was written; the text says which."""


class Sealed(NamedTuple):
    """A line whose own hash is right."""

    fields: Mapping[str, object]
    seq: int
    previous: str
    hash: str

    @property
    def kind(self) -> str:
        return str(self.fields.get("kind", ""))


class Seal:
    """Computes the hash of a line, and checks it."""

    def __init__(self, key: bytes | None = None) -> None:
        """With `key` it is an HMAC, which nobody can make who does not have the key."""
        self.name = "sha256" if key is None else "hmac_sha256"
        self._key = key

    def __repr__(self) -> str:
        return f"<Seal {self.name}>"

    def of(self, body: bytes) -> str:
        """The hash, in hex."""
        if self._key is None:
            return hashlib.sha256(body).hexdigest()
        return hmac.new(self._key, body, hashlib.sha256).hexdigest()

    def check(self, line: bytes) -> Sealed:
        """What a line says (without its line end). Raises Unsound."""
        if len(line) > MAX_LINE:
            raise Unsound("is longer than any record")
        name, body, claimed = _parts(line)
        if name != self.name:
            raise Unsound(_OTHER_SEAL[name])
        if not hmac.compare_digest(self.of(body), claimed):
            raise Unsound("was changed: its hash does not fit")
        return _sealed(line, claimed)

    @staticmethod
    def claims(line: bytes) -> Sealed:
        """What a line says, its hash not checked: for a log under another key. Raises Unsound."""
        return _sealed(line, _parts(line)[2])


_OTHER_SEAL: Final = {
    "sha256": "is sealed without a key: somebody without it can have written it",
    "hmac_sha256": "is sealed with a key: only who has the key can check it",
}


def _parts(line: bytes) -> tuple[str, bytes, str]:
    for size in _END_SIZES:
        found = _END.fullmatch(line[-size:])
        if found is not None:
            return found[1].decode(), line[:-size], found[2].decode()
    raise Unsound("is no audit record")


def _sealed(line: bytes, claimed: str) -> Sealed:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise Unsound("is no audit record")
    seq, previous = fields.get("seq"), fields.get("previous")
    if type(seq) is not int or not 1 <= seq <= _MOST_SEQ or not isinstance(previous, str):
        raise Unsound("is no audit record")
    return Sealed(fields, seq, previous, claimed)


@dataclass
class Chain:
    """Where a log has come to: the last record's number and hash."""

    seq: int = 0
    head: str = START

    def copy(self) -> Chain:
        return Chain(self.seq, self.head)

    def add(self, fields: Mapping[str, object], seal: Seal) -> bytes:
        """The next line, with its line end."""
        self.seq += 1
        whole = {"seq": self.seq, **fields, "previous": self.head}
        body = json.dumps(whole, separators=(",", ":"))[:-1].encode("ascii")
        self.head = seal.of(body)
        return b'%b,"%b":"%b"}\n' % (body, seal.name.encode(), self.head.encode())
