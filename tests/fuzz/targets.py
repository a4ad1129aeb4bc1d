"""What is fuzzed: each takes any bytes, and raises if something is wrong."""

from __future__ import annotations

import importlib
import importlib.util
import tempfile
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Any, Final

import trio
import trio.testing
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage

from edge_tunnel.access.rights import DevelopmentKey
from edge_tunnel.alwayson.codec import decode as alwayson_decode
from edge_tunnel.alwayson.codec import encode as alwayson_encode
from edge_tunnel.alwayson.messages import SUCCESS, Message, Request, auth
from edge_tunnel.alwayson.multipart import Assembly
from edge_tunnel.alwayson.reading import AlwaysOnError
from edge_tunnel.alwayson.text import decode_text, encode_text
from edge_tunnel.alwayson.tunnels import tunnel_request
from edge_tunnel.config import EdgeConfig, Secret, inspect_config, inspect_proxy_config
from edge_tunnel.config.alwayson import AlwaysOnSettings
from edge_tunnel.edge.alwayson.main_socket import MainSocket
from edge_tunnel.edge.alwayson.tunnels import Tunnels
from edge_tunnel.edge.offered import Offered
from edge_tunnel.errors import LinkLost, LinkRefused, RemoteProtocolError
from edge_tunnel.link.notices import Notices
from edge_tunnel.link.transport import PlainTransport, Transport
from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import FIRST_TUNNEL_KIND, Kind
from edge_tunnel.protocol.head import check_data, peek
from edge_tunnel.proxy.hop import HopSettings
from edge_tunnel.proxy.http import answer_http
from edge_tunnel.proxy.node import Node, NodeSettings

__all__ = ["TARGETS", "pieces"]

KEY: Final = "k"
"""Of the node: in the corpus, so that what comes after the greeting is reached, too."""

_POLICY: Final = "edge_tunnel.access.policy_reader"


def pieces(data: bytes) -> list[bytes]:
    """Messages or chunks out of one input: each has its length in two bytes in front."""
    found = []
    while len(data) >= 2:
        size = int.from_bytes(data[:2], "big")
        found.append(data[2 : 2 + size])
        data = data[2 + size :]
    return found


# -- frames


def frames(data: bytes) -> None:
    """`decode`, `peek` and `check_data` agree; what is decoded encodes to a frame that is equal."""
    frame: Any = None
    with suppress(RemoteProtocolError):
        frame = decode(data)
    try:
        route = peek(data)
    except RemoteProtocolError:
        assert frame is None, "an endpoint takes what a node does not understand"
        return
    if frame is not None:
        assert decode(encode(frame)) == frame
        assert (route.kind < FIRST_TUNNEL_KIND) == (route.tunnel is None)
        assert route.tunnel is None or (route.tunnel, route.stream) == (frame[0], frame[1])
    if route.kind == Kind.DATA:
        passed = True
        try:
            check_data(route)
        except RemoteProtocolError:
            passed = False
        assert passed == (frame is not None), "node and endpoint do not agree on DATA"


# -- AlwaysOn


def alwayson(data: bytes) -> None:
    """A message that encodes to one that is equal, or the documented error; so in parts, too.

    (Compared as bytes: a number that is none does not equal itself.)
    """
    with suppress(AlwaysOnError):
        again = alwayson_encode(alwayson_decode(data))
        assert alwayson_encode(alwayson_decode(again)) == again
    assembly = Assembly()
    for piece in pieces(data):
        with suppress(AlwaysOnError):
            message = assembly.receive(piece, 0)
            if message is not None and isinstance(message.body, Request):
                tunnel_request(message.body)
        assert 0 <= assembly.held <= len(data)
    with suppress(AlwaysOnError):
        text = data.decode("ascii", "replace")
        assert encode_text(decode_text(text)) == text


class _Server(PlainTransport):
    """Knows the device, says these messages, and is lost."""

    def __init__(self, messages: list[bytes]) -> None:
        welcome = alwayson_encode(Message(SUCCESS, 1, 7))
        self._messages = deque([welcome, *messages])

    async def send(self, message: bytes) -> None:
        await trio.lowlevel.checkpoint()
        alwayson_decode(message)  # what a device says is never nonsense

    async def receive_any(self) -> bytes | str:
        await trio.lowlevel.checkpoint()
        if not self._messages:
            await trio.sleep(1)
            raise LinkLost("over")
        return self._messages.popleft()

    async def send_text(self, text: str) -> None:
        raise AssertionError(text)

    async def ping(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self, code: int = 1000, reason: str = "") -> None:  # noqa: ARG002
        await trio.lowlevel.checkpoint()

    @property
    def close_code(self) -> int | None:
        return None


async def _nothing(_stream: object) -> None:
    raise AssertionError("it has no address")


def device(data: bytes) -> None:
    """Any messages to a device that offers nothing: answers, or the end of the socket."""
    trio.run(_device, pieces(data), clock=trio.testing.MockClock(autojump_threshold=0))


async def _device(messages: list[bytes]) -> None:
    config = EdgeConfig(servers=(), app_key=Secret(KEY), things=("SteamSensor1",))
    offered = Offered({}, {"own": _nothing})
    async with trio.open_nursery() as nursery:
        tunnels = Tunnels(config, offered, Notices(), nursery)
        with suppress(LinkLost, LinkRefused):
            await MainSocket(_Server(messages), config, tunnels).run(lambda _: None)
        assert len(tunnels) == 0


# -- the greeting, and what a link says after it


class _Said(Transport):
    """Says these messages, and is lost."""

    def __init__(self, messages: list[bytes]) -> None:
        self.peer = "192.0.2.1:1"
        self._messages = deque(messages)

    async def send(self, message: bytes) -> None:
        await trio.lowlevel.checkpoint()
        decode(message)  # what a node says is never nonsense

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self._messages:
            raise LinkLost("over")
        return self._messages.popleft()


def _no_dial(_node: str) -> AbstractAsyncContextManager[Transport]:
    raise LinkLost("there is no other node")


def greeting(data: bytes) -> None:
    """Any messages to a node: as a link, or (first byte odd) as a hop. It keeps nothing of them."""
    as_hop, messages = bool(data[:1] and data[0] & 1), pieces(data[1:])
    trio.run(_greeting, as_hop, messages, clock=trio.testing.MockClock(autojump_threshold=0))


async def _greeting(as_hop: bool, messages: list[bytes]) -> None:
    settings = NodeSettings(name="a", hops=HopSettings(key=KEY))
    node = Node(settings, DevelopmentKey(KEY), hop_dial=_no_dial)
    assert node.hops is not None
    if as_hop:
        await node.hops.take(_Said(messages), None)
    else:
        await node.talk(_Said(messages))
    assert node.links == len(node.hops) == len(node.routes) == len(node.waiting) == 0
    assert node.routes.budget.held == 0


# -- a ThingWorx device at a node

_UPGRADE: Final = (
    b"GET /Thingworx/WS HTTP/1.1\r\nHost: node\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def mainsocket(data: bytes) -> None:
    """Any messages behind AUTH, or (first byte odd) any chunks behind the handshake.

    A node answers or ends the socket, and keeps nothing of it.
    """
    raw, said = bool(data[:1] and data[0] & 1), pieces(data[1:])
    if not raw:
        device = Connection(ConnectionType.CLIENT)
        behind = [alwayson_encode(Message(auth(KEY), 1)), *said]
        said = [device.send(BytesMessage(each)) for each in behind if each]
    trio.run(_main_socket, said, clock=trio.testing.MockClock(autojump_threshold=0))


async def _main_socket(chunks: list[bytes]) -> None:
    node = Node(NodeSettings(alwayson=AlwaysOnSettings()), DevelopmentKey(KEY))
    stream = _Chunks([_UPGRADE, *filter(None, chunks)])
    await node.take(stream, "192.0.2.1:1")
    assert stream.closed
    assert stream.answer.startswith(b"HTTP/1.1 101 ")
    assert node.links == node.strangers.count == len(node.registry) == 0
    assert node.alwayson is not None
    assert not node.alwayson.front.sessions


# -- files

_FILES: Final = ("config.json", "config.toml", "proxy.toml")


def config(data: bytes) -> None:
    """Any text as each kind of file: a configuration, or findings that say what is wrong."""
    name = _FILES[data[0] % len(_FILES)] if data else _FILES[0]
    path = Path(_folder()) / name
    path.write_bytes(data[1:])
    inspect = inspect_proxy_config if name == "proxy.toml" else inspect_config
    found = inspect(path, environ={})
    assert found.config is not None or found.findings, "refused without a word"


def _folder(_made: list[tempfile.TemporaryDirectory[str]] = []) -> str:  # noqa: B006
    """One for the whole run."""
    if not _made:
        _made.append(tempfile.TemporaryDirectory())
    return _made[0].name


def policy(data: bytes) -> None:
    """Any text as a policy: one that is understood to its last word, or findings."""
    read: Any = importlib.import_module(_POLICY).read_policy
    found = read(data.decode("utf-8", "replace"))
    assert found.policy is not None or found.findings


# -- HTTP


class _Chunks(trio.abc.Stream):
    """A connection on which these chunks come."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = deque(chunks)
        self.given = b""
        self.answer = b""
        self.closed = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        chunk = self._chunks.popleft() if self._chunks else b""
        if max_bytes is not None and len(chunk) > max_bytes:
            self._chunks.appendleft(chunk[max_bytes:])
            chunk = chunk[:max_bytes]
        self.given += chunk
        return chunk

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        self.answer += bytes(data)

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


def http(data: bytes) -> None:
    """Any chunks: a whole answer and the end, or a request for a WebSocket with all its bytes."""
    trio.run(_http, pieces(data), clock=trio.testing.MockClock(autojump_threshold=0))


async def _http(chunks: list[bytes]) -> None:
    stream = _Chunks([chunk for chunk in chunks if chunk])
    head = await answer_http(stream, 10, lambda: None)
    if head is not None:
        assert head == stream.given
        assert not stream.closed and not stream.answer
        assert b"websocket" in head.lower()
        return
    assert stream.closed
    if stream.answer:
        first, _, rest = stream.answer.partition(b"\r\n")
        assert first.startswith(b"HTTP/1.1 ") and b"Connection: close\r\n\r\n" in rest


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    target.__name__: target
    for target in (frames, alwayson, device, mainsocket, greeting, config, http)
}
if importlib.util.find_spec(_POLICY) is not None:
    TARGETS["policy"] = policy
