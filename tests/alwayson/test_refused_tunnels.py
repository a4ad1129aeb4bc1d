"""Tunnels that our edge does not open, or has no room for."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from edge_tunnel import (
    TunnelSettings,
)
from edge_tunnel.alwayson.messages import (
    Response,
    Status,
)
from edge_tunnel.edge.alwayson import tunnels
from tests.alwayson.edge_bench import TID, Ends, bench, echo, target


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
