"""A proxy node: accepts links, greets, binds, and routes.

Each connection is one task here (its reader), one for its writer and one inside the WebSocket
library. The reader only decides: no frame waits for another link.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import trio

from edge_tunnel.errors import LinkLost, RemoteProtocolError
from edge_tunnel.link.link import Link
from edge_tunnel.link.notices import Notices
from edge_tunnel.link.transport import Transport
from edge_tunnel.link.websocket import serve
from edge_tunnel.protocol.codec import Route as Head
from edge_tunnel.protocol.codec import check_data, decode, encode, peek
from edge_tunnel.protocol.frames import (
    Attach,
    Attached,
    Bind,
    Bound,
    Bye,
    Close,
    Detached,
    Frame,
    Hello,
    Kind,
    Ping,
    Pong,
    Unbind,
    Unbound,
    Welcome,
)
from edge_tunnel.protocol.greeting import Demands, agree
from edge_tunnel.proxy.port import Port
from edge_tunnel.proxy.registry import Registry
from edge_tunnel.proxy.routes import Routes
from edge_tunnel.proxy.waiting import WaitingRoom
from edge_tunnel.reasons import Reason

__all__ = ["Authenticate", "Node", "NodeSettings", "one_key"]

_log = logging.getLogger("edge_tunnel.proxy")

Authenticate = Callable[[str, str], bool]
"""``(role, key)`` -> whether an endpoint may link."""

_MAX_BINDS: Final = 4096
"""Things that one edge may bind: a gateway with its sub-devices."""

_SILENCE: Final = (1.0, 600.0)
"""Seconds of silence that an endpoint may ask for: EMS pings every 55 s, and duty cycles exist."""

_BACKLOG: Final = 1024
"""Connections that may wait to be accepted: the devices of a dead node come all at once."""


@dataclass(frozen=True, kw_only=True)
class NodeSettings:
    """What a node needs to know. Seconds."""

    name: str = "node"
    handshake_timeout: float = 10.0
    """From accept to the end of the greeting, in two parts: WebSocket, and HELLO."""

    max_unauthenticated: int = 256
    """Connections that have not greeted yet; more are closed at once."""

    demands: Demands = field(default_factory=Demands)


def one_key(key: str) -> Authenticate:
    """Development mode: one key for all. Compared in constant time."""
    expected = key.encode()
    return lambda _role, given: hmac.compare_digest(given.encode(), expected)


class Node:
    """One proxy node."""

    def __init__(self, settings: NodeSettings, authenticate: Authenticate) -> None:
        self.settings = settings
        self.notices = Notices()
        self.registry = Registry()
        self.routes = Routes(self.notices.emit)
        self._authenticate = authenticate
        self._links: set[Link] = set()
        self._unauthenticated = 0
        self.waiting = WaitingRoom()

    @property
    def links(self) -> int:
        """How many endpoints are linked."""
        return len(self._links)

    # -- connections

    async def serve(
        self,
        host: str,
        port: int,
        *,
        task_status: trio.TaskStatus[Sequence[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen and serve until cancelled. Raises OSError if the address cannot be used."""
        listeners = await trio.open_tcp_listeners(port, host=host, backlog=_BACKLOG)
        task_status.started(listeners)
        await trio.serve_listeners(self._accept, listeners)

    async def _accept(self, sock: trio.SocketStream) -> None:
        if self._unauthenticated >= self.settings.max_unauthenticated:
            sock.socket.close()
            return
        await self.take(sock, _peer_name(sock))

    async def take(self, stream: trio.abc.Stream, peer: str) -> None:
        """Serve one connection, to its end."""
        self._unauthenticated += 1
        greeted = trio.Event()
        try:
            talk = partial(self.talk, greeted=greeted)
            await serve(stream, talk, peer=peer, timeout=self.settings.handshake_timeout)
        finally:
            if not greeted.is_set():
                self._unauthenticated -= 1

    async def talk(self, transport: Transport, greeted: trio.Event | None = None) -> None:
        """Greet and serve one transport, to its end."""
        hello = await self._greet(transport)
        if hello is None:
            return
        if greeted is not None:
            self._unauthenticated -= 1
            greeted.set()
        low, high = _SILENCE
        link = Link(transport, silence=min(max(hello.silence_ms / 1000, low), high))
        port = Port(hello.role, transport.peer, link.outlet)
        self._links.add(link)
        reason = "the node was stopped"
        try:
            await link.run(partial(self._on_message, port))
        except LinkLost as error:
            reason = str(error)
        finally:
            self._links.discard(link)
            self._lost(port, reason)

    async def _greet(self, transport: Transport) -> Hello | None:
        """The accepted HELLO; None if the link was refused."""
        with trio.move_on_after(self.settings.handshake_timeout):
            try:
                hello = decode(await transport.receive())
                answer = self._answer(hello)
                await transport.send(encode(answer))
            except RemoteProtocolError as error:
                await transport.send(encode(Bye(Reason.PROTOCOL_ERROR, str(error), 0)))
                return None
            except LinkLost:
                return None
            if isinstance(hello, Hello) and isinstance(answer, Welcome):
                return hello
            assert isinstance(answer, Bye)
            _log.warning("%s refused: %s", transport.peer, answer.text)
        return None

    def _answer(self, hello: Frame) -> Welcome | Bye:
        if not isinstance(hello, Hello):
            return Bye(Reason.PROTOCOL_ERROR, "a link begins with HELLO", 0)
        answer = agree(hello, self.settings.name, self.settings.demands)
        if isinstance(answer, Welcome) and not self._authenticate(hello.role, hello.key):
            return Bye(Reason.NOT_AUTHORISED, "the key is not accepted here", 0)
        return answer

    def say_goodbye(self) -> None:
        """Tell every endpoint that this node ends; they go elsewhere, or wait for its return."""
        for link in self._links:
            link.end(Reason.SHUTTING_DOWN, "the node is shutting down")

    async def wait_idle(self, timeout: float) -> None:
        """Wait until all links are over, or `timeout` seconds."""
        with trio.move_on_after(timeout):
            for link in list(self._links):
                await link.over.wait()

    # -- messages

    def _on_message(self, port: Port, message: bytes) -> None:
        head = peek(message)
        if head.tunnel is None:
            self._on_link_frame(port, decode(message))
        elif head.kind == Kind.DATA:
            check_data(message, head)
            self.routes.forward(head, message, port)
        else:
            self._on_control(port, head, message)

    def _on_link_frame(self, port: Port, frame: Frame) -> None:
        if isinstance(frame, Ping):
            port.send(Pong(frame.nonce))
            for refusal in self.waiting.expired(port, trio.current_time()):
                port.send(refusal)
        elif isinstance(frame, Bye):
            raise LinkLost(frame.text or Reason.of(frame.reason).text)
        elif isinstance(frame, Bind) and port.role == "edge":
            self._bind(port, frame)
        elif isinstance(frame, Unbind) and port.role == "edge":
            self._unbind(port, frame.thing)
        else:
            raise RemoteProtocolError(f"{type(frame).__name__} from the {port.role}")

    def _on_control(self, port: Port, head: Head, message: bytes) -> None:
        frame = decode(message)
        if isinstance(frame, Attach):
            self._attach(port, frame, message)
        elif isinstance(frame, Attached):
            self.routes.attached(frame, message, port)
        elif isinstance(frame, Close):
            self.waiting.leave(port, frame.tunnel)
            self.routes.close(frame, message, port)
        elif isinstance(frame, Detached):
            raise RemoteProtocolError("only a node sends Detached")
        else:
            self.routes.forward(head, message, port)

    # -- things

    def _bind(self, port: Port, frame: Bind) -> None:
        if len(port.binds) >= _MAX_BINDS:
            port.send(Unbound(frame.thing, 0, Reason.TOO_MANY, f"{_MAX_BINDS} things are bound"))
            return
        holds, epoch, loser = self.registry.bind(frame.thing, frame.epoch, port)
        if not holds:
            text = "another link has a higher epoch"
            port.send(Unbound(frame.thing, epoch, Reason.SUPERSEDED, text))
            return
        if loser is not None:
            text = f"bound by {port.peer} with a higher epoch"
            loser.send(Unbound(frame.thing, epoch, Reason.SUPERSEDED, text))
            self.routes.displaced(loser, frame.thing)
        port.send(Bound(frame.thing, epoch))
        self.notices.emit("bound", thing=frame.thing, peer=port.peer, epoch=epoch)
        for waiting in self.waiting.bound(frame.thing):
            self.routes.attach(waiting.frame, waiting.message, waiting.remote, port)

    def _unbind(self, port: Port, thing: str) -> None:
        if self.registry.unbind(thing, port):
            self.notices.emit("unbound", thing=thing, peer=port.peer, reason="the edge unbound it")

    # -- attaching

    def _attach(self, port: Port, frame: Attach, message: bytes) -> None:
        if port.role != "remote":
            raise RemoteProtocolError(f"Attach from the {port.role}")
        edge = self.registry.locate(frame.thing)
        if edge is not None:
            self.routes.attach(frame, message, port, edge)
            return
        refusal = self.waiting.enter(frame, message, port, trio.current_time())
        if refusal is not None:
            port.send(refusal)

    def _lost(self, port: Port, reason: str) -> None:
        for thing in list(port.binds):
            if self.registry.unbind(thing, port):
                self.notices.emit("unbound", thing=thing, peer=port.peer, reason=reason)
                self.waiting.lost(thing, trio.current_time())
        self.waiting.leave_all(port)
        self.routes.lost(port, reason)


def _peer_name(sock: trio.SocketStream) -> str:
    try:
        host, port, *_ = sock.socket.getpeername()
    except OSError:
        return "a peer that is gone already"
    return f"{host}:{port}"
