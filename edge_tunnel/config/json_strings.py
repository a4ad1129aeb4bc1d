"""Strings as people and PDF copies write them: escapes, line breaks, and four kinds of quotes."""

from __future__ import annotations

import re
from collections.abc import Callable

from edge_tunnel.config import json_guess
from edge_tunnel.config.quotes import SMART_DOUBLE, SMART_SINGLE

__all__ = ["CLOSERS", "read_string"]

CLOSERS = {
    '"': '"',
    "'": "'",
    **dict.fromkeys(SMART_DOUBLE, SMART_DOUBLE + '"'),
    **dict.fromkeys(SMART_SINGLE, SMART_SINGLE + "'"),
}
"""What may open a string, and what then closes it."""

_PLAIN = re.compile(r'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_OTHER_LINE = re.compile(r"[^\n]*")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_SURROGATES = re.compile("[\ud800-\udbff][\udc00-\udfff]|[\ud800-\udfff]")
_DOUBLED = re.compile(r'\\([\\"/])')
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "/": "/", '"': '"', "\\": "\\"}
_FOLLOWS = re.compile(r"\s*(?:[,:}\]]|//|/\*|\Z)")

Seen = Callable[[json_guess.Habit, int], None]


def read_string(text: str, start: int, seen: Seen) -> tuple[str, int]:
    """The string whose opening quote is at `start`, and the index after it. Never fails."""
    if text[start] == '"':
        return _plain(text, start, seen)
    habit = json_guess.SINGLE_QUOTES if text[start] == "'" else json_guess.SMART_QUOTES
    seen(habit, start)
    return _other(text, start, CLOSERS[text[start]], seen)


def _plain(text: str, start: int, seen: Seen) -> tuple[str, int]:
    match = _PLAIN.match(text, start + 1)
    end = match.end() if match else start + 1
    line_end = text.find("\n", start, end)
    if text[end : end + 1] != '"' or (line_end >= 0 and not _FOLLOWS.match(text, end + 1)):
        return _unclosed(text, start, seen)
    if line_end >= 0:
        seen(json_guess.LINE_BREAK, line_end)
    return _unescaped(text[start + 1 : end], start + 1, seen), end + 1


def _unclosed(text: str, start: int, seen: Seen) -> tuple[str, int]:
    """Most likely the closing quote was forgotten: the value ends with its line."""
    seen(json_guess.UNCLOSED, start)
    line = _OTHER_LINE.match(text, start + 1)
    inside = (line.group() if line else "").rstrip().rstrip(",").rstrip()
    return inside, start + 1 + len(inside)


def _other(text: str, start: int, closers: str, seen: Seen) -> tuple[str, int]:
    end = start + 1
    while text[end : end + 1] not in ("", "\n"):
        if text[end] in closers:
            return text[start + 1 : end], end + 1
        end += 1
    return _unclosed(text, start, seen)


def _unescaped(raw: str, offset: int, seen: Seen) -> str:
    if "\\" not in raw:
        return raw
    # One wrong escape shows a Windows path: its other single backslashes were meant as such too.
    wrong = next((one for one in _ESCAPE.finditer(raw) if _is_wrong(one)), None)
    if wrong is not None:
        seen(json_guess.LONE_BACKSLASH, offset + wrong.start())
        return _DOUBLED.sub(r"\1", raw)
    return _joined(_ESCAPE.sub(_replaced, raw))


def _is_wrong(escape: re.Match[str]) -> bool:
    return not escape.group(1) and escape.group(2) not in _ESCAPES


def _replaced(escape: re.Match[str]) -> str:
    return chr(int(escape.group(1), 16)) if escape.group(1) else _ESCAPES[escape.group(2)]


def _joined(text: str) -> str:
    """Two escapes may make one character; half of a pair alone is none at all."""

    def one(match: re.Match[str]) -> str:
        pair = match.group()
        return pair.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    return _SURROGATES.sub(one, text)
