"""What is measured: one function each, from an open path to figures by name.

A figure's name carries its unit. A function returns no figure for a path that has none, and raises
Failed when it should have one and could not be measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from benchmark.paths import Path, open_path, started
from benchmark.processes import Process, python

__all__ = ["MEASURES", "Figures", "Scale"]

Figures: TypeAlias = dict[str, float]

SETTLE: Final = 0.15
"""Seconds for what one measurement left on its way to be gone before the next begins."""

RESUME_LIMIT: Final = 12.0
"""Seconds that are watched for a resume: a back-off ends at 1 s while a user waits."""


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


def links(path: Path, scale: Scale) -> Figures:
    """What one idle edge costs a node."""
    if "node" not in path.processes:
        return {}
    with (
        started(python("node", "parts", "node", 0)) as node,
        started(python("edges", "parts", "edges", node.answer()["port"], scale.idle)) as edges,
    ):
        edges.answer()
        before = node.memory()
        edges.tell()
        edges.answer()
        time.sleep(SETTLE)
        grown = node.memory() - before
    return {"memory per idle edge, node (KiB)": grown / (scale.idle - 1) / 1024}


def streams(path: Path, scale: Scale) -> Figures:
    """What one idle connection costs each process of a path."""
    if not path.processes:
        return {}
    with open_path(path.name, scale.service) as fresh:
        _load("trips", fresh, 64, 0.1)  # the first stream brings the tunnel and much code with it
        with started(_start("idle", fresh, scale.idle, 0)) as load:
            load.answer()
            before = _memory(fresh)
            load.tell()
            load.answer()
            time.sleep(2 * SETTLE)
            after = _memory(fresh)
    return {
        f"memory per idle stream, {name} (KiB)": (after[name] - before[name]) / scale.idle / 1024
        for name in after
    }


def _memory(path: Path) -> Figures:
    return {name: process.memory() for name, process in path.processes.items()}


# -- resuming ------------------------------------------------------------------------------------


def resume(path: Path, scale: Scale) -> Figures:
    """SIGKILL for the node, and a new one at once: how long a running connection pauses."""
    if "node" not in path.processes:
        return {}
    with (
        started(python("node", "parts", "node", 0)) as node,
        started(
            python("edge", "parts", "edge", port := node.answer()["port"], scale.service)
        ) as edge,
    ):
        edge.answer()
        with (
            started(python("remote", "parts", "remote", port)) as remote,
            started(python("trips", "load", "trips", remote.answer()["port"], 64, 3)) as load,
        ):
            load.answer()
            time.sleep(0.5)
            node.kill()
            with started(python("node", "parts", "node", port)) as again:
                again.answer()
                listening = time.monotonic()
                done = load.answer(RESUME_LIMIT)
    return {
        "pause when the node is killed (s)": done["pause"],
        "of it after the new node listens (s)": done["pause_ended"] - listening,
    }


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
    "connections": connections,
    "links": links,
    "streams": streams,
    "resume": resume,
}
