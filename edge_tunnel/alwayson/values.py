"""Typed values: primitives, and InfoTables of them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias

__all__ = [
    "NOTHING",
    "TEXTS",
    "BaseType",
    "Field",
    "InfoTable",
    "Location",
    "Plain",
    "Value",
    "integer",
    "one_row",
    "string",
]


class BaseType(enum.IntEnum):
    """What a value is; the byte in front of it."""

    STRING = 0
    NUMBER = 1
    BOOLEAN = 2
    DATETIME = 3
    INFOTABLE = 5
    LOCATION = 6
    XML = 7
    JSON = 8
    QUERY = 9
    IMAGE = 10
    HYPERLINK = 11
    IMAGELINK = 12
    PASSWORD = 13
    HTML = 14
    TEXT = 15
    TAGS = 16
    VARIANT = 18
    GUID = 20
    BLOB = 21
    INTEGER = 22
    LONG = 23
    """Newer than the C SDK 2.2.1, which refuses it: not for devices."""

    NOTHING = 0xFF


TEXTS: Final = frozenset((0, 7, 8, 9, 11, 12, 13, 14, 15, 16, 20, 50, 51, 52, *range(100, 124)))
"""Types whose value is a text: also the names of things, users, mashups, and so on."""


class Location(NamedTuple):
    """In degrees and metres, in the order of the wire."""

    longitude: float
    latitude: float
    elevation: float


class Value(NamedTuple):
    """A type and what is of it."""

    type: int
    """A `BaseType`, or the number of another kind of name (`TEXTS`)."""

    plain: Plain
    """A DATETIME is milliseconds since 1970 UTC; the value of a VARIANT is a Value."""


class Field(NamedTuple):
    """A column of an InfoTable."""

    name: str
    type: int
    description: str = ""
    aspects: tuple[tuple[str, Value], ...] = ()


class InfoTable(NamedTuple):
    """Rows of values. A row may be shorter than the list of fields, and never longer."""

    fields: tuple[Field, ...] = ()
    rows: tuple[tuple[Value, ...], ...] = ()

    def first(self) -> dict[str, Plain]:
        """The first row by the names of its fields; empty where there is no row."""
        if not self.rows:
            return {}
        pairs = zip(self.fields, self.rows[0], strict=False)
        return {field.name: value.plain for field, value in pairs}


Plain: TypeAlias = str | float | bool | int | bytes | Location | InfoTable | Value | None
"""What a value is in Python."""

NOTHING: Final = Value(BaseType.NOTHING, None)


def string(text: str) -> Value:
    """A STRING."""
    return Value(BaseType.STRING, text)


def integer(number: int) -> Value:
    """An INTEGER, of 32 bits."""
    return Value(BaseType.INTEGER, number)


def one_row(values: Mapping[str, Value]) -> InfoTable:
    """The table of a service's arguments: one row."""
    fields = tuple(Field(name, value.type) for name, value in values.items())
    return InfoTable(fields, (tuple(values.values()),))
