"""A real cluster with devices, technicians, and conversations that go on while parts of it fail."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import trio

from edge_tunnel import Reason, Remote, TunnelEnded, TunnelStream, open_remote
from edge_tunnel.proxy.directory import Claim
from edge_tunnel.proxy.etcd import EngineError, EtcdClient
from edge_tunnel.proxy.rows import Keys, thing_claim
from edge_tunnel.testing import Child, ClusterSite, NodeProcess, open_cluster_site
from edge_tunnel.testing.conversation import Conversation, serve_echo

__all__ = ["EXAMPLE", "OwnNetwork", "Stage", "open_stage", "why_no_network"]

EXAMPLE = Path(__file__).parents[2] / "examples" / "haproxy.cfg"

_KEYS = Keys("/edge-tunnel")
PING_INTERVAL, PING_TIMEOUT = 1.0, 1.5
"""Seconds, of edges and remotes: short, so that a test sees silence soon."""


class Stage:
    """What happens on it. Use `open_stage`."""

    def __init__(
        self, site: ClusterSite, port: int, nursery: trio.Nursery, stack: AsyncExitStack
    ) -> None:
        self.site = site
        self.conversations: list[Conversation] = []
        self.over = trio.Event()
        """Set by `finish`: conversations end now."""

        self._port = port
        self._nursery = nursery
        self._talks: trio.Nursery | None = None
        self._stack = stack

    def urls(self, names: Iterable[str]) -> list[str]:
        """Of these nodes, in this order."""
        return [self.site.nodes[name].url for name in names]

    # -- who takes part

    async def device(self, thing: str, urls: Sequence[str]) -> Child:
        """An edge that goes to these nodes, in this order; bound."""
        folder = self.site.folder / thing
        folder.mkdir(exist_ok=True)
        path = self.site.write_edge(folder / "config.json", thing, [0], {"echo": self._port})
        config = json.loads(path.read_text())
        parts = [urlsplit(url) for url in urls]
        config["ws_servers"] = [{"host": each.hostname, "port": each.port} for each in parts]
        config["edge_tunnel"].update(ping_interval=PING_INTERVAL, ping_timeout=PING_TIMEOUT)
        path.write_text(json.dumps(config))
        edge = await self.site.start("edge", "--config", str(path), "--json", "--exit-with-stdin")
        await edge.event("bound")
        return edge

    async def remote(self, urls: Sequence[str]) -> Remote:
        """A technician, in this process."""
        opened = open_remote(
            urls, self.site.key, ping_interval=PING_INTERVAL, ping_timeout=PING_TIMEOUT
        )
        return await self._stack.enter_async_context(opened)

    async def talk(self, remote: Remote, thing: str, count: int = 1) -> list[Conversation]:
        """Begin conversations with a device."""
        assert self._talks is not None
        begun = [Conversation() for _ in range(count)]
        for conversation in begun:
            stream = await _stream(remote, thing)
            self._talks.start_soon(conversation.hold, stream, self.over)
        self.conversations += begun
        return begun

    # -- what they see

    async def flows(
        self, among: Iterable[Conversation] | None = None, count: int = 300_000
    ) -> None:
        """Wait until so many bytes more have come back in each of these, or all, conversations."""
        async with trio.open_nursery() as nursery:
            for conversation in self.conversations if among is None else among:
                nursery.start_soon(conversation.hear, count)

    async def finish(self) -> None:
        """End all conversations: each must end cleanly, every byte compared."""
        assert self._talks is not None
        self.over.set()
        await self._finished.wait()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self._finished = trio.Event()
        async with trio.open_nursery() as self._talks:
            task_status.started()
            await self.over.wait()
        self._finished.set()

    async def claims(self) -> dict[str, Claim]:
        """What etcd says of all things."""
        return _claims(await self._rows(_KEYS.things, lambda _rows: True))

    async def claimed(self, **holders: str) -> None:
        """Wait until etcd says that these nodes hold these things, and nobody holds another."""

        def is_it_so(rows: Mapping[str, str]) -> bool:
            return {thing: claim.node for thing, claim in _claims(rows).items()} == holders

        await self._rows(_KEYS.things, is_it_so)

    async def nodes_known(self, *names: str) -> None:
        """Wait until etcd knows these nodes and no other."""
        await self._rows(_KEYS.nodes, lambda rows: rows.keys() == set(names))

    async def _rows(
        self, prefix: str, wanted: Callable[[Mapping[str, str]], bool]
    ) -> Mapping[str, str]:
        """The rows of etcd under a prefix, once they are as wanted."""
        client = EtcdClient(self.site.etcd.endpoints)
        while True:
            try:
                async with client.open_watch(_KEYS.all, 0) as watch:
                    while True:
                        page = await client.range(prefix)
                        rows = {key.removeprefix(prefix): value for key, value in page.rows}
                        if wanted(rows):
                            await client.close()
                            return rows
                        await watch.receive()
            except EngineError:  # it is just coming back
                await trio.sleep(0.1)


async def _stream(remote: Remote, thing: str) -> TunnelStream:
    """A stream; a node hears of a new thing by its watch, milliseconds after the device does."""
    while True:
        try:
            return await remote.open_stream(thing, "echo")
        except TunnelEnded as ended:
            if ended.reason is not Reason.NO_SUCH_THING:
                raise


def _claims(rows: Mapping[str, str]) -> dict[str, Claim]:
    read = {thing: thing_claim(value) for thing, value in rows.items()}
    return {thing: claim for thing, claim in read.items() if claim is not None}


@asynccontextmanager
async def open_stage(
    folder: Path, nodes: Iterable[str] = "abc", *, haproxy: bool = False, members: int = 3
) -> AsyncIterator[Stage]:
    """A cluster of real processes, with an echo service beside each device."""
    async with (
        trio.open_nursery() as nursery,
        open_cluster_site(folder, nodes, members, haproxy=EXAMPLE if haproxy else None) as site,
        AsyncExitStack() as stack,
    ):
        serve = partial(trio.serve_tcp, serve_echo, 0, host="127.0.0.1")
        listeners = await nursery.start(serve)
        stage = Stage(site, listeners[0].socket.getsockname()[1], nursery, stack)
        await nursery.start(stage.run)
        try:
            yield stage
        finally:
            nursery.cancel_scope.cancel()  # first of all what is still talking


# -- a network of its own for a node


def why_no_network() -> str:
    """Why this machine gives a test no network namespace; empty: it does."""
    if os.geteuid() != 0:
        return "a network namespace needs root"
    missing = [name for name in ("ip", "iptables", "sysctl") if shutil.which(name) is None]
    if missing:
        return f"there is no {', '.join(missing)} (Debian: iproute2, iptables, procps)"
    name = f"et-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"ip netns add: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=False)
    return ""


class OwnNetwork:
    """A network namespace, joined to ours by a pair of virtual cables.

    In development mode nodes live on loopback addresses only. So the namespace's one address is
    127.9.0.x, which the kernel routes over the cable where it is told to; ours is 127.0.0.1 there.
    """

    def __init__(self, number: int) -> None:
        """`number`: 1 to 254, another one for each at a time."""
        self.address = f"127.9.0.{number}"
        self._name = f"et{os.getpid()}-{number}"
        self._ours, self._theirs = f"etw{os.getpid() % 10**7}x{number}", "cable"

    def __enter__(self) -> OwnNetwork:  # noqa: PYI034 - Self is of Python 3.11
        _do("ip", "netns", "add", self._name)
        try:
            self._join()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _join(self) -> None:
        ours, theirs = self._ours, self._theirs
        pair = ("type", "veth", "peer", "name", theirs, "netns", self._name)
        _do("ip", "link", "add", ours, *pair)
        self.run("ip", "addr", "add", f"{self.address}/32", "dev", theirs)
        for each in ("all", theirs):
            self.run("sysctl", "-qw", f"net.ipv4.conf.{each}.route_localnet=1")
        _do("sysctl", "-qw", f"net.ipv4.conf.{ours}.route_localnet=1")
        self.run("ip", "link", "set", theirs, "up")
        _do("ip", "link", "set", ours, "up")
        self.run("ip", "route", "add", "127.0.0.1/32", "dev", theirs)
        way = ("table", "local", f"{self.address}/32", "dev", ours, "src", "127.0.0.1")
        _do("ip", "route", "add", *way)

    def __exit__(self, *_error: object) -> None:
        for words in (("link", "del", self._ours), ("netns", "del", self._name)):
            subprocess.run(["ip", *words], capture_output=True, check=False)

    def move_in(self, node: NodeProcess) -> None:
        """Let this node run in here, from its next start on."""
        node.host = self.address
        node.launcher = ("ip", "netns", "exec", self._name)

    def run(self, *words: str) -> None:
        """A command in the namespace. Raises CalledProcessError."""
        _do("ip", "netns", "exec", self._name, *words)

    def cut(self) -> None:
        """Drop every packet, in and out, without a word to anybody."""
        for chain in ("INPUT", "OUTPUT"):
            self.run("iptables", "-A", chain, "-j", "DROP")

    def mend(self) -> None:
        """The end of `cut`."""
        self.run("iptables", "-F")


def _do(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)
