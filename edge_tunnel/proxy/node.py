"""A proxy node: accepts links, greets them, and ends.

Each connection is one task here (its reader), one for its writer and one inside the WebSocket
library. What a message means is the business of `traffic`; how nodes reach each other, of `hop`.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

import trio

from edge_tunnel.access.rights import Authority, PeerCertificate
from edge_tunnel.audit.records import NO_AUDIT, Audit
from edge_tunnel.errors import LinkLost
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.link.link import Link
from edge_tunnel.link.notices import Notices
from edge_tunnel.link.rounds import Rounds
from edge_tunnel.link.transport import Transport
from edge_tunnel.link.websocket import serve
from edge_tunnel.protocol.codec import encode
from edge_tunnel.protocol.frames import Bye, Drain, Hello, clip
from edge_tunnel.protocol.greeting import VERSION, common_features, wants_pings
from edge_tunnel.protocol.hint import HEADER, hinted_thing
from edge_tunnel.protocol.keepalive import rhythms
from edge_tunnel.proxy.alwayson.door import AlwaysOnDoor
from edge_tunnel.proxy.alwayson.upgrade import is_tunnel
from edge_tunnel.proxy.api import Api, ApiAnswer, ApiRequest
from edge_tunnel.proxy.deadlines import Deadlines
from edge_tunnel.proxy.directory import NodeInfo
from edge_tunnel.proxy.hop import HopDial, Hops
from edge_tunnel.proxy.http import answer_http, values_in
from edge_tunnel.proxy.port import Port
from edge_tunnel.proxy.reception import Reception
from edge_tunnel.proxy.registry import Registry
from edge_tunnel.proxy.routes import Routes
from edge_tunnel.proxy.seldom import Seldom
from edge_tunnel.proxy.settings import NodeSettings
from edge_tunnel.proxy.shared_port import open_shared_listeners
from edge_tunnel.proxy.siblings import Siblings
from edge_tunnel.proxy.strangers import Stranger, Strangers
from edge_tunnel.proxy.tls import ServerContext, secure_client
from edge_tunnel.proxy.traffic import Traffic
from edge_tunnel.proxy.waiting import WaitingRoom
from edge_tunnel.proxy.whereabouts import Whereabouts
from edge_tunnel.reasons import Reason

__all__ = ["Node", "NodeSettings"]

_log = logging.getLogger("edge_tunnel.proxy")

_DRAIN_BATCH: Final = (100, 0.1)
"""Links that are asked to go, and seconds until the next are: 1,000 links a second is what the
other nodes can greet beside their traffic."""

_FAREWELL: Final = 2.0
"""Seconds that the endpoints have to take our goodbye."""

_BACKLOG: Final = 1024
"""Connections that may wait to be accepted: the devices of a dead node come all at once."""


_CHECK: Final = 1.0
"""Seconds between two looks at which tunnels' time is over."""


class Node:
    """One proxy node."""

    def __init__(
        self,
        settings: NodeSettings,
        authority: Authority,
        registry: Whereabouts | None = None,
        hop_dial: HopDial | None = None,
        *,
        audit: Audit = NO_AUDIT,
        siblings: Siblings | None = None,
    ) -> None:
        """A node that is alone needs neither a registry nor a way to dial hops.

        `audit` is told who does what (`audit.writer.open_audit`).
        In a cluster `hops.run` must run (`peering.serve_hops` does it).
        `siblings`: the other workers on this port, to which links are passed on; see
        `serve_siblings`.
        """
        self.settings = settings
        self.siblings = siblings
        self.notices = Notices()
        self.draining = False
        """Whether it takes no new links, because it is going to end."""

        self.api: Api | None = None
        """Answers HTTP below ``/api/v1/``."""

        self.authority = authority
        if registry is None:
            registry = Registry(NodeInfo(settings.name, version=VERSION, started=time.time()))
        self.traffic = Traffic(registry, authority, self.notices.emit, audit, settings.memory)
        authority.on_change = self._judge_again
        self.traffic.lists.me = lambda: self._describe(registry.me)
        registry.on_renew = self._describe
        self.hops: Hops | None = None if hop_dial is None else self._make_hops(hop_dial)
        self._reception = Reception(settings, authority, self.traffic.recording, self._busy)
        self.admission = self._reception.admission
        self.alwayson = None if settings.alwayson is None else AlwaysOnDoor(self, settings.alwayson)
        self._links: dict[Link, Port] = {}
        self._ends: Deadlines[Link] = Deadlines()  # Unix seconds
        self._rounds = Rounds()
        self.strangers = Strangers(
            settings.max_unauthenticated,
            settings.max_unauthenticated_per_source,
            settings.trusted_proxies,
        )
        """Connections that have not greeted yet."""

        self._shown_out = Seldom(_log)

    def _make_hops(self, dial: HopDial) -> Hops:
        settings, traffic = self.settings, self.traffic
        hops = Hops(
            settings.name,
            settings.hops,
            dial,
            demands=settings.demands,
            on_message=traffic.on_message,
            on_greeted=traffic.hop_greeted,
            on_lost=self._hop_lost,
            on_notice=self._hop_notice,
        )
        traffic.hops = traffic.lists.hops = hops
        traffic.registry.on_node_gone = self._node_gone
        return hops

    def _describe(self, me: NodeInfo) -> NodeInfo:
        """What there is to say of this node now."""
        return me._replace(draining=self.draining, links=self.links, tunnels=len(self.routes))

    def _node_gone(self, node: str) -> None:
        assert self.hops is not None
        self.traffic.waiting.node_gone(trio.current_time())
        self.hops.gone(node)

    def _hop_lost(self, port: Port, reason: str) -> None:
        self.notices.emit("hop_lost", node=port.peer, reason=reason)
        self.traffic.lost(port, reason)

    def _hop_notice(self, node: str, text: str) -> None:
        _log.warning("node %s: %s", node, text)
        self.notices.emit("notice", node=node, text=text)

    @property
    def links(self) -> int:
        """How many endpoints are linked."""
        return len(self._links)

    @property
    def registry(self) -> Whereabouts:
        """Who has which thing."""
        return self.traffic.registry

    @property
    def routes(self) -> Routes:
        """The tunnels."""
        return self.traffic.routes

    @property
    def waiting(self) -> WaitingRoom:
        """Attaches whose thing is not bound at the moment."""
        return self.traffic.waiting

    def why_not_ready(self) -> str | None:
        """Why this node takes no new links now; None: it does."""
        if self.draining:
            return "the node is shutting down"
        if self.links >= self.settings.max_links:
            return f"the node has all the {self.settings.max_links} links that it takes"
        return self.authority.why_not_ready()

    def _busy(self) -> Bye | None:
        """The same, to an endpoint."""
        why = self.why_not_ready()
        reason = Reason.SHUTTING_DOWN if self.draining else Reason.TOO_MANY
        return None if why is None else Bye(reason, why, 0)

    # -- connections

    async def serve(
        self,
        host: str | None,
        port: int,
        tls: ServerContext | None = None,
        *,
        shared: bool = False,
        task_status: trio.TaskStatus[Sequence[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen and serve until cancelled. Raises OSError if the address cannot be used.

        Args:
          host: None for all addresses.
          port: 0 for any free one.
          tls: asked for each connection; without it links are plain.
          shared: other processes of this user may listen there, too (SO_REUSEPORT).
          task_status: gets the listeners.
        """
        if shared:
            listeners = open_shared_listeners(host, port, _BACKLOG)
        else:
            listeners = await trio.open_tcp_listeners(port, host=host, backlog=_BACKLOG)
        async with open_plain_nursery() as nursery:
            nursery.start_soon(self.watch_rights)
            task_status.started(listeners)
            await trio.serve_listeners(partial(self._accept, tls), listeners)

    async def _accept(self, tls: ServerContext | None, sock: trio.SocketStream) -> None:
        peer = _peer_name(sock)
        if not self.strangers.has_room(peer):
            sock.socket.close()
            return
        await self.take(sock, peer, tls)

    async def serve_siblings(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Take the connections that other workers pass on, until cancelled."""
        assert self.siblings is not None
        await self.siblings.run(self._take_passed, self._has_room, task_status=task_status)

    def _has_room(self) -> bool:
        return self.why_not_ready() is None and self.strangers.count < self.strangers.most

    async def _take_passed(self, sock: trio.SocketStream, head: bytes) -> None:
        peer = _peer_name(sock)
        if self.strangers.has_room(peer):
            await self.take(sock, peer, first=head)
        else:
            sock.socket.close()

    async def take(
        self,
        stream: trio.abc.Stream,
        peer: str,
        tls: ServerContext | None = None,
        *,
        first: bytes = b"",
    ) -> None:
        """Serve one connection, to its end: a WebSocket, or a question in plain HTTP.

        `tls`: for the handshake that comes first; None: the stream is what it should be.
        `first`: what another worker has read from it.
        """
        stranger = self.strangers.enter(peer)
        try:
            if tls is None:
                await self._talk_http(stream, stranger, None, first)
                return
            timeout, tell = self.settings.handshake_timeout, self._shown_out
            taken = await secure_client(stream, tls(), peer, timeout, tell)
            if taken is not None:
                secured, certificate = taken
                await self._talk_http(secured, stranger, certificate)
        finally:
            stranger.leave()

    async def _talk_http(
        self,
        stream: trio.abc.Stream,
        stranger: Stranger,
        certificate: PeerCertificate | None,
        first: bytes = b"",
    ) -> None:
        timeout, api = self.settings.handshake_timeout, self.api

        async def act(request: ApiRequest) -> ApiAnswer:
            assert api is not None
            return await self._reception.ask(api, request, stranger.peer)

        head = await answer_http(
            stream,
            timeout,
            self.why_not_ready,
            partial(self._shown_out, peer=stranger.peer),
            act=None if api is None else act,
            origins=self.settings.origins,
            comes_for=stranger.comes_for,
            may_always=lambda target: self.alwayson is not None and is_tunnel(target),
            first=first,
        )
        if head is None:
            return
        if self.alwayson is not None and self.alwayson.is_for(head):
            await self.alwayson.take(head, stream, stranger, certificate)
            return
        if not first and await self._passed_on(stream, head):
            return
        talk = partial(self.talk, stranger=stranger, certificate=certificate)
        await serve(stream, talk, peer=stranger.peer, timeout=timeout, first=head)

    async def _passed_on(self, stream: trio.abc.Stream, head: bytes) -> bool:
        """Whether another worker, which has the other end, serves the connection."""
        if self.siblings is None or not isinstance(stream, trio.SocketStream):
            return False
        thing = hinted_thing(values_in(head, HEADER))
        where = self.registry.locate(thing) if thing else None
        bound_at = self.settings.name if isinstance(where, Port) else where
        return await self.siblings.pass_on(stream, head, thing, bound_at)

    async def talk(
        self,
        transport: Transport,
        stranger: Stranger | None = None,
        certificate: PeerCertificate | None = None,
        *,
        protocol: str = "",
    ) -> None:
        """Greet and serve one transport, to its end.

        Args:
          transport: the caller closes it.
          stranger: leaves its place when the greeting is over, and well.
          certificate: what TLS has verified of the peer's.
          protocol: what the peer itself speaks, if that is not ours.
        """
        greeted_as = await self._reception.greet(transport, certificate)
        if greeted_as is None:
            return
        hello, principal = greeted_as
        if stranger is not None:
            stranger.leave()
        link = self._link_on(transport, hello)
        port = Port(hello.role, transport.peer, link.outlet, principal, common_features(hello))
        port.end, port.protocol, port.wanted = link.end, protocol, link.hurry
        link.is_used = lambda: bool(port.routes)
        self._links[link] = port
        self._judge(link, port)  # its right may have gone while it was greeted
        self.traffic.recording.link_opened(port)
        reason = "the node was stopped"
        try:
            await link.run(partial(self.traffic.on_message, port))
        except LinkLost as error:
            reason = str(error)
        finally:
            del self._links[link]
            self._ends.drop(link)
            self.traffic.lost(port, reason)
            self.traffic.recording.link_closed(port, reason)

    def _link_on(self, transport: Transport, hello: Hello) -> Link:
        ping = hello.ping_ms if wants_pings(hello) else 0
        silence, longest = hello.silence_ms / 1000, self.settings.max_silence
        tight, resting = rhythms(silence, ping / 1000, hello.idle_ms / 1000, longest)
        return Link(
            transport,
            silence=tight.silence,
            ping_interval=tight.interval,
            resting=resting,
            rounds=self._rounds,
        )

    # -- rights

    async def watch_rights(self) -> None:
        """End tunnels whose time is over; `serve` does it."""
        async with open_plain_nursery() as nursery:
            nursery.start_soon(self.authority.run)
            nursery.start_soon(self._rounds.run)
            if self.alwayson is not None and not self.alwayson.running:
                nursery.start_soon(self.alwayson.run)
            while True:
                await trio.sleep(_CHECK)
                self.traffic.guard.check(trio.current_time())
                for link in self._ends.take(time.time()):
                    self._judge(link, self._links[link])
                self.traffic.relieve(self._links.values())

    def _judge_again(self) -> None:
        """Keys or policy have changed: what lost its right ends now."""
        self.traffic.guard.judge_tunnels()
        for link, port in self._links.items():
            self._judge(link, port)
            if port.role == "edge":
                self.traffic.judge_binds(port)
        if self.alwayson is not None:
            self.alwayson.review()

    def _judge(self, link: Link, port: Port) -> None:
        """End the link of somebody who would not be admitted any more: the key is revoked, or
        over."""
        assert port.principal is not None
        denial = self.authority.still(port.principal)
        if denial is not None:
            link.end(denial.reason, clip(denial.text))
        else:  # when its time is over nobody tells; `_judge_again` is told of all else
            ends = self.authority.ends(port.principal)
            self._ends.put(link, math.inf if ends is None else ends)

    # -- the end

    async def drain(self, timeout: float) -> None:
        """Take no new links, ask the endpoints to go elsewhere, and end when they have.

        Those that are still here after `timeout` seconds hear BYE. Afterwards cancel `serve`.
        """
        self.draining = True
        self.registry.describe(self._describe(self.registry.me))
        self.notices.emit("draining", links=self.links)
        with trio.move_on_after(timeout):
            await self._ask_to_go(timeout)
            await self.wait_idle(timeout)
        if self.alwayson is not None:
            await self.alwayson.close()
        self.say_goodbye()
        await self.wait_idle(_FAREWELL)

    async def _ask_to_go(self, timeout: float) -> None:
        end = trio.current_time() + timeout
        batch, pause = _DRAIN_BATCH
        willing = [link for link, port in self._links.items() if "drain" in port.features]
        for start in range(0, len(willing), batch):
            if start:
                await trio.sleep(pause)
            within = int((end - trio.current_time()) * 1000)
            message = encode(Drain(max(within, 0), "the node is shutting down"))
            for link in willing[start : start + batch]:
                link.outlet.push(message)

    def say_goodbye(self) -> None:
        """Tell every endpoint that this node ends; they go elsewhere, or wait for its return."""
        for link in self._links:
            link.end(Reason.SHUTTING_DOWN, "the node is shutting down")

    async def wait_idle(self, timeout: float) -> None:
        """Wait until all links are over, or `timeout` seconds."""
        with trio.move_on_after(timeout):
            for link in list(self._links):
                await link.over.wait()


def _peer_name(sock: trio.SocketStream) -> str:
    try:
        host, port, *_ = sock.socket.getpeername()
    except OSError:
        return "a peer that is gone already"
    return f"{host}:{port}"
