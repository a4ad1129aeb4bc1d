"""What is measured: one function each, from an open path to figures by name.

A figure's name carries its unit. A function returns no figure for a path that has none, and raises
Failed when it should have one and could not be measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from benchmark.paths import Opener, Path, opened
from benchmark.processes import Process, python, started
from benchmark.resting import links, resume
from benchmark.sockets import Figures

__all__ = ["FRESH", "MEASURES", "Scale"]

SETTLE: Final = 0.15
"""Seconds for what one measurement left on its way to be gone before the next begins."""


@dataclass(frozen=True)
class Scale:
    """How long and how many."""

    service: int
    """The service's port."""

    seconds: float
    """Of each measurement."""

    idle: int
    """Links, or streams, that memory is divided by."""


# -- bytes ---------------------------------------------------------------------------------------


def bulk(path: Path, scale: Scale) -> Figures:
    """Both directions, one stream and sixteen, and the processor time of one stream."""
    figures: Figures = {}
    for way in ("up", "down"):
        for streams in (1, 16):
            before = _cpu(path)
            done = _load(way, path, streams, scale.seconds)
            figures[f"{way}, {_plural(streams, 'stream')} (MB/s)"] = _rate(done) / 1e6
            if streams == 1:
                figures |= _cost(way, done["bytes"] / 1e9, before, _cpu(path))
    return figures


def _rate(done: Mapping[str, float]) -> float:
    return done["bytes"] / done["seconds"]


def _cost(way: str, gigabytes: float, before: Figures, after: Figures) -> Figures:
    spent = {name: (after[name] - before[name]) / gigabytes for name in before}
    each = {f"CPU, {way}, {name} (s/GB)": value for name, value in spent.items()}
    whole = {f"CPU, {way}, all (s/GB)": sum(spent.values())} if spent else {}
    return each | whole if len(each) > 1 else whole


def _cpu(path: Path) -> Figures:
    return {name: process.cpu() for name, process in path.processes.items()}


# -- round trips ---------------------------------------------------------------------------------


def trips(path: Path, scale: Scale) -> Figures:
    """64 bytes there and back, alone."""
    return _trip_figures(_load("trips", path, 64, scale.seconds), "alone")


def busy_trips(path: Path, scale: Scale) -> Figures:
    """The same, while another connection of the same path downloads as fast as it can."""
    with _under_way("down", path, 1, scale.seconds + 1.5):
        time.sleep(0.3)
        done = _load("trips", path, 64, scale.seconds)
    return _trip_figures(done, "beside bulk")


def crowd(path: Path, scale: Scale) -> Figures:
    """Sixteen connections with small messages, beside one that downloads as fast as it can."""
    with _under_way("down", path, 1, scale.seconds + 1.5):
        time.sleep(0.3)
        done = _load("crowd", path, 16, scale.seconds)
    beside = "16 streams beside bulk"
    return _trip_figures(done, beside) | {
        f"64 B trip {beside}, slowest (us)": done["slowest"] * 1e6
    }


def _trip_figures(done: Mapping[str, float], beside: str) -> Figures:
    return {f"64 B trip {beside}, {part} (us)": done[part] * 1e6 for part in ("p50", "p99")}


# -- connections ---------------------------------------------------------------------------------


def connections(path: Path, scale: Scale) -> Figures:
    """Connect, a byte each way, close: by one caller, and by sixteen at once."""
    figures: Figures = {}
    for callers in (1, 16):
        done = _load("connections", path, callers, scale.seconds)
        rate = done["connections"] / done["seconds"]
        figures[f"new connections, {_plural(callers, 'caller')} (1/s)"] = rate
    return figures


# -- memory --------------------------------------------------------------------------------------


def streams(path: Path, scale: Scale) -> Figures:
    """What one idle connection costs each process of a path."""
    _load("trips", path, 64, 0.1)  # the first stream brings the tunnel and much code with it
    with started(_start("idle", path, scale.idle, 0)) as load:
        load.answer()
        before = _memory(path)
        load.tell()
        load.answer()
        time.sleep(2 * SETTLE)
        after = _memory(path)
    return {
        f"memory per idle stream, {name} (KiB)": (after[name] - before[name]) / scale.idle / 1024
        for name in after
    }


def _memory(path: Path) -> Figures:
    return {name: process.memory() for name, process in path.processes.items()}


# -- the load generator --------------------------------------------------------------------------


def _start(kind: str, path: Path, number: int, seconds: float) -> Process:
    return python(f"{kind} on {path.name}", "load", kind, path.port, number, seconds)


@contextmanager
def _under_way(kind: str, path: Path, number: int, seconds: float) -> Iterator[None]:
    with started(_start(kind, path, number, seconds)) as load:
        load.answer()
        yield


def _load(kind: str, path: Path, number: int, seconds: float) -> dict[str, Any]:
    with started(_start(kind, path, number, seconds)) as load:
        load.answer()
        done = load.answer(seconds + 60)
    time.sleep(SETTLE)
    return done


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


MEASURES: Final[dict[str, Callable[[Path, Scale], Figures]]] = {
    "bulk": bulk,
    "trips": trips,
    "busy-trips": busy_trips,
    "crowd": crowd,
    "connections": connections,
}
"""On a path that stays from round to round."""


def fresh_streams(name: str, opener: Opener, scale: Scale) -> Figures:
    """Memory, on a path that nothing has used before."""
    with opened(name, opener, scale.service) as path:
        return streams(path, scale) if path.processes else {}


FRESH: Final[dict[str, Callable[[str, Opener, Scale], Figures]]] = {
    "streams": fresh_streams,
    "links": lambda name, _opener, scale: links(scale.idle) if name == "sealed" else {},
    "resume": lambda name, _opener, scale: resume(scale.service) if name == "sealed" else {},
}
"""With processes of its own."""
