"""Rows for people: columns, aligned; and times."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from edge_tunnel.config.source import printable

__all__ = ["print_json", "print_table", "when"]


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> None:
    """On stdout; `empty` if there is no row."""
    if not rows:
        print(empty)
        return
    shown = [[printable(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in shown) for column in range(len(head))]
    for row in shown:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def print_json(said: object) -> None:
    """On stdout, one line."""
    print(json.dumps(said))


def when(seconds: object) -> str:
    """A moment in this machine's time zone; ``never`` for none."""
    if not isinstance(seconds, (int, float)):
        return "never"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
