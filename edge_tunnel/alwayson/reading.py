"""Bytes of a peer, taken apart.

The original's two known holes of this place (CVE-2023-0754, CVE-2023-0755: an integer of the wire
used as a size and as an index before anybody looked at it) are the reason for the one rule here:
**a length is compared with what is there before a single byte is taken or any room is made.**
"""

from __future__ import annotations

import struct
from typing import Any, Final

from edge_tunnel.errors import RemoteProtocolError

__all__ = ["MAX_DEPTH", "MAX_MESSAGE", "MAX_VALUES", "AlwaysOnError", "Reader"]

MAX_MESSAGE: Final = 1_048_576
"""Bytes of a message, its parts put together: the C SDK's own limit."""

MAX_VALUES: Final = 100_000
"""Values, rows and fields in one message. The shortest value is one byte long and a hundred in
memory: without a bound a message of 1 MiB would need a hundred of them."""

MAX_DEPTH: Final = 16
"""InfoTables and variants in each other. Real devices need three (a push of properties)."""

_LONG: Final = 0x8000_0000
"""In a text's length: the length has four bytes, not one."""


class AlwaysOnError(RemoteProtocolError):
    """The peer sent what is no AlwaysOn message."""


class Reader:
    """A position in a message. Every method raises AlwaysOnError where too few bytes are left."""

    def __init__(self, data: bytes, start: int = 0) -> None:
        self._data = data
        self._at = start
        self._values = 0
        self._depth = 0

    @property
    def left(self) -> int:
        """Bytes that are not read yet."""
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        """So many bytes."""
        at = self._advance(size)
        return self._data[at : at + size]

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.left)

    def numbers(self, form: struct.Struct) -> tuple[Any, ...]:
        """The numbers of this form."""
        return form.unpack_from(self._data, self._advance(form.size))

    def byte(self) -> int:
        """0 to 255."""
        return self._data[self._advance(1)]

    def flag(self, what: str) -> bool:
        """0 or 1, where the rest depends on it."""
        value = self.byte()
        if value > 1:
            raise AlwaysOnError(f"{what} is {value}, not 0 or 1")
        return value == 1

    def count(self, each: int, what: str) -> int:
        """A count of two bytes, of things that have `each` bytes or more."""
        count = int.from_bytes(self.take(2), "big")
        if count * each > self.left:
            raise AlwaysOnError(f"{count} {what} are announced in {self.left} bytes")
        return count

    def text(self) -> str:
        """UTF-8 behind its length."""
        size = self.byte()
        if size & 0x80:
            self._at -= 1
            size = int.from_bytes(self.take(4), "big") & ~_LONG
        try:
            return self.take(size).decode("utf-8")
        except UnicodeDecodeError:
            raise AlwaysOnError("a text is not UTF-8") from None

    def blob(self) -> bytes:
        """Bytes behind their length of four bytes; some write its top bit, as in a text's."""
        return self.take(int.from_bytes(self.take(4), "big") & ~_LONG)

    def enter(self) -> None:
        """One value (or row, or field) more, and one level deeper."""
        self.spend()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise AlwaysOnError(f"values are nested more than {MAX_DEPTH} levels deep")

    def leave(self) -> None:
        """One level up."""
        self._depth -= 1

    def spend(self) -> None:
        """One value, row or field more."""
        self._values += 1
        if self._values > MAX_VALUES:
            raise AlwaysOnError(f"more than {MAX_VALUES} values in one message")

    def _advance(self, size: int) -> int:
        if size > self.left:
            raise AlwaysOnError(f"{size} bytes are announced, {self.left} are there")
        at = self._at
        self._at += size
        return at
