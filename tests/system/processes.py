"""Node, edge and remote as processes of their own, as a user runs them."""

from __future__ import annotations

import json
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from edge_tunnel.testing.processes import THING, Child, Site, open_site

__all__ = ["KEY", "Trio", "is_listening", "resident", "started", "three_processes", "write_config"]

KEY = "only-for-tests"


@asynccontextmanager
async def started(*words: str) -> AsyncIterator[Child]:
    """``edge-tunnel WORDS --json``, killed at the end of the block; it remembers no device."""
    with tempfile.TemporaryDirectory() as folder:
        async with open_site(Path(folder)) as site:
            child = await site.start(*words, "--json")
            try:
                yield child
            finally:
                child.process.kill()


def write_config(folder: Path, url: str, service_port: int) -> Path:
    """Of an edge that offers a service on this port; for a node that was started with KEY."""
    path = folder / "config.json"
    path.touch(mode=0o600)
    config = {
        "ws_servers": [{"host": "127.0.0.1", "port": int(url.rpartition(":")[2])}],
        "appKey": KEY,
        "ws_connection": {"encryption": "none"},
        "auto_bind": [{"name": "device"}],
        "edge_tunnel": {
            "services": [{"name": "service", "host": "127.0.0.1", "port": service_port}]
        },
    }
    path.write_text(json.dumps(config))
    return path


class Trio:
    """The three."""

    def __init__(self, site: Site, node: Child, edge: Child, remote: Child, port: int) -> None:
        self.site = site
        self.node = node
        self.edge = edge
        self.remote = remote
        self.port = port
        """Of the service, at the technician's."""

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)


@asynccontextmanager
async def three_processes(
    folder: Path, service_port: int, *, resume_timeout: float = 60
) -> AsyncIterator[Trio]:
    """A node, an edge that offers a service on this port, and a local port of it."""
    async with open_site(folder) as site:
        node = await site.start_proxy()
        config = site.write_config({"service": service_port})
        _change(config, resume_timeout)
        edge = await site.start("edge", "--config", str(config), "--json")
        await edge.event("bound")
        timeout = ("--resume-timeout", str(resume_timeout))
        remote = await site.start("connect", THING, "service", "--json", *timeout)
        port = (await remote.event("listening"))["port"]
        yield Trio(site, node, edge, remote, port)


def _change(config: Path, resume_timeout: float) -> None:
    content = json.loads(config.read_text())
    content["edge_tunnel"]["resume_timeout"] = resume_timeout
    config.write_text(json.dumps(content))


def resident(child: Child) -> int:
    """Bytes of memory that the process holds."""
    status = Path(f"/proc/{child.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def is_listening(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
