"""A stand-in for a Connection Server: it knows AlwaysOn, and nothing of ours but the codec."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import trio
import trio_websocket

from edge_tunnel.alwayson.codec import decode, encode
from edge_tunnel.alwayson.messages import (
    Auth,
    Bind,
    Body,
    Message,
    Request,
    Response,
    Status,
    Unbind,
)
from edge_tunnel.alwayson.multipart import Assembly
from edge_tunnel.alwayson.text import decode_text, texts
from edge_tunnel.alwayson.tunnels import CommandFromEdge, StartTunnel, tunnel_request
from edge_tunnel.link.groups import open_plain_nursery

__all__ = ["KEY", "ConnectionServer", "Device", "TunnelSocket", "connection_server"]

KEY = "11111111-2222-3333-4444-555555555555"
SESSION = 0x1234


class TunnelSocket:
    """A device's WebSocket for one tunnel."""

    def __init__(self, path: str, headers: dict[str, str], socket: Any) -> None:
        self.tid = path.rpartition("/")[2]
        self.headers = headers
        self.socket = socket
        self.done = trio.Event()
        self.pinged = trio.Event()

    async def send(self, data: bytes) -> None:
        for text in texts(data):
            await self.socket.send_message(text)

    async def receive(self, size: int) -> bytes:
        """So many bytes; raises ConnectionClosed."""
        data = b""
        while len(data) < size:
            message = await self.socket.get_message()
            assert isinstance(message, str)
            assert len(message) <= 8192, "a Java device drops what is longer, and so may others"
            data += decode_text(message)
        return data

    async def closed(self) -> tuple[int, str]:
        """How it was closed; what came before is overlooked."""
        with suppress(trio_websocket.ConnectionClosed):
            while True:
                await self.socket.get_message()
        reason = self.socket.closed
        return reason.code, reason.reason or ""

    async def close(self, code: int = 1000) -> None:
        await self.socket.aclose(code, "bye")

    def cut(self) -> None:
        """As when the server dies."""
        self.done.set()


class Device:
    """A device's main socket."""

    def __init__(self, headers: dict[str, str], socket: Any) -> None:
        self.headers = headers
        self.socket = socket
        self.scope = trio.CancelScope()
        """Cancel it, and the connection breaks."""

        self.over = trio.Event()
        self.bound: list[str] = []
        self.unbound: list[str] = []
        self.commands: list[CommandFromEdge] = []
        self.changed = trio.lowlevel.ParkingLot()
        self._ids = 1000
        self._waiting: dict[int, trio.MemorySendChannel[Response]] = {}

    async def call(self, request: Body, *, cut: int | None = None, pad: int = 0) -> Response:
        """What the device answers.

        `cut`: where the message ends, if not at its end. `pad`: zero bytes behind it.
        """
        self._ids += 1
        give, take = trio.open_memory_channel[Response](1)
        self._waiting[self._ids] = give
        message = Message(request, self._ids, SESSION, endpoint_id=7)
        await self.socket.send_message(encode(message)[:cut] + bytes(pad))
        return await take.receive()

    async def start(self, thing: str, tid: str, port: int, **more: Any) -> Response:
        """StartTunnel."""
        host = more.pop("host", "127.0.0.1")
        more.setdefault("idle_timeout", 60_000)
        return await self.call(StartTunnel(tid, host, port, **more).request(thing))

    async def wait_for(self, what: Callable[[], bool]) -> None:
        while not what():
            await self.changed.park()

    def take(self, message: Message) -> Response | None:
        """A message after AUTH; returns what it is answered with."""
        body = message.body
        if isinstance(body, Response):
            assert message.endpoint_id == 7, "said back as it came"
            self._waiting.pop(message.request_id).send_nowait(body)
            return None
        if isinstance(body, Bind):
            self.bound += body.names
        elif isinstance(body, Unbind):
            self.unbound += body.names
        elif isinstance(body, Request):
            said = tunnel_request(body)
            assert isinstance(said, CommandFromEdge)
            self.commands.append(said)
        self.changed.unpark_all()
        return Response()


class ConnectionServer:
    """Accepts devices. What it answers can be changed."""

    def __init__(self) -> None:
        self.port = 0
        self.auth = Response()
        self.bind = Response()
        self.silent = False
        self.rejects_subprotocols = False
        self.refuses_tunnels = False
        self.tls: ssl.SSLContext | None = None
        self.early = b""
        """Sent with the 101 of a tunnel's socket, in one segment."""

        self.attempts = 0
        self._devices = trio.open_memory_channel[Device](100)
        self._tunnels = trio.open_memory_channel[TunnelSocket](100)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/Thingworx/WS"

    async def device(self) -> Device:
        """The next one that is bound."""
        return await self._devices[1].receive()

    async def tunnel(self) -> TunnelSocket:
        """The next socket of a tunnel."""
        return await self._tunnels[1].receive()

    async def take(self, tcp: trio.SocketStream) -> None:
        """One connection."""
        stream: trio.abc.Stream = tcp
        if self.tls is not None:
            stream = trio.SSLStream(tcp, self.tls, server_side=True, https_compatible=True)
        async with stream, open_plain_nursery() as nursery:
            wire = _Coalescing(stream)
            request = await trio_websocket.wrap_server_stream(nursery, wire)
            with suppress(trio_websocket.ConnectionClosed):
                await self._answer(request, wire)
            nursery.cancel_scope.cancel()

    async def _answer(self, request: Any, wire: _Coalescing) -> None:
        headers = {name.decode().lower(): value.decode() for name, value in request.headers}
        headers["subprotocols"] = ",".join(request.proposed_subprotocols)
        self.attempts += 1
        if request.proposed_subprotocols and self.rejects_subprotocols:
            await request.reject(400, body=b"unknown subprotocol")
        elif request.path == "/Thingworx/WS":
            await self._main(headers, await request.accept())
        elif self.refuses_tunnels:
            await request.reject(404)
        else:
            wire.hold = bool(self.early)
            socket = await request.accept()
            tunnel = TunnelSocket(request.path, headers, socket)
            tunnel.pinged = wire.pinged
            if self.early:
                await tunnel.send(self.early)
            self._tunnels[0].send_nowait(tunnel)
            await tunnel.done.wait()

    async def _main(self, headers: dict[str, str], socket: Any) -> None:
        device, assembly = Device(headers, socket), Assembly()
        first = decode(await socket.get_message())
        assert isinstance(first.body, Auth)
        assert first.session_id == 0xFFFF_FFFF
        if self.silent:
            await trio.sleep_forever()
        answer = self.auth if first.body.app_key == KEY else Response(Status.UNAUTHORIZED)
        await socket.send_message(encode(first.answer(answer)._replace(session_id=SESSION)))
        try:
            with device.scope:
                await self._serve(device, socket, assembly)
        finally:
            device.over.set()

    async def _serve(self, device: Device, socket: Any, assembly: Assembly) -> None:
        while True:
            data = await socket.get_message()
            assert len(data) <= 8192
            message = assembly.receive(data, 0)
            if message is None:
                continue
            assert message.session_id == SESSION
            answer_or_none = device.take(message)
            if isinstance(message.body, Bind):
                answer_or_none = self.bind
            if answer_or_none is not None:
                await socket.send_message(encode(message.answer(answer_or_none)))
            if isinstance(message.body, Bind):
                self._devices[0].send_nowait(device)


class _Coalescing(trio.abc.Stream):
    """A connection whose next two writes can be made one segment."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._held = b""
        self.hold = False
        self.pinged = trio.Event()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.hold:
            self.hold, self._held = False, bytes(data)
            return
        data, self._held = self._held + bytes(data), b""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self._stream.receive_some(max_bytes)
        if data[:1] == b"\x89":  # RFC 6455 section 5.2: final, opcode 9
            self.pinged.set()
        return data

    async def aclose(self) -> None:
        await self._stream.aclose()


@asynccontextmanager
async def connection_server(server: ConnectionServer) -> AsyncIterator[ConnectionServer]:
    """On a port of the loopback, for the length of the block."""
    async with open_plain_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, host="127.0.0.1"), server.take, 0)
        server.port = listeners[0].socket.getsockname()[1]
        yield server
        nursery.cancel_scope.cancel()
