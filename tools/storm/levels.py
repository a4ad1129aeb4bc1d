"""What processes hold: measured in peace before and after, to see whether all was given back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Level", "leaks", "level_of"]

_MORE_MEMORY: Final = 40 * 1024 * 1024
"""Bytes that a node may hold above its level before: its allocator keeps what buffers needed at the
worst moment. The leak of one stream's window in a thousand would be more in ten minutes."""

_MORE_FILES: Final = 24
"""Sockets of all nodes together: hops (idle ones are left after a minute), connections to etcd, and
HAProxy's health checks come and go."""


@dataclass(frozen=True)
class Level:
    """Of one process."""

    files: int
    memory: int
    """Bytes, resident."""


def level_of(pid: int) -> Level:
    """At this moment."""
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return Level(files, int(line.split()[1]) * 1024)


def leaks(before: dict[str, Level], after: dict[str, Level]) -> list[str]:
    """What is held that was not before. Links move between nodes, so sockets count together."""
    found = [
        f"node {name} holds {after[name].memory >> 20} MiB, {level.memory >> 20} before"
        for name, level in before.items()
        if after[name].memory > level.memory + _MORE_MEMORY
    ]
    files = [sum(each.files for each in side.values()) for side in (before, after)]
    if files[1] > files[0] + _MORE_FILES:
        found.append(f"the nodes hold {files[1]} files, {files[0]} before")
    return found
