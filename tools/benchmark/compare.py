"""Whether anything got worse than noise since the figures that are committed.

Machines differ and are busy, so that only ratios within one run are compared: ours to the trio
floor, which is made of the same interpreter, scheduler and system calls, and to no code of ours.
Each round has its own ratio. A figure got worse if the best of the new rounds is worse than the
worst of the committed ones, by more than `MARGIN`.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from benchmark.figures import Results, is_better, ratios

__all__ = ["REFERENCE", "Change", "changes"]

REFERENCE: Final = "trio floor"
MARGIN: Final = 0.1


@dataclass(frozen=True)
class Change:
    """A figure's ratios, then and now."""

    path: str
    figure: str
    before: list[float]
    now: list[float]

    @property
    def is_worse(self) -> bool:
        """Beyond the noise of both runs."""
        rate = is_better(self.figure, 2.0, 1.0)
        best, worst = (max, min) if rate else (min, max)
        limit = worst(self.before) * (1 - MARGIN if rate else 1 + MARGIN)
        return is_better(self.figure, limit, best(self.now))

    def cells(self) -> list[str]:
        """A row of the table."""
        said = "**WORSE**" if self.is_worse else ""
        return [self.figure, self.path, _spread(self.before), _spread(self.now), said]


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def changes(before: Results, now: Results) -> Iterator[Change]:
    """One for each figure of ours that both runs have."""
    for figure, by_path in now.items():
        for path in by_path:
            if path == REFERENCE or path not in _OURS:
                continue
            then, since = (ratios(each, figure, path, REFERENCE) for each in (before, now))
            if then and since:
                yield Change(path, figure, then, since)


_OURS: Final = ("plain", "sealed", "TLS", "two nodes", "HAProxy")
