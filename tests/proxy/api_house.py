"""A node's API, asked over the fake wire."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import trio
import trio.testing

from edge_tunnel import Node, NodeSettings
from edge_tunnel.access.administration import Administration
from edge_tunnel.access.authority import PolicyAuthority
from edge_tunnel.access.keys import generate
from edge_tunnel.access.store import MemoryStore, StoreAway, Write
from edge_tunnel.cli.node_api import Question, exchange
from edge_tunnel.config import AccessSettings, Secret
from edge_tunnel.proxy.api import Api
from edge_tunnel.testing.wire import WireStream, wire_pair
from tests.proxy.test_recording import Kept

ADMIN = generate()
PAGE = "https://portal.example"


class Away(MemoryStore):
    """Can go away."""

    away = False

    async def commit(self, *writes: Write) -> None:
        if self.away:
            raise StoreAway("etcd at 127.0.0.1:2379: connection refused")
        await super().commit(*writes)


class House:
    """A node with an API."""

    def __init__(self, **settings: Any) -> None:
        self.store = Away()
        self.authority = PolicyAuthority(self.store, AccessSettings(admin_key=Secret(ADMIN)))
        self.audit = Kept()
        settings = {"origins": (PAGE,), **settings}
        self.node = Node(NodeSettings(**settings), self.authority, audit=self.audit)
        self.node.api = Api(Administration(self.authority))

    @asynccontextmanager
    async def visit(self, peer: str = "a test") -> AsyncIterator[WireStream]:
        near, far = wire_pair()
        with trio.fail_after(500):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(self.node.take, far, peer))
                yield near
                nursery.cancel_scope.cancel()

    async def ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, key: str = ADMIN
    ) -> tuple[int, dict[str, Any]]:
        async with self.visit() as stream:
            return await exchange(stream, "node", key, Question(method, path, body))

    async def raw(self, request: bytes, peer: str = "a test") -> tuple[int, bytes]:
        """The status, and all of the answer."""
        async with self.visit(peer) as stream:
            answer = b""
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_send, stream, request)
                try:
                    while data := await stream.receive_some():
                        answer += data
                except trio.BrokenResourceError:
                    pass
                nursery.cancel_scope.cancel()
        return int(answer.split()[1]), answer

    async def key(self, role: str, name: str) -> str:
        _, said = await self.ask("POST", "keys", {"role": role, "name": name})
        return str(said["key"])


async def _send(stream: WireStream, data: bytes) -> None:
    with suppress(trio.BrokenResourceError):  # it does not read a flood to its end
        await stream.send_all(data)


def http(
    path: str, method: str = "GET", *lines: str, key: str | None = ADMIN, body: bytes = b""
) -> bytes:
    """A request as it goes over the wire."""
    login = [] if key is None else [f"Authorization: Bearer {key}"]
    size = [f"Content-Length: {len(body)}"] if body else []
    head = (f"{method} {path} HTTP/1.1", "Host: node", *login, *size, *lines, "", "")
    return "\r\n".join(head).encode() + body
