"""A ThingWorx device in memory, with the manners of the real ones: C SDK, Java SDK, our own edge.

What it does on the wire is what was observed of real clients; `tests/vectors/alwayson.json` has the
bytes. It fails when the server does what would have hurt a real one.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Message,
    Ping,
    Pong,
    RejectConnection,
    TextMessage,
)
from wsproto.events import (
    Request as UpgradeRequest,
)
from wsproto.utilities import LocalProtocolError

from edge_tunnel.alwayson.messages import (
    NO_SESSION,
    SUCCESS,
    Bind,
    Request,
    Response,
    Status,
    Unbind,
    auth,
)
from edge_tunnel.alwayson.messages import (
    Message as Said,
)
from edge_tunnel.alwayson.multipart import MAX_FRAME, Assembly, encode_parts
from edge_tunnel.alwayson.text import ALL_SENT
from edge_tunnel.alwayson.tunnels import (
    CommandFromEdge,
    CompleteTunnel,
    StartTunnel,
    tunnel_request,
)
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.testing.wire import WireStream, wire_pair

MAX_TEXT = 8192
"""Characters of a tunnel message: beyond it Java drops the tunnel, and C corrupts its heap."""

Target = Callable[[WireStream], Awaitable[object]]


class Refused(Exception):
    """The server did not make it a WebSocket."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Socket:
    """A client's WebSocket. It never answers a ping: C devices do not."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.client = WSConnection(ConnectionType.CLIENT)
        self.answer_head = b""
        self.pongs: list[bytes] = []
        self.closed: CloseConnection | None = None
        self._sending = trio.Lock()
        self._messages: deque[str | bytes] = deque()
        self._parts: list[str | bytes] = []

    async def open(
        self, path: str, headers: Iterable[tuple[str, str]] = (), subprotocols: Iterable[str] = ()
    ) -> None:
        named = [(name.encode(), value.encode()) for name, value in headers]
        request = UpgradeRequest(
            host="node", target=path, extra_headers=named, subprotocols=list(subprotocols)
        )
        await self.stream.send_all(self.client.send(request))
        while True:
            data = await self.stream.receive_some()
            self.answer_head += data
            self.client.receive_data(bytes(data) or None)
            for event in self.client.events():
                if isinstance(event, AcceptConnection):
                    glued = self.answer_head.partition(b"\r\n\r\n")[2]
                    assert not glued, "a C device throws away what comes with the 101"
                    return
                if isinstance(event, RejectConnection):
                    raise Refused(event.status_code)
            if not data:
                raise Refused(0)

    async def send(self, data: str | bytes) -> None:
        event = TextMessage(data) if isinstance(data, str) else BytesMessage(data)
        async with self._sending:
            try:
                data_out = self.client.send(event)
            except LocalProtocolError:  # the server has said that it closes
                raise trio.BrokenResourceError from None
            await self.stream.send_all(data_out)

    async def ping(self, payload: bytes = b"07:27:02") -> None:
        async with self._sending:
            await self.stream.send_all(self.client.send(Ping(payload)))

    async def receive(self) -> str | bytes | None:
        """The next message; None: the server has closed."""
        while not self._messages:
            if self.closed is not None:
                return None
            try:
                data = await self.stream.receive_some()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return None
            if not data:
                return None
            self.client.receive_data(bytes(data))
            for event in self.client.events():
                self._take(event)
        return self._messages.popleft()

    def _take(self, event: object) -> None:
        assert not isinstance(event, Ping), "a server must not count on pings: C never answers"
        if isinstance(event, Message):
            self._parts.append(event.data)
            if event.message_finished:
                empty = "" if isinstance(event, TextMessage) else b""
                self._messages.append(empty.join(self._parts))  # type: ignore[arg-type]
                self._parts = []
        elif isinstance(event, Pong):
            self.pongs.append(bytes(event.payload))
        elif isinstance(event, CloseConnection):
            self.closed = event

    async def close(self, code: int, reason: str) -> None:
        event = CloseConnection(code=code, reason=reason)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError, LocalProtocolError):
            await self.stream.send_all(self.client.send(event))
        await self.stream.aclose()

    def cut(self) -> None:
        """As the network does it, or a process that is killed."""
        assert isinstance(self.stream, WireStream)
        self.stream.cut()


class Device:
    """One device. `run` is its whole life; `say` and the rest are for tests that want more."""

    def __init__(
        self,
        connect: Callable[[], trio.abc.Stream],
        nursery: trio.Nursery,
        *things: str,
        key: str,
        style: str = "c",
        targets: dict[int, Target] | None = None,
    ) -> None:
        """`connect` opens a connection to the node; `style`: c, java or ours; targets by port.

        Tunnels live in `nursery`: they outlive the main socket.
        """
        self.connect = connect
        self.things = things
        self.key = key
        self.style = style
        self.targets = targets or {}
        self.main: Socket | None = None
        self.bound = trio.Event()
        self.requests: list[Request] = []
        self.responses: dict[int, Response] = {}
        self.starts: list[StartTunnel] = []
        self.completed: list[CompleteTunnel] = []
        self.sockets: dict[str, Socket] = {}
        self.refused: list[int] = []
        self.largest = 0  # bytes of a frame on the main socket
        self.pings = True
        self.dials = True  # whether it opens tunnel sockets at all
        self.answers: Callable[[Request], Response] = lambda _request: SUCCESS
        self._assembly = Assembly()
        self._session = NO_SESSION
        self._last = 0
        self._changed = trio.lowlevel.ParkingLot()
        self._nursery = nursery

    # -- the main socket

    async def run(self) -> None:
        """Until the server closes the main socket, or this is cancelled."""
        async with trio.open_nursery() as nursery:
            await self.log_in()
            for thing in self.things:
                response = await self.ask(Bind((thing,)))
                assert response.ok, response.why
            self.bound.set()
            nursery.start_soon(self._keep_alive)
            while await self.listen():
                pass
            nursery.cancel_scope.cancel()

    async def _keep_alive(self) -> None:
        """As both SDKs: without a pong within 10 s the connection is given up."""
        assert self.main is not None
        pings = 0
        while self.pings:
            try:
                await self.main.ping()
            except (trio.BrokenResourceError, trio.ClosedResourceError, LocalProtocolError):
                return
            pings += 1
            await trio.sleep(10)
            assert len(self.main.pongs) == pings, "Normal Close Pong timeout"
            await trio.sleep(45)

    async def log_in(self) -> None:
        self.main = Socket(self.connect())
        headers = [("appKey", self.key), ("Max-Frame-Size", "8192")] if self.style == "c" else []
        await self.main.open("/Thingworx/WS", headers)
        answer = await self.ask(auth(self.key))
        if not answer.ok:
            raise PermissionError(f"{answer.status:#x} {answer.why}")

    async def say(self, message: Said) -> None:
        assert self.main is not None
        parts = encode_parts(message)
        padding = bytes(8) if self.style == "c" and len(parts) == 1 else b""
        for part in parts:
            await self.main.send(part + padding)

    async def ask(self, body: object) -> Response:
        """Say it, and wait for the answer, which a device waits 10 s for."""
        self._last += 1
        number = self._last
        await self.say(Said(body, number, self._session))  # type: ignore[arg-type]
        with trio.fail_after(10):
            while number not in self.responses:
                if self.bound.is_set():  # `run` listens
                    await self._changed.park()
                else:
                    assert await self.listen(), "the server closed instead of answering"
        return self.responses.pop(number)

    async def listen(self) -> bool:
        """Take one message; False: the server has closed."""
        assert self.main is not None
        data = await self.main.receive()
        if data is None:
            return False
        assert isinstance(data, bytes)
        self.largest = max(self.largest, len(data))
        assert len(data) <= MAX_FRAME, "real devices drop the connection"
        message = self._assembly.receive(data, trio.current_time())
        if message is not None:
            await self._take(message)
        return True

    async def _take(self, message: Said) -> None:
        if isinstance(message.body, Response):
            if self._session == NO_SESSION:
                assert message.session_id not in (0, NO_SESSION) or not message.body.ok
                self._session = message.session_id
            self.responses[message.request_id] = message.body
            self._changed.unpark_all()
            return
        assert isinstance(message.body, Request)
        self.requests.append(message.body)
        response = self.answers(message.body)
        await self.say(message.answer(response))
        asked = tunnel_request(message.body)
        if isinstance(asked, StartTunnel) and response.ok:
            self._start(asked)
        elif isinstance(asked, CompleteTunnel):
            self.completed.append(asked)
            self._changed.unpark_all()
            await self._on_complete(asked)

    async def _on_complete(self, asked: CompleteTunnel) -> None:
        socket = self.sockets.pop(asked.tid, None)
        if self.style == "c" and self.things:
            await self.command(asked.tid, "CANCEL")
        if socket is not None:
            await socket.close(1000, "Normal Close Tunnel stopped by edge")

    async def command(self, tid: str, command: str) -> None:
        """Without waiting for the answer."""
        self._last += 1
        request = CommandFromEdge(tid, command).request(self.things[0])
        await self.say(Said(request, self._last, self._session))

    async def unbind(self, *things: str) -> Response:
        return await self.ask(Unbind(things))

    async def wait_completed(self, count: int) -> None:
        while len(self.completed) < count:
            await self._changed.park()

    # -- tunnels

    def _start(self, asked: StartTunnel) -> None:
        self.starts.append(asked)
        self._changed.unpark_all()
        assert asked.chunksize >= 6144, "4096 corrupts the heap of a C device"
        assert len(asked.tid) <= 64
        if self.dials:
            self._nursery.start_soon(self._tunnel, asked)

    async def wait_started(self, count: int = 1) -> StartTunnel:
        while len(self.starts) < count:
            await self._changed.park()
        return self.starts[count - 1]

    async def open_tunnel(self, tid: str, key: str | None = None) -> Socket:
        """Dial the tunnel's socket. Raises Refused."""
        socket = Socket(self.connect())
        headers = [("appKey", self.key if key is None else key), ("Max-Frame-Size", "10922")]
        await socket.open(f"/Thingworx/WSTunnelServer/{tid}", headers)
        return socket

    async def _tunnel(self, asked: StartTunnel) -> None:
        target = self.targets.get(asked.port)
        if self.style == "java" and target is None:
            return  # nothing is ever heard of it
        try:
            socket = self.sockets[asked.tid] = await self.open_tunnel(asked.tid)
        except Refused as refused:
            self.refused.append(refused.status)
            return
        if self.style == "ours":
            await socket.ping()
        if target is None:
            await self._flood(asked.tid, "DISCONNECT")
        else:
            await self._carry(asked, socket, target)

    async def _flood(self, tid: str, command: str) -> None:
        """As a C device: for ever, until it hears CompleteTunnel."""
        while tid in self.sockets:
            await self.command(tid, command)
            await trio.sleep(0.15)

    async def _carry(self, asked: StartTunnel, socket: Socket, target: Target) -> None:
        near, far = wire_pair()
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with open_plain_nursery() as nursery:
                nursery.start_soon(_serve, target, far)
                nursery.start_soon(self._to_server, asked, socket, near)
                await self._to_target(socket, near)
                nursery.cancel_scope.cancel()
        near.cut()

    async def _to_target(self, socket: Socket, near: WireStream) -> None:
        while (message := await socket.receive()) is not None:
            assert isinstance(message, str), "binary is ignored"
            assert len(message) <= MAX_TEXT
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await near.send_all(base64.b64decode(message, validate=True))

    async def _to_server(self, asked: StartTunnel, socket: Socket, near: WireStream) -> None:
        while data := await near.receive_some(asked.chunksize - 16):
            await socket.send(base64.b64encode(data).decode())
        if self.style == "java":
            await socket.stream.aclose()
        elif self.style == "ours":
            await socket.close(1000, ALL_SENT)
        # a C device does not notice that its target has closed


async def _serve(target: Target, stream: WireStream) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await target(stream)
        await stream.aclose()


NOT_FOUND = Response(Status.NOT_FOUND)
