"""Processes that the bench starts: they say JSON lines, are measured, and end with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

__all__ = ["Failed", "Process", "python", "started"]

_TICK: Final = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A measurement could not be made; the text says why."""


class Process:
    """One child process; the kernel kills it if the bench dies."""

    def __init__(self, name: str, *command: str, quiet: bool = False) -> None:
        """`quiet`: what it says is not for us, and nobody reads it."""
        self.name = name
        said = subprocess.DEVNULL if quiet else subprocess.PIPE
        self._popen = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *command],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=subprocess.DEVNULL if quiet else None,
            text=True,
        )

    @property
    def pid(self) -> int:
        """Of the process itself: setpriv has become it."""
        return self._popen.pid

    @property
    def ended(self) -> bool:
        """Whether it is gone."""
        return self._popen.poll() is not None

    def answer(self, timeout: float = 60.0) -> dict[str, Any]:
        """The next line that the process says."""
        assert self._popen.stdout is not None
        timer = threading.Timer(timeout, self._popen.kill)
        timer.start()
        line = self._popen.stdout.readline()
        timer.cancel()
        if not line:
            self.kill()
            raise Failed(f"{self.name} ended without an answer (code {self._popen.returncode})")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def event(self, name: str) -> dict[str, Any]:
        """The next line of that event; those before it are passed over."""
        while True:
            answer = self.answer()
            if answer.get("event") == name:
                return answer

    def tell(self, line: str = "") -> None:
        """A line on the process's stdin."""
        assert self._popen.stdin is not None
        print(line, file=self._popen.stdin, flush=True)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self._popen.kill()
        self._popen.communicate()

    def children(self) -> list[int]:
        """The processes that it has started and that still run."""
        return list(_family(self.pid))[1:]

    def cpu(self) -> float:
        """Seconds of processor that the process and those below it have used."""
        return sum(_cpu_ticks(pid) for pid in _family(self.pid)) / _TICK

    def memory(self) -> float:
        """Bytes of memory of its own that the process and those below it hold.

        The anonymous part of the proportional set: what they allocated, and not how many others
        happen to share their program text at the moment.
        """
        return self.rollup("Pss_Anon")

    def rollup(self, key: str) -> float:
        """Bytes of one line of smaps_rollup, with all processes below it."""
        return 1024 * sum(_rollup(pid, key) for pid in _family(self.pid))


@contextmanager
def started(process: Process) -> Iterator[Process]:
    """A process for the length of the block."""
    try:
        yield process
    finally:
        process.kill()


def python(name: str, module: str, *arguments: object) -> Process:
    """A program of this package."""
    return Process(name, sys.executable, "-m", f"benchmark.{module}", *map(str, arguments))


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            yield from _family(child)


def _cpu_ticks(pid: int) -> int:
    """User and system time, that of children that were waited for included."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:  # ended while we looked
        return 0
    return sum(map(int, fields[11:15]))


def _rollup(pid: int, key: str) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise Failed(f"this kernel does not tell {key}")
