"""Processes that get no more than a share of a processor, so that something else is not the limit.

The kernel does it (the `cpu` controller of control groups, version 1 or 2), and lets only root.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from benchmark.processes import Failed

__all__ = ["holding_back"]

_ROOT: Final = Path("/sys/fs/cgroup")

_PERIOD: Final = 10_000
"""Microseconds in which a process may use its share, which the kernel wants to be 1,000 of them at
least. Workers compare in the same way with half of it and with twice as much (measured)."""


@contextmanager
def holding_back(share: float, root: Path = _ROOT) -> Iterator[Callable[[int], None]]:
    """Gives what holds back a process, by its pid, to `share` of one processor.

    The processes must have ended before the block does. Raises Failed if the kernel lets us not.
    """
    made: list[Path] = []

    def hold(pid: int) -> None:
        group = _parent(root) / f"edge-tunnel-bench-{os.getpid()}-{len(made)}"
        try:
            group.mkdir()
            made.append(group)
            for name, value in _limits(group.parent == root, int(share * _PERIOD)).items():
                (group / name).write_text(value)
            (group / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            raise Failed(f"a process could not be held back: {error}") from None

    try:
        yield hold
    finally:
        for group in made:
            with suppress(OSError):
                group.rmdir()


def _parent(root: Path) -> Path:
    old = root / "cpu"
    return old if old.is_dir() else root


def _limits(new: bool, quota: int) -> dict[str, str]:
    """Of version 2, or of version 1."""
    if new:
        return {"cpu.max": f"{quota} {_PERIOD}"}
    return {"cpu.cfs_period_us": str(_PERIOD), "cpu.cfs_quota_us": str(quota)}
