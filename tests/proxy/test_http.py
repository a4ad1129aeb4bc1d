"""proxy/http.py: what a balancer asks, on the port of the WebSocket, and hostile requests."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from ipaddress import ip_network

import pytest
import trio
import trio.testing

from edge_tunnel import DevelopmentKey, Node, NodeSettings
from edge_tunnel.link.splice import reset_socket
from edge_tunnel.proxy.api import ApiAnswer, ApiRequest
from edge_tunnel.proxy.http import answer_http
from edge_tunnel.testing.wire import WireStream, wire_pair

UPGRADE = b"GET /Thingworx/WS HTTP/1.1\r\nHost: n\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
PROTOCOL = b"Sec-WebSocket-Protocol: edge-tunnel.1\r\n"
KEYS = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" + PROTOCOL


@asynccontextmanager
async def visiting(node: Node, peer: str = "a test") -> AsyncIterator[WireStream]:
    """A connection to the node."""
    near, far = wire_pair()
    with trio.fail_after(500):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(node.take, far, peer))
            yield near
            nursery.cancel_scope.cancel()


def make_node(**settings: float) -> Node:
    return Node(NodeSettings(**settings), DevelopmentKey("k"))  # type: ignore[arg-type]


async def everything(stream: WireStream) -> bytes:
    data = b""
    try:
        while part := await stream.receive_some():
            data += part
    except trio.BrokenResourceError:
        pass
    return data


async def ask(node: Node, request: bytes) -> tuple[int, bytes]:
    """The status and the body of the whole answer."""
    async with visiting(node) as stream:
        await stream.send_all(request)
        answer = await everything(stream)
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def get(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: node\r\n\r\n".encode()


async def test_health_and_ready(autojump_clock: trio.testing.MockClock) -> None:
    """Both say 200 with their state; a node that drains is alive and not ready."""
    node = make_node()
    assert await ask(node, get("/health")) == (200, b"ok\n")
    assert await ask(node, get("/ready")) == (200, b"ok\n")
    assert await ask(node, get("/ready?from=balancer", "HEAD")) == (200, b"")
    assert await ask(node, b"GET /ready HTTP/1.0\r\n\r\n") == (200, b"ok\n")
    node.draining = True
    assert await ask(node, get("/health")) == (200, b"ok\n")
    assert await ask(node, get("/ready")) == (503, b"the node is shutting down\n")
    assert await ask(node, get("/ready?busy=404")) == (404, b"the node is shutting down\n")
    assert await ask(node, UPGRADE + KEYS + b"\r\n") == (503, b"the node is shutting down\n")


async def test_a_full_node_is_not_ready(autojump_clock: trio.testing.MockClock) -> None:
    """At its limit of links a node says so."""
    status, body = await ask(make_node(max_links=0), get("/ready"))
    assert status == 503
    assert b"0 links" in body


async def test_places_behind_a_balancer_are_of_those_it_comes_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The balancer has as many as it likes; who has his already is told so, whatever he asks."""
    balancer = (ip_network("10.0.0.7"),)
    settings = NodeSettings(max_unauthenticated_per_source=1, trusted_proxies=balancer)
    node = Node(settings, DevelopmentKey("k"))

    def request(start: bytes, source: bytes) -> bytes:
        return start + b"X-Forwarded-For: %b\r\n" % source + KEYS + b"\r\n"

    async with visiting(node, "10.0.0.7:1") as first, visiting(node, "10.0.0.7:2") as second:
        await first.send_all(request(UPGRADE, b"192.0.2.1"))
        assert (await first.receive_some()).startswith(b"HTTP/1.1 101 ")
        for start in (UPGRADE, b"GET /health HTTP/1.1\r\nHost: n\r\n"):
            async with visiting(node, "10.0.0.7:3") as third:
                await third.send_all(request(start, b"192.0.2.1"))
                assert (await everything(third)).startswith(b"HTTP/1.1 429 ")
        await second.send_all(request(UPGRADE, b"192.0.2.2"))
        assert (await second.receive_some()).startswith(b"HTTP/1.1 101 ")
        assert node.strangers.count == 2
    assert node.strangers.count == len(node.strangers.sources) == 0


@pytest.mark.parametrize("cut", [1, 7, 1000])
async def test_a_websocket_goes_on(autojump_clock: trio.testing.MockClock, cut: int) -> None:
    """A request for a WebSocket gets one, however its bytes arrive."""
    async with visiting(make_node()) as stream:
        request = UPGRADE + KEYS + b"\r\n"
        for start in range(0, len(request), cut):
            await stream.send_all(request[start : start + cut])
            await trio.testing.wait_all_tasks_blocked()
        answer = await stream.receive_some()
        assert answer.startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/"), 404),
        (get("/health/x"), 404),
        (get("*", "OPTIONS"), 404),
        (get("/health", "POST"), 405),
        (UPGRADE.replace(b"GET", b"POST") + KEYS + b"\r\n", 404),  # no WebSocket, and no waiting
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n", 400),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET /" + b"a" * 70_000, 431),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000, 431),
        (b"GET / HTTP/1.1\r\nHost: n\r\nContent-Length: -1\r\n\r\n", 400),
    ],
)
async def test_anything_else(
    autojump_clock: trio.testing.MockClock, request_: bytes, status: int
) -> None:
    """Whatever else comes gets a short clear answer, and the connection is closed."""
    node = make_node()
    async with visiting(node) as stream:
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                with suppress(trio.BrokenResourceError):  # it does not read a flood to its end
                    await stream.send_all(request_)

            nursery.start_soon(send)
            answer = await everything(stream)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert len(answer) < 500
    assert node.strangers.count == 0


@pytest.mark.parametrize("part", [b"", b"G", b"GET /health HTTP/1.1\r\nHost: a\r\nX-"])
async def test_a_slow_request(autojump_clock: trio.testing.MockClock, part: bytes) -> None:
    """Headers that trickle do not hold a place for longer than the handshake timeout."""
    node = make_node(handshake_timeout=5)
    async with visiting(node) as stream:
        start = trio.current_time()

        async def trickle() -> None:
            try:
                await stream.send_all(part)
                while True:
                    await trio.sleep(1)
                    await stream.send_all(b"x")
            except trio.BrokenResourceError:
                pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trickle)
            answer = await everything(stream)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert trio.current_time() - start == pytest.approx(5, abs=2)
    assert node.strangers.count == 0


async def test_how_a_body_comes_costs_no_memory(autojump_clock: trio.testing.MockClock) -> None:
    """A chunk of one byte may have 15 KB of extensions: strangers send them, nobody holds them."""

    async def act(question: ApiRequest) -> ApiAnswer:
        return ApiAnswer(200, {"bytes": len(question.body)})

    near, far = wire_pair()
    tracemalloc.start()
    with trio.fail_after(500):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(answer_http, far, 400.0, lambda: None, act=act))
            head = b"POST /api/v1/keys HTTP/1.1\r\nHost: n\r\nTransfer-Encoding: chunked\r\n\r\n"
            await near.send_all(head)
            for _ in range(1000):
                await near.send_all(b"1;" + b"x" * 15_000 + b"\r\na\r\n")
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            await near.send_all(b"0\r\n\r\n")
            assert b'{"bytes": 1000}' in await everything(near)
    assert peak < 4 * 1024 * 1024


async def test_a_visitor_that_leaves(autojump_clock: trio.testing.MockClock) -> None:
    """The end of a connection in the middle of a request, clean or not, ends nothing else."""
    node = make_node()
    for leave in ("close", "cut"):
        async with visiting(node) as stream:
            await stream.send_all(b"GET /hea")
            if leave == "cut":
                stream.cut()
            else:
                await stream.aclose()
            await trio.sleep(0.1)
            assert node.strangers.count == 0


async def test_resets_do_not_end_the_server() -> None:
    """100 connections reset before, in and after their request: the node answers the next one."""
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            node = make_node()
            listeners = await nursery.start(node.serve, "127.0.0.1", 0)
            port = listeners[0].socket.getsockname()[1]
            for number in range(100):
                sock = await trio.open_tcp_stream("127.0.0.1", port)
                await sock.send_all((UPGRADE + KEYS + b"\r\n", b"", get("/health"))[number % 3])
                reset_socket(sock)
            async with await trio.open_tcp_stream("127.0.0.1", port) as sock:
                await sock.send_all(get("/health"))
                assert (await sock.receive_some()).startswith(b"HTTP/1.1 200 ")
            nursery.cancel_scope.cancel()
