"""How much more several workers carry than one: ``--workers N``.

Pairs of an edge and a remote download at the same time. Each pair names its thing and so meets on
one worker; how many pairs each worker has is chance, and another one in each round, because things
have other names then. What workers can carry where cores are there for all of them ends when the
busiest of them has used up its core: bytes, divided by the processor time of the busiest. That
needs no machine with as many cores as load generator, services, edges, remotes and workers
together.
"""

from __future__ import annotations

import secrets
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from benchmark.figures import shown
from benchmark.growth import run_time
from benchmark.ours import member
from benchmark.processes import Process, python, started
from benchmark.targets import Verdict
from edge_tunnel.testing.etcd import free_port, open_etcd

__all__ = ["compare_workers"]

PAIRS: Final = 12
_SETTLE: Final = 0.5


@dataclass(frozen=True)
class Run:
    """What so many workers did."""

    rate: float
    """Bytes a second, of all pairs, on this machine as it is."""

    busiest: float
    """Of a core: the share that the busiest worker used meanwhile."""

    capacity: float
    """Bytes a second, with a core for each worker and all else elsewhere."""


def compare_workers(service: int, workers: int, rounds: int, seconds: float) -> list[list[str]]:
    """Rows of a table; the last one is the target's."""
    runs: dict[int, list[Run]] = {1: [], workers: []}
    for number in range(rounds):
        for count, done in runs.items():
            print(f"round {number + 1}: {count} workers ...", file=sys.stderr)
            done.append(_run(service, count, seconds))
    medians = {
        count: statistics.median(run.capacity for run in done) for count, done in runs.items()
    }
    head = ["workers", "MB/s here", "busiest worker, % of a core", "MB/s, a core for each"]
    rows = [[str(count), *_cells(done)] for count, done in runs.items()]
    times = medians[workers] / medians[1]
    wanted = 0.75 * workers
    target = f"{workers} workers carry at least {wanted:g} times one's load"
    verdict = Verdict(target, f">= {wanted:g}", f"{times:.2f}", times >= wanted)
    return [head, *rows, verdict.cells()]


def _cells(done: list[Run]) -> list[str]:
    return [
        shown(statistics.median(run.rate for run in done) / 1e6),
        shown(100 * statistics.median(run.busiest for run in done)),
        shown(statistics.median(run.capacity for run in done) / 1e6),
    ]


def _run(service: int, workers: int, seconds: float) -> Run:
    name = f"thing-{secrets.token_hex(4)}"  # which worker a thing meets at is in its name
    with ExitStack() as stack:
        etcd = stack.enter_context(open_etcd())
        options = ("--advertise", f"127.0.0.1:{free_port()}", "--workers", workers)
        parent = Process("workers", *member(etcd.url, "a", *options))
        stack.enter_context(started(parent))
        for _ in range(workers):
            port = int(parent.event("listening")["url"].rpartition(":")[2])
        stack.enter_context(
            started(edges := python("edges", "parts", "many_edges", port, service, PAIRS, name))
        )
        edges.answer()
        stack.enter_context(
            started(remotes := python("remotes", "parts", "many_remotes", port, PAIRS, name))
        )
        ports = remotes.answer()["ports"]
        time.sleep(_SETTLE)
        return _load(parent, ports, seconds)


def _load(parent: Process, ports: list[int], seconds: float) -> Run:
    pids = parent.children() or [parent.pid]
    with ExitStack() as stack:
        loads = [python(f"down {port}", "load", "down", port, 1, seconds) for port in ports]
        for load in loads:
            stack.enter_context(started(load))
        for load in loads:
            load.answer()
        start, before = time.monotonic(), {pid: run_time(pid) for pid in pids}
        total = sum(load.answer(seconds + 60)["bytes"] for load in loads)
        took = time.monotonic() - start
        used = max(run_time(pid) - before[pid] for pid in pids) / 1e9
    return Run(total / took, used / took, total / used)
