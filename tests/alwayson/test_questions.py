"""What a server asks of our edge, and what is no good question."""

from __future__ import annotations

import pytest

from edge_tunnel.alwayson.messages import (
    Bind,
    Body,
    Characteristic,
    Entity,
    Method,
    Request,
    Response,
    Status,
    Unknown,
)
from edge_tunnel.alwayson.tunnels import CommandToEdge, CompleteTunnel, StartTunnel, service
from edge_tunnel.edge.alwayson import tunnels
from tests.alwayson.edge_bench import TID, bench, echo, target

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
