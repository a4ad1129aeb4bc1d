"""From figures to medians, ratios and a table; and what must be known to read them."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final, TypeAlias

__all__ = ["Results", "as_json", "surroundings", "table", "write_page"]

Results: TypeAlias = dict[str, dict[str, list[float | str]]]
"""Figure -> path -> one entry for each round: a number, or why there is none."""

PAGE: Final = Path(__file__).parents[2] / "docs" / "performance.md"
_BEGIN: Final = "<!-- the table below is written by tools/bench --write -->"
_END: Final = "<!-- end of the table -->"


def surroundings() -> dict[str, str]:
    """Load, machine, versions and commit."""
    versions = [f"{name} {version(name)}" for name in ("trio", "trio-websocket", "wsproto")]
    return {
        "commit": _git("rev-parse", "--short", "HEAD") + ("+" if _git("diff", "HEAD") else ""),
        "load average": " ".join(f"{each:.1f}" for each in os.getloadavg()),
        "processors": str(len(os.sched_getaffinity(0))),
        "versions": ", ".join([f"Python {platform.python_version()}", *versions]),
    }


def _git(*command: str) -> str:
    root = PAGE.parents[1]
    done = subprocess.run(["git", *command], cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip() or ("" if done.returncode == 0 else "unknown")


def table(results: Results, paths: list[str]) -> str:
    """Markdown: a row for each figure, medians, and ours as a ratio to every other path."""
    others = [path for path in paths if path != "ours"] if "ours" in paths else []
    header = ["", *paths, *(f"ours / {path}" for path in others)]
    rows = [_row(name, cells, paths, others) for name, cells in results.items()]
    return _aligned([header, *rows])


def _row(
    name: str, cells: Mapping[str, list[float | str]], paths: list[str], others: list[str]
) -> list[str]:
    medians = {path: _median(cells.get(path, [])) for path in paths}
    ours = medians.get("ours")
    ratios = [_ratio(ours, medians[path]) for path in others]
    return [name, *(_shown(medians[path]) for path in paths), *ratios]


def _median(values: list[float | str]) -> float | str | None:
    """The median of what was measured; the reason if a single round failed; None for no figure."""
    failures = [value for value in values if isinstance(value, str)]
    if failures:
        return f"failed {len(failures)} of {len(values)}: {failures[0]}"
    return (
        statistics.median(value for value in values if isinstance(value, float)) if values else None
    )


def _shown(value: float | str | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}"


def _ratio(ours: float | str | None, other: float | str | None) -> str:
    if not isinstance(ours, float) or not isinstance(other, float) or not other:
        return "-"
    return f"{ours / other:.2f}"


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(_line(row, widths) for row in [rows[0], rule, *rows[1:]])


def _line(row: list[str], widths: list[int]) -> str:
    first = row[0].ljust(widths[0])
    rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
    return f"| {' | '.join([first, *rest])} |"


def as_json(results: Results, about: Mapping[str, str]) -> str:
    """Every single figure, for a later comparison."""
    return json.dumps({"about": about, "results": results}, indent=1)


def write_page(text: str, about: Mapping[str, str]) -> None:
    """Put the table into docs/performance.md, in the place of the last one."""
    page = PAGE.read_text()
    before, _, rest = page.partition(_BEGIN)
    after = rest.partition(_END)[2]
    PAGE.write_text("".join(_page(before, text, about, after)))


def _page(before: str, text: str, about: Mapping[str, str], after: str) -> Iterator[str]:
    yield f"{before}{_BEGIN}\n\n{text}\n\n"
    yield from (f"* {name}: {value}\n" for name, value in about.items())
    yield f"\n{_END}{after}"
