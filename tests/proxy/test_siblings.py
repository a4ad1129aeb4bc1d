"""Workers that hand connections to each other: real nodes and sockets, in one process."""

from __future__ import annotations

import array
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_network
from pathlib import Path

import pytest
import trio
import trio.testing

import edge_tunnel
from edge_tunnel import DevelopmentKey, Node, NodeSettings
from edge_tunnel.link.streams import TunnelStream
from edge_tunnel.protocol.hint import HEADER
from edge_tunnel.proxy.meeting import better_places
from edge_tunnel.proxy.siblings import Siblings, new_family

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")

KEY = "k"
HOST = "127.0.0.1"
NAMES = ("a-1", "a-2")
THINGS = [f"thing-{number}" for number in range(99)]
OURS = next(each for each in THINGS if not better_places(each, None, NAMES[0], NAMES))
THEIRS = next(each for each in THINGS if better_places(each, None, NAMES[0], NAMES))


class Pair:
    """Two workers, each with a port of its own, so that a test says where a link comes to."""

    def __init__(self, **settings: object) -> None:
        family = new_family()
        self.nodes = [
            Node(
                NodeSettings(name=name, **settings),  # type: ignore[arg-type]
                DevelopmentKey(KEY),
                siblings=Siblings(family, name, NAMES),
            )
            for name in NAMES
        ]
        self.ports: list[int] = []
        self.inboxes: list[trio.CancelScope] = []

    def address(self) -> str:
        """Of the first one's inbox."""
        siblings = self.nodes[0].siblings
        assert siblings is not None
        return siblings._address(NAMES[0])

    @property
    def passed(self) -> tuple[int, int]:
        """From the first to the second, by either's count."""
        first, second = (each.siblings for each in self.nodes)
        assert first is not None and second is not None
        return first.passed, second.taken


async def in_scope(node: Node, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            await nursery.start(node.serve_siblings)
            task_status.started(scope)


@asynccontextmanager
async def pair(**settings: object) -> AsyncIterator[Pair]:
    both = Pair(**settings)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for node in both.nodes:
                both.inboxes.append(await nursery.start(in_scope, node))
                listeners = await nursery.start(node.serve, HOST, 0)
                both.ports.append(listeners[0].socket.getsockname()[1])
            yield both
            nursery.cancel_scope.cancel()


async def echo(stream: TunnelStream) -> None:
    async for data in stream:
        await stream.send_all(data)


@asynccontextmanager
async def edge(port: int, thing: str) -> AsyncIterator[edge_tunnel.Edge]:
    config = edge_tunnel.EdgeConfig(
        servers=(edge_tunnel.Server(host=HOST, port=port),),
        app_key=edge_tunnel.Secret(KEY),
        things=(thing,),
        link=edge_tunnel.LinkSettings(encrypted=False),
    )
    async with edge_tunnel.open_edge(config, {"echo": echo}) as opened:
        await opened.wait_bound()
        yield opened


def links(both: Pair) -> tuple[int, int]:
    return both.nodes[0].links, both.nodes[1].links


async def test_a_pair_meets() -> None:
    """Both come to the first worker; what belongs to the second goes there, with all its bytes."""
    async with pair() as both:
        url = f"ws://{HOST}:{both.ports[0]}"
        for thing, where in ((OURS, (2, 0)), (THEIRS, (0, 2))):
            async with (
                edge(both.ports[0], thing),
                edge_tunnel.open_remote([url], KEY, thing=thing) as remote,
                await remote.open_stream(thing, "echo") as stream,
            ):
                await stream.send_all(b"as if nothing had been")
                got = b""
                while len(got) < 22:
                    got += await stream.receive_some()
                assert got == b"as if nothing had been"
                assert links(both) == where
        assert both.passed == (2, 2)


async def test_who_names_nothing_stays() -> None:
    async with (
        pair() as both,
        edge_tunnel.open_remote([f"ws://{HOST}:{both.ports[0]}"], KEY) as remote,
        edge(both.ports[1], THEIRS),
    ):
        with pytest.raises(edge_tunnel.TunnelEnded):
            await remote.open_tunnel("nowhere", "echo")
        assert links(both) == (1, 1)


@pytest.mark.parametrize("how", ["drains", "full", "gone"])
async def test_one_that_takes_no_links_is_passed_none(how: str) -> None:
    async with pair() as both:
        if how == "drains":
            both.nodes[1].draining = True
        elif how == "full":
            both.nodes[1].strangers.most = 0
        else:
            both.inboxes[1].cancel()
            await trio.testing.wait_all_tasks_blocked()
        async with edge(both.ports[0], THEIRS):
            assert links(both) == (1, 0)
        assert both.passed == (0, 0)


async def test_one_that_hangs_is_not_waited_for() -> None:
    """Nor is it given anything: when it wakes up, the connection is not in two hands."""
    async with pair() as both:
        both.inboxes[1].cancel()
        await trio.testing.wait_all_tasks_blocked()
        siblings = both.nodes[1].siblings
        assert siblings is not None
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as hung:
            hung.bind(siblings._address(NAMES[1]))
            hung.listen()
            async with edge(both.ports[0], THEIRS):
                assert links(both) == (1, 0)
            late = hung.accept()[0]
            with late:
                assert late.recvmsg(100, socket.CMSG_SPACE(64))[:2] == (b"", [])


async def test_two_that_do_not_agree_pass_nothing_to_and_fro() -> None:
    """Each thinks that the other one has the thing: it stays with the one that it was passed to."""
    async with pair() as both:
        for node, where in zip(both.nodes, reversed(NAMES), strict=True):
            node.registry.locate = {THEIRS: where}.get  # type: ignore[method-assign,assignment]
        async with await trio.open_tcp_stream(HOST, both.ports[0]) as sock:
            await sock.send_all(request(THEIRS))
            assert b" 101 " in await sock.receive_some()
            assert both.passed == (1, 1)
            assert [each.strangers.count for each in both.nodes] == [0, 1]


def request(thing: str, *more: str) -> bytes:
    lines = (
        "GET / HTTP/1.1", "Host: n", "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: edge-tunnel.1", f"{HEADER}: {thing}", *more,
    )  # fmt: skip
    return "\r\n".join((*lines, "", "")).encode()


async def test_places_of_a_source_are_those_of_the_one_that_has_it() -> None:
    """The one that passes on gives the place back; the other gives none that it does not have."""
    async with (
        pair(max_unauthenticated_per_source=1) as both,
        await trio.open_tcp_stream(HOST, both.ports[0]) as first,
    ):
        await first.send_all(request(THEIRS))
        assert b" 101 " in await first.receive_some()
        assert [each.strangers.count for each in both.nodes] == [0, 1]
        async with await trio.open_tcp_stream(HOST, both.ports[0]) as second:
            await second.send_all(request(THEIRS))
            assert await second.receive_some() == b""
        async with await trio.open_tcp_stream(HOST, both.ports[0]) as third:
            await third.send_all(request(OURS))
            assert b" 101 " in await third.receive_some()


async def test_for_whom_a_balancer_comes_is_known_there_too() -> None:
    networks = (ip_network("127.0.0.0/8"),)
    async with (
        pair(trusted_proxies=networks, max_unauthenticated_per_source=1) as both,
        await trio.open_tcp_stream(HOST, both.ports[0]) as first,
    ):
        await first.send_all(request(THEIRS, "X-Forwarded-For: 192.0.2.7"))
        assert b" 101 " in await first.receive_some()
        assert not both.nodes[1].strangers.sources.has_room("192.0.2.7:1")
        assert both.nodes[0].strangers.sources.has_room("192.0.2.7:1")


async def test_what_comes_with_the_request_is_passed_on_as_well() -> None:
    """And what comes in pieces is put together before."""
    async with pair() as both, await trio.open_tcp_stream(HOST, both.ports[0]) as sock:
        for byte in request(THEIRS):
            await sock.send_all(bytes([byte]))
        await sock.send_all(b"\x89\x80abcd")  # a ping
        got = b""
        while b"\x8a\x00" not in got:
            got += await sock.receive_some()
        assert both.passed == (1, 1)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def send(address: str, message: bytes, *fds: int) -> None:
    """As a sibling that has gone mad."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(10)
        sock.connect(address)
        assert sock.recv(1) == b"+"
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
        sock.sendmsg([message], [rights] if fds else [])


async def test_half_of_it_is_nothing() -> None:
    """No socket, two of them, half a request: all of it is dropped, and nothing stays open."""
    async with pair() as both:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            before = open_files()
            for message, fds in (
                (b"\0\0\0\1x", ()),
                (b"\0\0\0\1x", (theirs.fileno(), theirs.fileno())),
                (b"\0\0\0\2x", (theirs.fileno(),)),
                (b"\0", (theirs.fileno(),)),
                (b"\0\0\0\0", (theirs.fileno(),)),
            ):
                await trio.to_thread.run_sync(partial(send, both.address(), message, *fds))
            while open_files() > before:
                await trio.lowlevel.checkpoint()
        siblings = both.nodes[0].siblings
        assert siblings is not None and siblings.taken == 0
        async with edge(both.ports[1], OURS):
            assert links(both) == (1, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
async def test_another_user_is_not_heard() -> None:
    program = "import os,socket,sys; os.setuid(65534); s=socket.socket(socket.AF_UNIX)\n"
    program += "s.connect('\\0'+sys.argv[1]); print(s.recv(1))"
    async with pair() as both:
        done = await trio.run_process(
            [sys.executable, "-c", program, both.address()[1:]],
            capture_stdout=True,
            cwd=Path("/"),
        )
        assert done.stdout.strip() == b"b''"
