"""The paths between the load generator and the service: a port that ends there, and processes."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path as File
from tempfile import TemporaryDirectory
from typing import Final, TypeAlias

from benchmark.processes import Failed, Process, started

__all__ = ["Build", "Opener", "Path", "free_port", "opened"]

_START: Final = 20.0
"""Seconds within which a path has to carry its first byte."""


@dataclass(frozen=True)
class Path:
    """A port that ends at the service, and the processes between, by name."""

    name: str
    port: int
    processes: dict[str, Process]


class Build:
    """What a path is put together with; it all ends with the path."""

    def __init__(self, service: int, stack: ExitStack) -> None:
        self.service = service
        """The port of the service."""
        self.port = free_port()
        """Where the load is to connect, unless the path chooses otherwise."""
        self.processes: dict[str, Process] = {}
        """Those that are measured."""
        self.stack = stack

    def add(self, process: Process) -> Process:
        """A process between load and service."""
        self.processes[process.name] = process
        return self.stack.enter_context(started(process))

    def quiet(self, name: str, *command: object) -> None:
        """A program that is not ours, with its arguments."""
        self.add(Process(name, *map(str, command), quiet=True))

    def file(self, name: str, text: str) -> File:
        """A file in a folder of its own."""
        path = self.folder() / name
        path.write_text(text)
        return path

    def folder(self) -> File:
        """A new folder."""
        return File(self.stack.enter_context(TemporaryDirectory(prefix="edge-tunnel-bench-")))


Opener: TypeAlias = Callable[[Build], None]
"""Starts a path's processes."""


@contextmanager
def opened(name: str, opener: Opener, service: int) -> Iterator[Path]:
    """A path of fresh processes, which has carried a byte each way."""
    with ExitStack() as stack:
        build = Build(service, stack)
        opener(build)
        _wait_carrying(build)
        yield Path(name, build.port, build.processes)


def free_port() -> int:
    """A loopback port that nobody has at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_carrying(build: Build) -> None:
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline:
        for process in build.processes.values():
            if process.ended:
                raise Failed(f"{process.name} ended at once")
        if _carries(build.port):
            return
        time.sleep(0.1)
    raise Failed(f"carried nothing within {_START:g} s")


def _carries(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2.0) as probe:
            probe.sendall(b"c")
            return probe.recv(1) == b"c"
    except OSError:
        return False
