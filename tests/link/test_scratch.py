"""link/scratch.py: one buffer for all, and nobody's bytes in another's messages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from edge_tunnel.link.eager import EagerStream
from edge_tunnel.link.express import Splitter, pack
from edge_tunnel.link.scratch import feed
from edge_tunnel.link.secured import Secured
from edge_tunnel.protocol.frames import MAX_MESSAGE
from tests.link.test_secured import contexts


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[EagerStream, trio.SocketStream]]:
    """One end as a link's, and the far end."""
    async with (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0] as listener:
        near = await trio.open_tcp_stream(*listener.socket.getsockname())
        far = await listener.accept()
    async with near, far:
        yield EagerStream.fitted(near), far


def messages(splitter: Splitter) -> list[bytes]:
    """Those that are whole."""
    return list(iter(splitter.next_message, None))


async def test_parts_of_messages_of_two_connections() -> None:
    """Each read leaves a part behind; the other connection reads in between."""
    with trio.fail_after(10):
        async with connected() as one, connected() as two:
            splitters = [Splitter(masked=False), Splitter(masked=False)]
            wires = [b"".join(pack(bytes([n]) * 1000, masked=False)) * 5 for n in (1, 2)]
            for start in range(0, len(wires[0]), 300):
                for (near, far), splitter, wire in zip((one, two), splitters, wires, strict=True):
                    await far.send_all(wire[start : start + 300])
                    assert await feed(splitter, near, lambda: False)
            got = [messages(splitter) for splitter in splitters]
            assert got == [[b"\x01" * 1000] * 5, [b"\x02" * 1000] * 5]


async def test_the_largest_messages_fit() -> None:
    """However they arrive, and the buffer is larger than what may be left over."""
    with trio.fail_after(10):
        async with connected() as (near, far), trio.open_nursery() as nursery:
            splitter = Splitter(masked=True)
            wire = b"".join(pack(b"x" * MAX_MESSAGE, masked=True))
            nursery.start_soon(far.send_all, wire * 20)
            got: list[bytes] = []
            while len(got) < 20:
                assert await feed(splitter, near, lambda: False)
                got += messages(splitter)
            assert set(got) == {b"x" * MAX_MESSAGE}
            assert splitter.rest == b""


async def test_the_end() -> None:
    """Is told, and leaves what was not whole."""
    with trio.fail_after(10):
        async with connected() as (near, far):
            splitter = Splitter(masked=False)
            await far.send_all(b"\x82\x05he")
            await far.aclose()
            while await feed(splitter, near, lambda: False):
                pass
            assert splitter.rest == b"\x82\x05he"


async def test_the_same_in_tls() -> None:
    """Messages of all sizes, taken where they arrive; what TLS keeps is not forgotten."""
    sizes = [1, 100, 16_384, 40_000, MAX_MESSAGE, 3, MAX_MESSAGE, MAX_MESSAGE, 5] * 5
    wire = b"".join(
        part for n, size in enumerate(sizes) for part in pack(bytes([n]) * size, masked=False)
    )
    client, server = contexts()
    with trio.fail_after(10):
        async with connected() as (near, far):
            secured, ends = Secured(near, client, "node"), Secured(far, server)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ends.handshake)
                nursery.start_soon(secured.handshake)
            splitter = Splitter(masked=False)
            got: list[bytes] = []

            def take() -> bool:
                got.extend(messages(splitter))
                return len(got) % 7 != 0 and len(got) < len(sizes)  # it stops now and then

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ends.send_all, wire)
                while len(got) < len(sizes):
                    assert await feed(splitter, secured, take)
            assert got == [bytes([n]) * size for n, size in enumerate(sizes)]
            await ends.aclose()
            assert not await feed(splitter, secured, take)
