"""What has no path to measure on: idle edges at a node, and a node that is killed."""

from __future__ import annotations

import time
from typing import Final

from benchmark.processes import python, started
from benchmark.sockets import Figures

__all__ = ["links", "resume"]

_SETTLE: Final = 0.3

_RESUME_LIMIT: Final = 12.0
"""Seconds that are watched for a resume: a back-off ends at 1 s while a user waits."""


def links(count: int) -> Figures:
    """What one idle edge costs a node."""
    with (
        started(python("node", "parts", "node", 0)) as node,
        started(python("edges", "parts", "edges", node.answer()["port"], count)) as edges,
    ):
        edges.answer()
        before = node.memory()
        edges.tell()
        edges.answer()
        time.sleep(_SETTLE)
        grown = node.memory() - before
    return {"memory per idle edge, node (KiB)": grown / (count - 1) / 1024}


def resume(service: int) -> Figures:
    """SIGKILL for the node, and a new one at once: how long a running connection pauses."""
    with (
        started(python("node", "parts", "node", 0)) as node,
        started(python("edge", "parts", "edge", port := node.answer()["port"], service)) as edge,
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
                done = load.answer(_RESUME_LIMIT)
    return {
        "pause when the node is killed (s)": done["pause"],
        "of it after the new node listens (s)": done["pause_ended"] - listening,
    }
