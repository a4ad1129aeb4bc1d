"""JSON as EMS reads it (cJSON's habits) and a little kinder, into positioned nodes.

This decides nothing about settings. What can be understood is understood, with a finding, so that
one run shows every mistake of a file: after a missing comma or a wrong quote the reader goes on as
if the text had been right. Only where nobody can tell what was meant does it stop.

Recursion is safe here because the depth is bounded, far below Python's own limit; and the number
of values is bounded, so that any megabyte is read in a fraction of a second.
"""

from __future__ import annotations

import re

from edge_tunnel.config import json_guess
from edge_tunnel.config.findings import Findings
from edge_tunnel.config.json_strings import CLOSERS, read_string
from edge_tunnel.config.nodes import Array, Boolean, Member, Node, Null, Number, Object, Odd, String
from edge_tunnel.config.quotes import ALL_QUOTES

__all__ = ["MAX_DEPTH", "MAX_VALUES", "read_json"]

MAX_DEPTH = 32
"""Groups and lists inside each other. EMS's own files have three levels."""

MAX_VALUES = 20_000
"""Values, commas and comments in one file. The longest real file known has about 150 values."""

_BLANK = re.compile(r"[ \t\r\n\f\v\xa0\ufeff]*")
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_LINE = re.compile(r"[^\n]*")
_NUMBER = re.compile(r"-?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?(?![\w.+-])")
_WORD = re.compile(rf"[^\s,:{{}}\[\]{ALL_QUOTES}]+")
# Looking for the end of each such string reads the whole rest of the text again.
_UNCLOSED = 10
_TOO_LONG = "this is no configuration file"
_CONSTANTS = {"true": True, "false": False}


class _Stop(Exception):
    """Nothing further can be made out; that has been reported."""


def read_json(text: str, findings: Findings) -> Node | None:
    """The root value, or None when nothing could be made out. What follows it is only warned of."""
    reader = _Reader(text, findings)
    try:
        return reader.document()
    except _Stop:
        return None
    finally:
        reader.sum_up()


class _Reader:
    def __init__(self, text: str, findings: Findings) -> None:
        self._text = text
        self._at = 0
        self._values = 0
        self._findings = findings
        self._habits: dict[json_guess.Habit, list[int]] = {}

    def document(self) -> Node:
        """The one value of the file."""
        if self._text.startswith("\ufeff"):
            self._seen(json_guess.BOM, 0)
        self._skip()
        self._refuse_what_is_no_json()
        root = self._value(0)
        self._skip(reporting=False)
        if self._at < len(self._text):
            self._findings.hide(self._at + 1, len(self._text))
            self._findings.warning(self._at, "", *json_guess.after_the_end(self._text, self._at))
        return root

    def sum_up(self) -> None:
        """One finding for each habit, however often the file has it."""
        for habit, places in self._habits.items():
            count = f" ({len(places)} times in this file)" if len(places) > 1 else ""
            if habit.fatal:
                self._findings.syntax(places[0], habit.message + count, habit.hint)
            else:
                self._findings.warning(places[0], "", habit.message + count, habit.hint)

    # -- values ----------------------------------------------------------------------------------

    def _value(self, depth: int) -> Node:
        self._count(depth)
        char = self._peek()
        if char == "{":
            return self._object(depth)
        if char == "[":
            return self._array(depth)
        if char in CLOSERS:
            return self._string()
        return self._number() or self._literal()

    def _object(self, depth: int) -> Object:
        start = self._step()
        members: list[Member] = []
        while self._more(start, "}", empty=not members):
            members.append(self._member(depth))
        return Object(start, self._at, tuple(members))

    def _array(self, depth: int) -> Array:
        start = self._step()
        items: list[Node] = []
        while self._more(start, "]", empty=not items):
            items.append(self._value(depth + 1))
        return Array(start, self._at, tuple(items))

    def _member(self, depth: int) -> Member:
        start = self._at
        key = self._key()
        self._skip()
        self._colon(start)
        self._skip()
        return Member(key, start, self._value(depth + 1))

    def _key(self) -> str:
        if self._peek() in CLOSERS:
            return self._string_text()
        word = _WORD.match(self._text, self._at)
        if word is None:
            raise self._stop(*json_guess.no_key(self._text, self._at))
        self._seen(json_guess.BARE_KEY, self._at)
        self._at = word.end()
        return word.group()

    def _colon(self, key_start: int) -> None:
        if self._peek() == ":":
            self._at += 1
        elif self._peek() == "=":
            self._seen(json_guess.EQUALS, self._at)
            self._at += 1
        elif self._peek() in ",}]":
            raise self._stop(*json_guess.no_value(), at=key_start)
        else:
            self._findings.syntax(self._at, *json_guess.NO_COLON)

    def _string(self) -> Node:
        start = self._at
        text = self._string_text()
        return String(start, self._at, text)

    def _string_text(self) -> str:
        text, self._at = read_string(self._text, self._at, self._seen)
        if len(self._habits.get(json_guess.UNCLOSED, ())) > _UNCLOSED:
            raise self._stop("too many strings without an end", "restore a good copy")
        return text

    def _number(self) -> Node | None:
        match = _NUMBER.match(self._text, self._at)
        if match is None:
            return None
        digits = match.group().lstrip("-")
        if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
            self._seen(json_guess.LEADING_ZERO, self._at)
        self._at = match.end()
        return Number(match.start(), match.end(), match.group())

    def _literal(self) -> Node:
        start = self._at
        match = _WORD.match(self._text, start)
        if match is None:
            raise self._stop(*json_guess.no_value_here(self._text, start))
        self._at = match.end()
        if match.group() in _CONSTANTS:
            return Boolean(start, match.end(), _CONSTANTS[match.group()])
        if match.group() == "null":
            return Null(start, match.end())
        self._findings.syntax(start, *json_guess.odd_word(match.group()))
        return Odd(start, match.end())

    # -- what stands between them ----------------------------------------------------------------

    def _more(self, start: int, closing: str, *, empty: bool) -> bool:
        """Go to the next element, over one comma; or over the closing bracket, then False."""
        before = self._at
        self._skip()
        comma = self._at
        commas = self._commas()
        if self._peek() == closing:
            if commas:
                self._seen(json_guess.TRAILING_COMMA, comma)
            self._at += 1
            return False
        if not self._peek():
            raise self._stop(*json_guess.truncated(self._text, start, closing), at=before)
        if self._peek() in "}]:":
            raise self._stop(*json_guess.wrong_bracket(self._text, start, closing, self._at))
        if (empty and commas) or commas > 1:
            self._findings.syntax(comma, *json_guess.EXTRA_COMMA)
        if not empty and not commas:
            self._findings.syntax(before, *json_guess.no_comma(self._text, before, self._at))
        return True

    def _commas(self) -> int:
        count = 0
        while self._peek() in (",", ";"):
            if self._peek() == ";":
                self._seen(json_guess.SEMICOLON, self._at)
            count += 1
            self._at += 1
            self._count(0)
            self._skip()
        return count

    def _skip(self, *, reporting: bool = True) -> None:
        """Over blanks and comments."""
        while True:
            blank = _BLANK.match(self._text, self._at)
            self._at = blank.end() if blank else self._at
            if self._peek() not in ("/", "#") or not self._comment(reporting=reporting):
                return

    def _comment(self, *, reporting: bool) -> bool:
        match = _COMMENT.match(self._text, self._at)
        if match is None and self._peek() == "#" and reporting:
            self._seen(json_guess.HASH_COMMENT, self._at)
            match = _LINE.match(self._text, self._at)
        elif match is not None:
            self._seen(json_guess.COMMENT, self._at)
        if match is None:
            if reporting:
                raise self._stop(*json_guess.no_comment(self._text, self._at))
            return False
        self._count(0)
        # People keep old keys and passwords in comments.
        self._findings.hide(match.start() + 2, match.end())
        self._at = match.end()
        return True

    # -- small things ----------------------------------------------------------------------------

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _step(self) -> int:
        self._at += 1
        return self._at - 1

    def _seen(self, habit: json_guess.Habit, place: int) -> None:
        self._habits.setdefault(habit, []).append(place)

    def _count(self, depth: int) -> None:
        self._values += 1
        if depth > MAX_DEPTH:
            raise self._stop(f"more than {MAX_DEPTH} levels of brackets", "no setting needs them")
        if self._values > MAX_VALUES:
            raise self._stop(
                f"more than {MAX_VALUES} values, commas and comments",
                "this is no configuration file",
            )

    def _stop(self, message: str, hint: str, at: int | None = None) -> _Stop:
        self._findings.syntax(self._at if at is None else at, message, hint)
        return _Stop()

    def _refuse_what_is_no_json(self) -> None:
        wrong = json_guess.not_json(self._text, self._at)
        if wrong is not None:
            raise self._stop(*wrong)
