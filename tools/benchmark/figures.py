"""From rounds to medians and ratios."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TypeAlias

__all__ = ["Results", "Value", "is_better", "median", "medians", "ratios", "shown"]

Value: TypeAlias = "float | str | None"
"""A number, why there is none, or nothing that could have been measured."""

Results: TypeAlias = dict[str, dict[str, list["float | str"]]]
"""Figure -> path -> one entry for each round: a number, or why there is none."""


def median(results: Results, figure: str, path: str) -> Value:
    """Of what was measured; the reason if a single round failed; None for no figure."""
    values = results.get(figure, {}).get(path, [])
    failures = [value for value in values if isinstance(value, str)]
    if failures:
        return f"failed {len(failures)} of {len(values)}: {failures[0]}"
    numbers = _numbers(values)
    return statistics.median(numbers) if numbers else None


def ratios(results: Results, figure: str, path: str, other: str) -> list[float]:
    """Of both in the same round, for each round in which both were measured."""
    pair = results.get(figure, {})
    rounds = zip(pair.get(path, []), pair.get(other, []), strict=False)
    return [
        mine / theirs
        for mine, theirs in rounds
        if isinstance(mine, float) and isinstance(theirs, float) and theirs
    ]


def _numbers(values: Sequence[float | str]) -> list[float]:
    return [value for value in values if isinstance(value, float)]


def is_better(figure: str, value: float, other: float) -> bool:
    """Whether `value` is the better one: a rate should be high, all the rest low."""
    return value > other if figure.endswith("/s)") else value < other


def shown(value: Value) -> str:
    """Three digits that mean something."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def medians(results: Results, path: str) -> Mapping[str, float]:
    """All medians of a path that are numbers."""
    found = {figure: median(results, figure, path) for figure in results}
    return {figure: value for figure, value in found.items() if isinstance(value, float)}
