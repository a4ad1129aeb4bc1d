"""Our edge at a server that knows only AlwaysOn. Real sockets, and a stand-in for the server."""

from __future__ import annotations

import dataclasses
import errno
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

from edge_tunnel import (
    ConfigError,
    Edge,
    EdgeConfig,
    HttpProxy,
    LinkLost,
    LinkSettings,
    Notice,
    Secret,
    Server,
    Service,
    TlsSettings,
    TunnelSettings,
    open_edge,
)
from edge_tunnel.alwayson.messages import (
    Auth,
    Bind,
    Body,
    Characteristic,
    Entity,
    KeepAlive,
    Method,
    Request,
    Response,
    Status,
    Unknown,
)
from edge_tunnel.alwayson.text import decode_text
from edge_tunnel.alwayson.tunnels import CommandToEdge, CompleteTunnel, StartTunnel, service
from edge_tunnel.edge.alwayson import tunnels
from edge_tunnel.link.groups import open_plain_nursery
from tests.alwayson.connection_server import (
    KEY,
    ConnectionServer,
    Device,
    TunnelSocket,
    connection_server,
)

TID = "0123456789abcdef0123456789abcdef"
Serve = Callable[[trio.SocketStream], Awaitable[None]]


@asynccontextmanager
async def target(serve: Serve) -> AsyncIterator[int]:
    """A service on the loopback; its port."""

    async def one(stream: trio.SocketStream) -> None:
        async with stream:
            with suppress(trio.BrokenResourceError):  # of a reset
                await serve(stream)

    async with open_plain_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, one, [listener])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def echo(stream: trio.SocketStream) -> None:
    async for data in stream:
        await stream.send_all(data)


def config_of(server: ConnectionServer, *ports: int, **fields: Any) -> EdgeConfig:
    return EdgeConfig(
        servers=(Server(host="127.0.0.1", port=server.port),),
        app_key=fields.pop("app_key", Secret(KEY)),
        things=fields.pop("things", ("device",)),
        services=tuple(
            Service(name=f"service-{number}", host="127.0.0.1", port=port)
            for number, port in enumerate(ports)
        ),
        link=fields.pop("link", LinkSettings(encrypted=False, retry_interval=0.1)),
        **fields,
    )


class Bench:
    """An edge that is bound, and what happens to it."""

    def __init__(self, server: ConnectionServer, edge: Edge, device: Device) -> None:
        self.server = server
        self.edge = edge
        self.device = device
        self.events: list[Notice] = []
        self._changed = trio.lowlevel.ParkingLot()
        edge.notices.call(self._take)

    def _take(self, notice: Notice) -> None:
        self.events.append(notice)
        self._changed.unpark_all()

    async def event(self, name: str) -> Notice:
        """The first of this name from now on, or that has come already."""
        while True:
            for each in self.events:
                if each.event == name:
                    return each
            await self._changed.park()

    async def said(self) -> list[str]:
        """What the device has said of tunnels up to now."""
        assert (await self.device.call(service("device", "NotifyPropertyUpdate"))).ok
        return [each.command for each in self.device.commands]

    async def open(self, port: int, tid: str = TID, **more: Any) -> TunnelSocket:
        """A tunnel."""
        response = await self.device.start("device", tid, port, **more)
        assert response == Response()
        return await self.server.tunnel()


@asynccontextmanager
async def bench(*ports: int, **fields: Any) -> AsyncIterator[Bench]:
    with trio.fail_after(30):
        async with (
            connection_server(ConnectionServer()) as server,
            open_edge(config_of(server, *ports, **fields)) as edge,
        ):
            device = await server.device()
            await edge.wait_bound()
            yield Bench(server, edge, device)


# -- the main socket -------------------------------------------------------------------------------


async def test_bound() -> None:
    """AUTH, BIND with the session that the answer gave, and what the application sees."""
    async with bench(things=("pump-7", "gateway-7")) as on:
        assert on.device.bound == ["pump-7", "gateway-7"]
        assert on.edge.statistics().bound == ("gateway-7", "pump-7")
        assert on.edge.statistics().url == on.server.url


async def test_many_things() -> None:
    """1,200 names take several messages."""
    names = tuple(f"SteamSensor1-{number:04}" for number in range(1200))
    async with bench(things=names) as on:
        assert tuple(on.device.bound) == names


@pytest.mark.parametrize(
    ("protocol", "rejects", "offered"),
    [("auto", False, 1), ("auto", True, 2), ("alwayson", False, 1), ("alwayson", True, 1)],
)
async def test_what_is_offered_in_the_handshake(protocol: str, rejects: bool, offered: int) -> None:
    """Auto asks for ours first, and takes no for an answer, on the same connection or the next."""
    server = ConnectionServer()
    server.rejects_subprotocols = rejects
    with trio.fail_after(30):
        async with (
            connection_server(server),
            open_edge(config_of(server, protocol=protocol)) as edge,
        ):
            with edge.notices.subscribe() as notices:
                device = await server.device()
                said = [each async for each in _until(notices, "bound")]
    linked = next(each for each in said if each.event == "linked")
    assert linked["protocol"] == "alwayson"
    ours = "edge-tunnel.1" if protocol == "auto" and not rejects else ""
    assert device.headers["subprotocols"] == ours
    assert server.attempts == offered


async def _until(notices: trio.MemoryReceiveChannel[Notice], event: str) -> AsyncIterator[Notice]:
    async for each in notices:
        yield each
        if each.event == event:
            return


@pytest.mark.parametrize(
    "fields", [{"protocol": "edge-tunnel"}, {"end_to_end_encryption": "require"}]
)
async def test_ours_or_nothing(fields: dict[str, Any]) -> None:
    """Where only ours is allowed, or encryption between the ends, the key is not even shown."""
    server = ConnectionServer()
    link = LinkSettings(encrypted=False, retry_interval=0.1, retries=0)
    with trio.fail_after(30):
        async with connection_server(server):
            with pytest.raises(LinkLost, match="not an edge_tunnel node"):
                async with open_edge(config_of(server, link=link, **fields)):
                    await trio.sleep_forever()


async def test_alwayson_with_encryption_required() -> None:
    """They exclude each other, and that is said at once."""
    fields = {"protocol": "alwayson", "end_to_end_encryption": "require"}
    with pytest.raises(ConfigError, match="exclude each other"):
        async with open_edge(config_of(ConnectionServer(), **fields)):
            pass


async def test_a_wrong_key() -> None:
    """Refused, with a text; and tried again later, as a key may be made good."""
    with trio.fail_after(30):
        async with connection_server(ConnectionServer()) as server:
            wrong = config_of(server, app_key=Secret("wrong"))
            async with open_edge(wrong) as edge:
                with edge.notices.subscribe() as notices:
                    said = [each async for each in _until(notices, "link_refused")]
                    again = [each async for each in _until(notices, "link_refused")]
    assert "does not take this application key" in str(said[-1]["reason"])
    assert "wrong" not in str([*said, *again])


async def test_a_bind_that_is_refused() -> None:
    """By a server in which an old connection still holds the name: said, and asked again."""
    server = ConnectionServer()
    server.bind = Response(Status.CONFLICT, "already bound")
    with trio.fail_after(30):
        async with connection_server(server), open_edge(config_of(server)) as edge:
            with edge.notices.subscribe() as notices:
                said = [each async for each in _until(notices, "link_lost")]
                server.bind = Response()
                await edge.wait_bound()
    assert any(each.event == "bind_refused" and each["reason"] == "already bound" for each in said)
    assert "already bound" in str(said[-1]["reason"])


async def test_a_server_that_says_nothing() -> None:
    """It may be any WebSocket server: the line says what was asked."""
    server = ConnectionServer()
    server.silent = True
    link = LinkSettings(encrypted=False, connect_timeout=0.3, retries=0)
    with trio.fail_after(30):
        async with connection_server(server):
            with pytest.raises(LinkLost, match="no answer to AUTH"):
                async with open_edge(config_of(server, link=link)):
                    await trio.sleep_forever()


@pytest.mark.slow
async def test_a_silent_server_is_pinged_and_missed() -> None:
    """A half-open connection: no pong comes, and the edge dials again."""
    link = LinkSettings(encrypted=False, ping_interval=0.1, ping_timeout=0.3, retry_interval=0.1)
    async with bench(link=link) as on:
        await trio.sleep(0.5)  # pinged, answered: still there
        assert not on.events
        on.device.socket._stream_lock.acquire_nowait()  # it writes nothing any more
        lost = await on.event("link_lost")
        assert "silent for 0.4 s" in str(lost["reason"])
        assert (await on.server.device()).bound == ["device"]


async def test_a_lost_main_socket_costs_no_tunnel() -> None:
    """It is dialled again, bound again, and the tunnel goes on meanwhile."""
    async with target(echo) as port, bench(port) as on:
        tunnel = await on.open(port)
        on.device.scope.cancel()
        await on.event("link_lost")
        device = await on.server.device()
        assert device.bound == ["device"]
        await tunnel.send(b"still here")
        assert await tunnel.receive(10) == b"still here"
        assert (await device.start("device", "another", port)).ok


async def test_leaving() -> None:
    """Tunnels first, then UNBIND, then a closing handshake."""
    with trio.fail_after(30):
        async with (
            target(echo) as port,
            connection_server(ConnectionServer()) as server,
            open_plain_nursery() as nursery,
        ):
            async with open_edge(config_of(server, port)):
                device = await server.device()
                assert (await device.start("device", TID, port)).ok
                tunnel = await server.tunnel()
                await tunnel.send(b"x")
                assert await tunnel.receive(1) == b"x"
                nursery.start_soon(_closed_by, tunnel, 1001)
            await device.wait_for(lambda: device.unbound == ["device"])
            await device.over.wait()
            assert device.socket.closed.code == 1000


async def _closed_by(tunnel: TunnelSocket, code: int) -> None:
    assert (await tunnel.closed())[0] == code


# -- what a server asks ----------------------------------------------------------------------------

THING = Entity(10, "device")
QUESTIONS: dict[str, tuple[Body, Response]] = {
    "a service that we do not have": (
        service("device", "NoSuchService"),
        Response(0x84, "Service [NoSuchService] Does Not Exist On Thing [device]"),
    ),
    "a property": (
        Request(Method.GET, THING, Characteristic.PROPERTY, "p"),
        Response(0x84, "Property [p] Does Not Exist On Thing [device]"),
    ),
    "another thing": (
        service("other", "StartTunnel"),
        Response(0x84, "Thing [other] Does Not Exist"),
    ),
    "properties, once": (service("device", "NotifyPropertyUpdate"), Response()),
    "a tunnel without arguments": (
        service("device", "StartTunnel"),
        Response(0xA0, "StartTunnel: connection is missing, or no text"),
    ),
    "the end of no tunnel": (
        CompleteTunnel("none", "alice").request("device"),
        Response(0x80, "there is no such tunnel"),
    ),
    "a command for no tunnel": (
        CommandToEdge("none", "CONNECT").request("device"),
        Response(0x80, "there is no such tunnel"),
    ),
    "a method that nobody knows": (Unknown(0x15, b""), Response(0x85)),
    "a bind": (Bind(("device",)), Response(0x85)),
}


async def test_questions() -> None:
    """Each gets its answer, with the ids of the question; and none ends the socket."""
    async with bench(1) as on:
        for name, (question, answer) in QUESTIONS.items():
            assert await on.device.call(question) == answer, name


async def test_what_c_clients_do_not() -> None:
    """Pings are answered, on both sockets; zero bytes behind a message are overlooked."""
    async with target(echo) as port, bench(port) as on:
        await on.device.socket.ping(b"main")
        start = StartTunnel(TID, "127.0.0.1", port).request("device")
        assert await on.device.call(start, pad=40) == Response()
        tunnel = await on.server.tunnel()
        await tunnel.socket.ping()
        for headers in (on.device.headers, tunnel.headers):
            assert "sec-websocket-extensions" not in headers


async def test_messages_that_are_no_good() -> None:
    """A bad request is answered, a keep-alive is not, and what is no message ends the socket."""
    async with bench(1) as on:
        response = await on.device.call(service("device", "x"), cut=-2)
        assert response.status == Status.BAD_REQUEST
        await on.device.socket.send_message(bytes.fromhex("011f00000001000000000000123400"))
        await on.device.socket.send_message("a text")
        assert await on.device.call(service("device", "NotifyPropertyUpdate")) == Response()
        await on.device.socket.send_message(b"\x07garbage, and long enough")
        lost = await on.event("link_lost")
        assert "no AlwaysOn message: version 7" in str(lost["reason"])
        await on.server.device()


async def test_hostile_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a server says is quoted in answers, lines and closing handshakes: made fit for each."""
    monkeypatch.setattr(tunnels, "_COMPLETED", 0.1)
    long, odd = "x" * 200_000, "\ud800\x1b[2J"
    async with target(echo) as port, bench(port) as on:
        for text in (long, odd):
            response = await on.device.start("device", TID, port, host=text)
            assert response.status == Status.FORBIDDEN
            assert len(response.why) < 400
        response = await on.device.call(service("device", long))
        assert len(response.why) <= 300
        tunnel = await on.open(port)
        assert (
            await on.device.call(CompleteTunnel(TID, "p", odd + "é" * 500).request("device"))
        ).ok
        code, text = await tunnel.closed()
        assert (code, text[:30]) == (1011, "the server ended the tunnel: ·")
        await on.event("tunnel_closed")
        assert max(len(str(each.data)) for each in on.events) < 1000
        assert not any("\x1b" in str(each["reason"]) for each in on.events if "reason" in each.data)


# -- tunnels ---------------------------------------------------------------------------------------


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


async def test_the_end_of_the_service() -> None:
    """An EOF: the rest of the bytes, then 1000. C devices say nothing, Java devices just vanish."""

    async def serve(stream: trio.SocketStream) -> None:
        await stream.send_all(b"last words")

    async with target(serve) as port, bench(port) as on:
        tunnel = await on.open(port)
        assert await tunnel.receive(10) == b"last words"
        assert await tunnel.closed() == (1000, "the service ended the connection")
        closed = await on.event("tunnel_closed")
        assert closed["reason"] == "the service ended the connection"
        assert await on.said() == []
        assert on.edge.statistics().tunnels == 0


async def test_a_reset_of_the_service() -> None:
    """It does not look like an end: 1011, and DISCONNECT once, where C devices say it for ever."""

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some(1)
        linger = struct.pack("ii", 1, 0)
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async with target(serve) as port, bench(port) as on:
        tunnel = await on.open(port)
        await tunnel.send(b"x")
        assert await tunnel.closed() == (1011, "the service reset the connection")
        await on.event("tunnel_closed")
        assert await on.said() == ["DISCONNECT"]


class Ends:
    """A service that remembers how its connection ended."""

    def __init__(self) -> None:
        self.data = b""
        self.began = trio.Event()
        self.how = ""
        self.ended = trio.Event()

    async def serve(self, stream: trio.SocketStream) -> None:
        try:
            async for data in stream:
                self.data += data
                self.began.set()
            self.how = "EOF"
        except trio.BrokenResourceError as error:
            cause = error.__cause__
            assert isinstance(cause, OSError)
            self.how = errno.errorcode[cause.errno or 0]
        self.ended.set()


@pytest.mark.parametrize(
    ("code", "how"), [(1000, "EOF"), (1001, "ECONNRESET"), (1011, "ECONNRESET")]
)
async def test_the_server_closes(code: int, how: str) -> None:
    """The user's end is the service's EOF, after all bytes; anything else is a reset."""
    ends = Ends()
    async with target(ends.serve) as port, bench(port) as on:
        tunnel = await on.open(port)
        await tunnel.send(b"x" * 100_000)
        await tunnel.close(code)
        await ends.ended.wait()
        assert ends.how == how
        assert how != "EOF" or len(ends.data) == 100_000
        await on.event("tunnel_closed")
        assert await on.said() == []


async def test_the_server_dies() -> None:
    """A connection that breaks is no end: the service sees a reset."""
    ends = Ends()
    async with target(ends.serve) as port, bench(port) as on:
        tunnel = await on.open(port)
        await tunnel.send(b"half a file")
        await ends.began.wait()
        tunnel.cut()
        await ends.ended.wait()
        assert ends.how == "ECONNRESET"


async def test_the_users_end_leaves_a_talking_service_in_peace() -> None:
    """A service with something still to say reads all that came before the user's end."""
    ends = Ends()

    async def serve(stream: trio.SocketStream) -> None:
        await stream.send_all(b"y" * 300_000)
        await ends.serve(stream)

    async with target(serve) as port, bench(port) as on:
        tunnel = await on.open(port)
        await tunnel.send(b"x" * 100_000)
        await tunnel.close()
        await ends.ended.wait()
        assert (ends.how, len(ends.data)) == ("EOF", 100_000)


async def test_a_service_that_never_ends_is_not_heard_out() -> None:
    """A camera, when its user has left: it is cut off after a MiB, not read for ten seconds."""
    sent, over = 0, trio.Event()

    async def camera(stream: trio.SocketStream) -> None:
        nonlocal sent
        try:
            while True:
                await stream.send_all(b"y" * 65_536)
                sent += 65_536
        except trio.BrokenResourceError:
            over.set()

    async with target(camera) as port, bench(port) as on:
        tunnel = await on.open(port)
        await tunnel.receive(6000)
        await tunnel.close()
        await over.wait()
        assert sent < 64 * 2**20, "more than a MiB and what sockets hold"


async def test_a_tunnels_socket_begins_with_a_ping() -> None:
    """A server of ours waits for a word before it passes on what the user says."""
    async with target(echo) as port, bench(port) as on:
        tunnel = await on.open(port)
        await tunnel.pinged.wait()
        await tunnel.send(b"x")
        assert await tunnel.receive(1) == b"x"


async def test_complete_tunnel_does_not_overtake_bytes() -> None:
    """It comes on another socket than the bytes: these are delivered all the same."""
    ends = Ends()
    gate = trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        await gate.wait()
        await ends.serve(stream)

    async with target(serve) as port, bench(port) as on:
        tunnel = await on.open(port)
        done = CompleteTunnel(TID, "alice", "done").request("device")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tunnel.send, b"x" * 100_000)
            assert await on.device.call(done) == Response()
            gate.set()
        await tunnel.close()
        await ends.ended.wait()
        assert (ends.how, len(ends.data)) == ("EOF", 100_000)


@pytest.mark.slow
async def test_a_complete_tunnel_that_is_not_closed() -> None:
    """After a while the device closes it; the service sees a reset, for nobody said EOF."""
    ends = Ends()
    async with target(ends.serve) as port, bench(port) as on:
        tunnel = await on.open(port)
        assert (await on.device.call(CompleteTunnel(TID, "alice").request("device"))).ok
        assert (await tunnel.closed())[0] == 1011
        await ends.ended.wait()
        assert ends.how == "ECONNRESET"


@pytest.mark.parametrize(
    ("more", "status", "text"),
    [
        ({"host": "192.0.2.1"}, 0x83, "the device does not offer 192.0.2.1:"),
        ({"port": 1}, 0x83, "the device does not offer 127.0.0.1:1"),
        ({"type": "udp"}, 0xA0, "udp are not supported"),
        ({"type": "file"}, 0xA0, "file are not supported"),
    ],
)
async def test_what_is_not_offered(more: dict[str, Any], status: int, text: str) -> None:
    """The device's list is the last word, whatever a server asks for."""
    async with target(echo) as port, bench(port) as on:
        response = await on.device.start("device", TID, more.pop("port", port), **more)
        assert response.status == status
        assert text in response.why
        refused = await on.event("stream_refused")
        assert text in str(refused["reason"])
        assert on.edge.statistics().tunnels == 0


async def test_the_list_knows_an_address_by_its_other_spelling() -> None:
    """A tunnel definition says localhost, the list 127.0.0.1; nothing is looked up for it."""
    async with target(echo) as port, bench(port) as on:
        tunnel = await on.open(port, host="localhost")
        await tunnel.send(b"x")
        assert await tunnel.receive(1) == b"x"


async def test_without_a_list_only_this_machine() -> None:
    """As with services that a policy names."""
    async with target(echo) as port, bench() as on:
        response = await on.device.start("device", "other", 80, host="192.0.2.1")
        assert response.status == Status.FORBIDDEN
        response = await on.device.start("device", "name", port, host="localhost.example.com")
        assert response.status == Status.FORBIDDEN
        tunnel = await on.open(port)
        await tunnel.send(b"x")
        assert await tunnel.receive(1) == b"x"


async def test_a_service_that_refuses() -> None:
    """The user hears it at once: the answer to StartTunnel says it, and no socket is opened."""
    async with target(echo) as port:
        pass
    async with bench(port) as on:
        response = await on.device.start("device", TID, port)
        assert response == Response(0xA2, f"127.0.0.1:{port} refused the connection")
        assert on.server.attempts == 1
        assert (await on.event("tunnel_closed"))["reason"] == response.reason


async def test_a_bug_met_by_one_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends that tunnel, with an answer, and nothing else."""

    async def broken(*_: object) -> None:
        raise ValueError("a bug")

    async with target(echo) as port, bench(port) as on:
        with monkeypatch.context() as patch:
            patch.setattr(tunnels, "connect_service", broken)
            response = await on.device.start("device", "t1", port)
        assert response == Response(Status.INTERNAL_ERROR, "internal error: ValueError")
        tunnel = await on.open(port)
        await tunnel.send(b"x")
        assert await tunnel.receive(1) == b"x"


@pytest.mark.slow
async def test_a_service_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The request is answered after a moment all the same; the end of it is told as a command."""
    monkeypatch.setattr(tunnels, "_CONNECT_TIMEOUT", 3.0)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):  # its queue is full
            async with bench(port) as on:
                assert await on.device.start("device", TID, port) == Response()
                closed = await on.event("tunnel_closed")
                assert "did not answer within 3 s" in str(closed["reason"])
                assert await on.said() == ["DISCONNECT", "CANCEL"]


async def test_a_server_without_a_socket_for_the_tunnel() -> None:
    """It said StartTunnel and refuses the socket: CANCEL, and the service is dropped."""
    ends = Ends()
    async with target(ends.serve) as port, bench(port) as on:
        on.server.refuses_tunnels = True
        assert (await on.device.start("device", TID, port)).ok
        await on.event("tunnel_closed")
        assert await on.said() == ["CANCEL"]
        await ends.ended.wait()
        assert "404" in str((await on.event("tunnel_closed"))["reason"])


async def test_a_tid_that_came_already() -> None:
    """A yes, and nothing more, as C devices do; Java devices open a second socket."""
    async with target(echo) as port, bench(port) as on:
        tunnel = await on.open(port)
        assert (await on.device.start("device", TID, port)).ok
        await tunnel.send(b"x")
        assert await tunnel.receive(1) == b"x"
        assert on.edge.statistics().streams_opened == 1


async def test_a_tid_is_no_path() -> None:
    """Whatever is in it, it stays one segment of the path, and no tunnel elsewhere."""
    async with target(echo) as port, bench(port) as on:
        tunnel = await on.open(port, "../WS?x#y")
        assert tunnel.tid == "..%2FWS%3Fx%23y"


async def test_a_limit() -> None:
    """tunnel.max_concurrent, which the original never honoured."""
    async with (
        target(echo) as port,
        bench(port, tunnel=TunnelSettings(max_concurrent=1)) as on,
    ):
        tunnel = await on.open(port)
        response = await on.device.start("device", "second", port)
        assert response.status == Status.UNAVAILABLE
        await tunnel.close()
        await on.event("tunnel_closed")
        assert (await on.device.start("device", "third", port)).ok


@pytest.mark.parametrize("ours", [True, False])
async def test_idle(ours: bool) -> None:
    """The shorter of the two times; bytes of either way count. C devices count one way only."""
    settings = TunnelSettings(idle_timeout=0.3 if ours else None)
    theirs = 60_000 if ours else 300
    async with target(echo) as port, bench(port, tunnel=settings) as on:
        tunnel = await on.open(port, idle_timeout=theirs)
        assert await tunnel.closed() == (1011, "no byte either way for 0.3 s")
        await on.event("tunnel_closed")
        assert await on.said() == ["CANCEL"]


async def test_a_one_way_stream_is_not_idle() -> None:
    """An upload to the device, for longer than the time: nothing comes back, and it goes on."""
    ends = Ends()
    async with target(ends.serve) as port, bench(port) as on:
        tunnel = await on.open(port, idle_timeout=300)
        for _ in range(12):
            await tunnel.send(b"x")
            await trio.sleep(0.05)
        await tunnel.close()
        await ends.ended.wait()
        assert (ends.how, ends.data) == ("EOF", b"x" * 12)


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


# -- another configuration -------------------------------------------------------------------------


async def test_what_is_taken_off_the_list_ends() -> None:
    """At once, with a reset on both sides; what stays on it goes on."""
    async with target(echo) as one, target(echo) as two, bench(one, two) as on:
        gone, stays = await on.open(one, "one"), await on.open(two, "two")
        on.edge.reconfigure(config_of(on.server, two))
        assert await gone.closed() == (1011, "the device offers it no longer")
        await stays.send(b"x")
        assert await stays.receive(1) == b"x"


async def test_other_things() -> None:
    """Bound and unbound on the same socket."""
    async with bench() as on:
        on.edge.reconfigure(config_of(on.server, things=("new",)))
        await on.edge.wait_bound()
        assert on.device.bound == ["device", "new"]
        assert on.device.unbound == ["device"]
        assert on.edge.statistics().bound == ("new",)
        assert (await on.device.call(service("device", "x"))).why == "Thing [device] Does Not Exist"


async def test_another_server() -> None:
    """It is left for the new one; tunnels go on where they are."""
    async with target(echo) as port, bench(port) as on:
        tunnel = await on.open(port)
        async with connection_server(ConnectionServer()) as other:
            on.edge.reconfigure(config_of(other, port))
            assert (await other.device()).bound == ["device"]
            await on.edge.wait_bound()
            assert on.edge.statistics().url == other.url
            assert (await on.event("link_lost"))["reason"] == "the endpoint was configured anew"
            await tunnel.send(b"x")
            assert await tunnel.receive(1) == b"x"


async def test_a_configuration_that_cannot_be() -> None:
    """Nothing changes."""
    async with bench() as on:
        bad = dataclasses.replace(
            on.edge.config, protocol="alwayson", end_to_end_encryption="require"
        )
        with pytest.raises(ConfigError):
            on.edge.reconfigure(bad)
        assert on.edge.statistics().bound == ("device",)


def test_auth_shows_no_key() -> None:
    """In whatever is printed of it."""
    assert KEY not in repr(Auth((("appKey", KEY),)))
    assert KeepAlive() == KeepAlive()
