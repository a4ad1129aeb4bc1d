"""How much more several workers carry than one: ``--workers N``.

Pairs of an edge and a remote download at the same time. Each pair names its thing and so meets on
one worker; how many pairs each worker has is chance, and another one in each round, because things
have other names then.

No machine has as many cores as load generator, services, edges, remotes and workers together. So
each worker is held to a share of a processor, which is little enough for all the others to have
what they need: what it carries with that is what counts. Beside it stands what follows from a run
in which nobody is held: bytes, divided by the processor time of the busiest worker. That is not the
same; a worker that waits often takes less at a time, and each byte costs it more.
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
from benchmark.holding_back import holding_back
from benchmark.ours import member
from benchmark.processes import Process, python, started
from benchmark.targets import Verdict
from edge_tunnel.testing.etcd import free_port, open_etcd

__all__ = ["compare_workers"]

PAIRS: Final = 12
_SETTLE: Final = 0.5

_SHARE: Final = 0.2
"""Of a core. Where two cores are all there is, one worker alone uses 0.37 and each of two 0.23, so
that with more the workers would not be the limit."""


@dataclass(frozen=True)
class Run:
    """What so many workers did."""

    rate: float
    """Bytes a second, of all pairs, on this machine as it is."""

    busiest: float
    """Of a core: the share that the busiest worker used meanwhile."""

    capacity: float
    """Bytes a second, of all pairs, if the busiest worker used all of a core."""

    held: float
    """Bytes a second, of all pairs, with each worker held to `_SHARE` of a core."""

    held_busiest: float
    """Of a core: the share that the busiest worker used then."""


def compare_workers(service: int, workers: int, rounds: int, seconds: float) -> list[list[str]]:
    """Rows of a table; the last one is the target's."""
    runs: dict[int, list[Run]] = {1: [], workers: []}
    for number in range(rounds):
        for count, done in runs.items():
            print(f"round {number + 1}: {count} workers ...", file=sys.stderr)
            done.append(_run(service, count, seconds))
    medians = {count: statistics.median(run.held for run in done) for count, done in runs.items()}
    share, busiest = f"MB/s, each held to {_SHARE:.0%}", "busiest worker, % of a core"
    head = ["workers", "MB/s here", busiest, "MB/s, if it were 100", share, busiest]
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
        shown(statistics.median(run.held for run in done) / 1e6),
        shown(100 * statistics.median(run.held_busiest for run in done)),
    ]


def _run(service: int, workers: int, seconds: float) -> Run:
    name = f"thing-{secrets.token_hex(4)}"  # which worker a thing meets at is in its name
    with ExitStack() as stack:
        hold = stack.enter_context(holding_back(_SHARE))
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
        pids = parent.children() or [parent.pid]
        total, took, used = _load(pids, ports, seconds)
        for pid in pids:
            hold(pid)
        time.sleep(_SETTLE)
        held, over, busy = _load(pids, ports, seconds)
    return Run(total / took, used / took, total / used, held / over, busy / over)


def _load(pids: list[int], ports: list[int], seconds: float) -> tuple[float, float, float]:
    """Bytes, the seconds they took, and those of processor that the busiest of `pids` used."""
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
    return total, took, used
