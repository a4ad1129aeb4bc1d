"""Frames to messages and back.

One WebSocket message is one frame: a msgpack array whose first element is the kind. Input is
hostile: `decode` checks the size before it parses, allows no ext types, and checks each field
(spec.py); whatever is wrong becomes a RemoteProtocolError with a text. A node reads only the head
of a message (head.py) and passes it on as it came.
"""

from __future__ import annotations

from typing import Any, Final, cast

import msgpack

from edge_tunnel.errors import RemoteProtocolError
from edge_tunnel.protocol.frames import (
    FIRST_TUNNEL_KIND,
    Attach,
    Attached,
    Data,
    Frame,
    Kind,
    Page,
    Position,
    ServiceOffer,
    Services,
)
from edge_tunnel.protocol.frequent import FREQUENT, by_hand
from edge_tunnel.protocol.head import Head, check_data, kind_of, peek
from edge_tunnel.protocol.listing import Missing
from edge_tunnel.protocol.spec import GROWING, LACKING, LONGEST, MAX_NAMES, ROWS, SPEC, Check

__all__ = ["decode", "encode", "encode_data", "encode_head"]

_DATA: Final = Kind.DATA.value
_pack: Final = msgpack.Packer().pack  # a new one for each head costs three times the packing

_KIND_OF: Final = {cls: int(kind) for kind, (cls, _) in SPEC.items()}


def encode(frame: Frame) -> bytes:
    """The message that carries `frame`."""
    cls = type(frame)
    lacking = LACKING.get(cls)
    fields = frame[:-lacking] if lacking and not any(frame[-lacking:]) else frame
    # a text may quote a file name or an error of the system that is not UTF-8
    message: bytes = msgpack.packb((_KIND_OF[cls], *fields), unicode_errors="replace")
    return message


def encode_head(frame: Data) -> bytes:
    """DATA without its last element, as an array of its own: what sealing binds the bytes to."""
    _, stream, epoch, offset, _ = frame
    head: bytes = _pack((_DATA, frame.tunnel, stream, epoch, offset))
    return head


def encode_data(head: bytes, data: bytes | memoryview) -> bytes:
    """DATA with a head of `encode_head` and these bytes: as `encode`, with one copy less."""
    size = len(data)
    if size < 256:
        length = b"\xc4" + size.to_bytes(1, "big")
    elif size < 65536:
        length = b"\xc5" + size.to_bytes(2, "big")
    else:
        length = b"\xc6" + size.to_bytes(4, "big")
    return b"".join((b"\x96", head[1:], length, data))


def decode(message: bytes, head: Head | None = None) -> Frame:
    """The frame in `message`; `head`: what `peek` says of it, if it was asked already.

    Raises:
      RemoteProtocolError: whatever the bytes are, if they are not a frame of WIRE.md.
    """
    kind = kind_of(message) if head is None else head.kind
    if kind in FREQUENT and (frame := by_hand(message, head)) is not None:
        return frame
    return _by_spec(message, kind)


def _by_spec(message: bytes, kind: int) -> Frame:
    cls, checks = SPEC[kind]
    count = (message[0] & 0x0F) - 1
    if count == len(checks) - (lacking := LACKING.get(cls, 0)):
        checks = checks[: len(checks) - lacking]
    if count < len(checks) or (count > len(checks) and cls not in GROWING):
        raise RemoteProtocolError(f"{cls.__name__} has {len(checks)} fields, this one {count}")
    fields = _unpack(message, longest=LONGEST.get(cls, MAX_NAMES))
    known = fields[1 : len(checks) + 1]
    for name, check, value in zip(cls._fields, checks, known, strict=False):
        if not check(value):
            raise RemoteProtocolError(f"{cls.__name__}: bad field {name!r}")
    if kind >= FIRST_TUNNEL_KIND:
        _check_head(message)
    return cast("Frame", _with_rows(cls(*known)))


def _with_rows(frame: Any) -> Any:
    """With tuples of a name where the message has plain ones."""
    if isinstance(frame, Page):
        rows = tuple(_row(each, *ROWS[frame.list]) for each in frame.rows)
        return frame._replace(rows=rows, missing=tuple(Missing(*each) for each in frame.missing))
    if isinstance(frame, Attach | Attached):
        return frame._replace(positions=tuple(Position(*each) for each in frame.positions))
    if isinstance(frame, Services):
        return frame._replace(services=tuple(ServiceOffer(*each) for each in frame.services))
    return frame


def _check_head(message: bytes) -> None:
    """Refuse what a node would refuse: msgpack has more than one form for a number."""
    head = peek(message)
    if head.kind == Kind.DATA:
        check_data(head)


def _row(value: object, row_class: type[Any], checks: tuple[Check, ...]) -> Any:
    """Raises RemoteProtocolError: it is no row of this list."""
    good = type(value) is tuple and len(value) == len(checks)
    if not good or not all(check(each) for check, each in zip(checks, value, strict=True)):  # type: ignore[call-overload]
        raise RemoteProtocolError("Page: bad field 'rows'")
    return row_class._make(value)


def _unpack(message: bytes, *, longest: int) -> tuple[Any, ...]:
    try:
        # msgpack makes room for what an array announces, on each level: without this bound
        # 5 KiB of nested heads cost 78 MiB (measured with 1.2), with it half a MiB
        fields = msgpack.unpackb(
            message, use_list=False, max_map_len=0, max_ext_len=0, max_array_len=longest
        )
    except (ValueError, msgpack.UnpackException, RecursionError, OverflowError):
        # msgpack's errors are ValueErrors but for StackError's base; ext types end here as well
        raise RemoteProtocolError("not msgpack, or not whole") from None
    return cast("tuple[Any, ...]", fields)
