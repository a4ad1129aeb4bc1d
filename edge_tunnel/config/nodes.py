"""A file as it was read: values with their places, before anyone decides what they mean.

The reader of any format makes these; `walk` reads them. The reprs show no value, because a value
may be a secret and a debugger or a failing test would print it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

__all__ = [
    "Array",
    "Boolean",
    "Date",
    "Member",
    "Node",
    "Null",
    "Number",
    "Object",
    "Odd",
    "String",
]


@dataclass(frozen=True, repr=False)
class Node:
    """A value and its place: indexes in the text, the end being the one after the last."""

    what: ClassVar[str] = "a value"
    start: int
    end: int

    def __repr__(self) -> str:
        return f"<{self.what} at {self.start}-{self.end}>"


@dataclass(frozen=True, repr=False)
class Null(Node):
    what: ClassVar[str] = "null"


@dataclass(frozen=True, repr=False)
class Boolean(Node):
    what: ClassVar[str] = "true or false"
    value: bool


@dataclass(frozen=True, repr=False)
class Number(Node):
    """Kept as written: what it is a number of decides how exact it must be."""

    what: ClassVar[str] = "a number"
    text: str


@dataclass(frozen=True, repr=False)
class String(Node):
    what: ClassVar[str] = "a string"
    text: str


@dataclass(frozen=True, repr=False)
class Odd(Node):
    """Something that the reader has already reported."""

    what: ClassVar[str] = "something else"


@dataclass(frozen=True, repr=False)
class Date(Node):
    """Only TOML has these, and no setting is one."""

    what: ClassVar[str] = "a date or time"


@dataclass(frozen=True, repr=False)
class Array(Node):
    what: ClassVar[str] = "a list"
    items: tuple[Node, ...]


@dataclass(frozen=True)
class Member:
    """One key of an object, as spelt in the file. Duplicates are all here, in order."""

    key: str
    start: int
    value: Node


@dataclass(frozen=True, repr=False)
class Object(Node):
    what: ClassVar[str] = "a group"
    members: tuple[Member, ...]
