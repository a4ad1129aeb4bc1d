"""What is kept of a run: the page's tables, and all figures beside it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from benchmark.figures import Results
from benchmark.peers import PEERS, is_there
from benchmark.peers import version as peer_version

__all__ = ["DOCS", "as_json", "committed", "surroundings", "write_page", "write_part"]

DOCS: Final = Path(__file__).parents[2] / "docs"
_PAGE: Final = DOCS / "performance.md"
_KEPT: Final = DOCS / "performance.json"


def surroundings(paths: Sequence[str] = ()) -> dict[str, str]:
    """Load, machine, versions and commit."""
    packages = ("trio", "trio-websocket", "wsproto", "websockets", "msgpack", "cryptography")
    versions = [f"{name} {version(name)}" for name in packages]
    peers = [f"{name} {peer_version(PEERS[name])}" for name in paths if _has_version(name)]
    return {
        "commit": _git("rev-parse", "--short", "HEAD") + ("+" if _git("diff", "HEAD") else ""),
        "load average before": " ".join(f"{each:.1f}" for each in os.getloadavg()),
        "processors": str(len(os.sched_getaffinity(0))),
        "versions": ", ".join([f"Python {platform.python_version()}", *versions, *peers]),
    }


def _has_version(path: str) -> bool:
    return path in PEERS and bool(PEERS[path].programs) and is_there(PEERS[path])


def _git(*command: str) -> str:
    done = subprocess.run(
        ["git", *command], cwd=DOCS.parent, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or ("" if done.returncode == 0 else "unknown")


def as_json(results: Results, about: Mapping[str, str]) -> str:
    """Every single figure."""
    kept = {
        figure: {path: [_short(value) for value in values] for path, values in by_path.items()}
        for figure, by_path in results.items()
    }
    return json.dumps({"about": about, "results": kept}, indent=1) + "\n"


def _short(value: float | str) -> float | str:
    return value if isinstance(value, str) else float(f"{value:.5g}")


def committed() -> dict[str, Any]:
    """What is kept beside the page. Raises FileNotFoundError."""
    kept: dict[str, Any] = json.loads(_KEPT.read_text())
    return kept


def write_page(text: str, results: Results, about: Mapping[str, str]) -> None:
    """The tables into docs/performance.md, the figures beside it."""
    _KEPT.write_text(as_json(results, about))
    notes = "".join(f"* {name}: {value}\n" for name, value in about.items())
    write_part("tools/bench --write", f"{text}\n\n{notes}")


def write_part(command: str, text: str) -> None:
    """Replace what `command` wrote the last time; at the end of the page if it never did."""
    begin = f"<!-- the part below is written by {command} -->"
    end = f"<!-- end of what {command} wrote -->"
    before, found, rest = _PAGE.read_text().partition(begin)
    after = rest.partition(end)[2] if found else "\n"
    _PAGE.write_text("".join(_page(before, begin, text, end, after)))


def _page(before: str, begin: str, text: str, end: str, after: str) -> Iterator[str]:
    yield before if before.endswith("\n\n") else f"{before}\n"
    yield f"{begin}\n\n{text.rstrip()}\n\n{end}{after}"
