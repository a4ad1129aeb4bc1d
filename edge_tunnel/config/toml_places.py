"""Where each key and value stands in a TOML text that tomli has accepted.

tomli gives values without places. This walks the same text once more, by tokens, and may take for
granted that it is right: anything that it does not understand only leaves a place out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["MAX_DEPTH", "MAX_TOKENS", "Path", "Place", "Shape", "places", "shape"]

Path = tuple[str | int, ...]

MAX_DEPTH = 32
"""Brackets inside each other, or dots in one key."""

MAX_TOKENS = 40_000
"""Brackets, commas, dots, equal signs, line ends and strings: 10,000 values and their keys.
Keeps the time for a hostile megabyte under a second."""

_STRING = (
    r'"""[^"\\]*(?:(?:\\[\s\S]|""?(?!"))[^"\\]*)*(?:"{3,5}|\Z)'
    r"|'''[^']*(?:''?(?!')[^']*)*(?:'{3,5}|\Z)"
    r'|"[^"\\\n]*(?:\\.[^"\\\n]*)*"?'
    r"|'[^'\n]*'?"
)
_TOKEN = re.compile(rf"{_STRING}|#[^\n]*|[\[\]{{}}=,.\n]")
_KEY_PART = re.compile(rf"[ \t\r]*(?:({_STRING})|([\w-]+))[ \t\r]*(\.?)")
_VALUE_STRING = re.compile(_STRING)
_SCALAR = re.compile(r"[^,\]}#\n]*")
_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")


@dataclass(frozen=True)
class Place:
    """Indexes in the text: of the key, and of the value's first and last character plus one."""

    key: int
    start: int
    end: int


@dataclass(frozen=True)
class Shape:
    """What a text looks like before anyone knows whether it is TOML."""

    too_deep: int | None
    """Where brackets or dots exceed what a configuration needs, so that tomli is not asked."""

    comments: tuple[tuple[int, int], ...]
    """Start and end of every comment, without its ``#``."""


def shape(text: str) -> Shape:
    """One pass over the signs of a text, right or wrong."""
    depth = dots = 0
    comments: list[tuple[int, int]] = []
    for count, match in enumerate(_TOKEN.finditer(text)):
        sign = match.group()[0]
        depth = max(depth + (sign in "[{") - (sign in "]}"), 0)
        dots = dots + 1 if sign == "." else dots if sign in "\"'" else 0
        if sign == "#":
            comments.append((match.start() + 1, match.end()))
        if depth > MAX_DEPTH or dots > MAX_DEPTH or count > MAX_TOKENS:
            return Shape(match.start(), tuple(comments))
    return Shape(None, tuple(comments))


def places(text: str) -> dict[Path, Place]:
    """Key paths, with indexes for the elements of lists, to their places."""
    scanner = _Scanner(text)
    scanner.document()
    return scanner.found


class _Scanner:
    def __init__(self, text: str) -> None:
        self.found: dict[Path, Place] = {}
        self._text = text
        self._at = 0
        self._lists: dict[Path, int] = {}

    def document(self) -> None:
        self._at = 1 if self._text.startswith("\ufeff") else 0
        table: Path = ()
        self._blank()
        while self._at < len(self._text):
            before = self._at
            table = self._header() if self._peek() == "[" else self._pair(table)
            self._blank()
            if self._at == before:
                return

    def _header(self) -> Path:
        start = self._at
        several = self._text.startswith("[[", start)
        self._at += 2 if several else 1
        path = self._resolved(self._key())
        if several:
            path = path[:-1] if path and isinstance(path[-1], int) else path
            self._lists[path] = self._lists.get(path, -1) + 1
            self.found.setdefault(path, Place(start, start, start))
            path = (*path, self._lists[path])
        self._at = min(self._at + (2 if several else 1), len(self._text))
        self.found.setdefault(path, Place(start, start, self._at))
        return path

    def _resolved(self, key: Path) -> Path:
        """A header names a list's newest element by the list's own name."""
        path: Path = ()
        for part in key:
            path = (*path, part)
            if path in self._lists:
                path = (*path, self._lists[path])
        return path

    def _pair(self, table: Path) -> Path:
        start = self._at
        path = (*table, *self._key())
        self._at += 1
        self._blank()
        self._value(path, start)
        for length in range(len(table) + 1, len(path)):
            self.found.setdefault(path[:length], Place(start, start, self._at))
        return table

    def _value(self, path: Path, key: int) -> None:
        start = self._at
        if self._peek() == "[":
            self._elements(path)
        elif self._peek() == "{":
            self._inline(path)
        else:
            self._plain()
        self.found[path] = Place(key, start, self._at)

    def _elements(self, path: Path) -> None:
        index = 0
        self._at += 1
        self._blank()
        while self._peek() not in ("]", ""):
            self._value((*path, index), self._at)
            index += 1
            self._over_comma()
        self._at += 1

    def _inline(self, path: Path) -> None:
        self._at += 1
        self._blank()
        while self._peek() not in ("}", ""):
            self._pair(path)
            self._over_comma()
        self._at += 1

    def _over_comma(self) -> None:
        self._blank()
        if self._peek() == ",":
            self._at += 1
            self._blank()
        elif self._peek() not in ("]", "}"):
            self._at = len(self._text)

    def _plain(self) -> None:
        match = _VALUE_STRING.match(self._text, self._at)
        if match is None:
            match = _SCALAR.match(self._text, self._at)
        trailing = len(match.group()) - len(match.group().rstrip()) if match else 0
        self._at = match.end() - trailing if match else self._at

    def _key(self) -> Path:
        parts: list[str] = []
        while (match := _KEY_PART.match(self._text, self._at)) is not None:
            self._at = match.end()
            parts.append(match.group(2) or _unquoted(match.group(1) or ""))
            if not match.group(3):
                break
        return tuple(parts)

    def _blank(self) -> None:
        match = _BLANK.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]


def _unquoted(quoted: str) -> str:
    # A key with escapes gets no place of its own: nobody writes one.
    return quoted[1:-1]
