"""Data through tunnels, both ways at once, and what each end saw of it.

A transfer is one TCP connection of a client to a remote's local port; it says its number first, and
both ends know by it what to send and what to expect. Both ends are here, so nothing is trusted to
the tunnel. Some transfers are broken off by one end on purpose: the other must see a reset then.
"""

from __future__ import annotations

import hashlib
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import trio

from edge_tunnel.link.splice import reset_socket

__all__ = ["STUCK", "End", "Transfer", "Transfers"]

STUCK: Final = 150.0
"""Seconds without a byte, and without a change of its tunnel: one may be detached for 120, and then
has to end; one that is attached has to move."""

_LARGEST: Final = 2_000_000
_HEADER: Final = 8

_ABORTED: Final = 0.1
"""Share of transfers that one end breaks off."""


@dataclass
class End:
    """What one end saw."""

    outcome: str = "open"
    """open, end (a clean EOF), reset, or aborted (by itself, on purpose)."""

    received: int = 0
    hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    def take(self, data: bytes | bytearray) -> None:
        """These bytes came."""
        self.received += len(data)
        self.hash.update(data)


@dataclass
class Transfer:
    """One connection. `up` is from the client to the service."""

    number: int
    remote: str
    up: bytes
    down: bytes
    aborts: str = ""
    """Which end breaks it off, "client" or "service", when it has sent half; "" none."""

    started: float = field(default_factory=time.time)
    """Seconds since 1970, as in events."""

    progress: float = field(default_factory=time.time)
    client: End = field(default_factory=End)
    service: End | None = None
    """None: the service never heard of it."""

    stuck: bool = False
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    service_scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    @property
    def over(self) -> bool:
        """Whether both ends are."""
        return self.client.outcome != "open" and (
            self.service is None or self.service.outcome != "open"
        )


class Transfers:
    """All of them, and the service at which they end."""

    def __init__(self, seed: int, rate: float) -> None:
        """`rate`: bytes a second that each end of a transfer sends."""
        self.all: list[Transfer] = []
        self.strays: list[str] = []
        """Connections to the service that ended cleanly before they said their number."""

        self._random = random.Random(f"transfers {seed}")
        self._rate = rate

    async def keep_moving(self, remote: str, port: int, until: trio.Event) -> None:
        """One transfer after another through this local port."""
        while not until.is_set():
            transfer = self._make(remote)
            with transfer.scope:
                await self._run_client(transfer, port)
            if transfer.client.outcome == "reset" and transfer.service is None:
                await trio.sleep(1)  # refused: as a program would, not in a tight loop

    def _make(self, remote: str) -> Transfer:
        rng, number = self._random, len(self.all)
        sizes = [int(math.exp(rng.uniform(0, math.log(_LARGEST)))) for _ in range(2)]
        up, down = (rng.randbytes(size) for size in sizes)
        aborts = rng.choice(("client", "service")) if rng.random() < _ABORTED else ""
        self.all.append(Transfer(number, remote, up, down, aborts))
        return self.all[-1]

    async def _run_client(self, transfer: Transfer, port: int) -> None:
        sock = await trio.open_tcp_stream("127.0.0.1", port)
        header = transfer.number.to_bytes(_HEADER, "big")
        await self._run_end(transfer, transfer.client, "client", sock, header, transfer.up)

    async def serve(self, sock: trio.SocketStream) -> None:
        """The far end of a transfer: a connection to the service."""
        header = b""
        try:
            while len(header) < _HEADER:
                part = await sock.receive_some(_HEADER - len(header))
                if not part:
                    self.strays.append("a clean end before the first byte")
                    return
                header += part
        except trio.BrokenResourceError:
            return
        transfer = self.all[int.from_bytes(header, "big")]
        transfer.service = End()
        with transfer.service_scope:
            await self._run_end(transfer, transfer.service, "service", sock, b"", transfer.down)

    async def _run_end(
        self,
        transfer: Transfer,
        end: End,
        name: str,
        sock: trio.SocketStream,
        header: bytes,
        data: bytes,
    ) -> None:
        sends = partial(self._send, transfer, sock, header, data, end, transfer.aborts == name)
        receives = partial(self._receive, transfer, sock, end)
        async with trio.open_nursery() as nursery:
            for way in (sends, receives):
                nursery.start_soon(_run_way, way, end, nursery.cancel_scope)
        sock.socket.close()
        if end.outcome == "open" and not transfer.stuck:
            end.outcome = "end"

    async def _send(
        self,
        transfer: Transfer,
        sock: trio.SocketStream,
        header: bytes,
        data: bytes,
        end: End,
        aborts: bool,
    ) -> None:
        await sock.send_all(header)
        rng = random.Random(transfer.number)
        stop = len(data) // 2 if aborts else len(data)
        done = 0
        while done < stop:
            part = data[done : min(stop, done + rng.randrange(1, 60_000))]
            await sock.send_all(part)
            done += len(part)
            transfer.progress = time.time()
            await trio.sleep(len(part) / self._rate)
        if aborts:
            end.outcome = "aborted"
            reset_socket(sock)
        else:
            await sock.send_eof()

    async def _receive(self, transfer: Transfer, sock: trio.SocketStream, end: End) -> None:
        while data := await sock.receive_some():
            end.take(data)
            transfer.progress = time.time()

    async def one_each(self, ports: Mapping[str, int]) -> None:
        """One transfer through each remote."""
        async with trio.open_nursery() as nursery:
            for remote, port in ports.items():
                nursery.start_soon(self._run_client, self._make(remote), port)

    # -- watching

    async def watch(self, changed: Callable[[str], float]) -> None:
        """Give up transfers that are stuck, until cancelled.

        `changed`: when the tunnel of a remote was attached, detached or resumed last.
        """
        while True:
            await trio.sleep(1)
            now = time.time()
            for transfer in self.all:
                if transfer.over or now - transfer.progress < STUCK:
                    continue
                if now - changed(transfer.remote) > STUCK:
                    transfer.stuck = True
                    transfer.scope.cancel()
                    transfer.service_scope.cancel()

    async def wait_over(self) -> None:
        """Until every transfer has ended, or was found to be stuck."""
        while not all(each.over or each.stuck for each in self.all):  # noqa: ASYNC110 - it is a poll
            await trio.sleep(0.1)


async def _run_way(way: Callable[[], Awaitable[None]], end: End, scope: trio.CancelScope) -> None:
    """One way of one end. A reset ends the other way, too."""
    try:
        await way()
    except trio.BrokenResourceError:
        end.outcome = "reset"
        scope.cancel()
    except trio.ClosedResourceError:  # we broke it off
        scope.cancel()
