"""Node, edge and remote as processes of their own, as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

__all__ = ["KEY", "Process", "Trio", "started", "three_processes"]

KEY = "only-for-tests"


class Process:
    """A running command, and the JSON lines that it has said."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []
        self._more = trio.Event()
        self.ended = trio.Event()

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    async def read(self) -> None:
        """Collect lines until the process ends."""
        assert self.process.stdout is not None
        rest = b""
        async for chunk in self.process.stdout:
            *lines, rest = (rest + bytes(chunk)).split(b"\n")
            self.events.extend(json.loads(line) for line in lines)
            self._wake()
        await self.process.wait()
        self.ended.set()
        self._wake()

    def _wake(self) -> None:
        self._more.set()
        self._more = trio.Event()

    async def wait(self, event: str, *, count: int = 1, **fields: object) -> dict[str, Any]:
        """The `count`-th event of this name with these fields, when it comes."""
        while True:
            found = [
                each
                for each in self.events
                if each["event"] == event
                and all(each.get(key) == value for key, value in fields.items())
            ]
            if len(found) >= count:
                return found[count - 1]
            assert not self.ended.is_set(), f"ended without {event}: {self.events}"
            await self._more.wait()

    def resident(self) -> int:
        """Bytes of memory that the process holds."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024


@asynccontextmanager
async def started(*arguments: str) -> AsyncIterator[Process]:
    """``edge-tunnel ARGUMENTS --json``, killed at the end of the block."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    async with trio.open_nursery() as nursery:
        process = Process(
            await trio.lowlevel.open_process(
                [sys.executable, "-m", "edge_tunnel", *arguments, "--json"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                env=environment,
            )
        )
        nursery.start_soon(process.read)
        try:
            yield process
        finally:
            process.kill()
            with trio.CancelScope(shield=True):  # it was killed: this does not take long
                await process.process.wait()


class Trio:
    """The three."""

    def __init__(self, node: Process, edge: Process, remote: Process, url: str, port: int) -> None:
        self.node = node
        self.edge = edge
        self.remote = remote
        self.url = url
        self.port = port
        """Of the service, at the technician's."""

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)


@asynccontextmanager
async def three_processes(
    tmp_path: Path, service_port: int, *, resume_timeout: float = 60
) -> AsyncIterator[Trio]:
    """A node, an edge that offers a service on this port, and a local port of it."""
    async with started("proxy", "--listen", "127.0.0.1:0", "--dev-key", KEY) as node:
        url = str((await node.wait("listening"))["url"])
        config = write_config(tmp_path, url, service_port, resume_timeout)
        async with started("edge", "--config", str(config)) as edge:
            await edge.wait("bound")
            async with started(
                "connect", "device", "service", "--proxy", url, "--key", KEY,
                "--resume-timeout", str(resume_timeout),
            ) as remote:  # fmt: skip
                port = int((await remote.wait("listening"))["port"])
                yield Trio(node, edge, remote, url, port)


def write_config(folder: Path, url: str, service_port: int, resume_timeout: float) -> Path:
    path = folder / "config.json"
    service = {"name": "service", "host": "127.0.0.1", "port": service_port}
    config = {
        "ws_servers": [{"host": "127.0.0.1", "port": int(url.rpartition(":")[2])}],
        "appKey": KEY,
        "ws_connection": {"encryption": "none"},
        "auto_bind": [{"name": "device"}],
        "edge_tunnel": {"services": [service], "resume_timeout": resume_timeout},
    }
    path.write_text(json.dumps(config))
    path.chmod(0o600)
    return path


def interrupt(process: Process) -> None:
    """SIGTERM."""
    os.kill(process.pid, signal.SIGTERM)


def is_listening(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
