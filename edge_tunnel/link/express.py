"""Binary messages on the short way, past the WebSocket library. No I/O here.

Nearly all that a link carries is one kind of WebSocket frame: binary, final, of a modest size. The
library takes one apart in Python with half a dozen copies and two task switches, which is most of
what a small message costs. `Splitter` picks these frames out of the arriving bytes and leaves the
rest to the library: control frames go to it one by one, and the first frame that is anything else
(text, fragments, extensions, too large, wrongly masked) ends the short way, so that every decision
about a peer that does something unusual stays the library's.
"""

from __future__ import annotations

import os
import struct
from typing import Final

from edge_tunnel.link.masking import mask
from edge_tunnel.protocol.frames import MAX_MESSAGE

__all__ = ["Splitter", "pack", "packed"]

_BINARY: Final = 0x82  # FIN and opcode 2
_CONTROL: Final = range(0x88, 0x8B)  # FIN and opcode 8 (close), 9 (ping), 10 (pong)
_MASKED: Final = 0x80


def pack(message: bytes, *, masked: bool) -> tuple[bytes, bytes]:
    """The frame that carries `message`, in two parts; a client masks it."""
    flag = _MASKED if masked else 0
    size = len(message)
    if size < 126:
        head = _small_head(_BINARY, flag | size)
    elif size < 65536:
        head = _medium_head(_BINARY, flag | 126, size)
    else:
        head = _large_head(_BINARY, flag | 127, size)
    if not masked:
        return head, message
    key = _fresh_key()
    return head + key, mask(message, key)


def packed(message: bytes, *, masked: bool) -> bytes:
    """The same in one piece."""
    return b"".join(pack(message, masked=masked))


_small_head = struct.Struct(">BB").pack
_medium_head = struct.Struct(">BBH").pack
_large_head = struct.Struct(">BBQ").pack


_keys: list[bytes] = []


def _fresh_key() -> bytes:
    """One that nobody can foretell (RFC 6455, section 5.3); many come of one system call."""
    while True:
        try:
            return _keys.pop()
        except IndexError:
            some = os.urandom(1024)
            _keys.extend(some[start : start + 4] for start in range(0, len(some), 4))


class Splitter:
    """Takes arriving bytes apart; see the module."""

    __slots__ = ("_head", "_mask_bit", "for_library", "given_up", "messages", "rest")

    def __init__(self, *, masked: bool) -> None:
        """`masked`: whether the peer is a client, whose frames must be masked."""
        self._mask_bit = _MASKED if masked else 0
        self._head = 6 if masked else 2  # bytes, of a small frame
        self.rest = b""
        """The beginning of a frame that is not whole yet: at most one of the largest."""

        self.messages: list[bytes] = []
        """Whole ones, the last first: an empty deque is larger."""

        self.for_library = bytearray()
        """Bytes that the library must see, in order."""

        self.given_up = False
        """All further bytes are the library's."""

    def next_message(self) -> bytes | None:
        """The next whole message, if there is one."""
        return self.messages.pop() if self.messages else None

    def feed(self, data: bytes | bytearray) -> None:
        """Bytes arrived."""
        with memoryview(self.rest + data) as whole:
            self.split(whole)

    def split(self, data: memoryview) -> None:
        """Bytes arrived; the first of them are those of `rest`. None of `data` is kept."""
        start, end = 0, 0 if self.given_up else len(data)
        masked, head = self._mask_bit, self._head
        if end > head and data[0] == _BINARY and (data[1] ^ masked) == end - head < 126:
            # the one small frame that nearly every small read brings
            message = mask(data[head:], data[head - 4 : head]) if masked else bytes(data[head:])
            self.messages.insert(0, message)
            self.rest = b""
            return
        messages: list[bytes] = []
        while end - start >= 2:
            first, size = data[start], data[start + 1] ^ masked
            payload = start + head
            if first != _BINARY or size > 125:
                payload, size = self._measure(data, start, first, size)
            stop = payload + size
            if stop > end:
                break
            if first != _BINARY:
                self.for_library += data[start:stop]
            elif masked:
                messages.append(mask(data[payload:stop], data[payload - 4 : payload]))
            else:
                messages.append(bytes(data[payload:stop]))
            start = stop
        self.rest = bytes(data[start:]) if self.given_up or start < end else b""
        if messages:
            messages.reverse()
            self.messages[:0] = messages
        if self.given_up:
            self.give_up()

    def give_up(self) -> None:
        """Leave everything to the library from here on, what is not a whole frame yet too."""
        self.given_up = True
        self.for_library += self.rest
        self.rest = b""

    def _measure(self, data: memoryview, start: int, first: int, size: int) -> tuple[int, int]:
        """Where the payload of the frame starts, and its size; beyond `data` if not known yet, and
        if the frame is unusual, which ends the short way."""
        payload = start + self._head
        usual = first == _BINARY or (first in _CONTROL and size < 126)
        if usual and 125 < size < 128:
            width = 2 if size == 126 else 8
            if len(data) < start + 2 + width:
                return len(data), 1
            payload += width
            size = int.from_bytes(data[start + 2 : start + 2 + width], "big")
            usual = size <= MAX_MESSAGE
        elif size > 127:  # it is masked and should not be, or the other way round
            usual = False
        if not usual:
            self.given_up = True
            return len(data), 1
        return payload, size
