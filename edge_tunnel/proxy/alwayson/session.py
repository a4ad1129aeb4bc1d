"""A device's main socket, from AUTH to its end; to the rest of the node a link of an edge.

What the device says becomes what an edge would say: AUTH a HELLO with the same key, BIND a BIND for
each name. So the node admits, judges, binds, counts and records it like any other, and whatever it
decides comes back here as WELCOME or BYE, BOUND or UNBOUND, ATTACH.

A device has no epochs: this session makes them, as an edge does (the clock, and above whatever is
to be beaten). The last bind wins. A session that has lost all its things to others is closed: the
device that it belonged to has a newer one, or a namesake, which it meets again when it reconnects.

The device's silence ends a session; the link inside keeps itself alive.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import trio

from edge_tunnel.access.rights import ServiceOffer
from edge_tunnel.alwayson.messages import Request, Response
from edge_tunnel.alwayson.tunnels import CompleteTunnel, StartTunnel
from edge_tunnel.errors import LinkLost, RemoteProtocolError
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.link.link import Link
from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import (
    Bind,
    Bound,
    Bye,
    Drain,
    Frame,
    Offer,
    Ping,
    Pong,
    Services,
    Unbind,
    Unbound,
    Welcome,
)
from edge_tunnel.protocol.head import peek
from edge_tunnel.protocol.listing import LISTS, offered
from edge_tunnel.proxy.alwayson.dialogue import (
    MAX_OUTGOING,
    Answered,
    AuthAsked,
    BindAsked,
    Commanded,
    Dialogue,
    Event,
    UnbindAsked,
)
from edge_tunnel.proxy.alwayson.ends import TunnelEnds
from edge_tunnel.proxy.alwayson.greeting import ask_node, refusal_of
from edge_tunnel.proxy.alwayson.inprocess import InProcessTransport
from edge_tunnel.proxy.alwayson.tids import Openings
from edge_tunnel.proxy.alwayson.websocket import DeviceSocket
from edge_tunnel.reasons import Reason

__all__ = ["Session"]

_log = logging.getLogger("edge_tunnel.proxy")

_LAST_EPOCH: Final = 2**62
"""As an edge's: no clock makes it, and whoever uses it is not to be beaten."""

_SILENCE_OF_LINK: Final = 3
"""Ping intervals of the link inside, which only a bug could silence."""

_LAST_LOOK: Final = 0.05
_LAST_LOOKS: Final = 20
"""Seconds, and how often: one second in all, in which a killed device's tunnel sockets end."""

_MAX_UNANSWERED: Final = 1024
"""Requests of ours whose answer is still listened to: a device need not answer any."""

_IDLE_MS: Final = 86_400_000
"""A day. A C device counts only what it sends, and gives up an upload to it in the middle: idle
tunnels are the policy's business."""


class Session:
    """One main socket."""

    def __init__(
        self,
        socket: DeviceSocket,
        ends: TunnelEnds,
        openings: Openings,
        offers: Callable[[str], tuple[ServiceOffer, ...]],
        *,
        silence: float,
        ping_interval: float,
        notify: bool,
    ) -> None:
        """`silence`: seconds without anything from the device; `offers`: the services of a thing.

        `ping_interval`: of the link inside. `notify`: whether to look like the platform after a
        bind.
        """
        self.things: dict[str, int] = {}
        """What it has bound, with the epoch."""

        self.key = ""
        """What the device has shown."""

        self.over = trio.Event()
        self.on_bound: Callable[[str], None] = lambda _thing: None
        self.on_unbound: Callable[[str], None] = lambda _thing: None
        self._socket = socket
        self._ends = ends
        self._openings = openings
        self._offers = offers
        self._silence = silence
        self._ping_interval = ping_interval
        self._notify = notify
        self._dialogue = Dialogue(1 + secrets.randbelow(2**31 - 2))
        self._to_send = trio.Event()
        self._asked: dict[str, int] = {}  # things whose bind is not decided, with the epoch
        self._epoch = int(time.time() * 1000)
        self._answers: dict[int, Callable[[Response], None]] = {}
        self._leaving = False
        self._farewell = ""
        self._features: frozenset[str] = frozenset()
        self._link: Link | None = None
        self._scope = trio.CancelScope()
        self._why = "the device left"

    @property
    def peer(self) -> str:
        """Where the device comes from."""
        return self._socket.peer

    # -- the greeting

    async def greet(self, transport: InProcessTransport, timeout: float) -> bool:
        """Let the device show its key, and the node decide; False: it is not let in.

        Raises:
          LinkLost: the device is gone.
          RemoteProtocolError: it says something else.
        """
        with trio.move_on_after(timeout):
            while not self._dialogue.events:
                await self._read_message()
            asked = self._dialogue.events.popleft()
            assert isinstance(asked, AuthAsked)
            self.key = asked.key
            silence = _SILENCE_OF_LINK * self._ping_interval
            answer = await ask_node(transport, self.key, silence)
            if isinstance(answer, Welcome):
                self._features = frozenset(answer.features)
                self._dialogue.admitted()
            else:
                self._dialogue.admitted(refusal_of(answer))
            await self._flush()
            return isinstance(answer, Welcome)
        return False

    async def _read_message(self) -> None:
        message = await self._socket.receive()
        if isinstance(message, str):
            raise RemoteProtocolError("a text message on a main socket")
        self._dialogue.receive(message, trio.current_time())

    async def _flush(self) -> None:
        while (part := self._dialogue.next_message()) is not None:
            await self._socket.send(part)

    # -- the session

    async def run(self, transport: InProcessTransport) -> None:
        """From the greeting to the end. Returns when either side has ended it."""
        link = self._link = Link(
            transport,
            silence=_SILENCE_OF_LINK * self._ping_interval,
            ping_interval=self._ping_interval,
        )
        try:
            with self._scope:
                async with open_plain_nursery() as nursery:
                    for task in (self._read, self._write, self._watch):
                        nursery.start_soon(self._until_over, task)
                    run = partial(link.run, self._on_message)
                    nursery.start_soon(self._until_over, run)
        finally:
            self._link = None
            for thing in list(self.things):
                self._lost(thing)
            self._ends.detach(link.outlet, self._why)
            self.over.set()
            _log.info("%s: the main socket is over: %s", self.peer, self._why)

    async def _until_over(self, task: Callable[[], Awaitable[None]]) -> None:
        try:
            await task()
        except (LinkLost, RemoteProtocolError) as error:
            await self._let_streams_end()
            self.end(str(error))

    async def _let_streams_end(self) -> None:
        """A device that was killed loses its tunnel sockets as well, in the same moment: users see
        a reset then, which nobody could tell them any more when the link is over."""
        for _ in range(_LAST_LOOKS):
            await trio.sleep(_LAST_LOOK)
            if not self._ends.streams_of(set(self.things)):
                return

    def end(self, why: str) -> None:
        """It is over; the first reason counts."""
        if not self._scope.cancel_called:
            self._why = why
            self._scope.cancel()

    async def _read(self) -> None:
        while True:
            await self._read_message()
            self._react()

    async def _write(self) -> None:
        while True:
            await self._to_send.wait()
            self._to_send = trio.Event()
            await self._flush()
            if self._farewell:
                raise LinkLost(self._farewell)

    async def _watch(self) -> None:
        """A node that counts on a device to answer pings would cut every C device."""
        while True:
            due = self._socket.last_received + self._silence
            if trio.current_time() >= due:
                raise LinkLost(f"nothing came from the device for {self._silence:g} s")
            await trio.sleep_until(due)

    # -- what the device says

    def _react(self) -> None:
        while self._dialogue.events:
            self._on_event(self._dialogue.events.popleft())
        if self._dialogue.outgoing:
            self._to_send.set()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, BindAsked):
            for name in event.names:
                self._bind(name)
        elif isinstance(event, UnbindAsked):
            for name in event.names:
                self._unbind(name)
        elif isinstance(event, Commanded):
            self._on_command(event)
        elif isinstance(event, Answered):
            answered = self._answers.pop(event.request, None)
            if answered is not None:
                answered(event.response)

    def _bind(self, name: str, beat: int = 0) -> None:
        if not 0 < len(name) <= 256 or not name.isprintable():
            self._dialogue.bound(name, "this is no name of a thing")
            return
        self._epoch = max(self._epoch, beat, int(time.time() * 1000)) + 1
        self._asked[name] = self._epoch
        self._send(Bind(name, self._epoch))

    def _unbind(self, name: str) -> None:
        epoch = self._asked.pop(name, None) or self.things.get(name)
        if epoch is not None:
            self._send(Unbind(name, epoch))
        self._dialogue.bound(name)  # if that was asked and is not decided: nobody wants it any more
        if name in self.things:
            self._lost(name)

    def _on_command(self, event: Commanded) -> None:
        problem = f"the device says {event.command}: its connection to the service is over"
        self._openings.told(event.tid, self.key, problem)

    # -- what the node says

    def _send(self, frame: Frame) -> None:
        if self._link is not None:
            self._link.outlet.push(encode(frame))

    def _on_message(self, message: bytes) -> None:
        tunnel = peek(message).tunnel
        if tunnel is None:
            self._on_link_frame(decode(message))
            self._react()
        elif self._link is not None:
            self._ends.receive(tunnel, message, self._link.outlet, self.why_not)

    def _on_link_frame(self, frame: Frame) -> None:
        if isinstance(frame, Ping):
            self._send(Pong(frame.nonce))
        elif isinstance(frame, Bound):
            self._on_bound(frame)
        elif isinstance(frame, Unbound):
            self._on_unbound(frame)
        elif isinstance(frame, Services):
            self._tell_offer(frame.thing)
        elif isinstance(frame, Drain):
            self._leaving = True
            self.leave_if_idle()
        elif isinstance(frame, Bye):
            raise LinkLost(frame.text or Reason.of(frame.reason).text)

    def _on_bound(self, frame: Bound) -> None:
        if self._asked.get(frame.thing) != frame.epoch:
            return
        del self._asked[frame.thing]
        self.things[frame.thing] = frame.epoch
        self._dialogue.bound(frame.thing)
        self._tell_offer(frame.thing)
        self.on_bound(frame.thing)
        if self._notify:
            self._dialogue.notify(frame.thing)

    def _on_unbound(self, frame: Unbound) -> None:
        reason = Reason.of(frame.reason)
        text = frame.text or reason.text
        asked = frame.thing in self._asked
        if asked and reason is Reason.SUPERSEDED and frame.epoch < _LAST_EPOCH:
            self._bind(frame.thing, beat=frame.epoch)
        elif asked:
            del self._asked[frame.thing]
            self._dialogue.bound(frame.thing, text)
        if self._link is not None:
            self._ends.detach(self._link.outlet, text, reason, frame.thing)
        if frame.thing in self.things:
            self._lost(frame.thing)
            if not (asked or self.things):
                self.end(f"{frame.thing}: {text}")

    def _lost(self, thing: str) -> None:
        del self.things[thing]
        self.on_unbound(thing)

    def _tell_offer(self, thing: str) -> None:
        """For lists; nothing is opened by it."""
        if LISTS in self._features and thing in self.things:
            names = offered(each.name for each in self._offers(thing))
            self._send(Offer(thing, names, self._ends.identity.fingerprint))

    def why_not(self, thing: str, service: str) -> tuple[Reason, str] | None:
        """Why no tunnel to it is opened; None: it is."""
        if thing not in self.things:
            return Reason.NO_SUCH_THING, f"{thing} is not served here"
        if self.find(thing, service) is None:
            names = ", ".join(each.name for each in self._offers(thing)) or "nothing"
            text = f"the policy names no service {service!r} of {thing}; it names {names}"
            return Reason.SERVICE_NOT_ALLOWED, text
        return None

    def leave_if_idle(self) -> None:
        """The node asks its devices to go: one whose streams are over goes."""
        if self._leaving and not self._ends.streams_of(set(self.things)):
            self._farewell = "the node is shutting down"  # when all that waits is said
            self._to_send.set()

    # -- tunnels

    def find(self, thing: str, service: str) -> ServiceOffer | None:
        """Where a service is, from the device."""
        return next((each for each in self._offers(thing) if each.name == service), None)

    def start(
        self, thing: str, tid: str, offer: ServiceOffer, answered: Callable[[Response], None]
    ) -> None:
        """Ask the device for a tunnel socket, and to dial the service."""
        asked = StartTunnel(tid, offer.host, offer.port, idle_timeout=_IDLE_MS)
        self._ask(asked.request(thing), answered)

    def complete(self, thing: str, tid: str, user: str, reason: str) -> None:
        """Tell the device that a tunnel is over."""
        asked = CompleteTunnel(tid, user, reason[:200])
        self._ask(asked.request(thing), lambda _response: None)

    def _ask(self, request: Request, answered: Callable[[Response], None]) -> None:
        number = self._dialogue.ask(request)
        if self._dialogue.waiting > MAX_OUTGOING:
            self.end("the device does not read what it is asked")
        while len(self._answers) >= _MAX_UNANSWERED:
            del self._answers[next(iter(self._answers))]
        self._answers[number] = answered
        self._to_send.set()
