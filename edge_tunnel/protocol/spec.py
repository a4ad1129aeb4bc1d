"""Which fields each frame has, and what each of them may be: the table of WIRE.md as data.

Input is hostile: a field is checked by its exact type and range.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final, TypeAlias

from edge_tunnel.protocol.frames import (
    MAX_DATA,
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
    Grant,
    Hello,
    Join,
    Kind,
    Offer,
    Open,
    Page,
    Ping,
    Pong,
    Probe,
    Reset,
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
    NodeRow,
    ThingRow,
    TunnelRow,
)

__all__ = [
    "GROWING",
    "LACKING",
    "LONGEST",
    "MAX_NAMES",
    "MAX_NUMBER",
    "ROWS",
    "SPEC",
    "Check",
    "is_name",
]

MAX_NUMBER: Final = 2**63 - 1
MAX_NAMES: Final = 64

Check: TypeAlias = Callable[[object], bool]


def _number(value: object) -> bool:
    # bool is a subclass of int, hence the exact type
    return type(value) is int and 0 <= value <= MAX_NUMBER


def _flag(value: object) -> bool:
    return type(value) is bool


def _text(value: object) -> bool:
    return type(value) is str and len(value) <= MAX_TEXT


def is_name(value: object) -> bool:
    """Whether it can be the name of a thing or a service on the wire."""
    return type(value) is str and 0 < len(value) <= 256 and value.isprintable()


def _names(value: object) -> bool:
    return type(value) is tuple and len(value) <= MAX_NAMES and all(map(is_name, value))


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
    return type(value) is tuple and len(value) <= MAX_NAMES and all(map(_service, value))


def _service(value: object) -> bool:
    return (
        type(value) is tuple
        and len(value) == 3
        and is_name(value[0])
        and is_name(value[1])
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
    return type(value) is int and value in ROWS


def _rows(value: object) -> bool:
    """Their fields depend on the list: see `_row`."""
    return type(value) is tuple and len(value) <= MAX_ROWS


def _missing(value: object) -> bool:
    return type(value) is tuple and len(value) <= MAX_MISSING and all(map(_one_missing, value))


def _one_missing(value: object) -> bool:
    return type(value) is tuple and len(value) == 2 and is_name(value[0]) and _text(value[1])


_COUNTS: Final[tuple[Check, ...]] = (_number, _number, _number)

ROWS: Final[dict[int, tuple[type[Any], tuple[Check, ...]]]] = {
    List.THINGS: (
        ThingRow,
        (
            *(is_name, is_name, _number, _flag, _number, _text, _names, _number, *_COUNTS),
            *(_fingerprint, _text),
        ),
    ),
    List.TUNNELS: (
        TunnelRow,
        (_id, _number, is_name, is_name, _number, _text, _text, _text, _text, *_COUNTS),
    ),
    List.NODES: (NodeRow, (is_name, _flag, _text, _text, _number, _flag, _number, *_COUNTS)),
}

_OF_TUNNEL: Final[tuple[Check, ...]] = (_id, _tunnel_itself, _number)
_OF_STREAM: Final[tuple[Check, ...]] = (_id, _stream, _number)

SPEC: Final[dict[int, tuple[type[Any], tuple[Check, ...]]]] = {
    Kind.HELLO: (
        Hello,
        (_number, _number, is_name, is_name, _text, _id, _number, _names, _number, _number),
    ),
    Kind.WELCOME: (Welcome, (_number, is_name, is_name, _names, _text)),
    Kind.BYE: (Bye, (_number, _text, _number)),
    Kind.PING: (Ping, (_number,)),
    Kind.PONG: (Pong, (_number,)),
    Kind.BIND: (Bind, (is_name, _number)),
    Kind.BOUND: (Bound, (is_name, _number)),
    Kind.UNBOUND: (Unbound, (is_name, _number, _number, _text)),
    Kind.UNBIND: (Unbind, (is_name, _number)),
    Kind.DRAIN: (Drain, (_number, _text)),
    Kind.JOIN: (Join, (_number, _number, is_name, is_name, _text, _number, _names)),
    Kind.OFFER: (Offer, (is_name, _names, _fingerprint)),
    Kind.ASK: (Ask, (_number, _number, _list, _text)),
    Kind.PAGE: (Page, (_number, _number, _list, _rows, _missing, _flag)),
    Kind.SERVICES: (Services, (is_name, _services)),
    Kind.ATTACH: (
        Attach,
        (*_OF_TUNNEL, is_name, is_name, _flag, _proof, _number, _positions, _proof, _offer),
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
LONGEST: Final = {Attach: MAX_STREAMS, Attached: MAX_STREAMS, Page: MAX_ROWS}
"""Elements of an array in a frame, where it is not `MAX_NAMES`."""

GROWING: Final = (Hello, Welcome, Join)
"""A later minor version may append fields to a greeting: those are skipped, not an error."""

_MAY_LACK: Final = (_offer, _answer, _tag, _fingerprint)
"""Fields that only devices with an identity have, most of them those of sealed tunnels: last ones;
where they are not in the message they are empty in the frame."""

LACKING: Final = {Hello: 2} | {cls: 1 for cls, checks in SPEC.values() if checks[-1] in _MAY_LACK}
"""How many of the last fields a message may lack: all of them, if none says anything.
HELLO's are about who pings."""
