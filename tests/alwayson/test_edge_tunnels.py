"""Tunnels of our edge at a server that knows only AlwaysOn."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio
import trustme

from edge_tunnel import (
    HttpProxy,
    LinkSettings,
    TlsSettings,
    open_edge,
)
from edge_tunnel.alwayson.text import decode_text
from edge_tunnel.alwayson.tunnels import service
from tests.alwayson.connection_server import (
    KEY,
    ConnectionServer,
    connection_server,
)
from tests.alwayson.edge_bench import TID, Ends, bench, config_of, echo, target


async def test_there_and_back() -> None:
    """Bytes both ways, in messages that any server takes; the key in the header; the numbers."""
    data = bytes(range(256)) * 1000
    async with target(echo) as port, bench(port) as on:
        tunnel = await on.open(port)
        assert (tunnel.tid, tunnel.headers["appkey"]) == (TID, KEY)
        assert tunnel.headers["subprotocols"] == ""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tunnel.send, data)
            assert await tunnel.receive(len(data)) == data
        counts = on.edge.statistics()
        assert (counts.tunnels, counts.streams, counts.streams_opened) == (1, 1, 1)


async def test_several_at_once() -> None:
    """Each on its own socket."""
    async with target(echo) as port, bench(port) as on:
        opened = {}
        for number in range(5):
            tunnel = await on.open(port, f"{number}")
            opened[tunnel.tid] = tunnel
        for tid, tunnel in opened.items():
            await tunnel.send(tid.encode())
        for tid, tunnel in opened.items():
            assert await tunnel.receive(1) == tid.encode()


async def test_bytes_that_come_with_the_handshake() -> None:
    """C devices lose what stands in one segment with the 101."""
    async with target(echo) as port, bench(port) as on:
        on.server.early = b"first"
        tunnel = await on.open(port)
        assert await tunnel.receive(5) == b"first"


async def test_a_small_chunksize() -> None:
    """The server's buffer: base64 fits into it."""
    async with target(echo) as port, bench(port) as on:
        tunnel = await on.open(port, chunksize=100)
        await tunnel.send(b"x" * 1000)
        came = b""
        while len(came) < 1000:
            message = await tunnel.socket.get_message()
            assert 0 < len(message) <= 100
            came += decode_text(message)
        assert came == b"x" * 1000


async def test_a_tunnels_socket_begins_with_a_ping() -> None:
    """A server of ours waits for a word before it passes on what the user says."""
    async with target(echo) as port, bench(port) as on:
        tunnel = await on.open(port)
        await tunnel.pinged.wait()
        await tunnel.send(b"x")
        assert await tunnel.receive(1) == b"x"


async def test_no_base64() -> None:
    """A byte that is wrong is not guessed: the service sees a reset."""
    ends = Ends()
    async with target(ends.serve) as port, bench(port) as on:
        tunnel = await on.open(port)
        await tunnel.socket.send_message("not base64!")
        assert await tunnel.closed() == (1011, "a tunnel message is not base64")
        await ends.ended.wait()
        assert ends.how == "ECONNRESET"


async def test_messages_that_other_devices_overlook() -> None:
    """Empty ones, and binary ones."""
    async with target(echo) as port, bench(port) as on:
        tunnel = await on.open(port)
        await tunnel.socket.send_message("")
        await tunnel.socket.send_message(b"binary")
        await tunnel.send(b"x")
        assert await tunnel.receive(1) == b"x"


async def test_a_service_that_does_not_read_holds_up_its_sender_alone() -> None:
    """Back-pressure: the server's writes wait; another tunnel, and the main socket, go on."""
    gate = trio.Event()
    ends = Ends()

    async def stuck(stream: trio.SocketStream) -> None:
        await gate.wait()
        await ends.serve(stream)

    size, many = 6000, 4000
    async with target(stuck) as slow, target(echo) as fast, bench(slow, fast) as on:
        tunnel = await on.open(slow, "slow")
        other = await on.open(fast, "fast")
        sent = 0
        with trio.move_on_after(0.5):
            while sent < many:
                await tunnel.socket.send_message("A" * (size // 3 * 4))
                sent += 1
        assert sent < many, "24 MB went somewhere"
        await other.send(b"x")
        assert await other.receive(1) == b"x"
        assert (await on.device.call(service("device", "NotifyPropertyUpdate"))).ok
        gate.set()
        await ends.began.wait()


async def test_a_server_that_does_not_read_holds_up_the_service() -> None:
    """The other way: what the device reads of the service waits with it."""
    sent = 0

    async def talk(stream: trio.SocketStream) -> None:
        nonlocal sent
        while True:
            await stream.send_all(b"x" * 65_536)
            sent += 65_536

    async with target(talk) as port, bench(port) as on:
        await on.open(port)
        before = -1
        while before != sent:
            before = sent
            await trio.sleep(0.3)
        assert sent < 64 * 2**20


@asynccontextmanager
async def http_proxy(asked: list[bytes]) -> AsyncIterator[HttpProxy]:
    """Takes CONNECT to anywhere, and remembers where."""

    async def one(stream: trio.SocketStream) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += await stream.receive_some()
        asked.append(head.split(b" ")[1])
        host, _, port = asked[-1].decode().rpartition(":")
        async with await trio.open_tcp_stream(host, int(port)) as far:
            await stream.send_all(b"HTTP/1.1 200 fine\r\n\r\n")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_copy, stream, far, nursery.cancel_scope)
                nursery.start_soon(_copy, far, stream, nursery.cancel_scope)

    async with target(one) as port:
        yield HttpProxy(host="127.0.0.1", port=port)


async def _copy(one: trio.SocketStream, other: trio.SocketStream, scope: trio.CancelScope) -> None:
    with suppress(trio.BrokenResourceError):
        async for data in one:
            await other.send_all(data)
    scope.cancel()


async def test_a_tunnels_socket_goes_the_way_of_the_main_one(tmp_path: Path) -> None:
    """Through the same HTTP proxy, and verified by the same CA: the original had its own way."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server, asked = ConnectionServer(), list[bytes]()
    server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(server.tls)
    with trio.fail_after(30):
        async with target(echo) as port, http_proxy(asked) as proxy, connection_server(server):
            config = config_of(
                server,
                port,
                link=LinkSettings(retry_interval=0.1),
                tls=TlsSettings(ca_file=str(tmp_path / "ca.pem")),
                http_proxy=proxy,
            )
            async with open_edge(config):
                device = await server.device()
                assert (await device.start("device", TID, port)).ok
                tunnel = await server.tunnel()
                await tunnel.send(b"x")
                assert await tunnel.receive(1) == b"x"
    assert asked == [f"127.0.0.1:{server.port}".encode()] * 2
