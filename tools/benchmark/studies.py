"""The two runs beside the rounds: how costs grow, and what workers bring. Each is a part of the
page of its own."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping

from benchmark.figures import shown
from benchmark.growth import DIMENSIONS, Point, grow
from benchmark.holding import hold
from benchmark.page import DOCS, surroundings, write_part
from benchmark.plots import plot_growth
from benchmark.processes import Failed, python, started
from benchmark.report import markdown
from benchmark.scaling import PAIRS, compare_workers

__all__ = ["study_growth", "study_workers"]

_IDLE_TUNNELS = 1000


def study_growth(most: int, seconds: float, *, write: bool) -> int:
    """``--growth``: prints, and returns 1 if it could not be measured."""
    counts = sorted({count for count in (1, 100) if count < most} | {most})

    def study(service: int) -> str:
        points = list(grow(service, counts, seconds))
        verdicts = hold(service, most, min(_IDLE_TUNNELS, most))
        if write:
            plot_growth(points, DOCS / "growth.svg")
        rows = [["", "wanted", "got", ""], *(verdict.cells() for verdict in verdicts)]
        return f"{_growth_table(points, counts)}\n\n{markdown(rows)}"

    return _study("tools/bench --growth --write", study, write=write)


def _growth_table(points: list[Point], counts: list[int]) -> str:
    by_place = {(point.dimension, point.count): point for point in points}
    head = ["for each message, at the node", *(f"{count:,}" for count in counts), "last / first"]
    rows = [head]
    for dimension in DIMENSIONS:
        mine = [by_place[dimension, count] for count in counts]
        rows.append(
            [f"processor time with as many {dimension} (us)", *_row(p.cpu_us for p in mine)]
        )
        shares = (f"{100 * point.idle_share:.1f}" for point in mine)
        rows.append([f"processor with as many idle {dimension} (%)", *shares, ""])
        if all(point.calls is not None for point in mine):
            calls = (point.calls or 0.0 for point in mine)
            rows.append([f"system calls with as many {dimension}", *_row(calls)])
    return markdown(rows)


def _row(values: Iterable[float]) -> list[str]:
    numbers = list(values)
    return [*map(shown, numbers), f"{numbers[-1] / numbers[0]:.2f}"]


def study_workers(workers: int, rounds: int, seconds: float, *, write: bool) -> int:
    """``--workers N``: prints, and returns 1 if it could not be measured."""

    def study(service: int) -> str:
        rows = compare_workers(service, workers, rounds, seconds)
        note = f"{PAIRS} pairs of an edge and a remote, sealed, {rounds} rounds of {seconds:g} s"
        *table, target = rows
        return f"{note}:\n\n{markdown(table)}\n\n{': '.join(target[:2])}: {', '.join(target[2:])}"

    return _study("tools/bench --workers --write", study, write=write)


def _study(name: str, study: Callable[[int], str], *, write: bool) -> int:
    about: Mapping[str, str] = surroundings()
    began = time.monotonic()
    try:
        with started(python("service", "service")) as service:
            text = study(service.answer()["port"])
    except Failed as failure:
        print(f"could not be measured: {failure}", file=sys.stderr)
        return 1
    notes = "".join(f"* {key}: {value}\n" for key, value in about.items())
    text = f"{text}\n\n{notes}"
    print(f"{text}took {time.monotonic() - began:.0f} s")
    if write:
        write_part(name, text)
    return 0
