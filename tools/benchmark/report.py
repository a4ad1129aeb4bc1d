"""The tables of one run: what was measured, ratios, and the targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from benchmark.figures import Results, median, medians, shown
from benchmark.targets import BUSY, IDLE, targets

__all__ = ["markdown", "tables"]

_BYTES: Final = {
    f"{way}, {streams}": f"{way}, {streams} (MB/s)"
    for way in ("up", "down")
    for streams in ("1 stream", "16 streams")
} | {f"CPU {way}, s/GB": f"CPU, {way}, all (s/GB)" for way in ("up", "down")}

_CROWD: Final = "64 B trip 16 streams beside bulk"
_TRIPS: Final = {
    "alone p50": IDLE,
    "p99": IDLE.replace("p50", "p99"),
    "beside bulk p50": BUSY,
    "p99 ": BUSY.replace("p50", "p99"),
    "16 beside bulk p50": f"{_CROWD}, p50 (us)",
    "p99  ": f"{_CROWD}, p99 (us)",
    "slowest's p50": f"{_CROWD}, slowest (us)",
    "1 caller, 1/s": "new connections, 1 caller (1/s)",
    "16 callers, 1/s": "new connections, 16 callers (1/s)",
}
_COSTS: Final = {
    "CPU up, s/GB": "CPU, up, {} (s/GB)",
    "CPU down, s/GB": "CPU, down, {} (s/GB)",
    "KiB per idle stream": "memory per idle stream, {} (KiB)",
}
_RATIOS: Final = (
    *(figure for name, figure in _BYTES.items() if "CPU" not in name),
    IDLE,
    BUSY,
    "new connections, 16 callers (1/s)",
)


def tables(results: Results, paths: Sequence[str]) -> str:
    """All of it, as Markdown."""
    return "\n\n".join(part for part in _parts(results, paths) if part)


def _parts(results: Results, paths: Sequence[str]) -> Iterator[str]:
    yield from _section("Bulk, MB/s", _by_path(results, paths, _BYTES))
    yield from _section(
        "64-byte round trips, us, and new connections", _by_path(results, paths, _TRIPS)
    )
    yield from _section("Each process", _by_process(results, paths))
    yield from _section("Ratios: plain to the others", _ratios(results, paths, "plain"))
    yield from _section("Ratios: sealed to the others", _ratios(results, paths, "sealed"))
    yield from _section("Idle edges, and a node that dies", _single(results))
    verdicts = [verdict.cells() for verdict in targets(results) if verdict.met is not None]
    yield from _section("Targets", [["target", "wanted", "got", ""], *verdicts])
    yield from _failures(results)


def _section(title: str, rows: list[list[str]]) -> Iterator[str]:
    if len(rows) > 1:
        yield f"**{title}**\n\n{markdown(rows)}"


def _by_path(results: Results, paths: Sequence[str], columns: dict[str, str]) -> list[list[str]]:
    kept = {name: figure for name, figure in columns.items() if figure in results}
    rows = [[path, *(_cell(results, figure, path) for figure in kept.values())] for path in paths]
    return [["", *(name.strip() for name in kept)], *rows] if kept else []


def _cell(results: Results, figure: str, path: str) -> str:
    value = median(results, figure, path)
    return "failed" if isinstance(value, str) else shown(value)


def _by_process(results: Results, paths: Sequence[str]) -> list[list[str]]:
    rows = [["", *_COSTS]]
    for path in paths:
        for process in _processes(results, path):
            figures = (each.format(process) for each in _COSTS.values())
            rows.append([f"{path}: {process}", *(_cell(results, each, path) for each in figures)])
    return rows


def _processes(results: Results, path: str) -> list[str]:
    names = [
        figure.removeprefix("CPU, up, ").removeprefix("memory per idle stream, ").split(" (")[0]
        for figure, by_path in results.items()
        if path in by_path and figure.startswith(("CPU, up, ", "memory per idle stream, "))
    ]
    return [name for name in dict.fromkeys(names) if name != "all" or len(set(names)) == 1]


def _ratios(results: Results, paths: Sequence[str], mine: str) -> list[list[str]]:
    if mine not in paths:
        return []
    others = [path for path in paths if path != mine]
    kept = [figure for figure in _RATIOS if figure in results]
    rows = [
        [figure, *(_ratio(results, figure, mine, other) for other in others)] for figure in kept
    ]
    return [["", *others], *rows] if others else []


def _ratio(results: Results, figure: str, mine: str, other: str) -> str:
    ours, theirs = median(results, figure, mine), median(results, figure, other)
    if not isinstance(ours, float) or not isinstance(theirs, float) or not theirs:
        return "-"
    return f"{ours / theirs:.2f}"


def _single(results: Results) -> list[list[str]]:
    rows = [
        [figure, shown(value)]
        for figure, value in medians(results, "sealed").items()
        if figure.startswith(("memory per idle edge", "pause", "of it"))
    ]
    return [["", "sealed"], *rows]


def _failures(results: Results) -> Iterator[str]:
    lines = [
        f"* {path}: {figure}: {value}"
        for figure, by_path in results.items()
        for path in by_path
        if isinstance(value := median(results, figure, path), str)
    ]
    if lines:
        yield "\n".join(["**What could not be measured**", "", *lines])


def markdown(rows: list[list[str]]) -> str:
    """A table; the first row is its head."""
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(_line(row, widths) for row in [rows[0], rule, *rows[1:]])


def _line(row: list[str], widths: list[int]) -> str:
    first = row[0].ljust(widths[0])
    rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
    return f"| {' | '.join([first, *rest])} |"
