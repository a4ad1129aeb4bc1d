"""Through a real HAProxy and a real nginx, as the examples configure them: nodes die or drain."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from ipaddress import ip_network
from pathlib import Path

import pytest
import trio

from edge_tunnel import DevelopmentKey, Node, NodeSettings, Reason, open_edge, open_remote
from edge_tunnel.audit.records import Kind
from edge_tunnel.config.model import EdgeConfig, Server
from edge_tunnel.config.secret import Secret
from edge_tunnel.link.websocket import open_client
from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import Bye
from edge_tunnel.testing.processes import Child
from tests.conftest import echo
from tests.proxy.peers import hello
from tests.proxy.test_recording import Kept
from tests.system.processes import KEY, is_listening, started, write_config

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).parents[2] / "examples"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def adapted(example: str, nodes: list[int], port: int) -> str:
    """The shipped configuration, for these ports; all links to the first node that is up.

    These nodes are no cluster, so device and technician have to meet on one.
    """
    text = (EXAMPLES / example).read_text()
    for old, new in (
        ("balance leastconn", "balance first"),
        ("least_conn;", ""),
        ("9102 max_fails", "9102 backup max_fails"),
        ("9103 max_fails", "9103 backup max_fails"),
        ("maxconn 50000", "maxconn 500"),
        ("20000;", "500;"),
        ("127.0.0.1:9100", f"127.0.0.1:{port}"),
        ("127.0.0.1:9101", f"127.0.0.1:{nodes[0]}"),
        ("127.0.0.1:9102", f"127.0.0.1:{nodes[1]}"),
        ("127.0.0.1:9103", f"127.0.0.1:{nodes[1]}"),
    ):
        text = text.replace(old, new)
    return text


@asynccontextmanager
async def balancer(program: str, folder: Path, nodes: list[int]) -> AsyncIterator[int]:
    """The program in front of the nodes, and the port that it listens on."""
    if shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin") is None:
        pytest.skip(f"{program} is not installed")
    port = free_port()
    if program == "haproxy":
        config, options = folder / "haproxy.cfg", ["-db", "-f"]
        text = adapted("haproxy.cfg", nodes, port)
    else:
        config, options = folder / "nginx.conf", ["-p", str(folder), "-e", "stderr", "-c"]
        text = adapted("nginx.conf", nodes, port)
        text = f"daemon off;\nerror_log stderr;\npid {folder}/nginx.pid;\n{text}"
    config.write_text(text)
    path = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin")
    assert path is not None
    process = await trio.lowlevel.open_process(
        [path, *options, str(config)], stderr=subprocess.DEVNULL
    )
    try:
        await until_open(process, port)
        yield port
    finally:
        process.terminate()
        with trio.CancelScope(shield=True), trio.move_on_after(3):
            await process.wait()
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def until_open(process: trio.Process, port: int) -> None:
    """Wait until it listens there. (The deadline is the test's.)"""
    while process.poll() is None:
        if is_listening(port):
            return
        await trio.sleep(0.02)
    raise AssertionError("the balancer did not start")


async def say(sock: trio.SocketStream, text: bytes) -> None:
    """Send and hear it back."""
    await sock.send_all(text)
    heard = b""
    while len(heard) < len(text):
        part = await sock.receive_some()
        assert part, "the stream ended"
        heard += part
    assert heard == text


async def serve_echo(sock: trio.SocketStream) -> None:
    async for data in sock:
        await sock.send_all(data)


@asynccontextmanager
async def tunnel_through(
    program: str, folder: Path
) -> AsyncIterator[tuple[trio.SocketStream, list[Child]]]:
    """Two nodes, the balancer, a device and a technician as processes, and one stream."""
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        listeners = await nursery.start(partial(trio.serve_tcp, serve_echo, 0, host="127.0.0.1"))
        service = listeners[0].socket.getsockname()[1]
        nodes = [
            await stack.enter_async_context(
                started("proxy", "--listen", "127.0.0.1:0", "--dev-key", KEY)
            )
            for _ in range(2)
        ]
        ports = [
            int(str((await each.event("listening"))["url"]).rpartition(":")[2]) for each in nodes
        ]
        port = await stack.enter_async_context(balancer(program, folder, ports))
        url = f"ws://127.0.0.1:{port}"
        edge = await stack.enter_async_context(
            started("edge", "--config", str(write_config(folder, url, service)))
        )
        await edge.event("bound")
        remote = await stack.enter_async_context(
            started("connect", "device", "service", "--proxy", url, "--key", KEY)
        )
        local = int((await remote.event("listening"))["port"])
        async with await trio.open_tcp_stream("127.0.0.1", local) as sock:
            yield sock, nodes
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("program", "number", "within"),
    [
        ("haproxy", signal.SIGSTOP, 6.0),
        ("haproxy", signal.SIGKILL, 4.0),
        ("nginx", signal.SIGKILL, 4.0),
    ],
)
async def test_a_stream_outlives_the_node_behind_the_balancer(
    tmp_path: Path, program: str, number: signal.Signals, within: float
) -> None:
    """The node is stopped or killed; the balancer leads both ends to the other, soon."""
    with trio.fail_after(20):
        async with tunnel_through(program, tmp_path) as (sock, nodes):
            await say(sock, b"hello")
            start = trio.current_time()
            os.kill(nodes[0].process.pid, number)
            await say(sock, b"still there")
            assert trio.current_time() - start < within
            await nodes[1].event("bound")  # printed by a thread: the bytes may have been quicker
            assert [each["event"] for each in nodes[1].events].count("bound") == 1


async def test_a_drain_behind_haproxy_is_not_noticed(tmp_path: Path) -> None:
    """HAProxy cuts nothing of a node that drains; both ends go by the same URL to the other."""
    key = "k"
    nodes = [Node(NodeSettings(name=name), DevelopmentKey(key)) for name in "ab"]
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            ports = []
            for node in nodes:
                listeners = await nursery.start(node.serve, "127.0.0.1", 0)
                ports.append(listeners[0].socket.getsockname()[1])
            async with balancer("haproxy", tmp_path, ports) as port:
                config = EdgeConfig(
                    servers=(Server(host="127.0.0.1", port=port),),
                    app_key=Secret(key),
                    things=("device",),
                )
                lost: list[str] = []
                async with (
                    open_edge(_Plain.of(config), {"echo": echo}) as edge,
                    open_remote([f"ws://127.0.0.1:{port}"], key) as remote,
                ):
                    remote.notices.call(lambda notice: lost.append(notice.event))
                    await edge.wait_bound()
                    stream = await remote.open_stream("device", "echo")
                    pauses = []
                    async with trio.open_nursery() as draining:
                        draining.start_soon(nodes[0].drain, 10.0)
                        end = trio.current_time() + 4
                        while trio.current_time() < end:
                            start = trio.current_time()
                            await stream.send_all(b"x")
                            assert await stream.receive_some() == b"x"
                            pauses.append(trio.current_time() - start)
                    assert [node.links for node in nodes] == [0, 2]
                    assert max(pauses) < 0.5
                    assert "link_lost" not in lost
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("program", ["haproxy", "nginx"])
async def test_a_node_knows_for_whom_the_balancer_comes(tmp_path: Path, program: str) -> None:
    """Audit and limits name the peer's address: not the balancer's, nor what the peer invents."""
    audit = Kept()
    settings = NodeSettings(trusted_proxies=(ip_network("127.0.0.1"),), max_failures_per_source=2)
    node = Node(settings, DevelopmentKey("k"), audit=audit)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(node.serve, "127.0.0.1", 0)
            behind = listeners[0].socket.getsockname()[1]
            async with balancer(program, tmp_path, [behind, behind]) as port:
                seen = [await greet(port, "127.0.0.7", "wrong") for _ in range(3)]
                assert seen == [Reason.NOT_AUTHORISED] * 2 + [Reason.TOO_MANY]
                assert await greet(port, "127.0.0.8", "wrong") == Reason.NOT_AUTHORISED
                assert await greet(port, "127.0.0.8", "k") is None
            nursery.cancel_scope.cancel()
    opened = [each.address for each in audit.events if each.kind is Kind.LINK_OPENED]
    assert [each.address for each in audit.events][:4] == ["127.0.0.7:0"] * 3 + ["127.0.0.8:0"]
    assert opened == ["127.0.0.8:0"]


async def greet(port: int, source: str, key: str) -> int | None:
    """Why the node says no to this key, from this address; None: it does not."""
    stream = await trio.open_tcp_stream("127.0.0.1", port, local_address=source)
    async with open_client(Lying(stream), host="n", path="/", peer="n", timeout=10) as transport:
        await transport.send(encode(hello("remote", key=key)))
        answer = decode(await transport.receive())
    return answer.reason if isinstance(answer, Bye) else None


class Lying(trio.abc.Stream):
    """Names another peer in its request."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._lies = b"\r\nX-Forwarded-For: 192.0.2.1\r\n"

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        lies, self._lies = self._lies, b"\r\n"
        await self._stream.send_all(bytes(data).replace(b"\r\n", lies, 1))

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await self._stream.receive_some(max_bytes))

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Plain(EdgeConfig):
    """Without TLS, as behind a balancer on the same machine."""

    @classmethod
    def of(cls, config: EdgeConfig) -> _Plain:
        return cls(**{name: getattr(config, name) for name in config.__dataclass_fields__})

    def urls(self) -> tuple[str, ...]:
        return tuple(f"ws://{server.host}:{server.port}" for server in self.servers)
