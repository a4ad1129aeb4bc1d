"""What those cost who do nothing: edges and tunnels at a node, and the edge's own process."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmark.growth import crowd_of_edges, share_of_processor, small_crowd
from benchmark.ours import command
from benchmark.processes import Process, python, started
from benchmark.targets import Verdict
from edge_tunnel.config.model import IDLE_PING, PING

__all__ = ["hold"]

MIB: Final = 1024 * 1024

KEEP_ALIVE: Final = IDLE_PING
"""Seconds between two pings of a link that no tunnel uses."""

_WATCHED: Final = 2 * KEEP_ALIVE
"""Seconds that what is idle is watched."""

_SETTLE: Final = 10.0
"""Seconds until what the beginning left behind is gone: back-off, garbage, the first pings."""


def hold(service: int, edges: int, tunnels: int) -> list[Verdict]:
    """So many idle edges, so many idle tunnels, one idle edge process: what they cost."""
    verdicts = [*_edge_process(), *_tunnels(service, tunnels), *_edges(edges)]
    print(verdicts, file=sys.stderr)
    return verdicts


def _edges(count: int) -> list[Verdict]:
    """On one node, with the default keep-alive."""
    with started(python("node", "parts", "node", 0)) as node:
        port = node.answer()["port"]
        before = node.rollup("Pss")
        with crowd_of_edges(port, count, ping=PING):
            time.sleep(_SETTLE)
            share = share_of_processor(node, _WATCHED)
            memory = node.rollup("Pss")
    mib = memory / MIB
    grown = f"{(memory - before) / count / 1024:.1f} KiB each"
    return [
        _at_most(f"node with {count:,} idle edges, memory (PSS, MiB; {grown})", mib, 400.0),
        _at_most(f"node with {count:,} idle edges, processor (%)", 100 * share, 5.0),
    ]


def _tunnels(service: int, count: int) -> list[Verdict]:
    with started(python("node", "parts", "node", 0)) as node:
        port = node.answer()["port"]
        with (
            started(python("edge", "parts", "edge", port, service)) as edge,
        ):
            edge.answer()
            before = node.memory()
            with small_crowd(port, count, 0):
                time.sleep(1.0)
                grown = node.memory() - before
                whole = node.rollup("Pss") / MIB
    each = f"{grown / count / 1024:.1f} KiB each"
    return [_at_most(f"node with {count:,} idle tunnels, memory (PSS, MiB; {each})", whole, 60.0)]


def _edge_process() -> list[Verdict]:
    """As it runs on a device: the command, with its file."""
    with TemporaryDirectory() as folder, started(python("node", "parts", "node", 0)) as node:
        config = Path(folder) / "config.json"
        config.write_text(json.dumps(_device(node.answer()["port"])))
        config.chmod(0o600)
        edge = Process("edge", *command("edge", "--config", config, "--json"))
        with started(edge):
            edge.event("bound")
            time.sleep(_SETTLE)
            before = _wakes(edge.pid)
            time.sleep(_WATCHED)
            after = _wakes(edge.pid)
            resident, shared = edge.rollup("Rss") / MIB, edge.rollup("Pss") / MIB
    new = sum(count - before.get(thread, 0) for thread, count in after.items())
    wakes = new / (_WATCHED / KEEP_ALIVE)
    return [
        _at_most(f"idle edge process, memory (RSS, MiB; PSS {shared:.1f})", resident, 35.0),
        _at_most(f"idle edge process, wake-ups for each keep-alive ({KEEP_ALIVE:g} s)", wakes, 1.0),
    ]


def _device(port: int) -> dict[str, object]:
    return {
        "ws_servers": [{"host": "127.0.0.1", "port": port}],
        "appKey": "benchmark",
        "ws_connection": {"encryption": "none"},
        "auto_bind": [{"name": "thing"}],
        "edge_tunnel": {"services": [{"name": "ssh", "host": "127.0.0.1", "port": 22}]},
    }


def _wakes(pid: int) -> dict[str, int]:
    """By thread: how often it went to sleep of its own will, and so was woken."""
    wakes = {}
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        found = re.search(r"^voluntary\S+:\s+(\d+)", status.read_text(), re.MULTILINE)
        wakes[status.parent.name] = int(found.group(1)) if found else 0
    return wakes


def _at_most(what: str, got: float, limit: float) -> Verdict:
    return Verdict(what, f"<= {limit:g}", f"{got:.1f}", got <= limit)
