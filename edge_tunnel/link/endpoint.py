"""What an edge and a remote have in common: links come and go, tunnels stay.

An endpoint keeps one link up. It dials its candidates in their order, greets, runs the link until
it is lost, and dials again. Tunnels live here, not on the link: when a link is lost they are
detached and keep everything; what brings them back is their role's business (`on_linked`: an edge
binds its things, a remote attaches its tunnels).

A node that drains asks its endpoints to go. Then the next link is dialled while the old one works;
tunnels change over one by one, as they are attached by the new link, and the old link is left when
none uses it any more. Each frame is answered by the link that it came by.
"""

from __future__ import annotations

import logging
import random
import secrets
from functools import partial
from typing import Any, Final, cast

import trio

from edge_tunnel.config.source import printable
from edge_tunnel.errors import LinkLost, LinkRefused, RemoteProtocolError
from edge_tunnel.link.backoff import Backoff
from edge_tunnel.link.batch import now
from edge_tunnel.link.candidates import Candidates
from edge_tunnel.link.clock import TunnelClock
from edge_tunnel.link.dialling import Dial
from edge_tunnel.link.greet import greet
from edge_tunnel.link.link import Link
from edge_tunnel.link.notices import Notices
from edge_tunnel.link.settings import EndpointSettings
from edge_tunnel.link.streams import StreamEvent, wake_user
from edge_tunnel.link.transport import Transport
from edge_tunnel.link.visit import Visit
from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import (
    Bye,
    Close,
    Detached,
    Drain,
    Frame,
    Hello,
    LinkFrame,
    Ping,
    Pong,
    StreamFrame,
    TunnelFrame,
    Unbound,
    Welcome,
)
from edge_tunnel.protocol.greeting import (
    FEATURES,
    NEWEST,
    OLDEST,
    PINGS,
    RESUMING,
    SOFTWARE,
    SUBPROTOCOL,
    common_features,
)
from edge_tunnel.protocol.head import Head, peek
from edge_tunnel.protocol.tunnel import Event, Tunnel
from edge_tunnel.reasons import Reason

__all__ = ["Endpoint"]

_log = logging.getLogger("edge_tunnel.link")
_notice_log = logging.getLogger("edge_tunnel.notice")

_HURRY: Final = 1.0
"""Seconds between attempts, at most, while tunnels wait for the link: their users do too."""

_ELSEWHERE: Final = (Reason.SHUTTING_DOWN, Reason.TOO_MANY)
"""Refusals that say nothing against this endpoint: the next node may take it."""

_STABLE: Final = 5.0
"""Seconds that a link must have lasted for the waits to start from the shortest again; a node that
takes links and drops them at once is not to be dialled in a loop."""


class Endpoint:
    """One end: its link of the moment and its tunnels. Subclasses are the roles."""

    role = ""
    is_pinged = False
    """Whether it leaves the pings to its node, if that knows how: each costs one wake-up then."""

    def __init__(self, settings: EndpointSettings, dial: Dial) -> None:
        self.settings = settings
        self.notices = Notices()
        self.tunnels: dict[bytes, Tunnel] = {}
        self.link: Link | None = None
        self.url: str | None = None
        """Where the link of the moment goes."""

        self.features: frozenset[str] = frozenset()
        """What its node and we agreed on."""

        self.linked_at = 0.0
        """When it was greeted."""

        self._dial = dial
        self._visits: trio.Nursery | None = None
        self._current: Visit | None = None  # whose link is `link`
        self._leaving: set[Link] = set()
        self._instance = secrets.token_bytes(16)
        self._clock = TunnelClock(self.tunnels, self.tell)
        self._refusals: dict[str, str] = {}  # url -> what was said already since the last link
        self._noted = ""  # what the last node had to say to the user
        self._attempts = trio.CancelScope()  # dialling, and the waits in between
        self._until_left = trio.CancelScope(shield=True)
        self._failures = 0  # in a row
        self._candidates = Candidates()

    # -- what a role adds

    def on_linked(self) -> None:
        """There is a new link: `self.link`."""

    def on_link_frame(self, _link: Link, frame: LinkFrame) -> None:
        """A frame of a link that is not PING, PONG, DRAIN or BYE, and the link that it came by."""
        raise RemoteProtocolError(f"{type(frame).__name__} goes the other way")

    def on_unknown_tunnel(self, link: Link, frame: TunnelFrame | StreamFrame) -> None:
        """A frame of a tunnel that is not here: late, unless the role knows better."""

    def on_event(self, tunnel: Tunnel, event: Event) -> None:
        """Something happened to a tunnel that its streams' users are not told otherwise."""

    def on_refused(self, error: LinkRefused) -> None:
        """The node refused the greeting. Raise to give up; return to try again later."""

    def on_visited(self, visit: Visit) -> None:
        """An attempt failed, or its link is over or to be left. Raise to give up."""

    # -- links

    async def run(self) -> None:
        """Keep a link up until cancelled. Raises LinkLost when `retries` are used up."""
        async with trio.open_nursery() as nursery:
            self._visits = nursery
            nursery.start_soon(self._clock.run)
            await self._keep_linked()
            nursery.cancel_scope.cancel()

    async def run_until_left(self) -> None:
        """As `run`, but nothing else than `say_goodbye` ends it: who leaves because it is cancelled
        is heard, too, and the far ends do not wait for it."""
        with self._until_left:
            await self.run()

    def reconnect(self, settings: EndpointSettings, dial: Dial) -> None:
        """From now on use these; the link of the moment, or the attempt, is left for a new one."""
        self.settings, self._dial = settings, dial
        self._candidates.forget()
        if self.link is not None:
            self.link.end(Reason.DONE, "the endpoint was configured anew")
        if self._is_dialling:  # a new key must not go to an old server
            self._attempts.cancel()

    @property
    def _is_dialling(self) -> bool:
        """Whether the next link is made already: there is none, or its node asked us to go."""
        return self.link is None or self._current is None or self._current.settled.is_set()

    async def _keep_linked(self) -> None:
        await trio.sleep(random.uniform(0, self.settings.first_delay))
        backoff = Backoff(self.settings.retry_interval)
        while True:
            with trio.CancelScope() as self._attempts:
                await self._go_round(self.settings, backoff)

    async def _go_round(self, settings: EndpointSettings, backoff: Backoff) -> None:
        """Each candidate once, but for those that want to be left alone; and a wait.

        Also where a link was lost the next candidate waits its jitter: the other devices of a node
        that died go there, too. Where a node asked us to go, nothing is waited for.
        """
        backoff.longest = settings.retry_interval
        candidates = await self._candidates.due(settings.urls)
        for url in candidates:
            visit = await self._visit(url)
            if visit.linked:
                self._failures = 0
            elif not self._candidates.is_promised(url):  # to be asked to wait is no failure
                self._failures += 1
            if settings.retries is not None and self._failures > settings.retries:
                raise LinkLost(f"gave up after {self._failures} attempts: {visit.problem}")
            if visit.linked and visit.lasted > _STABLE:
                backoff.succeeded()
            if self.settings is not settings:
                return
            if not visit.asked_to_go and (visit.linked or url is candidates[-1]):
                hurry = self.tunnels and not isinstance(visit.problem, LinkRefused)
                await self._candidates.wait(backoff.next_delay(_HURRY if hurry else None))

    async def _visit(self, url: str) -> Visit:
        """One attempt, until it failed, or its link was lost, or its node asked us to go."""
        assert self._visits is not None
        visit = Visit(url)
        self._visits.start_soon(self._try, visit)
        try:
            await visit.settled.wait()
        except trio.Cancelled:
            visit.scope.cancel()
            raise
        if isinstance(visit.problem, LinkRefused):
            self.on_refused(visit.problem)
            self._log_refusal(visit.url, str(visit.problem))
        self.on_visited(visit)
        return visit

    async def _try(self, visit: Visit) -> None:
        try:
            with visit.scope:
                await self._one_link(visit)
            if visit.linked:  # without a link of ours, which says goodbye by itself
                raise LinkLost("the endpoint was configured anew")
        except (LinkLost, LinkRefused) as error:
            visit.problem = error
            self._lost(visit)
        finally:
            visit.settle()

    async def _one_link(self, visit: Visit) -> None:
        """Dial, greet, and run one link until it is lost. Always raises."""
        self.notices.emit("connecting", url=visit.url)
        async with self._dial(visit.url) as transport:
            await self.speak(visit, transport)

    async def speak(self, visit: Visit, transport: Transport) -> None:
        """Greet, and run one link until it is lost. Always raises."""
        welcome = await self._greet(transport, visit.url)
        visit.node = welcome.node
        self.features = common_features(welcome)
        link = visit.link = self._link_on(transport)
        self.begin(visit, link, SUBPROTOCOL)
        self._note(visit, welcome.notice)
        try:
            self.on_linked()
            self.leave_links()
            await link.run(partial(self._on_message, visit, link))
        finally:  # `say_goodbye` waits for it
            link.over.set()

    def _link_on(self, transport: Transport) -> Link:
        tight, resting = self.settings.tight, self.settings.resting
        if PINGS not in self.features:
            return Link(transport, silence=tight.silence, ping_interval=tight.interval)
        link = Link(
            transport,
            silence=tight.silence,
            ping_interval=tight.of_pinged.interval,
            resting=resting.of_pinged,
        )
        link.is_used = partial(self._uses, link)
        return link

    def _uses(self, link: Link) -> bool:
        return any(tunnel.uses(link.outlet) for tunnel in self.tunnels.values())

    def begin(self, visit: Visit, link: Link | None, protocol: str) -> None:
        """This is the link of the moment from here on; one that is still up is left.

        `link`: None where it speaks something else than our own wire.
        """
        self._refusals.clear()
        visit.linked = True
        old, self._current = self._current, visit
        self.link, self.url = link, visit.url
        self.linked_at = trio.current_time()
        self.notices.emit("linked", url=visit.url, node=visit.node, protocol=protocol)
        if old is not None and old.link is not None:
            self._leaving.add(old.link)

    async def _greet(self, transport: Transport, url: str) -> Welcome:
        answer = await greet(transport, self._hello(), within=self.settings.greeting_timeout)
        if isinstance(answer, Welcome):
            return answer
        self._candidates.hold_off(url, answer)
        if answer.reason in _ELSEWHERE:
            raise LinkLost(f"the node takes no links: {answer.text}")
        raise LinkRefused(Reason.of(answer.reason), answer.text)

    def _hello(self) -> Hello:
        settings = self.settings
        ping = settings.tight.interval if self.is_pinged else 0.0
        return Hello(
            OLDEST,
            NEWEST,
            self.role,
            SOFTWARE,
            settings.key,
            self._instance,
            int(settings.tight.silence * 1000),
            (*FEATURES, RESUMING) if self.tunnels else FEATURES,
            int(ping * 1000),
            int(settings.resting.interval * 1000) if ping else 0,
        )

    def _note(self, visit: Visit, text: str) -> None:
        """What a node has to say to our user; a link that comes and goes does not repeat it."""
        if text:
            level = logging.DEBUG if self._noted == text else logging.WARNING
            _notice_log.log(level, "%s: %s", visit.url, text)
            self._noted = text
            self.notices.emit("notice", url=visit.url, text=text)

    def _lost(self, visit: Visit) -> None:
        """A link is over, or was never there: what used it is detached."""
        link, problem = visit.link, visit.problem
        if self._current is visit:
            self._current = self.link = self.url = None
        if link is not None and link in self._leaving:
            self._leaving.discard(link)
            self.notices.emit("link_left", url=visit.url, reason=str(problem))
        elif isinstance(problem, LinkRefused):
            self.notices.emit("link_refused", url=visit.url, reason=str(problem))
        else:
            _log.info("%s: %s", visit.url, problem)
            event = "link_lost" if visit.linked else "connect_failed"
            self.notices.emit(event, url=visit.url, reason=str(problem))
        now = trio.current_time()
        for tunnel in list(self.tunnels.values()):
            if link is not None and tunnel.uses(link.outlet):
                tunnel.detach(now, Reason.SILENT, str(problem))
                self.tell(tunnel)

    # -- leaving a link for another, make before break

    def is_settled(self) -> bool:
        """Whether the link of the moment does all that an older one did, but for tunnels."""
        return True

    def leave_links(self) -> None:
        """Say BYE on older links that nothing needs any more."""
        if not self._leaving or self.link is None or not self.is_settled():
            return
        for link in self._leaving:
            if not self._uses(link):
                link.end(Reason.DONE, "went to another node")

    def _on_drain(self, visit: Visit, frame: Drain) -> None:
        """The node wants us to go, and says when it ends."""
        self.notices.emit("asked_to_go", url=visit.url, reason=frame.text)
        visit.asked_to_go = True
        visit.settle()

    def _log_refusal(self, url: str, reason: str) -> None:
        """Somebody must do something about it; but one line for each new refusal is enough."""
        level = logging.DEBUG if self._refusals.get(url) == reason else logging.ERROR
        self._refusals[url] = reason
        _log.log(level, "%s refuses this %s: %s", url, self.role, reason)

    # -- messages

    def _on_message(self, visit: Visit, link: Link, message: bytes) -> None:
        head = peek(message)
        if head.tunnel is None:
            self._on_link_frame(visit, link, _decode(message, head))
            return
        tunnel = self.tunnels.get(head.tunnel)
        try:  # of a tunnel: its kind says so
            frame: Any = decode(message, head) if head.stream else _decode(message, head)
        except RemoteProtocolError as error:
            # the far end's fault, not the link's: others share the link
            if tunnel is not None:
                tunnel.close(Reason.PROTOCOL_ERROR, str(error))
                self.tell(tunnel)
            return
        if tunnel is None:
            self.on_unknown_tunnel(link, frame)
        elif not head.stream:
            self.on_tunnel_frame(link, tunnel, frame)
        else:
            tunnel.receive(frame, now())
            self.tell(tunnel)

    def on_tunnel_frame(self, _link: Link, tunnel: Tunnel, frame: TunnelFrame) -> None:
        """A frame about a tunnel that is here, and the link that it came by."""
        tunnel.receive(frame, now())
        self.tell(tunnel)

    def _on_link_frame(self, visit: Visit, link: Link, frame: Frame) -> None:
        if isinstance(frame, Ping):
            link.answer(frame)
        elif isinstance(frame, Drain):
            self._on_drain(visit, frame)
        elif isinstance(frame, Bye):
            self._candidates.hold_off(visit.url, frame)
            raise LinkLost(f"the node ended the link: {frame.text or Reason.of(frame.reason).text}")
        elif not isinstance(frame, Pong):
            self.on_link_frame(link, cast("LinkFrame", frame))

    def send(self, frame: Frame) -> None:
        """Send a control frame, if there is a link."""
        if self.link is not None:
            self.link.outlet.push(encode(frame))

    # -- tunnels

    def add(self, tunnel: Tunnel) -> None:
        """Keep this tunnel until it is closed."""
        tunnel.on_deadline = self._clock.wake
        tunnel.read_text = printable
        self.tunnels[tunnel.id] = tunnel
        self._clock.wake()

    def tell(self, tunnel: Tunnel) -> None:
        """Pass on what happened to a tunnel; every call of its core is followed by this."""
        for event in tunnel.events():
            if isinstance(event, StreamEvent):
                wake_user(event)
            else:
                self.on_event(tunnel, event)
        if tunnel.closed and self.tunnels.get(tunnel.id) is tunnel:
            del self.tunnels[tunnel.id]
        if self._leaving:
            self.leave_links()

    def close_tunnels(self, reason: Reason, text: str = "") -> None:
        """End all tunnels; the far ends are told if the link has time for it."""
        for tunnel in list(self.tunnels.values()):
            tunnel.close(reason, text)
            self.tell(tunnel)

    def leave(self) -> None:
        """Close all tunnels and say goodbye; each role in its words."""

    async def say_goodbye(self) -> None:
        """Leave, and wait until the node has heard it, or cannot."""
        self.leave()
        if self.link is not None:
            with trio.CancelScope(shield=True):  # bounded: a farewell has a deadline
                await self.link.over.wait()
        self.notices.close()
        self._until_left.cancel()


def _decode(message: bytes, head: Head | None = None) -> Frame:
    """The frame, its text for people made fit for a terminal and a log."""
    frame = decode(message, head)
    # not RESET: its tag may be over the text as it came; the tunnel reads it (`read_text`)
    if isinstance(frame, (Bye, Close, Detached, Unbound)):
        return frame._replace(text=printable(frame.text))
    return frame
