"""What the project wants to reach, judged by the medians of one run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from benchmark.figures import Results, median, shown

__all__ = ["Verdict", "targets"]

MULTIPLEXING: Final = ("chisel", "frp")
"""Peers that carry many streams in one WebSocket."""

IDLE: Final = "64 B trip alone, p50 (us)"
BUSY: Final = "64 B trip beside bulk, p50 (us)"


@dataclass(frozen=True)
class Verdict:
    """A target, and what came of it."""

    target: str
    wanted: str
    got: str
    met: bool | None
    """None: what it needs was not measured."""

    def cells(self) -> list[str]:
        """A row of the table."""
        said = {True: "met", False: "**not met**", None: "not measured"}[self.met]
        return [self.target, self.wanted, self.got, said]


def targets(results: Results) -> Iterator[Verdict]:
    """All that one run can say something about."""

    def number(figure: str, path: str) -> float | None:
        value = median(results, figure, path)
        return value if isinstance(value, float) else None

    for way in ("up", "down"):
        one, many = f"{way}, 1 stream (MB/s)", f"{way}, 16 streams (MB/s)"
        rivals = {name: number(one, name) for name in MULTIPLEXING}
        best = max((value for value in rivals.values() if value is not None), default=None)
        yield _above(f"{one}: above chisel and frp", number(one, "plain"), best)
        yield _above(f"{many}: no less than with one", number(many, "plain"), number(one, "plain"))
        sealed, plain = number(one, "sealed"), number(one, "plain")
        share = None if plain is None else 0.7 * plain
        yield _above(f"{one}: sealed at least 0.7 of plain", sealed, share)
    idle, chisel = number(IDLE, "plain"), number(IDLE, "chisel")
    yield _below(f"{IDLE}: at most 1.3 times chisel's", idle, chisel and 1.3 * chisel)
    for case in ("plain", "sealed"):
        alone, busy = number(IDLE, case), number(BUSY, case)
        yield _below(f"{BUSY}: at most 3 times alone, {case}", busy, alone and 3 * alone)
    figure = "new connections, 16 callers (1/s)"
    yield _above(f"{figure}: at least 1,500", number(figure, "plain"), 1500.0)


def _above(target: str, got: float | None, wanted: float | None) -> Verdict:
    met = None if got is None or wanted is None else got >= wanted
    return Verdict(target, f">= {shown(wanted)}", shown(got), met)


def _below(target: str, got: float | None, wanted: float | None) -> Verdict:
    met = None if got is None or wanted is None else got <= wanted
    return Verdict(target, f"<= {shown(wanted)}", shown(got), met)
