"""The nodes of a run, and what is measured of them while it lasts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

from edge_tunnel.proxy.etcd import EtcdClient
from edge_tunnel.proxy.rows import Keys, thing_claim
from edge_tunnel.testing.etcd import Etcd, free_port
from edge_tunnel.testing.processes import Child, Site

__all__ = ["Failed", "Node", "Registry", "start_node"]

_TICK: Final = os.sysconf("SC_CLK_TCK")
_PREFIX: Final = "/edge-tunnel"
_PATIENCE: Final = 10.0
"""Seconds in which a node answers ``/health``; a balancer gives it less."""


class Failed(Exception):
    """The run has failed; the text says why."""


@dataclass
class Node:
    """One node's process and its figures."""

    name: str
    child: Child
    url: str
    killed: bool = False
    peak_cpu: float = 0.0
    """Of one processor, over a second."""

    slowest_health: float = 0.0
    cpu: float = 0.0
    """Seconds of processor since `begin`."""

    _ticks: int = field(default=-1, repr=False)
    _at: float = 0.0

    def begin(self) -> None:
        """Forget the peaks: another part of the run begins."""
        self.peak_cpu = self.slowest_health = self.cpu = 0.0

    def sample(self) -> None:
        """Look at the processor time. Raises Failed if the node is gone."""
        if self.child.process.returncode is not None:
            raise Failed(str(self.child.failed(f"(node {self.name}) died")))
        fields = Path(f"/proc/{self.child.process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks, now = int(fields[11]) + int(fields[12]), trio.current_time()
        used, since = (ticks - self._ticks) / _TICK, now - self._at
        if self._ticks >= 0:
            self.cpu += used
        if self._ticks >= 0 and since > 0.5:
            self.peak_cpu = max(self.peak_cpu, used / since)
        self._ticks, self._at = ticks, now

    def peak_memory(self) -> int:
        """Bytes that were resident at the most, since its start."""
        status = Path(f"/proc/{self.child.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    async def watch(self) -> None:
        """Sample it each second, and ask whether it is alive."""
        while not self.killed:
            self.sample()
            before = trio.current_time()
            with trio.move_on_after(_PATIENCE) as scope:
                await _get(int(self.url.rpartition(":")[2]), "/health")
            if scope.cancelled_caught and not self.killed:
                raise Failed(f"node {self.name} did not answer /health within {_PATIENCE:g} s")
            self.slowest_health = max(self.slowest_health, trio.current_time() - before)
            await trio.sleep(1)


async def _get(port: int, path: str) -> str:
    """The answer of a plain HTTP server on loopback; "" if it is gone."""
    answer = b""
    try:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            async for data in stream:
                answer += data
    except (OSError, trio.BrokenResourceError):
        pass
    return answer.decode()


async def start_node(site: Site, name: str, etcd: Etcd, limits: Mapping[str, int]) -> Node:
    """A real node of the cluster, with these limits."""
    engine = ", ".join(f'"{each}"' for each in etcd.endpoints)
    lines = ['listen = "127.0.0.1:0"', 'log_level = "ERROR"', "[limits]"]
    lines += [f"{key} = {value}" for key, value in limits.items()]
    lines += ["[cluster]", f"engine = [{engine}]", f'node_name = "{name}"']
    lines += [f'advertise = "127.0.0.1:{free_port()}"', f'prefix = "{_PREFIX}"']
    path = site.folder / f"{name}.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    child = await site.start("proxy", "--config", str(path), "--json", "--exit-with-stdin")
    return Node(name, child, (await child.event("listening"))["url"])


class Registry:
    """The engine, as an onlooker sees it."""

    def __init__(self, etcd: Etcd) -> None:
        self._client = EtcdClient(etcd.endpoints)
        self._port = etcd.members[0].endpoint.port
        self._things = Keys(_PREFIX).things

    async def writes(self) -> tuple[int, int]:
        """Transactions that wrote something, and rows that they wrote, ever."""
        revision = (await self._client.range(self._things, most=1)).revision
        lines = (await _get(self._port, "/metrics")).splitlines()
        rows = [line for line in lines if "mvcc_put_total " in line and line[0] != "#"]
        return revision, int(float(rows[0].split()[1])) if rows else 0

    async def wait_for(self, count: int, without: str) -> None:
        """Until so many things are bound, none of them at this node."""
        while await self._bound_elsewhere(without) != count:  # noqa: ASYNC110 - it is a poll
            await trio.sleep(0.2)

    async def _bound_elsewhere(self, than: str) -> int:
        found, after, more = 0, "", True
        while more:
            page = await self._client.range(self._things, after=after, most=2000)
            claims = [thing_claim(row.value) for row in page.rows]
            found += sum(claim is not None and claim.node != than for claim in claims)
            after, more = page.rows[-1].key if page.rows else "", page.more
        return found
