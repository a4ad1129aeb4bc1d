"""Attacks of those who have a key: a broken device, a stolen laptop."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import trio

from attacks.wire import GONE, Target, greeted
from edge_tunnel import EdgeTunnelError, open_remote
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.link.transport import Transport
from edge_tunnel.link.websocket import open_client
from edge_tunnel.protocol.codec import encode
from edge_tunnel.protocol.frames import (
    Attach,
    Bind,
    Bye,
    Credit,
    Detached,
    Frame,
    Ping,
    Probe,
    Unbind,
)
from edge_tunnel.protocol.frames import Close as CloseFrame
from edge_tunnel.testing.processes import THING

__all__ = ["ENDLESS", "MEMBERS"]

ENDLESS: Final = "endless"
"""The service that sends without end."""

_IDS: Final = 100_000
_STREAMS: Final = 40
_READERS: Final = 4


async def slow_readers(target: Target) -> None:
    """Hundreds of streams of an endless service, on links whose bytes are not read any more."""
    async with open_plain_nursery() as nursery:
        for _ in range(_READERS):
            nursery.start_soon(_slow_reader, target)


async def _slow_reader(target: Target) -> None:
    deaf = trio.Event()

    @asynccontextmanager
    async def dial(_url: str) -> AsyncIterator[Transport]:
        stream = await trio.open_tcp_stream("127.0.0.1", target.port, local_address=target.source)
        async with open_client(stream, host="n", path="/", peer="n", timeout=5) as transport:
            target.done["links"] += 1
            yield _Deaf(transport, deaf)

    while True:
        deaf = trio.Event()
        with suppress(EdgeTunnelError, *GONE):
            async with open_remote([f"ws://127.0.0.1:{target.port}"], target.key, dial=dial) as one:
                await one.open_tunnel(THING, ENDLESS)
                deaf.set()
                for _ in range(_STREAMS):
                    await one.open_stream_early(THING, ENDLESS)
                    target.done["streams"] += 1
                with trio.move_on_after(8):  # its own end would notice the silence later
                    await trio.sleep_forever()
        await trio.sleep(0.1)


class _Deaf(Transport):
    """Reads until it is told not to."""

    def __init__(self, transport: Transport, deaf: trio.Event) -> None:
        self._transport = transport
        self._deaf = deaf
        self.peer = transport.peer

    async def send(self, message: bytes) -> None:
        await self._transport.send(message)

    async def receive(self) -> bytes:
        message = await self._transport.receive()
        if self._deaf.is_set():
            await trio.sleep_forever()
        return message


async def unknown_tunnels(target: Target) -> None:
    """100,000 tunnel ids: what names a tunnel that nobody knows, on links that read the answers."""
    while target.done["ids"] < _IDS:
        with suppress(*GONE):
            async with greeted(target, "remote") as (transport, _), open_plain_nursery() as nursery:
                nursery.start_soon(_read, transport)
                for _ in range(_IDS):
                    await _name_a_tunnel(transport)
                    target.done["ids"] += 1
                    if target.done["ids"] % 100 == 0:
                        await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
        await trio.sleep(0.01)
    await trio.sleep_forever()


async def _name_a_tunnel(transport: Transport) -> None:
    tunnel = os.urandom(16)
    await transport.send(_resume(tunnel))
    await transport.send(encode(Credit(tunnel, 1, 1, 0, 1_000_000)))
    await transport.send(encode(CloseFrame(tunnel, 0, 1, 0, "")))


def _resume(tunnel: bytes) -> bytes:
    """An ATTACH of a tunnel that was never opened, made by the end that makes the real ones."""
    blank = dict.fromkeys(Attach._fields, b"")
    values = {"tunnel": tunnel, "stream": 0, "epoch": 7, "thing": THING, "service": ENDLESS}
    values |= {"fresh": False, "window": 262_144, "positions": (), "proof": os.urandom(32)}
    return encode(Attach(**{**blank, **values}))  # type: ignore[arg-type]


async def bind_flapping(target: Target) -> None:
    """One thing bound and unbound as fast as it goes, with ever higher epochs."""
    epoch = time.time_ns() // 1_000_000
    while True:
        with suppress(*GONE):
            async with greeted(target, "edge") as (transport, answer):
                if isinstance(answer, Bye):
                    await trio.sleep(answer.retry_after_ms / 1000)
                async with open_plain_nursery() as nursery:
                    nursery.start_soon(_read, transport)
                    while True:
                        epoch += 1
                        await transport.send(encode(Bind("flapping", epoch)))
                        await transport.send(encode(Unbind("flapping", epoch)))
                        target.done["binds"] += 1
                        await trio.lowlevel.checkpoint()
        await trio.sleep(0.01)


async def control_flood(target: Target) -> None:
    """PING, PROBE, CREDIT and what only nodes may say, without reading an answer."""
    async with open_plain_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(_flood, target)


async def _flood(target: Target) -> None:
    tunnel = os.urandom(16)
    frames: list[Frame] = [Probe(tunnel, 0, 1, 1), Credit(tunnel, 1, 1, 0, 2**40)]
    frames += [Ping(1)] * 10
    frames *= 5
    batch = [encode(frame) for frame in frames]
    while True:
        with suppress(*GONE):
            async with greeted(target, "remote") as (transport, _):
                for number in range(10_000):
                    for message in batch:
                        await transport.send(message)
                    target.done["frames"] += len(batch)
                    await trio.lowlevel.checkpoint()
                    if number == 2000:
                        await transport.send(encode(Detached(tunnel, 0, 1, 0, "")))
        await trio.sleep(0.01)


async def _read(transport: Transport) -> None:
    with suppress(*GONE):
        while True:
            await transport.receive()


MEMBERS: Final = (slow_readers, unknown_tunnels, bind_flapping, control_flood)
