"""The edge: binds its things, takes tunnels to its services, and dials what is on its list.

It opens one outbound link and listens nowhere. What may be dialled is the device's own list; no
node can widen it.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from edge_tunnel.config.changes import Changes, changes
from edge_tunnel.config.model import EdgeConfig
from edge_tunnel.edge.alwayson.choice import ALWAYSON, spoken
from edge_tunnel.edge.encryption import why_not_sealed
from edge_tunnel.edge.identity_file import load_identity
from edge_tunnel.edge.idle import IdleWatch
from edge_tunnel.edge.offered import Offered
from edge_tunnel.edge.services import ServiceTarget
from edge_tunnel.edge.serving import Serving, about
from edge_tunnel.edge.statistics import EdgeStatistics
from edge_tunnel.errors import ConfigError, LinkLost, RemoteProtocolError
from edge_tunnel.link.dialling import Dial, dial_websocket, parse_url
from edge_tunnel.link.endpoint import Endpoint
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.link.link import Link
from edge_tunnel.link.notices import Notice
from edge_tunnel.link.settings import EndpointSettings
from edge_tunnel.link.transport import PlainTransport, Transport
from edge_tunnel.link.visit import Visit
from edge_tunnel.protocol.attach import EdgeTunnel
from edge_tunnel.protocol.codec import encode
from edge_tunnel.protocol.frames import (
    Attach,
    Bind,
    Bound,
    Close,
    LinkFrame,
    Offer,
    Services,
    StreamFrame,
    TunnelFrame,
    Unbind,
    Unbound,
    clip,
)
from edge_tunnel.protocol.identity import Identity
from edge_tunnel.protocol.listing import LISTS, offered
from edge_tunnel.protocol.spec import is_name
from edge_tunnel.protocol.tunnel import (
    Event,
    StreamOpened,
    Tunnel,
    TunnelAttached,
    TunnelClosed,
    TunnelDetached,
)
from edge_tunnel.reasons import Reason

if TYPE_CHECKING:
    from edge_tunnel.edge.alwayson.side import AlwaysOnSide

__all__ = ["Edge", "EdgeStatistics", "open_edge"]

_log = logging.getLogger("edge_tunnel.edge")

_IDLE_CHECK: Final = 60.0
"""Seconds between two looks at idle tunnels, at the most: one wake-up a minute."""

_LAST_EPOCH: Final = 2**62
"""An epoch that no clock makes for millions of years; whoever uses it, or a higher one, is not to
be beaten, or there would soon be no number left to bind with."""

_REBIND_DELAY: Final = 60.0
"""Seconds until a thing that another edge took over is bound again. Two devices with one name
would otherwise throw each other out without end; but if the other one leaves, we must come back."""


class Edge(Endpoint):
    """One device. Use `open_edge`."""

    role = "edge"
    is_pinged = True

    def __init__(
        self,
        config: EdgeConfig,
        services: Mapping[str, ServiceTarget],
        make_dial: Callable[[EdgeConfig], Dial],
        nursery: trio.Nursery,
        identity: Identity,
    ) -> None:
        super().__init__(_settings(config), make_dial(config))
        self.config = config
        self.identity = identity
        self._make_dial = make_dial
        self._offered = Offered(_listed(config), services)
        self._nursery = nursery
        self._serving = Serving(self._offered, self.notices, lambda: self.config.tunnel)
        # The edge issues the epochs of its binds. The clock makes those of a restarted process
        # higher; where the clock went back, the node says which epoch is to be beaten.
        self._bind_epoch = int(time.time() * 1000)
        self._bound: set[str] = set()
        self._streams_opened = 0
        self._reconfigured = trio.Event()
        self._alwayson: AlwaysOnSide | None = None  # a server has spoken AlwaysOn

    # -- for applications

    def events(self) -> AsyncIterator[Notice]:
        """What happens from now on, as the JSON lines of ``edge-tunnel edge --json``."""
        return self.notices.subscribe()

    @property
    def fingerprint(self) -> str:
        """Who this device is, as remotes see and remember it."""
        return self.identity.fingerprint

    def statistics(self) -> EdgeStatistics:
        """A snapshot of this moment."""
        plain = None if self._alwayson is None else self._alwayson.tunnels
        streams = sum(len(tunnel.streams) for tunnel in self.tunnels.values())
        return EdgeStatistics(
            url=self.url,
            bound=tuple(sorted(self._bound)),
            tunnels=len(self.tunnels) + (0 if plain is None else len(plain)),
            streams=streams + (0 if plain is None else plain.relayed),
            streams_opened=self._streams_opened + (0 if plain is None else plain.opened),
        )

    async def wait_bound(self) -> None:
        """Wait until every thing is bound. Raises LinkLost: the edge was closed before."""
        with self.notices.subscribe() as notices:
            while not self._bound >= set(self.config.things):
                if await anext(notices, None) is None:
                    raise LinkLost("the edge was closed")

    # -- links to servers that do not speak our wire

    async def speak(self, visit: Visit, transport: Transport) -> None:
        if not isinstance(transport, PlainTransport):
            return await super().speak(visit, transport)

        def on_linked() -> None:
            self._bound.clear()
            self.begin(visit, None, ALWAYSON)

        if self._alwayson is None:
            self._alwayson = self._make_alwayson_side()
        try:
            await self._alwayson.speak(transport, on_linked)
        finally:
            self._bound.clear()

    def _make_alwayson_side(self) -> AlwaysOnSide:
        # here: it is a MiB, and most devices never meet such a server
        from edge_tunnel.edge.alwayson.side import AlwaysOnSide  # noqa: PLC0415

        return AlwaysOnSide(
            self.config, self._offered, self.notices, self._nursery, self._on_bound_elsewhere
        )

    def _on_bound_elsewhere(self, thing: str) -> None:
        self._bound.add(thing)
        self.notices.emit("bound", thing=thing, url=self.url, fingerprint=self.fingerprint)

    async def say_goodbye(self) -> None:
        if self._alwayson is not None:
            await self._alwayson.say_goodbye()
        await super().say_goodbye()

    # -- binding

    def on_linked(self) -> None:
        self._bound.clear()
        for thing in self.config.things:
            self._bind(thing)

    def _tell_offer(self, things: Collection[str]) -> None:
        """For lists; nothing is opened by it."""
        if LISTS in self.features:
            for thing in things:
                names = offered(self._offered.names(thing))
                self.send(Offer(thing, names, self.fingerprint))

    def is_settled(self) -> bool:
        return self._bound >= set(self.config.things)

    def _bind(self, thing: str, beat: int = 0) -> None:
        self._bind_epoch = max(self._bind_epoch, beat) + 1
        self.send(Bind(thing, self._bind_epoch))

    def on_link_frame(self, link: Link, frame: LinkFrame) -> None:
        if link is self.link:  # what is bound, and offered, the newest alone can say
            self._on_newest(link, frame)
        if isinstance(frame, Unbound):
            self._detach_from(link, frame)

    def _on_newest(self, link: Link, frame: LinkFrame) -> None:
        if isinstance(frame, Services):
            self._offered.policy(frame)
            self._tell_offer(self._bound & {frame.thing})
            for tunnel in list(self.tunnels.values()):
                self._adopt(tunnel)
        elif not isinstance(frame, (Bound, Unbound)):
            super().on_link_frame(link, frame)
        elif frame.thing not in self.config.things:
            pass  # the answer to a bind that the configuration has taken back, if to any
        elif isinstance(frame, Bound):
            self._bound.add(frame.thing)
            self._tell_offer([frame.thing])
            self.leave_links()
            about = {"epoch": frame.epoch, "fingerprint": self.fingerprint}
            self.notices.emit("bound", thing=frame.thing, url=self.url, **about)
        else:
            self._on_unbound(frame)

    def _on_unbound(self, frame: Unbound) -> None:
        reason = Reason.of(frame.reason)
        if frame.thing in self._bound:
            self._bound.discard(frame.thing)
            self.notices.emit("unbound", thing=frame.thing, reason=frame.text or reason.text)
            _log.warning("%s was unbound: %s", frame.thing, frame.text or reason.text)
            self._nursery.start_soon(self._bind_again_later, frame.thing, frame.epoch)
        elif (
            reason is Reason.SUPERSEDED and frame.epoch < _LAST_EPOCH
        ):  # our clock is behind the epoch of an earlier bind
            self._bind(frame.thing, beat=frame.epoch)
        else:
            self.notices.emit("bind_refused", thing=frame.thing, reason=frame.text or reason.text)
            _log.error("%s was not bound: %s", frame.thing, frame.text or reason.text)

    def _detach_from(self, link: Link, frame: Unbound) -> None:
        """A link does not hold this thing (any more): its node has detached the tunnels, too.

        Also where our own bind by a newer link has taken it: the remotes attach again, by that one.
        """
        for tunnel in list(self.tunnels.values()):
            assert isinstance(tunnel, EdgeTunnel)
            if tunnel.thing == frame.thing and tunnel.uses(link.outlet):
                tunnel.detach(trio.current_time(), Reason.of(frame.reason), frame.text)
                self.tell(tunnel)

    async def _bind_again_later(self, thing: str, beat: int) -> None:
        await trio.sleep(_REBIND_DELAY)
        if thing in self.config.things and thing not in self._bound and beat < _LAST_EPOCH:
            self._bind(thing, beat)

    # -- tunnels

    def on_unknown_tunnel(self, link: Link, frame: TunnelFrame | StreamFrame) -> None:
        if not isinstance(frame, Attach):
            return
        refused = self._why_not(frame)
        if refused is None:
            refused = self._take(link, frame)
        if refused is not None:
            _refuse(link, frame, *refused)

    def on_tunnel_frame(self, link: Link, tunnel: Tunnel, frame: TunnelFrame) -> None:
        if isinstance(frame, Attach):
            self._attach(link, tunnel, frame)
        else:
            super().on_tunnel_frame(link, tunnel, frame)

    def _why_not(self, frame: Attach) -> tuple[Reason, str] | None:
        """Why this tunnel is not opened."""
        limit = self.config.tunnel.max_concurrent
        if not frame.fresh:
            return Reason.UNKNOWN_TUNNEL, ""
        if frame.thing not in self.config.things:
            return Reason.NO_SUCH_THING, f"{frame.thing} is not served here"
        if self._offered.find(frame.thing, frame.service) is None:
            offer = ", ".join(self._offered.names(frame.thing)) or "nothing"
            text = f"the device does not offer {frame.service!r}; it offers {offer}"
            return Reason.SERVICE_NOT_ALLOWED, text
        if limit is not None and len(self.tunnels) >= limit:
            text = f"the device takes {limit} tunnels at once (tunnel.max_concurrent)"
            return Reason.REFUSED_BY_DEVICE, text
        return why_not_sealed(self.config.end_to_end_encryption, sealed=bool(frame.offer))

    def _take(self, link: Link, frame: Attach) -> tuple[Reason, str] | None:
        settings = self.config.tunnel
        try:
            tunnel = EdgeTunnel(
                frame,
                now=trio.current_time(),
                resume_timeout=settings.resume_timeout,
                max_streams=settings.max_streams,
                identity=self.identity,
            )
        except RemoteProtocolError as error:
            return Reason.PROTOCOL_ERROR, str(error)
        self.add(tunnel)
        self.notices.emit("tunnel_opened", **about(tunnel))
        self._attach(link, tunnel, frame)
        return None

    def _attach(self, link: Link, tunnel: Tunnel, frame: Attach) -> None:
        """By the link that the attach came by, whichever is the link of the moment."""
        assert isinstance(tunnel, EdgeTunnel)
        refused = tunnel.accept(frame, link.outlet, trio.current_time())
        if refused is not None:
            _refuse(link, frame, refused)
        self.tell(tunnel)
        link.hurry()

    def on_event(self, tunnel: Tunnel, event: Event) -> None:
        if isinstance(event, StreamOpened):
            self._streams_opened += 1
            assert isinstance(tunnel, EdgeTunnel)
            self._nursery.start_soon(self._serving.serve, tunnel, event.stream)
        elif isinstance(event, TunnelAttached) and event.seconds is not None:
            self.notices.emit("tunnel_resumed", seconds=round(event.seconds, 3), **about(tunnel))
        elif isinstance(event, TunnelDetached):
            text = event.text or event.reason.text
            self.notices.emit("tunnel_detached", reason=text, **about(tunnel))
        elif isinstance(event, TunnelClosed):
            text = event.text or event.reason.text
            self.notices.emit("tunnel_closed", reason=text, **about(tunnel))

    # -- as time goes by

    async def watch_idle(self) -> None:
        """Close tunnels that are idle for longer than the configuration allows."""
        watch = IdleWatch(0)
        while True:
            limit = self.config.tunnel.idle_timeout
            watch.timeout = math.inf if limit is None else limit
            # without a limit there is nothing to look at, and no reason to wake a device
            with trio.move_on_after(math.inf if limit is None else min(limit / 4, _IDLE_CHECK)):
                await self._reconfigured.wait()
            totals = {each.id: each.received + each.sent for each in self.tunnels.values()}
            for idle in watch.check(trio.current_time(), totals):
                text = f"no byte for {watch.timeout:g} s (tunnel.idle_timeout)"
                self.tunnels[idle].close(Reason.IDLE, text)
                self.tell(self.tunnels[idle])

    def reconfigure(self, config: EdgeConfig) -> Changes:
        """Go on with another configuration; returns what has changed.

        Services and limits change at once: a tunnel to a service that is no longer offered ends.
        A changed server, key or TLS setting makes a new link, and no stream is lost by that.

        Raises:
          ConfigError: an address or a thing's name is none, or a certificate or key file cannot be
            used; then nothing changes.
        """
        changed, settings = changes(self.config, config), _settings(config)
        if changed.needs_reconnect:
            self.reconnect(settings, self._make_dial(config))
        self._offered.configure(_listed(config))
        self.config, old = config, self.config
        self._reconfigured.set()
        self._reconfigured = trio.Event()
        if self._alwayson is not None:
            self._alwayson.configure(config)
        self._tell_offer(self._bound & set(config.things))
        for tunnel in list(self.tunnels.values()):
            self._adopt(tunnel)
        if changed.needs_rebind and not changed.needs_reconnect:
            self._rebind(set(old.things))
        return changed

    def _adopt(self, tunnel: Tunnel) -> None:
        assert isinstance(tunnel, EdgeTunnel)
        tunnel.resume_timeout = self.config.tunnel.resume_timeout
        tunnel.on_deadline()
        tunnel.max_streams = self.config.tunnel.max_streams
        offered = self._offered.find(tunnel.thing, tunnel.service)
        why_not = why_not_sealed(self.config.end_to_end_encryption, sealed=tunnel.sealed)
        if offered is None or tunnel.thing not in self.config.things:
            why_not = Reason.SERVICE_NOT_ALLOWED, "the device offers it no longer"
        if why_not is not None:
            tunnel.close(*why_not)
            self.tell(tunnel)

    def _rebind(self, old: set[str]) -> None:
        for thing in old - set(self.config.things):
            self._bound.discard(thing)
            self.send(Unbind(thing, self._bind_epoch))
        for thing in set(self.config.things) - old:
            self._bind(thing)

    def leave(self) -> None:
        """Unbind and say goodbye: remotes see their tunnels end now, not after a timeout."""
        self.close_tunnels(Reason.SHUTTING_DOWN, "the edge was shut down")
        for thing in self._bound:
            self.send(Unbind(thing, self._bind_epoch))
        if self.link is not None:
            self.link.end(Reason.SHUTTING_DOWN, "the edge was shut down")


@asynccontextmanager
async def open_edge(
    config: EdgeConfig,
    services: Mapping[str, ServiceTarget] | None = None,
    *,
    identity: Identity | None = None,
    dial: Dial | None = None,
) -> AsyncIterator[Edge]:
    """Run an edge for the length of the block; it links, binds and serves in the background.

    Whoever leaves the block, also by being cancelled, says goodbye (2 s at the most), and
    remotes see their streams reset at once.

    Args:
      config: from `edge_tunnel.load_config`, or made by hand.
      services: more services, by name, beside those of `config.services`: a `Service`, or an async
        function that is handed each stream (the application serves it itself, with no TCP).
      identity: who this device is, from `load_identity`; if left out, that of
        `config.identity_file`, and without one an identity for this run alone. A remote that
        remembers another one does not talk to the device.
      dial: how to open a connection, for tests; the network if left out.

    Raises:
      ConfigError: there is no server; an address or a thing's name is none; a certificate, key or
        identity file cannot be used.
      LinkLost: the configured number of retries was used up.
    """

    def make_dial(config: EdgeConfig) -> Dial:
        if dial is not None:
            return dial
        for url in config.urls():
            parse_url(url)  # said now, and not when the link is lost
        protocol = spoken(config)
        first = next(iter(config.things), "")
        return dial_websocket(
            config.link.connect_timeout, config.tls, config.http_proxy, protocol, lambda: first
        )

    if identity is None:
        file = config.identity_file
        identity = Identity() if file is None else load_identity(file)
    async with open_plain_nursery() as nursery:
        edge = Edge(config, services or {}, make_dial, nursery, identity)
        nursery.start_soon(edge.run_until_left)
        nursery.start_soon(edge.watch_idle)
        try:
            yield edge
        finally:
            await edge.say_goodbye()
            nursery.cancel_scope.cancel()


def _settings(config: EdgeConfig) -> EndpointSettings:
    """Raises ConfigError for a name that no node takes: each link would end for it."""
    for thing in config.things:
        if not is_name(thing):
            text = "cannot be the name of a thing: 1 to 256 characters that can be seen"
            raise ConfigError(f"{thing[:64]!a} {text}")
    link = config.link
    return EndpointSettings(
        urls=config.urls(),
        key=config.app_key.reveal(),
        greeting_timeout=link.connect_timeout,
        ping_interval=link.ping_interval,
        idle_ping_interval=link.resting_ping_interval,
        ping_timeout=link.ping_timeout,
        retry_interval=link.retry_interval,
        retries=link.retries,
        first_delay=link.max_connect_delay,
    )


def _refuse(link: Link, frame: Attach, reason: Reason, text: str = "") -> None:
    """Answer an attach with no."""
    link.outlet.push(encode(Close(frame.tunnel, 0, frame.epoch, reason, clip(text))))


def _listed(config: EdgeConfig) -> dict[str, ServiceTarget]:
    return {service.name: service for service in config.services}
