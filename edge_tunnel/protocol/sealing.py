"""Frames that nobody between the two ends can read or change.

A sealed frame is today's frame with one difference: DATA carries its bytes encrypted, 16 bytes
longer; every other frame between the ends carries a *tag* of 16 bytes as one more field. Both are
AES-256-GCM with the key of this epoch and direction (agreement.py). Nodes forward them as ever.

GCM is safe as long as no nonce is used twice with one key. Ours are made of what is there::

    DATA     stream (4 bytes)  offset (8)                  each offset of a stream, once
    END      stream (4)        2^63 + offset (8)           once
    others   0 (4)             count (8)                   0, 1, 2, ... in the order of sending

A resume sends bytes again, cut into other frames, and every resume is a new epoch with new keys.
That this stays so in spite of all bugs is the business of `Sealer`: it remembers for each stream
how far it has sealed, and refuses to go back.

The count is not sent: the receiver counts, too. A control frame that a node left out, said twice or
moved does not open, and neither does anything behind it. DATA and END may be overtaken by control
frames, so they do not count; their order is that of their offsets, and a gap shows.

What a node still can do: hold frames back, and end the tunnel (CLOSE is not sealed, nodes send it
as well). Neither ends a stream as if it were whole.
"""

from __future__ import annotations

import struct
from typing import Final, TypeAlias

from edge_tunnel.errors import LocalProtocolError, RemoteProtocolError
from edge_tunnel.protocol import ciphers
from edge_tunnel.protocol.codec import encode, encode_data, encode_head
from edge_tunnel.protocol.frames import (
    MAX_DATA,
    Accept,
    Credit,
    Data,
    Echo,
    End,
    Frame,
    Open,
    Probe,
    Reset,
    Stop,
    StreamFrame,
    TunnelFrame,
)

__all__ = ["Opener", "Sealer", "Tagged", "open_plain", "pack_plain"]

Tagged: TypeAlias = Probe | Echo | Credit | End | Stop | Reset | Open | Accept
_TAGGED: Final = (Probe, Echo, Credit, End, Stop, Reset, Open, Accept)

_nonce = struct.Struct(">IQ").pack

_END: Final = 1 << 63
"""Added to an offset; offsets are below."""


class Sealer:
    """Seals what one end sends in one epoch."""

    def __init__(self, key: bytes) -> None:
        self._aead = ciphers.AESGCM(key)
        self._count = 0
        self._ends: dict[int, int] = {}  # stream -> the offset from which it may go on
        self._newest = 0

    # -- which streams there are: each can be sealed from its beginning to its end, once

    def enter(self, stream: int) -> None:
        """A stream begins, or goes on in this epoch. Ids ascend, as those of OPEN do."""
        if stream <= self._newest:
            raise LocalProtocolError(f"stream {stream} was sealed in this epoch already")
        self._newest = stream
        self._ends[stream] = 0

    def leave(self, stream: int) -> None:
        """Nothing more will be sealed for it; it cannot come again."""
        self._ends.pop(stream, None)

    # -- sealing

    def seal(self, frame: Frame) -> bytes:
        """The message.

        Raises:
          LocalProtocolError: its nonce was used already, or may have been: a bug here.
        """
        if isinstance(frame, Data):
            stop = frame.offset + len(frame.data)
            nonce = self._stream_nonce(frame.stream, frame.offset, stop)
            head = encode_head(frame)
            return encode_data(head, self._aead.encrypt(nonce, frame.data, head))
        assert isinstance(frame, _TAGGED)
        message = encode(frame)
        if isinstance(frame, End):
            nonce = self._stream_nonce(frame.stream, frame.offset | _END, 2 * _END)
        else:
            nonce = _nonce(0, self._count)
            self._count += 1
        return encode(frame._replace(tag=self._aead.encrypt(nonce, b"", message)))

    def _stream_nonce(self, stream: int, start: int, stop: int) -> bytes:
        """The nonce for what begins at `start`; from now on the stream goes on at `stop`."""
        if not self._ends.get(stream, 2 * _END) <= start < stop:
            raise LocalProtocolError(f"stream {stream} at {start} would be sealed twice")
        self._ends[stream] = stop
        return _nonce(stream, start)


class Opener:
    """Opens what the other end sends in one epoch."""

    def __init__(self, key: bytes) -> None:
        self._aead = ciphers.AESGCM(key)
        self._count = 0
        self.used = False
        """Something opened: the other end has the keys."""

    def open(self, frame: TunnelFrame | StreamFrame) -> TunnelFrame | StreamFrame:
        """The frame as it was before sealing. ATTACH and what nodes say passes as it is.

        Raises:
          RemoteProtocolError: somebody has changed it, or made it, or changed the order.
        """
        try:
            if isinstance(frame, Data):
                opened: TunnelFrame | StreamFrame = self._open_data(frame)
            elif isinstance(frame, _TAGGED):
                opened = self._open_tagged(frame)
            else:
                return frame
        except ciphers.InvalidTag:
            kind = type(frame).__name__
            raise RemoteProtocolError(f"a frame was changed on its way ({kind})") from None
        self.used = True
        return opened

    def _open_data(self, frame: Data) -> Data:
        nonce = _nonce(frame.stream, frame.offset)
        data = self._aead.decrypt(nonce, frame.data, encode_head(frame))
        if not data:
            raise RemoteProtocolError("DATA without bytes")
        return Data(*frame[:-1], data)

    def _open_tagged(self, frame: Tagged) -> Tagged:
        plain = frame._replace(tag=b"")
        if isinstance(frame, End):
            nonce = _nonce(frame.stream, frame.offset | _END)
        else:
            nonce = _nonce(0, self._count)
        self._aead.decrypt(nonce, frame.tag, encode(plain))
        if not isinstance(frame, End):
            self._count += 1
        return plain


def pack_plain(frame: Frame) -> bytes:
    """What `Sealer.seal` is to a tunnel that is not sealed."""
    if isinstance(frame, Data):
        return encode_data(encode_head(frame), frame.data)
    return encode(frame)


def open_plain(frame: TunnelFrame | StreamFrame) -> TunnelFrame | StreamFrame:
    """What `Opener.open` is to a tunnel that is not sealed.

    Raises:
      RemoteProtocolError: it has what only frames of sealed tunnels have.
    """
    if isinstance(frame, Data):
        if len(frame.data) > MAX_DATA:
            raise RemoteProtocolError(f"{len(frame.data)} bytes in one DATA")
    elif isinstance(frame, _TAGGED) and frame.tag:
        raise RemoteProtocolError("a tag in a tunnel that is not sealed")
    return frame
