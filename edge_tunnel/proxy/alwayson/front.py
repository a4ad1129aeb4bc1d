"""A node's ThingWorx devices: their sockets come in here."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial

import trio

from edge_tunnel.access.rights import ServiceOffer
from edge_tunnel.alwayson.reading import MAX_MESSAGE
from edge_tunnel.alwayson.text import MAX_TEXT
from edge_tunnel.config.alwayson import AlwaysOnSettings
from edge_tunnel.errors import LinkLost, RemoteProtocolError
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.link.streams import TunnelStream
from edge_tunnel.protocol.attach import EdgeTunnel
from edge_tunnel.proxy.alwayson.ends import TunnelEnds
from edge_tunnel.proxy.alwayson.host import Host
from edge_tunnel.proxy.alwayson.identity import stand_in
from edge_tunnel.proxy.alwayson.inprocess import InProcessTransport, in_process_pair
from edge_tunnel.proxy.alwayson.passing import pass_on
from edge_tunnel.proxy.alwayson.session import Session
from edge_tunnel.proxy.alwayson.streams import DeviceStreams
from edge_tunnel.proxy.alwayson.tids import Openings, node_of
from edge_tunnel.proxy.alwayson.upgrade import Upgrade, refusal, switching
from edge_tunnel.proxy.alwayson.visitor import Visitor
from edge_tunnel.proxy.alwayson.websocket import DeviceSocket
from edge_tunnel.reasons import Reason

__all__ = ["AlwaysOn"]

_log = logging.getLogger("edge_tunnel.proxy")


class AlwaysOn:
    """Those of one node. `run` must run."""

    def __init__(self, host: Host, settings: AlwaysOnSettings) -> None:
        self.host = host
        self.settings = settings
        self.openings = Openings(host.name)
        self.ends = TunnelEnds(stand_in(host.secret), self._serve_soon)
        self.ends.on_idle = self._idle
        self.sessions: dict[str, Session] = {}
        """By thing: the one that has bound it."""

        self.running = False
        self._streams = DeviceStreams(host, settings, self.sessions, self.openings)
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Where streams are served. At its end they end, and the remotes hear why."""
        self.running = True
        try:
            async with open_plain_nursery() as self._nursery:
                await self.ends.clock.run()
        finally:
            self.running = False

    def close(self) -> None:
        """The node ends: so do its streams, and everybody is told."""
        self.ends.close(Reason.SHUTTING_DOWN, "the node that has the device's connections ends")

    def review(self) -> None:
        """Rights have changed: tunnels whose service is not named any more end."""
        self.ends.review(self._why_over)

    def _why_over(self, thing: str, service: str) -> tuple[Reason, str] | None:
        session = self.sessions.get(thing)  # None: it may come back
        return None if session is None else session.why_not(thing, service)

    def offers(self, thing: str) -> tuple[ServiceOffer, ...]:
        """What a thing's services are: the policy's word counts before the node's own."""
        named = self.host.offers(thing)
        known = {each.name for each in named}
        own = (each for each in self.settings.services if each.name not in known)
        return (
            *named,
            *(ServiceOffer(name=each.name, host=each.host, port=each.port) for each in own),
        )

    # -- sockets

    async def serve(self, upgrade: Upgrade, visitor: Visitor) -> None:
        """Serve a device's socket to its end. Never raises what a peer can cause."""
        try:
            if not upgrade.challenge:
                await self._show_out(visitor, 400, "this is no WebSocket handshake (RFC 6455)")
            elif upgrade.tid is None:
                await self._serve_main(upgrade, visitor)
            else:
                await self._serve_tunnel(upgrade.tid, upgrade, visitor)
        except (LinkLost, RemoteProtocolError) as error:
            _log.info("%s: an AlwaysOn socket: %s", visitor.peer, error)
        except Exception:  # noqa: BLE001 - a bug met by one connection is not everybody's end
            _log.exception("%s: an AlwaysOn socket: internal error", visitor.peer)
        finally:
            await trio.aclose_forcefully(visitor.stream)

    async def _accept(self, upgrade: Upgrade, visitor: Visitor, most: int) -> DeviceSocket:
        try:
            with trio.fail_after(self.host.handshake_timeout):
                await visitor.stream.send_all(switching(upgrade.challenge))
        except trio.TooSlowError:
            raise LinkLost("the answer to the handshake was not read") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise LinkLost("the connection was lost in the handshake") from None
        return DeviceSocket(
            visitor.stream,
            visitor.peer,
            most=most,
            rest=upgrade.rest,
            quick_ack=visitor.quick_ack,
        )

    async def _show_out(self, visitor: Visitor, status: int, text: str) -> None:
        with trio.move_on_after(self.host.handshake_timeout), suppress(trio.BrokenResourceError):
            await visitor.stream.send_all(refusal(status, text))
            await visitor.stream.aclose()

    async def _serve_main(self, upgrade: Upgrade, visitor: Visitor) -> None:
        socket = await self._accept(upgrade, visitor, MAX_MESSAGE)
        session = self._new_session(socket)
        near, far = in_process_pair((visitor.peer, "the node"))
        why = "the main socket is over"
        try:
            async with open_plain_nursery() as nursery:
                nursery.start_soon(self._talk, far, visitor)
                try:
                    if await session.greet(near, self.host.handshake_timeout):
                        await session.run(near)
                finally:
                    near.close(why)  # the node's side sees its link lost, and so ends
        finally:
            await socket.close(1001, why)

    async def _talk(self, far: InProcessTransport, visitor: Visitor) -> None:
        """The node's end of the link inside."""
        stranger, certificate = visitor.stranger, visitor.certificate
        try:
            await self.host.talk(far, stranger, certificate, protocol="alwayson")
        finally:
            far.close("the node ended the link")

    def _new_session(self, socket: DeviceSocket) -> Session:
        session = Session(
            socket,
            self.ends,
            self.openings,
            self.offers,
            silence=self.settings.silence,
            ping_interval=self.host.max_silence / 4,
            notify=self.settings.notify,
        )
        session.on_bound = partial(self._bound, session)
        session.on_unbound = partial(self._unbound, session)
        return session

    def _bound(self, session: Session, thing: str) -> None:
        self.sessions[thing] = session

    def _idle(self, thing: str) -> None:
        session = self.sessions.get(thing)
        if session is not None:
            session.leave_if_idle()

    def _unbound(self, session: Session, thing: str) -> None:
        if self.sessions.get(thing) is session:
            del self.sessions[thing]

    async def _serve_tunnel(self, tid: str, upgrade: Upgrade, visitor: Visitor) -> None:
        node = node_of(tid, self.host.nodes())
        if node not in (None, self.host.name) and self.host.hops is not None and not visitor.passed:
            assert node is not None
            await self._pass_on(node, visitor)
            return
        refused = self.openings.why_not(tid, upgrade.app_key)
        if refused is not None:
            await self._show_out(visitor, 404, refused)
            return
        visitor.let_in()
        socket = await self._accept(upgrade, visitor, MAX_TEXT)
        opening = self.openings.take(tid, upgrade.app_key, socket)
        if opening is None:
            await socket.close(1008, "no tunnel of this id is waited for")
            return
        await opening.over.wait()

    async def _pass_on(self, node: str, visitor: Visitor) -> None:
        """It is another node's."""
        assert self.host.hops is not None

        try:
            _log.info("%s: a tunnel socket is passed on to node %s", visitor.peer, node)
            await pass_on(self.host.hops, node, visitor)
        except (LinkLost, RemoteProtocolError) as error:
            _log.info("a tunnel socket from %s, for node %s: %s", visitor.peer, node, error)
            await self._show_out(visitor, 503, f"node {node} cannot be reached")

    def _serve_soon(self, tunnel: EdgeTunnel, stream: TunnelStream) -> None:
        assert self._nursery is not None, "AlwaysOn.run is not running"
        self._nursery.start_soon(self._streams.serve, tunnel, stream)
