"""A cluster of real processes on loopback: nodes, members of etcd, HAProxy; each can fail alone.

::

    async with open_cluster_site(folder, haproxy=Path("examples/haproxy.cfg")) as site:
        await site.start_device("device-7", {"web": 8080})
        remote = await site.start_remote("device-7", "web")
        await site.nodes["a"].kill()
        await remote.event("resumed")
        await site.nodes["a"].start()

etcd and HAProxy come from the system's packages (Debian: etcd-server, haproxy). Each station knows
the same words: `start`, `kill` (SIGKILL), `stop` (SIGSTOP) and `go_on` (SIGCONT).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.testing.etcd import Etcd, free_port, open_etcd
from edge_tunnel.testing.processes import Child, ChildFailed, Site, our_command

__all__ = [
    "ClusterSite",
    "HaProxy",
    "NodeProcess",
    "ServerProcess",
    "haproxy_config",
    "open_cluster_site",
]

_PATIENCE: Final = 15.0
"""Seconds until a balancer listens, or a node that was told to end has ended its drain."""


class ServerProcess:
    """One process that is started again and again on the same port."""

    def __init__(self, site: Site, name: str, port: int) -> None:
        self.name = name
        self.host = "127.0.0.1"
        self.port = port
        """Where it takes links."""

        self.child: Child | None = None
        """The process of the moment, or the last one; its events since it started."""

        self._site = site

    @property
    def url(self) -> str:
        """Where endpoints connect."""
        return f"ws://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """Of the process of the moment."""
        return self._running().process.pid

    def stop(self) -> None:
        """SIGSTOP: connections stay, and nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    async def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        await self._running().kill()

    async def start(self) -> None:
        """Start, and wait until it takes links. Raises ChildFailed."""
        raise NotImplementedError

    def _running(self) -> Child:
        if self.child is None:
            raise ChildFailed(f"{self.name} was not started")
        return self.child


class NodeProcess(ServerProcess):
    """A proxy node of the cluster."""

    def __init__(self, site: Site, name: str, ports: tuple[int, int], engine: str) -> None:
        """`ports`: for links and for hops. `engine`: as ``--cluster`` takes it."""
        super().__init__(site, name, ports[0])
        self.hop_port = ports[1]
        """Where it takes hops."""

        self.advertised = ports[1]
        """Where the other nodes are told to connect: there, or at a relay that leads there."""

        self.engine = engine
        self.options: Sequence[str] = ()
        """More options of ``edge-tunnel proxy``, from the next start on."""

        self.launcher: Sequence[str] = ()
        """What runs the command, as ``ip netns exec NAME``; it must become the command."""

    async def launch(self) -> None:
        """Start, and wait for nothing: without etcd a node takes no links before it is there."""
        options = ["--listen", f"{self.host}:{self.port}", "--json", "--exit-with-stdin"]
        options += ["--cluster", self.engine, "--node-name", self.name]
        options += ["--advertise", f"{self.host}:{self.advertised}"]
        options += ["--hop-listen", f"{self.host}:{self.hop_port}", *self.options]
        command = [*self.launcher, *our_command("proxy", *options)]
        self.child = await self._site.start_program(f"node {self.name}", command)

    async def start(self) -> None:
        """Start, and wait until it has joined and takes links. Raises ChildFailed."""
        await self.launch()
        await self._running().event("listening")

    async def terminate(self) -> int:
        """SIGTERM; the exit code, once it has drained. (A deadline is the caller's.)"""
        child = self._running()
        child.process.terminate()
        return await child.process.wait()


class HaProxy(ServerProcess):
    """In front of the nodes."""

    def __init__(self, site: Site, port: int, config: str) -> None:
        super().__init__(site, "haproxy", port)
        self.config = config

    async def launch(self) -> None:
        """Start, and wait for nothing. Raises ChildFailed."""
        program = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if program is None:
            raise ChildFailed("there is no haproxy on this machine (Debian: haproxy)")
        if await _is_open(self.port):  # ask now: later it might be another one that answers
            raise ChildFailed(
                f"haproxy cannot listen on 127.0.0.1:{self.port}: another program does"
            )
        path = self._site.folder / "haproxy.cfg"
        path.write_text(self.config, encoding="utf-8")
        # -db: in the foreground, one process
        command = [program, "-db", "-f", str(path)]
        self.child = await self._site.start_program("haproxy", command)

    async def start(self) -> None:
        """Start, and wait until it listens. Raises ChildFailed."""
        await self.launch()
        child = self._running()
        with trio.move_on_after(_PATIENCE):
            while child.process.poll() is None:
                if await _is_open(self.port):
                    return
                await trio.sleep(0.02)
        raise child.failed(f"does not listen on port {self.port}")


async def _is_open(port: int) -> bool:
    with contextlib.suppress(OSError):
        await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
        return True
    return False


def haproxy_config(example: str, port: int, nodes: Mapping[str, int], maxconn: int = 500) -> str:
    """The shipped example, for this port and the nodes' ports, by name.

    `maxconn`: connections that it takes; each needs two file descriptors.
    """
    servers = "".join(f"    server {name} 127.0.0.1:{at}\n" for name, at in nodes.items())
    text = re.sub(r"(?m)^ +server .*\n?", "", example).rstrip("\n") + "\n" + servers
    text = re.sub(r"(?m)^( +maxconn) \d+", rf"\g<1> {maxconn}", text)
    return re.sub(r"(?m)^( +bind) 127\.0\.0\.1:\d+", rf"\g<1> 127.0.0.1:{port}", text)


class ClusterSite(Site):
    """The cluster, and the edges and remotes that a test starts. Use `open_cluster_site`."""

    def __init__(
        self, folder: Path, nursery: trio.Nursery, etcd: Etcd, key: str | None = None
    ) -> None:
        super().__init__(folder, nursery, key)
        self.etcd = etcd
        self.nodes: dict[str, NodeProcess] = {}
        self.haproxy: HaProxy | None = None

    def add_node(self, name: str, ports: tuple[int, int] | None = None) -> NodeProcess:
        """A node of this name, not started yet; `ports`: for links and hops, free ones if None."""
        chosen = ports or (free_port(), free_port())
        self.nodes[name] = NodeProcess(self, name, chosen, self.etcd.url)
        return self.nodes[name]

    def add_haproxy(
        self,
        example: Path,
        port: int | None = None,
        maxconn: int = 500,
        fronts: Mapping[str, int] | None = None,
    ) -> HaProxy:
        """HAProxy in front of the nodes that were added, not started yet.

        `fronts`: the ports that lead to the nodes, by name, if those are not the nodes' own.
        """
        port = port or free_port()
        ports = fronts or {name: node.port for name, node in self.nodes.items()}
        config = haproxy_config(example.read_text(encoding="utf-8"), port, ports, maxconn)
        self.haproxy = HaProxy(self, port, config)
        return self.haproxy

    async def start_all(self) -> None:
        """All nodes at once, then HAProxy. Raises ChildFailed."""
        async with open_plain_nursery() as nursery:
            for node in self.nodes.values():
                nursery.start_soon(node.start)
        if self.haproxy is not None:
            await self.haproxy.start()
        self.environ["EDGE_TUNNEL_PROXY"] = next(iter(self.front()), "")

    def end_at_once(self) -> None:
        """Kill nodes and HAProxy: nobody is left for whom they should drain, and some may be
        stopped."""
        for each in (*self.nodes.values(), self.haproxy):
            if each is not None and each.child is not None:
                each.child.process.kill()

    def front(self) -> list[str]:
        """Where endpoints connect: HAProxy, or each node where there is none."""
        if self.haproxy is not None:
            return [self.haproxy.url]
        return [node.url for node in self.nodes.values()]

    async def start_device(
        self, thing: str, services: Mapping[str, int], urls: Sequence[str] | None = None
    ) -> Child:
        """An edge of its own for a thing, with services on these ports; bound."""
        folder = self.folder / thing
        folder.mkdir(exist_ok=True)
        ports = [int(url.rpartition(":")[2]) for url in urls or self.front()]
        path = self.write_edge(folder / "config.json", thing, ports, services)
        edge = await self.start("edge", "--config", str(path), "--json", "--exit-with-stdin")
        await edge.event("bound")
        return edge

    async def start_remote(
        self, thing: str, service: str, *more: str, urls: Sequence[str] | None = None
    ) -> Child:
        """``edge-tunnel connect``, with its local port open: ``(await ...).event("listening")``."""
        words = [word for url in urls or self.front() for word in ("--proxy", url)]
        words += [*more, "--json", "--exit-with-stdin"]
        remote = await self.start("connect", thing, service, *words)
        await remote.event("listening")
        return remote


@asynccontextmanager
async def open_cluster_site(
    folder: Path,
    nodes: Iterable[str] = "abc",
    members: int = 3,
    *,
    haproxy: Path | None = None,
    maxconn: int = 500,
    base_port: int | None = None,
    key: str | None = None,
) -> AsyncIterator[ClusterSite]:
    """A cluster that runs for the length of the block.

    Args:
      folder: for files of its processes.
      nodes: their names; none: add and start them yourself.
      members: of etcd.
      haproxy: a configuration as the shipped example, to be run in front of the nodes.
      maxconn: connections that HAProxy takes.
      base_port: HAProxy listens there, the nodes above it (links, then hops), etcd above them;
        None: any free ports.
      key: of nodes, edges and remotes; None: a random one.

    Raises:
      ChildFailed: a process did not start.
      FileNotFoundError, TimeoutError: as `open_etcd`.
    """
    names = list(nodes)
    async with _members(members, base_port, len(names)) as etcd, open_plain_nursery() as nursery:
        site = ClusterSite(folder, nursery, etcd, key)
        for number, name in enumerate(names, start=1):
            hops = number + len(names)
            ports = None if base_port is None else (base_port + number, base_port + hops)
            site.add_node(name, ports)
        if haproxy is not None and names:
            site.add_haproxy(haproxy, base_port, maxconn)
        try:
            await site.start_all()
            yield site
        finally:
            site.end_at_once()
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def _members(size: int, base_port: int | None, nodes: int) -> AsyncIterator[Etcd]:
    """`open_etcd`, without keeping other tasks waiting while it starts."""
    first = None if base_port is None else base_port + 2 * nodes + 1
    with contextlib.ExitStack() as stack:
        engine = open_etcd(size, first_port=first)
        yield await trio.to_thread.run_sync(stack.enter_context, engine)
