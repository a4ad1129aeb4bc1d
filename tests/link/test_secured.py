"""link/secured.py: TLS over a fake wire, and what becomes of its ends."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
import trustme

from edge_tunnel.link.handshake import shake_hands
from edge_tunnel.link.secured import Secured

CA = trustme.CA()


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CA.issue_cert("node").configure_cert(server)
    client = ssl.create_default_context()
    CA.configure_trust(client)
    return client, server


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Secured, Secured, trio.testing.MemorySendStream]]:
    """Client and server, and the client's way out."""
    near, far = trio.testing.memory_stream_pair()
    client, server = contexts()
    ends: dict[str, Secured] = {}

    async def shake(name: str, stream: trio.abc.Stream, context: ssl.SSLContext) -> None:
        host = "node" if name == "client" else None
        ends[name] = await shake_hands(stream, context, host=host)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shake, "client", near, client)
            nursery.start_soon(shake, "server", far, server)
        assert isinstance(near.send_stream, trio.testing.MemorySendStream)
        yield ends["client"], ends["server"], near.send_stream


@pytest.mark.parametrize("size", [1, 16_383, 16_384, 16_385, 100_000, 1_000_000])
async def test_bytes_in_order(size: int) -> None:
    """Records are 16 KiB and reads 128 KiB: no size is a special one."""
    data = bytes(each * 7 % 251 for each in range(size))
    async with connected() as (client, server, _):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_all, data)
            heard = bytearray()
            while len(heard) < size:
                heard += await server.receive_some(50_000)
        assert heard == data


async def test_all_records_that_are_there_come_at_once() -> None:
    """And never more than was asked for."""
    async with connected() as (client, server, _):
        await client.send_all(bytes(100_000))
        assert len(await server.receive_some(40_000)) == 40_000
        assert len(await server.receive_some()) == 60_000


async def test_a_goodbye_is_an_end() -> None:
    """What came before it is not lost, and the end stays one."""
    async with connected() as (client, server, _):
        await client.send_all(b"last words")
        await client.aclose()
        assert await server.receive_some() == b"last words"
        assert [await server.receive_some() for _ in range(2)] == [b"", b""]


async def test_an_end_without_a_goodbye() -> None:
    """As after a crash: WebSocket and hops have ends of their own."""
    async with connected() as (_, server, way):
        way.close()
        assert await server.receive_some() == b""


async def test_bytes_that_nobody_sealed() -> None:
    """What somebody on the way changes or adds is an error, and stays one."""
    async with connected() as (client, server, way):
        await client.send_all(b"good")
        await way.send_all(b"\x17\x03\x03\x00\x20" + bytes(32))
        assert await server.receive_some() == b"good"
        for _ in range(2):
            with pytest.raises(trio.BrokenResourceError) as caught:
                await server.receive_some()
            assert isinstance(caught.value.__cause__, ssl.SSLError)


async def test_nothing_follows_half_a_record() -> None:
    """A send that was cancelled leaves no goodbye behind, which would be taken for its rest."""
    async with connected() as (client, _, way):
        hook, way.send_all_hook = way.send_all_hook, trio.sleep_forever
        with trio.move_on_after(0.01):
            await client.send_all(b"never whole")
        way.send_all_hook = hook
        sent: list[bytes] = []

        async def note() -> None:
            sent.append(b"something")

        way.send_all_hook = note
        await client.aclose()
        assert sent == []


async def test_the_other_end_is_told() -> None:
    """trio's own stream keeps the alert of a failed handshake to itself."""
    near, far = trio.testing.memory_stream_pair()
    client, server = ssl.create_default_context(), contexts()[1]  # it does not trust our CA
    causes: list[str | None] = []

    async def shake(stream: trio.abc.Stream, context: ssl.SSLContext, host: str | None) -> None:
        with pytest.raises(trio.BrokenResourceError) as caught:
            await shake_hands(stream, context, host=host)
        assert isinstance(caught.value.__cause__, ssl.SSLError)
        causes.append(caught.value.__cause__.reason)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shake, near, client, "node")
            nursery.start_soon(shake, far, server, None)
    assert causes == ["CERTIFICATE_VERIFY_FAILED", "TLSV1_ALERT_UNKNOWN_CA"]
