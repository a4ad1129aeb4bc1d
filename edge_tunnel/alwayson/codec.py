"""Messages to bytes and back: one AlwaysOn message, or one part of one, is one WebSocket message.

Input is hostile: `decode` gives a message or raises AlwaysOnError, whatever the bytes are. It
overlooks what stands behind the body, because the C SDK pads with zero bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from edge_tunnel.alwayson.messages import (
    Auth,
    Bind,
    Body,
    Chunk,
    Entity,
    Gateway,
    KeepAlive,
    Message,
    Method,
    Request,
    Response,
    Unbind,
    Unknown,
)
from edge_tunnel.alwayson.reading import MAX_MESSAGE, AlwaysOnError, Reader
from edge_tunnel.alwayson.value_codec import (
    pack_count,
    pack_table,
    pack_text,
    pack_value,
    read_table,
    read_value,
)
from edge_tunnel.alwayson.values import BaseType
from edge_tunnel.errors import LocalProtocolError

__all__ = ["HEADER_SIZE", "Header", "decode", "decode_header", "encode"]

HEADER_SIZE: Final = 15

_VERSION: Final = 1
_FIRST_STATUS: Final = 0x40
_REQUESTS: Final = frozenset((Method.GET, Method.PUT, Method.POST, Method.DELETE))
_IN_CHUNKS: Final = _REQUESTS | {Method.BIND, Method.UNBIND}

_HEADER: Final = struct.Struct(">BBIIIB")
_CHUNK: Final = struct.Struct(">HHH")


class Header(NamedTuple):
    """The first 15 bytes, without the version."""

    code: int
    """A `Method`, or from 0x40 on a `Status`."""

    request_id: int
    endpoint_id: int
    session_id: int
    multipart: bool


def decode_header(data: bytes) -> Header:
    """Enough to answer a message whose body is no good.

    Raises:
      AlwaysOnError: it is no header.
    """
    if len(data) < HEADER_SIZE:
        raise AlwaysOnError(f"a message of {len(data)} bytes; its header alone has {HEADER_SIZE}")
    version, code, request, endpoint, session, multipart = _HEADER.unpack_from(data)
    if version != _VERSION:
        raise AlwaysOnError(f"version {version} of AlwaysOn; this is version {_VERSION}")
    if multipart > 1:
        raise AlwaysOnError(f"the multipart flag is {multipart}, not 0 or 1")
    return Header(code, request, endpoint, session, multipart == 1)


def decode(data: bytes) -> Message:
    """The message in `data`.

    Raises:
      AlwaysOnError: whatever the bytes are, if they are none.
    """
    if len(data) > MAX_MESSAGE:
        raise AlwaysOnError(f"a message of {len(data)} bytes; the limit is {MAX_MESSAGE}")
    header = decode_header(data)
    reader = Reader(data, HEADER_SIZE)
    body = _read_chunk(reader, header.code) if header.multipart else _read(reader, header.code)
    return Message(body, header.request_id, header.session_id, header.endpoint_id)


def encode(message: Message) -> bytes:
    """The bytes of a message, in one part.

    Raises:
      LocalProtocolError: something in it does not fit into the wire.
    """
    body = message.body
    ids = (message.request_id, message.endpoint_id, message.session_id)
    try:
        header = _HEADER.pack(_VERSION, _code(body), *ids, isinstance(body, Chunk))
        data = header + _PACK[type(body)](body)
    except (struct.error, ValueError, TypeError, AttributeError) as error:
        raise LocalProtocolError(f"{type(body).__name__} does not fit the wire: {error}") from None
    if len(data) > MAX_MESSAGE:
        raise LocalProtocolError(f"a message of {len(data)} bytes; the limit is {MAX_MESSAGE}")
    return data


# -- reading ---------------------------------------------------------------------------------------


def _read(reader: Reader, code: int) -> Body:
    if code >= _FIRST_STATUS:
        return _read_response(reader, code)
    if code in _REQUESTS:
        return _read_request(reader, code)
    if code == Method.AUTH:
        return Auth(_read_pairs(reader, reader.byte()))
    if code == Method.BIND:
        return Bind(**_read_names(reader))
    if code == Method.UNBIND:
        return Unbind(**_read_names(reader))
    if code == Method.KEEP_ALIVE:
        return KeepAlive()
    return Unknown(code, reader.rest())


def _read_response(reader: Reader, status: int) -> Response:
    reason = reader.text() if reader.flag("the mark in front of the reason") else None
    return Response(status, reason, read_value(reader))


def _read_request(reader: Reader, method: int) -> Request:
    entity = _read_entity(reader)
    characteristic, name = reader.byte(), reader.text()
    headers = _read_pairs(reader, reader.byte())
    kind = reader.byte()
    if kind not in (BaseType.INFOTABLE, BaseType.NOTHING):
        raise AlwaysOnError(f"the arguments of {name!r:.80} are of the type {kind}, no InfoTable")
    params = read_table(reader) if kind == BaseType.INFOTABLE else None
    return Request(method, entity, characteristic, name, params, headers)


def _read_entity(reader: Reader) -> Entity:
    return Entity(reader.byte(), reader.text())


def _read_pairs(reader: Reader, count: int) -> tuple[tuple[str, str], ...]:
    return tuple((reader.text(), reader.text()) for _ in range(count))


def _read_names(reader: Reader) -> dict[str, Any]:
    gateway = None
    if reader.flag("the mark in front of a gateway"):
        gateway = Gateway(reader.text(), reader.text())
    count = reader.count(1, "names")
    return {"names": tuple(reader.text() for _ in range(count)), "gateway": gateway}


def _read_chunk(reader: Reader, code: int) -> Chunk:
    if code < _FIRST_STATUS and code not in _IN_CHUNKS:
        raise AlwaysOnError(f"a message of the kind {code} comes in one part")
    number, total, size = reader.numbers(_CHUNK)
    if not 1 <= number <= total:
        raise AlwaysOnError(f"part {number} of {total}")
    entity = _read_entity(reader) if code in _REQUESTS else None
    return Chunk(code, number, total, size, entity, reader.rest())


# -- writing ---------------------------------------------------------------------------------------

_CODES: Final[dict[type[Any], int]] = {
    Auth: Method.AUTH,
    Bind: Method.BIND,
    Unbind: Method.UNBIND,
    KeepAlive: Method.KEEP_ALIVE,
}


def _code(body: Body) -> int:
    if isinstance(body, (Request, Unknown)):
        return body.method
    if isinstance(body, Response):
        return body.status
    if isinstance(body, Chunk):
        return body.code
    return _CODES[type(body)]


def _pack_response(body: Response) -> bytes:
    reason = b"\x00" if body.reason is None else b"\x01" + pack_text(body.reason)
    return reason + pack_value(body.content)


def _pack_request(body: Request) -> bytes:
    params = b"\xff" if body.params is None else b"\x05" + pack_table(body.params)
    return b"".join(
        (
            _pack_entity(body.entity),
            bytes((body.characteristic,)),
            pack_text(body.name),
            _pack_pairs(body.headers),
            params,
        )
    )


def _pack_entity(entity: Entity | None) -> bytes:
    return b"" if entity is None else bytes((entity.type,)) + pack_text(entity.name)


def _pack_pairs(pairs: tuple[tuple[str, str], ...]) -> bytes:
    if len(pairs) > 0xFF:
        raise LocalProtocolError(f"{len(pairs)} headers or claims are too many")
    packed = (pack_text(name) + pack_text(value) for name, value in pairs)
    return bytes((len(pairs),)) + b"".join(packed)


def _pack_names(body: Bind | Unbind) -> bytes:
    gateway = b"\x00" if body.gateway is None else b"\x01" + b"".join(map(pack_text, body.gateway))
    names = b"".join(map(pack_text, body.names))
    return gateway + pack_count(len(body.names), "names") + names


def _pack_chunk(body: Chunk) -> bytes:
    return _CHUNK.pack(body.number, body.total, body.size) + _pack_entity(body.entity) + body.data


_PACK: Final[dict[type[Any], Callable[[Any], bytes]]] = {
    Auth: lambda body: _pack_pairs(body.claims),
    Bind: _pack_names,
    Unbind: _pack_names,
    KeepAlive: lambda _: b"",
    Request: _pack_request,
    Response: _pack_response,
    Unknown: lambda body: bytes(body.data),
    Chunk: _pack_chunk,
}
