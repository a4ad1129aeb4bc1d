"""Processes that the bench starts: they say JSON lines, are measured, and end with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Final

__all__ = ["Failed", "Process", "python"]

_TICK: Final = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A measurement could not be made; the text says why."""


class Process:
    """One child process; the kernel kills it if the bench dies."""

    def __init__(self, name: str, *command: str) -> None:
        self.name = name
        self._popen = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

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

    def tell(self, line: str = "") -> None:
        """A line on the process's stdin."""
        assert self._popen.stdin is not None
        print(line, file=self._popen.stdin, flush=True)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self._popen.kill()
        self._popen.communicate()

    def cpu(self) -> float:
        """Seconds of processor that the process and its children have used."""
        return sum(_cpu_ticks(pid) for pid in self._pids()) / _TICK

    def memory(self) -> float:
        """Bytes of memory of its own that the process and its children hold.

        The anonymous part of the proportional set: what they allocated, and not how many others
        happen to share their program text at the moment.
        """
        return 1024 * sum(_rollup(pid, "Pss_Anon") for pid in self._pids())

    def _pids(self) -> list[int]:
        pid = self._popen.pid
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def python(name: str, module: str, *arguments: object) -> Process:
    """A program of this package."""
    return Process(name, sys.executable, "-m", f"benchmark.{module}", *map(str, arguments))


def _cpu_ticks(pid: int) -> int:
    """User and system time, that of children that were waited for included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15]))


def _rollup(pid: int, key: str) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise Failed(f"this kernel does not tell {key}")
