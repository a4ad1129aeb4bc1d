"""Typed values and InfoTables to bytes and back."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

from edge_tunnel.alwayson.reading import AlwaysOnError, Reader
from edge_tunnel.alwayson.values import (
    NOTHING,
    TEXTS,
    BaseType,
    Field,
    InfoTable,
    Location,
    Value,
)
from edge_tunnel.errors import LocalProtocolError

__all__ = ["pack_count", "pack_table", "pack_text", "pack_value", "read_table", "read_value"]

_DOUBLE: Final = struct.Struct(">d")
_LOCATION: Final = struct.Struct(">ddd")
_INT: Final = struct.Struct(">i")
_LONG: Final = struct.Struct(">q")

_MORE, _END = 1, 0  # in front of each field and row, and behind the last

# -- reading ---------------------------------------------------------------------------------------


def read_value(reader: Reader) -> Value:
    """A type and what is of it. Raises AlwaysOnError."""
    kind = reader.byte()
    if kind == BaseType.NOTHING:
        reader.spend()
        return NOTHING
    read = _READ.get(kind)
    if read is None:  # nobody can know where it ends
        raise AlwaysOnError(f"a value of the unknown type {kind}")
    reader.enter()
    value = Value(kind, read(reader))
    reader.leave()
    return value


def read_table(reader: Reader) -> InfoTable:
    """Fields, then rows. Raises AlwaysOnError."""
    fields: list[Field] = []
    while reader.flag("the mark in front of a field"):
        fields.append(_read_field(reader))
    rows: list[tuple[Value, ...]] = []
    while reader.flag("the mark in front of a row"):
        rows.append(_read_row(reader, len(fields)))
    return InfoTable(tuple(fields), tuple(rows))


def _read_field(reader: Reader) -> Field:
    reader.spend()
    name, description, kind = reader.text(), reader.text(), reader.byte()
    count = reader.count(2, "aspects")
    aspects = tuple((reader.text(), read_value(reader)) for _ in range(count))
    return Field(name, kind, description, aspects)


def _read_row(reader: Reader, fields: int) -> tuple[Value, ...]:
    reader.spend()
    count = reader.count(1, "values")
    if count > fields:
        raise AlwaysOnError(f"a row of {count} values in a table of {fields} fields")
    return tuple(read_value(reader) for _ in range(count))


_READ: Final[dict[int, Callable[[Reader], Any]]] = {
    **dict.fromkeys(TEXTS, Reader.text),
    BaseType.NUMBER: lambda reader: reader.numbers(_DOUBLE)[0],
    BaseType.BOOLEAN: lambda reader: reader.byte() != 0,
    BaseType.DATETIME: lambda reader: reader.numbers(_LONG)[0],
    BaseType.INFOTABLE: read_table,
    BaseType.LOCATION: lambda reader: Location(*reader.numbers(_LOCATION)),
    BaseType.IMAGE: Reader.blob,
    BaseType.BLOB: Reader.blob,
    BaseType.VARIANT: read_value,
    BaseType.INTEGER: lambda reader: reader.numbers(_INT)[0],
    BaseType.LONG: lambda reader: reader.numbers(_LONG)[0],
}

# -- writing ---------------------------------------------------------------------------------------


def pack_value(value: Value) -> bytes:
    """Raises LocalProtocolError: what is in it is not of its type."""
    if value.type == BaseType.NOTHING:
        return b"\xff"
    pack = _PACK.get(value.type)
    if pack is None:
        raise LocalProtocolError(f"a value of the unknown type {value.type}")
    try:
        return bytes((value.type,)) + pack(value.plain)
    except (struct.error, TypeError, AttributeError, ValueError, OverflowError) as error:
        name = BaseType(value.type).name if value.type in list(BaseType) else value.type
        raise LocalProtocolError(f"{value.plain!r:.80} is no {name}: {error}") from None


def pack_text(text: str) -> bytes:
    """Behind its length, of one byte or, from 128 on, of four."""
    data = text.encode("utf-8")
    size = len(data)
    return (bytes((size,)) if size < 0x80 else (size | 0x8000_0000).to_bytes(4, "big")) + data


def pack_count(count: int, what: str) -> bytes:
    """Raises LocalProtocolError: the wire has two bytes for it."""
    if count > 0xFFFF:
        raise LocalProtocolError(f"{count} {what} are too many for one message")
    return count.to_bytes(2, "big")


def pack_table(table: InfoTable) -> bytes:
    """Fields, then rows."""
    parts = [bytes((_MORE,)) + _pack_field(field) for field in table.fields]
    parts.append(bytes((_END,)))
    parts += [bytes((_MORE,)) + _pack_row(row, len(table.fields)) for row in table.rows]
    parts.append(bytes((_END,)))
    return b"".join(parts)


def _pack_field(field: Field) -> bytes:
    aspects = [pack_text(name) + pack_value(value) for name, value in field.aspects]
    head = pack_text(field.name) + pack_text(field.description) + bytes((field.type,))
    return head + pack_count(len(aspects), "aspects") + b"".join(aspects)


def _pack_row(row: tuple[Value, ...], fields: int) -> bytes:
    if len(row) > fields:
        raise LocalProtocolError(f"a row of {len(row)} values in a table of {fields} fields")
    return pack_count(len(row), "values") + b"".join(map(pack_value, row))


_PACK: Final[dict[int, Callable[[Any], bytes]]] = {
    **dict.fromkeys(TEXTS, pack_text),
    BaseType.NUMBER: _DOUBLE.pack,
    BaseType.BOOLEAN: lambda value: b"\x01" if value else b"\x00",
    BaseType.DATETIME: _LONG.pack,
    BaseType.INFOTABLE: pack_table,
    BaseType.LOCATION: lambda value: _LOCATION.pack(*value),
    # the C SDK reads all four bytes of the length as one number: no mark in its top bit
    BaseType.IMAGE: lambda value: len(value).to_bytes(4, "big") + value,
    BaseType.BLOB: lambda value: len(value).to_bytes(4, "big") + value,
    BaseType.VARIANT: pack_value,
    BaseType.INTEGER: _INT.pack,
    BaseType.LONG: _LONG.pack,
}
