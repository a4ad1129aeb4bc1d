"""Attacks of those who have no key."""

from __future__ import annotations

import itertools
import os
import random
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import trio

from attacks.wire import GONE, UPGRADE, Target, answer_of, greeted, raw, websocket
from edge_tunnel.link.express import packed
from edge_tunnel.protocol.frames import MAX_MESSAGE

__all__ = ["STRANGERS"]

_TASKS: Final = 32
_RST: Final = struct.pack("ii", 1, 0)


async def slow_heads(target: Target) -> None:
    """300 connections, each with one byte of a request's head every half second."""
    async with trio.open_nursery() as nursery:
        for _ in range(300):
            nursery.start_soon(_again, _slow_head, target)


async def _slow_head(target: Target) -> None:
    async with raw(target) as stream:
        for byte in itertools.chain(UPGRADE, itertools.repeat(ord("x"))):
            await stream.send_all(bytes([byte]))
            target.done["bytes"] += 1
            await trio.sleep(0.5)


async def connection_flood(target: Target) -> None:
    """Connect, and close, reset, or leave it open: as fast as it goes, from one address."""
    async with trio.open_nursery() as nursery:
        for number in range(_TASKS):
            nursery.start_soon(_again, (_close, _reset, _hold)[number % 3], target)


async def _close(target: Target) -> None:
    async with raw(target):
        pass


async def _reset(target: Target) -> None:
    async with raw(target) as stream:
        await stream.send_all(UPGRADE[: random.randrange(len(UPGRADE))])
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)


async def _hold(target: Target) -> None:
    async with raw(target) as stream:
        await answer_of(stream)


async def malformed_frames(target: Target) -> None:
    """WebSockets with frames that are too long, unmasked, in pieces, of no known kind, or noise."""
    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(_again, _malformed, target, number)


def _bad_frames() -> list[bytes]:
    """Of the WebSocket layer, and of ours inside."""
    return [
        b"\x82\xff" + struct.pack(">Q", 2**63 - 1) + os.urandom(4) + bytes(1000),
        b"\x82\xff" + struct.pack(">Q", 2**62) + os.urandom(4) + bytes(1000),
        packed(bytes(MAX_MESSAGE + 1), masked=True),
        packed(bytes(MAX_MESSAGE), masked=True),
        packed(b"\x93\x01", masked=False),
        b"\x02\x85" + bytes(4) + b"xxxxx" + b"\x00\x85" + bytes(4) + b"yyyyy",
        b"\xc2\x85" + bytes(4) + b"xxxxx",  # compressed, which was not agreed on
        b"\x89\xfe\x01\x00" + bytes(260),  # a ping of 256 bytes
        b"\x81\x85" + bytes(4) + b"hello",
        os.urandom(4096),
        packed(b"\x92\x04" + b"\x91" * 100_000, masked=True),
        packed(b"\x98\x01" + b"\xdd\xff\xff\xff\xff" * 100, masked=True),
        packed(os.urandom(200), masked=True),
    ]


async def _malformed(target: Target, _number: int) -> None:
    for bad in _bad_frames():
        async with websocket(target) as stream:
            await stream.send_all(bad)
            target.done["bad frames"] += 1
            with trio.move_on_after(0.1):
                await answer_of(stream)


async def garbage_after_upgrade(target: Target) -> None:
    """Another request, TLS, or noise right behind the handshake, in one segment with it."""
    more = (b"GET /health HTTP/1.1\r\nHost: n\r\n\r\n" * 50, b"\x16\x03\x01" + os.urandom(500))
    async with trio.open_nursery() as nursery:
        for noise in (*more, os.urandom(60_000), b"\x00" * 60_000):
            nursery.start_soon(_again, _upgraded_with, target, noise)


async def _upgraded_with(target: Target, noise: bytes) -> None:
    async with raw(target) as stream:
        await stream.send_all(UPGRADE + b"\r\n" + noise)
        target.done["upgrades with garbage"] += 1
        with trio.move_on_after(1):
            await answer_of(stream)


async def http_and_origins(target: Target) -> None:
    """Foreign pages, plain HTTP to the WebSocket's path and back, heads without end, smuggling."""
    async with trio.open_nursery() as nursery:
        for request in _requests():
            nursery.start_soon(_again, _request, target, request)


def _requests() -> list[bytes]:
    head = b" HTTP/1.1\r\nHost: n\r\n"
    return [
        UPGRADE + b"Origin: https://evil.example\r\n\r\n",
        UPGRADE + b"Origin: null\r\n\r\n",
        b"GET /Thingworx/WS" + head + b"\r\n",
        b"POST /Thingworx/WS" + head + b"Content-Length: 10000000\r\n\r\n" + bytes(60_000),
        UPGRADE.replace(b"/Thingworx/WS", b"/health") + b"\r\n",
        UPGRADE.replace(b"GET", b"POST") + b"\r\n",
        UPGRADE.replace(b"edge-tunnel.1", b"chat") + b"\r\n",
        b"GET /ready" + head + b"X: " + b"y" * 60_000,
        b"GET /ready" + head + b"X: y\r\n" * 10_000,
        b"GET /ready" + head + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\nzz\r\n",
        b"GET //api/v1/../health" + head + b"\r\n",
    ]


async def _request(target: Target, request: bytes) -> None:
    async with raw(target) as stream:
        with suppress(*GONE):
            await stream.send_all(request)
        with trio.move_on_after(0.5):
            answer = await answer_of(stream)
            target.done[f"status {answer[9:12].decode(errors='replace') or 'none'}"] += 1


async def failed_logins(target: Target) -> None:
    """One key after the other."""
    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(_again, _guess, target)


async def _guess(target: Target) -> None:
    async with greeted(target, random.choice(("edge", "remote")), os.urandom(8).hex()):
        target.done["keys tried"] += 1


async def _again(attack: Callable[..., Awaitable[None]], target: Target, *more: object) -> None:
    """Until the time is over. An attacker whose connection is cut comes back at once."""
    while True:
        with suppress(*GONE):
            await attack(target, *more)
        await trio.sleep(0.001)


STRANGERS: Final = (
    slow_heads,
    connection_flood,
    malformed_frames,
    garbage_after_upgrade,
    http_and_origins,
    failed_logins,
)
