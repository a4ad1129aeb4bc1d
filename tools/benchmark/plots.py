"""Pictures of a run, with matplotlib (the extra `bench`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmark.figures import Results, median
from benchmark.growth import Point
from benchmark.targets import BUSY, IDLE

__all__ = ["plot_growth", "plot_run"]

_OURS: Final = {"plain", "sealed", "TLS", "two nodes", "HAProxy", "AlwaysOn"}
_PANELS: Final = {
    "download, 1 stream (MB/s)": ("down, 1 stream (MB/s)", False),
    "download, 16 streams (MB/s)": ("down, 16 streams (MB/s)", False),
    "upload, 1 stream (MB/s)": ("up, 1 stream (MB/s)", False),
    "64 B round trip alone, p50 (us, log)": (IDLE, True),
    "64 B round trip beside a bulk download, p50 (us, log)": (BUSY, True),
    "new connections, 16 callers (1/s)": ("new connections, 16 callers (1/s)", False),
}


def plot_run(results: Results, paths: Sequence[str], to: Path) -> None:
    """Bars, a panel for each figure; ours in another colour. Raises ImportError."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - an optional extra

    panels = {title: each for title, each in _PANELS.items() if each[0] in results}
    figure = Figure(figsize=(11, 3.6 * ((len(panels) + 1) // 2)), layout="constrained")
    for number, (title, (name, log)) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot((len(panels) + 1) // 2, 2, number)
        _bars(axes, results, [each for each in paths if each != "raw"], name)
        axes.set_title(title, fontsize=10)
        if log:
            axes.set_xscale("log")
    _save(figure, to)


def _bars(axes: Any, results: Results, paths: Sequence[str], name: str) -> None:
    values = {path: median(results, name, path) for path in reversed(paths)}
    kept = {path: value for path, value in values.items() if isinstance(value, float)}
    colours = ["tab:orange" if path in _OURS else "tab:gray" for path in kept]
    bars = axes.barh(list(kept), list(kept.values()), color=colours)
    axes.bar_label(bars, [f"{value:,.0f}" for value in kept.values()], padding=2, fontsize=8)
    axes.margins(x=0.12)
    axes.tick_params(labelsize=8)


def plot_growth(points: Sequence[Point], to: Path) -> None:
    """A line for each dimension, over how many there are. Raises ImportError."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(11, 4), layout="constrained")
    titles = {"cpu_us": "processor time for each message (us)", "calls": "system calls"}
    for number, (what, title) in enumerate(titles.items(), start=1):
        axes = figure.add_subplot(1, 2, number)
        for dimension in dict.fromkeys(point.dimension for point in points):
            mine = [point for point in points if point.dimension == dimension]
            values = [getattr(point, what) for point in mine]
            if None not in values:
                axes.plot([point.count for point in mine], values, marker="o", label=dimension)
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_title(f"at the node: {title}", fontsize=10)
        axes.legend(fontsize=8)
    _save(figure, to)


def _save(figure: Any, to: Path) -> None:
    """As SVG; the same figures make the same file."""
    import matplotlib as mpl  # noqa: PLC0415

    mpl.rcParams["svg.hashsalt"] = "edge_tunnel"
    figure.savefig(to, metadata={"Date": None})
