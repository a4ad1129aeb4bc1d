"""Columns that line up, and fit: what a narrow terminal has no room for is left out."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Final, NamedTuple

from edge_tunnel.cli.live import human_bytes

__all__ = ["UNKNOWN", "Column", "age", "lay_out", "size", "speed"]

UNKNOWN: Final = "-"

_GAP: Final = "  "

_LONGEST: Final = 40
"""Characters of one cell where there is not room for everything."""


class Column(NamedTuple):
    """One column."""

    head: str
    importance: int
    """Those with the lowest go first where there is no room, all of them at once."""

    right: bool = False
    """Numbers end at the right."""


def lay_out(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None
) -> tuple[list[str], list[str]]:
    """The lines, heads first, and the heads that were left out. `width` None: as wide as it is."""
    if width is not None:
        rows = [[_cut(cell, _LONGEST) for cell in row] for row in rows]
    table = [[column.head for column in columns], *rows]
    widths = [max(map(display_width, cells)) for cells in zip(*table, strict=True)]
    shown = list(range(len(columns)))
    while width is not None and _total(widths, shown) > width:
        if len({columns[each].importance for each in shown}) == 1:
            break
        least = min(columns[each].importance for each in shown)
        shown = [each for each in shown if columns[each].importance > least]
    lines = [
        _GAP.join(_pad(row[each], widths[each], right=columns[each].right) for each in shown)
        for row in table
    ]
    left_out = [column.head for each, column in enumerate(columns) if each not in shown]
    return [_cut(line.rstrip(), width) for line in lines], left_out


def _total(widths: Sequence[int], shown: Sequence[int]) -> int:
    return sum(widths[each] for each in shown) + len(_GAP) * (len(shown) - 1)


def _pad(cell: str, width: int, *, right: bool) -> str:
    blanks = " " * (width - display_width(cell))
    return blanks + cell if right else cell + blanks


def _cut(text: str, width: int | None) -> str:
    if width is None or display_width(text) <= width:
        return text
    while display_width(text) > width - 1:
        text = text[:-1]
    return text + "…"


def display_width(text: str) -> int:
    """Columns that it takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )


def age(seconds: float) -> str:
    """How long ago, as 45s, 12m, 3h, 5d."""
    seconds = max(0.0, seconds)  # the clock of another machine
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * length or (unit == "m" and seconds >= length):
            return f"{seconds // length:.0f}{unit}"
    return f"{seconds:.0f}s"


def size(count: float) -> str:
    """Bytes, as 4.2KB."""
    return human_bytes(count).replace(" ", "")


def speed(rate: float | None) -> str:
    """Bytes per second."""
    return UNKNOWN if rate is None else size(rate)
