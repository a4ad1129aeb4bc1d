"""Frames to messages and back.

One WebSocket message is one frame: a msgpack array whose first element is the kind. Input is
hostile: `decode` checks the size before it parses, allows no ext types, and checks each field by
its exact type and range; whatever is wrong becomes a RemoteProtocolError with a text. A node reads
only the head of a message (`peek`) and passes it on as it came.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final, NamedTuple, TypeAlias, cast

import msgpack

from edge_tunnel.errors import RemoteProtocolError
from edge_tunnel.protocol.frames import (
    FIRST_TUNNEL_KIND,
    MAX_DATA,
    MAX_MESSAGE,
    MAX_STREAMS,
    MAX_TEXT,
    TAG,
    Accept,
    Ask,
    Attach,
    Attached,
    Bind,
    Bound,
    Bye,
    Close,
    Credit,
    Data,
    Detached,
    Drain,
    Echo,
    End,
    Frame,
    Grant,
    Hello,
    Join,
    Kind,
    Offer,
    Open,
    Page,
    Ping,
    Pong,
    Position,
    Probe,
    Reset,
    ServiceOffer,
    Services,
    Stop,
    Unbind,
    Unbound,
    Welcome,
)
from edge_tunnel.protocol.identity import is_fingerprint
from edge_tunnel.protocol.listing import (
    MAX_MISSING,
    MAX_ROWS,
    List,
    Missing,
    NodeRow,
    ThingRow,
    TunnelRow,
)

__all__ = ["Route", "check_data", "decode", "encode", "encode_data", "encode_head", "peek"]

_MAX_NUMBER: Final = 2**63 - 1
_MAX_NAMES: Final = 64

# -- field checks ----------------------------------------------------------------------------------

Check: TypeAlias = Callable[[object], bool]


def _number(value: object) -> bool:
    # bool is a subclass of int, hence the exact type
    return type(value) is int and 0 <= value <= _MAX_NUMBER


def _flag(value: object) -> bool:
    return type(value) is bool


def _text(value: object) -> bool:
    return type(value) is str and len(value) <= MAX_TEXT


def _name(value: object) -> bool:
    return type(value) is str and 0 < len(value) <= 256 and value.isprintable()


def _names(value: object) -> bool:
    return type(value) is tuple and len(value) <= _MAX_NAMES and all(map(_name, value))


def _id(value: object) -> bool:
    return type(value) is bytes and len(value) == 16


def _proof(value: object) -> bool:
    return type(value) is bytes and len(value) in (0, 32)


def _bulk(value: object) -> bool:
    return type(value) is bytes and 0 < len(value) <= MAX_DATA + TAG


def _tag(value: object) -> bool:
    return type(value) is bytes and len(value) == TAG


def _offer(value: object) -> bool:
    return type(value) is bytes and len(value) == 64


def _answer(value: object) -> bool:
    return type(value) is bytes and len(value) == 160


def _fingerprint(value: object) -> bool:
    return value == "" or (type(value) is str and is_fingerprint(value))


def _services(value: object) -> bool:
    return type(value) is tuple and len(value) <= _MAX_NAMES and all(map(_service, value))


def _service(value: object) -> bool:
    return (
        type(value) is tuple
        and len(value) == 3
        and _name(value[0])
        and _name(value[1])
        and _number(value[2])
        and value[2] <= 65_535
    )


def _tunnel_itself(value: object) -> bool:
    return type(value) is int and value == 0


def _stream(value: object) -> bool:
    return type(value) is int and 0 < value < 2**32


def _positions(value: object) -> bool:
    return (
        type(value) is tuple
        and len(value) <= MAX_STREAMS
        and all(map(_position, value))
        and all(one[0] < two[0] for one, two in pairwise(value))
    )


def _position(value: object) -> bool:
    return (
        type(value) is tuple
        and len(value) == 5
        and _stream(value[0])
        and _number(value[1])
        and _number(value[2])
        and _number(value[3])
        and _flag(value[4])
    )


def _list(value: object) -> bool:
    return type(value) is int and value in _ROWS


def _rows(value: object) -> bool:
    """Their fields depend on the list: see `_row`."""
    return type(value) is tuple and len(value) <= MAX_ROWS


def _missing(value: object) -> bool:
    return type(value) is tuple and len(value) <= MAX_MISSING and all(map(_one_missing, value))


def _one_missing(value: object) -> bool:
    return type(value) is tuple and len(value) == 2 and _name(value[0]) and _text(value[1])


_COUNTS: Final[tuple[Check, ...]] = (_number, _number, _number)

_ROWS: Final[dict[int, tuple[type[Any], tuple[Check, ...]]]] = {
    List.THINGS: (
        ThingRow,
        (
            *(_name, _name, _number, _flag, _number, _text, _names, _number, *_COUNTS),
            *(_fingerprint, _text),
        ),
    ),
    List.TUNNELS: (
        TunnelRow,
        (_id, _number, _name, _name, _number, _text, _text, _text, _text, *_COUNTS),
    ),
    List.NODES: (NodeRow, (_name, _flag, _text, _text, _number, _flag, _number, *_COUNTS)),
}


def _row(value: object, row_class: type[Any], checks: tuple[Check, ...]) -> Any:
    """Raises RemoteProtocolError: it is no row of this list."""
    good = type(value) is tuple and len(value) == len(checks)
    if not good or not all(check(each) for check, each in zip(checks, value, strict=True)):  # type: ignore[call-overload]
        raise RemoteProtocolError("Page: bad field 'rows'")
    return row_class._make(value)


_OF_TUNNEL: Final[tuple[Check, ...]] = (_id, _tunnel_itself, _number)
_OF_STREAM: Final[tuple[Check, ...]] = (_id, _stream, _number)

_SPEC: Final[dict[int, tuple[type[Any], tuple[Check, ...]]]] = {
    Kind.HELLO: (
        Hello,
        (_number, _number, _name, _name, _text, _id, _number, _names, _number, _number),
    ),
    Kind.WELCOME: (Welcome, (_number, _name, _name, _names, _text)),
    Kind.BYE: (Bye, (_number, _text, _number)),
    Kind.PING: (Ping, (_number,)),
    Kind.PONG: (Pong, (_number,)),
    Kind.BIND: (Bind, (_name, _number)),
    Kind.BOUND: (Bound, (_name, _number)),
    Kind.UNBOUND: (Unbound, (_name, _number, _number, _text)),
    Kind.UNBIND: (Unbind, (_name, _number)),
    Kind.DRAIN: (Drain, (_number, _text)),
    Kind.JOIN: (Join, (_number, _number, _name, _name, _text, _number, _names)),
    Kind.OFFER: (Offer, (_name, _names, _fingerprint)),
    Kind.ASK: (Ask, (_number, _number, _list, _text)),
    Kind.PAGE: (Page, (_number, _number, _list, _rows, _missing, _flag)),
    Kind.SERVICES: (Services, (_name, _services)),
    Kind.ATTACH: (
        Attach,
        (*_OF_TUNNEL, _name, _name, _flag, _proof, _number, _positions, _proof, _offer),
    ),
    Kind.ATTACHED: (Attached, (*_OF_TUNNEL, _number, _number, _positions, _proof, _answer)),
    Kind.DETACHED: (Detached, (*_OF_TUNNEL, _number, _text)),
    Kind.CLOSE: (Close, (*_OF_TUNNEL, _number, _text)),
    Kind.PROBE: (Probe, (*_OF_TUNNEL, _number, _tag)),
    Kind.ECHO: (Echo, (*_OF_TUNNEL, _number, _tag)),
    Kind.GRANT: (Grant, (*_OF_TUNNEL, _number, _number, _text, _fingerprint)),
    Kind.DATA: (Data, (*_OF_STREAM, _number, _bulk)),
    Kind.CREDIT: (Credit, (*_OF_STREAM, _number, _number, _tag)),
    Kind.END: (End, (*_OF_STREAM, _number, _tag)),
    Kind.STOP: (Stop, (*_OF_STREAM, _tag)),
    Kind.RESET: (Reset, (*_OF_STREAM, _number, _text, _tag)),
    Kind.OPEN: (Open, (*_OF_STREAM, _number, _tag)),
    Kind.ACCEPT: (Accept, (*_OF_STREAM, _tag)),
}
_LONGEST: Final = {Attach: MAX_STREAMS, Attached: MAX_STREAMS, Page: MAX_ROWS}
"""Elements of an array in a frame, where it is not `_MAX_NAMES`."""

_GROWING: Final = (Hello, Welcome, Join)
"""A later minor version may append fields to a greeting: those are skipped, not an error."""

_KIND_OF: Final = {cls: int(kind) for kind, (cls, _) in _SPEC.items()}

_MAY_LACK: Final = (_offer, _answer, _tag, _fingerprint)
"""Fields that only devices with an identity have, most of them those of sealed tunnels: last ones;
where they are not in the message they are empty in the frame."""

_LACKING: Final = {Hello: 2} | {cls: 1 for cls, checks in _SPEC.values() if checks[-1] in _MAY_LACK}
"""How many of the last fields a message may lack: all of them, if the first of them says nothing.
HELLO's are about who pings."""

# -- codec -----------------------------------------------------------------------------------------


def encode(frame: Frame) -> bytes:
    """The message that carries `frame`."""
    cls = type(frame)
    lacking = _LACKING.get(cls)
    fields = frame[:-lacking] if lacking and not frame[-lacking] else frame
    # a text may quote a file name or an error of the system that is not UTF-8
    message = msgpack.packb((_KIND_OF[cls], *fields), unicode_errors="replace")
    return cast("bytes", message)


def encode_head(frame: Data) -> bytes:
    """DATA without its last element, as an array of its own: what sealing binds the bytes to."""
    return cast("bytes", msgpack.packb((Kind.DATA.value, *frame[:-1])))


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


def decode(message: bytes, head: Route | None = None) -> Frame:
    """The frame in `message`; `head`: what `peek` says of it, if it was asked already.

    Raises:
      RemoteProtocolError: whatever the bytes are, if they are not a frame of WIRE.md.
    """
    kind = _kind(message) if head is None else head.kind
    if kind in _BY_HAND and (frame := _by_hand(message, head)) is not None:
        return frame
    return _by_spec(message, kind)


def _by_spec(message: bytes, kind: int) -> Frame:
    cls, checks = _SPEC[kind]
    count = (message[0] & 0x0F) - 1
    if count == len(checks) - (lacking := _LACKING.get(cls, 0)):
        checks = checks[: len(checks) - lacking]
    if count < len(checks) or (count > len(checks) and cls not in _GROWING):
        raise RemoteProtocolError(f"{cls.__name__} has {len(checks)} fields, this one {count}")
    fields = _unpack(message, longest=_LONGEST.get(cls, _MAX_NAMES))
    known = fields[1 : len(checks) + 1]
    for name, check, value in zip(cls._fields, checks, known, strict=False):
        if not check(value):
            raise RemoteProtocolError(f"{cls.__name__}: bad field {name!r}")
    if kind >= FIRST_TUNNEL_KIND:
        _check_head(message)
    frame = cls(*known)
    if cls is Page:
        frame = _page(frame)
    elif cls in _LONGEST:
        frame = frame._replace(positions=tuple(Position(*each) for each in frame.positions))
    elif cls is Services:
        frame = frame._replace(services=tuple(ServiceOffer(*each) for each in frame.services))
    return cast("Frame", frame)


_BY_HAND: Final[dict[int, tuple[type[Any], int]]] = {
    Kind.DATA: (Data, 2),
    Kind.CREDIT: (Credit, 3),
    Kind.END: (End, 2),
    Kind.STOP: (Stop, 1),
    Kind.OPEN: (Open, 2),
    Kind.ACCEPT: (Accept, 1),
}
"""What every connection sends, and how many numbers follow the stream id. Taken apart here these
cost a third of the general way, and the bytes of DATA are not copied."""


def _by_hand(message: bytes, head: Route | None) -> Frame | None:
    """The frame; None if it is not a good one: `_by_spec` knows what is wrong."""
    try:
        head = head or peek(message)
    except RemoteProtocolError:
        return None
    cls, count = _BY_HAND[head.kind]
    numbers, start = _numbers(message, count)
    last = _bulk_at(message, start) if cls is Data else _tag_at(message, start)
    if last is None or message[0] != 0x93 + count + bool(last) or not head.stream:
        return None
    return cast("Frame", cls(head.tunnel, head.stream, *numbers, last))


def _numbers(message: bytes, count: int) -> tuple[list[int], int]:
    """The numbers behind the stream id, and where they end: beyond the message if they are none."""
    numbers = []
    start = 21 + _WIDTHS.get(message[20], 0)
    try:
        for _ in range(count):
            number = message[start]
            start += 1
            if number >= 0x80:
                stop = start + _WIDTHS[number]
                number = int.from_bytes(message[start:stop], "big")
                start = stop
            numbers.append(number)
    except (IndexError, KeyError):
        return [], MAX_MESSAGE + 1
    return numbers, start if max(numbers) <= _MAX_NUMBER else MAX_MESSAGE + 1


_WIDTHS: Final = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_BULK_WIDTHS: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4}


def _tag_at(message: bytes, start: int) -> bytes | None:
    """The tag at the end of a message; empty: there is none; None: it is something else."""
    if len(message) == start:
        return b""
    tagged = len(message) == start + 2 + TAG and message[start : start + 2] == b"\xc4\x10"
    return message[start + 2 :] if tagged else None


def _bulk_at(message: bytes, start: int) -> memoryview | None:
    """The bytes at the end of DATA; None: it is something else."""
    width = _BULK_WIDTHS.get(message[start], 0) if start < len(message) else 0
    begin = start + 1 + width
    size = int.from_bytes(message[start + 1 : begin], "big")
    whole = len(message) == begin + size and 0 < size <= MAX_DATA + TAG
    return memoryview(message)[begin:] if whole else None


def _check_head(message: bytes) -> None:
    """Refuse what a node would refuse: msgpack has more than one form for a number."""
    head = peek(message)
    if head.kind == Kind.DATA:
        check_data(message, head)


def _page(frame: Page) -> Page:
    rows = tuple(_row(each, *_ROWS[frame.list]) for each in frame.rows)
    return frame._replace(rows=rows, missing=tuple(Missing(*each) for each in frame.missing))


def _kind(message: bytes) -> int:
    """Check what comes before the first field: size, array, and a kind that is known."""
    if len(message) > MAX_MESSAGE:
        raise RemoteProtocolError(f"a message of {len(message)} bytes; the limit is {MAX_MESSAGE}")
    if len(message) < 3 or message[0] & 0xF0 != 0x90:
        raise RemoteProtocolError("a frame is an array that begins with its kind")
    kind = message[1]
    if kind not in _SPEC:
        raise RemoteProtocolError(f"unknown kind of frame: {kind}")
    return kind


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


class Route(NamedTuple):
    """What a node reads of a message: enough to pass it on."""

    kind: int
    tunnel: bytes | None
    stream: int


def peek(message: bytes) -> Route:
    """Read kind, tunnel id and stream id from the head of a message, and nothing else.

    Raises:
      RemoteProtocolError: the head is not one.
    """
    kind = _kind(message)
    if kind < FIRST_TUNNEL_KIND:
        return Route(kind, None, 0)
    # bin 8 of 16 bytes, then the stream id
    if len(message) < 22 or message[2:4] != b"\xc4\x10":
        raise RemoteProtocolError(f"bad head of a frame of kind {kind}")
    first = message[20]
    if first < 0x80:
        return Route(kind, message[4:20], first)
    width = _WIDTHS.get(first, 8)
    if width == 8 or len(message) < 21 + width:
        raise RemoteProtocolError("bad stream id")
    return Route(kind, message[4:20], int.from_bytes(message[21 : 21 + width], "big"))


def check_data(message: bytes, head: Route) -> None:
    """Check the rest of a DATA frame's head, so that a node passes no garbage on.

    Raises:
      RemoteProtocolError: it is not one whole DATA frame.
    """
    if message[0] != 0x96 or not head.stream or _bulk_at(message, _numbers(message, 2)[1]) is None:
        raise RemoteProtocolError("Data: bad head")
