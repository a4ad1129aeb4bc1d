"""The table at the end of a storm."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

__all__ = ["Result", "table", "write_page"]

_ROOT: Final = Path(__file__).parents[2]
_BEGIN: Final = "<!-- chaos: begin -->"
_END: Final = "<!-- chaos: end -->"


@dataclass
class Result:
    """What a storm found."""

    seed: int
    seconds: float
    edges: int
    remotes: int
    commit: str
    faults: Counter[str] = field(default_factory=Counter)
    streams: Counter[str] = field(default_factory=Counter)
    moved: int = 0
    """Bytes that arrived, both ways."""

    resumes: list[float] = field(default_factory=list)
    copies: int = 0
    refused: int = 0
    """Copies."""

    levels: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def table(result: Result) -> str:
    """As Markdown."""
    rows = ["| faults | |", "|---|---:|"]
    rows += [f"| {kind} | {count} |" for kind, count in sorted(result.faults.items())]
    rows += [f"| all | {result.faults.total()} |", "", "| streams | |", "|---|---:|"]
    rows += [f"| {outcome} | {count} |" for outcome, count in result.streams.most_common()]
    rows += [f"| copies by rsync over ssh, compared | {result.copies} |"]
    rows += [f"| copies by rsync refused or broken off, with the reason | {result.refused} |"]
    rows += [f"| MB moved | {result.moved / 1e6:.0f} |", ""]
    rows += ["| resumes | p50 | p99 | max |", "|---:|---:|---:|---:|", _resumes(result.resumes)]
    rows += ["", *(f"{line}  " for line in result.levels)]
    rows += ["", *(f"FAILED: {problem}" for problem in result.problems)]
    rows += [] if result.problems else ["nothing was lost, doubled, cut short, stuck or kept"]
    return "\n".join(rows)


def _resumes(seconds: Sequence[float]) -> str:
    if not seconds:
        return "| 0 | | | |"
    ordered = sorted(seconds)
    p50, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * part))] for part in (0.5, 0.99))
    return f"| {len(ordered)} | {p50:.2f} s | {p99:.2f} s | {ordered[-1]:.2f} s |"


def command(result: Result) -> str:
    """How to run it again."""
    return (
        f"tools/chaos --seconds {result.seconds:g} --seed {result.seed}"
        f" --edges {result.edges} --remotes {result.remotes}"
    )


def commit() -> str:
    """Of the work tree, and whether it was changed since."""
    words = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty", "--abbrev=10"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def write_page(result: Result, text: str) -> None:
    """Put the table between its marks in docs/reliability.md."""
    path = _ROOT / "docs" / "reliability.md"
    page = path.read_text(encoding="utf-8")
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    block = f"{_BEGIN}\n\n`{command(result)}` at commit {result.commit}:\n\n{text}\n\n{_END}"
    path.write_text(before + block + after, encoding="utf-8")
