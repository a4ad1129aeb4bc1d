"""The text of one file: where an index stands in it, and what may be shown of a line."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path

from edge_tunnel.config.masking import secret_spans, unfamiliar_spans

__all__ = ["Source", "printable"]

_MASK = "***"
# Characters of a long line that are shown, and how many of them before the place.
_WIDTH, _BEFORE = 100, 60
# Characters before them that say what the shown ones are.
_CONTEXT = 500


class Source:
    """The text never shows in a repr."""

    def __init__(self, path: Path, text: str) -> None:
        self.name = printable(str(path))
        """What people see in front of a line number."""

        self.directory = path.parent
        self._short = printable(path.name)
        self.text = text
        lengths = (len(line) + 1 for line in text.split("\n"))
        self._line_starts = list(itertools.accumulate(lengths, initial=0))[:-1]
        self._by_looks: list[tuple[int, int]] | None = None
        self._hidden: list[tuple[int, int]] = []
        self._familiar: Mapping[str, bool] | None = None
        self._spans: list[tuple[int, int]] | None = None

    def __repr__(self) -> str:
        return f"Source({self.name!r}, {len(self.text)} characters)"

    def hide(self, spans: Iterable[tuple[int, int]]) -> None:
        """Never show these parts of the text, beside those that look like secrets anyway."""
        self._hidden += spans
        self._spans = None

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column, both from 1."""
        line = bisect.bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def place(self, offset: int) -> str:
        """``config.json:12``: where a setting came from, among the files that people know."""
        return f"{self._short}:{self.position(offset)[0]}"

    @property
    def broken(self) -> bool:
        """The text could not be read as it stands: what looks like a key may be none."""
        return self._familiar is not None

    def is_hidden(self, offset: int) -> bool:
        """What stands here looks like a secret by itself, whatever it was read as."""
        return bool(self._near(offset, offset + 1))

    def only_show(self, familiar: Mapping[str, bool]) -> None:
        """For a text that could not be read: show known words only (see `masking`)."""
        self._familiar = familiar

    def excerpt(self, offset: int) -> tuple[str, int]:
        """The line around `offset` without its secrets, and the index of the place in it."""
        line, _ = self.position(offset)
        start = self._line_starts[line - 1]
        end = self._line_starts[line] - 1 if line < len(self._line_starts) else len(self.text)
        first = start if end - start <= _WIDTH else max(start, offset - _BEFORE)
        last = min(end, first + _WIDTH)
        spans = _merged(sorted([*self._near(first, last), *self._unfamiliar(start, first, last)]))
        shown, caret = _masked(self.text, (first, last), min(offset, last), spans)
        head, tail = "…" if first > start else "", "…" if last < end else ""
        indent = 0 if head else len(shown) - len(shown.lstrip())
        indent = min(indent, caret)
        return head + shown[indent:].rstrip() + tail, len(head) + caret - indent

    def _unfamiliar(self, line_start: int, first: int, last: int) -> list[tuple[int, int]]:
        if self._familiar is None:
            return []
        context = max(line_start, first - _CONTEXT)
        spans = unfamiliar_spans(self.text, context, last, self._familiar)
        return [(start, end) for start, end in spans if end > first]

    def _near(self, start: int, end: int) -> list[tuple[int, int]]:
        spans = self._all_spans()
        at = max(bisect.bisect_left(spans, (start,)) - 1, 0)
        found = []
        while at < len(spans) and spans[at][0] < end:
            if spans[at][1] > start:
                found.append(spans[at])
            at += 1
        return found

    def _all_spans(self) -> list[tuple[int, int]]:
        if self._by_looks is None:
            self._by_looks = secret_spans(self.text)
        if self._spans is None:
            self._spans = _merged(sorted([*self._by_looks, *self._hidden]))
        return self._spans


def printable(text: str) -> str:
    """`text` with a dot for what a terminal would obey, and tabs as blanks."""
    spaced = text.replace("\t", " ")
    if spaced.isprintable():
        return spaced
    return "".join(char if char.isprintable() else "·" for char in spaced)


def _masked(
    text: str, window: tuple[int, int], offset: int, spans: list[tuple[int, int]]
) -> tuple[str, int]:
    """The window of the text with each span as one mask, and where `offset` went."""
    at, last = window
    shown, caret = "", None
    for start, end in spans:
        if caret is None and offset < end:
            caret = len(shown) + max(min(offset, start) - at, 0)
        shown += printable(text[at:start]) + _MASK
        at = max(at, end)
    caret = len(shown) + offset - at if caret is None else caret
    return shown + printable(text[at:last]), caret


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in spans:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
