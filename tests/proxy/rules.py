"""A cluster whose rules can change, and the ends of a tunnel through it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from edge_tunnel import Reason, open_edge, open_remote
from edge_tunnel.access.rights import (
    Authority,
    Credentials,
    Denial,
    Grant,
    Principal,
    ServiceOffer,
)
from edge_tunnel.config.model import EdgeConfig
from edge_tunnel.config.secret import Secret
from edge_tunnel.edge.edge import Edge
from edge_tunnel.link.streams import TunnelStream
from edge_tunnel.remote.remote import Remote
from edge_tunnel.testing.cluster import Cluster, open_cluster
from edge_tunnel.testing.transports import transport_pair
from tests.conftest import echo
from tests.proxy.peers import Peer, hello

NO = Denial(reason=Reason.NOT_AUTHORISED, text="the policy does not allow it")


class Rules(Authority):
    """One for all nodes, changed by tests as an administrator would. Keys are names."""

    def __init__(self) -> None:
        self.grants: dict[tuple[str, str, str], Grant] = {}  # user, thing, service
        self.things: dict[str, set[str]] = {"device": {"t"}}  # of an edge
        self.revoked: set[str] = set()
        self.over: dict[str, float] = {}  # Unix seconds
        self.tickets = {"ticket": "alice"}
        self.named: tuple[ServiceOffer, ...] = ()
        self.starts: dict[bytes, float] = {}
        self.unready: str | None = None
        self._told: list[Callable[[], None]] = []  # one of each node

    async def admit(self, credentials: Credentials) -> Principal | Denial:
        await trio.lowlevel.checkpoint()
        key = credentials.key
        user = self.tickets.pop(key, None)
        if user is not None:
            return Principal(role="remote", name=user, via="ticket", session=f"session of {user}")
        who = Principal(
            role=credentials.role, name=key.removeprefix("session of "), via=f"key {key}"
        )
        known = {user for user, _, _ in self.grants} | {*self.things}
        if self.still(who) is not None or who.name not in known:
            return Denial(reason=Reason.NOT_AUTHORISED, text="the key is not accepted here")
        return who

    def why_not_ready(self) -> str | None:
        return self.unready

    def still(self, principal: Principal) -> Denial | None:
        return NO if principal.name in self.revoked else None

    def ends(self, principal: Principal) -> float | None:
        return self.over.get(principal.name)

    def may_bind(self, principal: Principal, thing: str) -> Denial | None:
        return None if thing in self.things.get(principal.name, ()) else NO

    def judge(self, principal: Principal, thing: str, service: str) -> Grant | Denial:
        return self.grants.get((principal.name, thing, service), NO)

    def may_see(self, principal: Principal, thing: str) -> bool:
        return any((user, seen) == (principal.name, thing) for user, seen, _ in self.grants)

    def offers(self, thing: str) -> tuple[ServiceOffer, ...]:  # noqa: ARG002
        return self.named

    def began(self, tunnel: bytes, now: float) -> float:
        return self.starts.setdefault(tunnel, now)

    # what an administrator does

    def allow(self, user: str, **limits: Any) -> None:
        self.grants[user, "t", "ssh"] = Grant(**limits)

    def tell(self) -> None:
        for told in self._told:
            told()

    @property
    def on_change(self) -> Callable[[], None]:
        return self.tell

    @on_change.setter
    def on_change(self, told: Callable[[], None]) -> None:
        self._told.append(told)


@asynccontextmanager
async def ruled(*names: str) -> AsyncIterator[tuple[Cluster, Rules]]:
    rules = Rules()
    rules.allow("alice")
    with trio.fail_after(100_000):
        async with open_cluster(*names, authority=lambda: rules) as cluster:
            for node in cluster.nodes.values():
                node.traffic.guard._clock = trio.current_time
            yield cluster, rules


class _MemConfig(EdgeConfig):
    def urls(self) -> tuple[str, ...]:
        return ("mem://a",)


def config(key: str = "device", **more: Any) -> EdgeConfig:
    return _MemConfig(servers=(), app_key=Secret(key), things=("t",), **more)


@asynccontextmanager
async def ends(
    cluster: Cluster, key: str = "alice", urls: tuple[str, ...] = ("mem://a",)
) -> AsyncIterator[tuple[Edge, Remote]]:
    async with (
        open_edge(config(), {"ssh": echo}, dial=cluster.dial_as("edge")) as edge,
        open_remote(urls, key, dial=cluster.dial_as("remote")) as remote,
    ):
        await edge.wait_bound()
        yield edge, remote


async def exchange(stream: TunnelStream, data: bytes = b"x" * 1000) -> None:
    await stream.send_all(data)
    back = b""
    while len(back) < len(data):
        back += await stream.receive_some()
    assert back == data


async def broken(stream: TunnelStream) -> str:
    """Wait until the stream is reset; why."""
    with pytest.raises(trio.BrokenResourceError) as caught:
        while await stream.receive_some():
            pass
    return str(caught.value.__cause__)


async def greeted(cluster: Cluster, role: str, key: str, *features: str) -> Peer:
    """An endpoint of node a, played by the test, that has said HELLO."""
    near, far = transport_pair()
    cluster._nursery.start_soon(cluster.nodes["a"].talk, far)
    peer = Peer(near)
    await peer.say(hello(role, key=key)._replace(features=features))
    return peer
