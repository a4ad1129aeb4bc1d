"""The remote: opens tunnels to services of things, and streams in them.

It drives every attach. When a tunnel is detached - its own link was lost, or the edge's was - it
attaches again over the link of the moment; a node holds the ATTACH until the thing is bound again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

import trio

from edge_tunnel.config.model import HttpProxy, TlsSettings
from edge_tunnel.errors import (
    LinkHopeless,
    LinkRefused,
    LocalProtocolError,
    StreamRefused,
    TunnelEnded,
)
from edge_tunnel.link.dialling import Dial, dial_websocket, parse_url
from edge_tunnel.link.endpoint import Endpoint
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.link.link import Link
from edge_tunnel.link.notices import Notice
from edge_tunnel.link.settings import EndpointSettings
from edge_tunnel.link.streams import TunnelStream
from edge_tunnel.link.visit import Visit
from edge_tunnel.protocol.attach import RemoteTunnel
from edge_tunnel.protocol.frames import MAX_STREAMS, Grant, TunnelFrame
from edge_tunnel.protocol.greeting import SEALED
from edge_tunnel.protocol.identity import fingerprint_of
from edge_tunnel.protocol.spec import is_name
from edge_tunnel.protocol.tunnel import (
    RESUME_TIMEOUT,
    AttachLost,
    Event,
    Tunnel,
    TunnelAttached,
    TunnelClosed,
    TunnelDetached,
)
from edge_tunnel.reasons import Reason
from edge_tunnel.remote.forward import forward
from edge_tunnel.remote.known_things import KnownThings

__all__ = ["Remote", "RemoteStatistics", "open_remote"]

_ATTACH_TIMEOUT: Final = 30.0
"""Seconds until a new tunnel must be there, link and all: three connect timeouts."""

_FINAL: Final = (Reason.NOT_AUTHORISED, Reason.VERSION, Reason.PROTOCOL_ERROR)
"""Refusals of a link that come again however often it is tried."""


@dataclass(frozen=True, kw_only=True)
class RemoteStatistics:
    """A snapshot."""

    url: str | None
    tunnels: int
    streams: int
    received: int
    """Bytes ever received through the tunnels that are open."""

    sent: int
    """Bytes ever sent through the tunnels that are open."""


class Remote(Endpoint):
    """One technician's client. Use `open_remote`."""

    role = "remote"

    def __init__(
        self,
        settings: EndpointSettings,
        dial: Dial,
        resume_timeout: float,
        known_things: KnownThings | None = None,
        *,
        patient: bool = True,
    ) -> None:
        """`known_things` None: tunnels are not end-to-end encrypted; `patient` as `open_remote`."""
        super().__init__(settings, dial)
        self.known_things = known_things
        self._resume_timeout = resume_timeout
        self._patient = patient
        self._left = False
        self._hopeless: dict[str, LinkHopeless] = {}  # by URL, of its last attempt
        self._by_name: dict[tuple[str, str], RemoteTunnel] = {}
        self._settled: dict[bytes, trio.Event] = {}

    # -- for applications

    def events(self) -> AsyncIterator[Notice]:
        """What happens from now on, as the JSON lines of ``edge-tunnel connect --json``."""
        return self.notices.subscribe()

    def statistics(self) -> RemoteStatistics:
        """A snapshot of this moment."""
        return RemoteStatistics(
            url=self.url,
            tunnels=len(self.tunnels),
            streams=sum(len(tunnel.streams) for tunnel in self.tunnels.values()),
            received=sum(tunnel.received for tunnel in self.tunnels.values()),
            sent=sum(tunnel.sent for tunnel in self.tunnels.values()),
        )

    @property
    def main_thing(self) -> str:
        """That of the oldest tunnel; empty: there is none."""
        return next((thing for thing, _ in self._by_name), "")

    async def open_tunnel(
        self, thing: str, service: str, *, timeout: float = _ATTACH_TIMEOUT
    ) -> RemoteTunnel:
        """The tunnel to a service of a thing: the one that is open, or a new one.

        A new one that nobody waits for any more - `timeout` is over, or the caller was cancelled -
        is closed, so that the device does not open it for nobody later. One that is open is
        returned without a checkpoint: each new connection asks for it.

        Raises:
          TunnelEnded: the thing is not there, the service is not allowed, this remote was closed,
            ... (`reason` says).
          trio.TooSlowError: nothing answered within `timeout` seconds.
        """
        tunnel = self._by_name.get((thing, service))
        if tunnel is None:
            if self._left:
                raise TunnelEnded(Reason.PEER_LEFT, "the remote was closed")
            _check_name(thing, Reason.NO_SUCH_THING)
            _check_name(service, Reason.SERVICE_NOT_ALLOWED)
            tunnel = self._new_tunnel(thing, service)
        settled = self._settled.get(tunnel.id)
        if settled is not None and not settled.is_set():  # None: it ended at once
            await self._wait_for(tunnel, settled, timeout)
        if tunnel.closed:
            raise TunnelEnded(tunnel.closed.reason, tunnel.closed.text)
        return tunnel

    async def _wait_for(self, tunnel: RemoteTunnel, settled: trio.Event, timeout: float) -> None:
        try:
            with trio.fail_after(timeout):
                await settled.wait()
        finally:
            if not settled.is_set() and not settled.statistics().tasks_waiting:
                tunnel.close(Reason.DONE, "nobody waits for the tunnel any more")
                self.tell(tunnel)

    async def open_stream(self, thing: str, service: str) -> TunnelStream:
        """A stream to a service of a thing, connected to it.

        Raises:
          TunnelEnded: as `open_tunnel`.
          StreamRefused: the device could not connect to the service.
          trio.TooSlowError: as `open_tunnel`.
        """
        stream = await self.open_stream_early(thing, service)
        try:
            await stream.wait_accepted()
        except BaseException:
            stream.abort()
            raise
        return stream

    async def open_stream_early(self, thing: str, service: str) -> TunnelStream:
        """As `open_stream`, but without waiting for the service: what is sent is on its way.

        If the service refuses, the stream is reset with a StreamRefused as the cause.
        """
        tunnel = await self.open_tunnel(thing, service)
        try:
            return TunnelStream(tunnel.open_stream())
        except LocalProtocolError as error:
            raise StreamRefused(Reason.TOO_MANY_STREAMS, str(error)) from None

    async def forward(
        self,
        thing: str,
        service: str,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Give the service a local port until cancelled; see `edge_tunnel.remote.forward`."""
        await forward(self, thing, service, host, port, task_status=task_status)

    async def close_tunnel(self, tunnel: RemoteTunnel, *, linger: float) -> None:
        """End a tunnel, after its ended streams were delivered, or `linger` seconds."""
        with trio.move_on_after(linger):
            for stream in list(tunnel.streams.values()):
                if stream.outgoing.ended and isinstance(stream.owner, TunnelStream):
                    await stream.owner.wait_gone()
        tunnel.close(Reason.DONE, "the user closed the tunnel")
        self.tell(tunnel)

    # -- tunnels

    def _new_tunnel(self, thing: str, service: str) -> RemoteTunnel:
        now = trio.current_time()
        tunnel = RemoteTunnel(
            thing,
            service,
            now=now,
            resume_timeout=self._resume_timeout,
            sealed=self.known_things is not None,
        )
        self._by_name[thing, service] = tunnel
        self._settled[tunnel.id] = trio.Event()
        self.add(tunnel)
        self._attach(tunnel)
        return tunnel

    def on_linked(self) -> None:
        for tunnel in list(self._by_name.values()):
            self._attach(tunnel)

    def _attach(self, tunnel: RemoteTunnel) -> None:
        """By the link of the moment, if there is one."""
        if self.link is None:
            return
        if tunnel.sealed and SEALED not in self.features:
            text = f"the node at {self.url} is too old for end-to-end encryption: update it"
            tunnel.close(Reason.ENCRYPTION, text)
            self.tell(tunnel)
        else:
            tunnel.attach(self.link.outlet, trio.current_time())

    def is_settled(self) -> bool:
        """Tunnels that were attached are again; one that waits for its device keeps nobody."""
        return not any(
            tunnel.detached_since is not None and tunnel.detached_since >= self.linked_at
            for tunnel in self.tunnels.values()
        )

    def on_tunnel_frame(self, link: Link, tunnel: Tunnel, frame: TunnelFrame) -> None:
        if not isinstance(frame, Grant):
            super().on_tunnel_frame(link, tunnel, frame)
        elif frame.epoch == tunnel.epoch:
            self._on_grant(tunnel, frame)

    def _on_grant(self, tunnel: Tunnel, frame: Grant) -> None:
        """How far the policy lets the tunnel go."""
        assert isinstance(tunnel, RemoteTunnel)
        tunnel.max_streams = frame.max_streams or MAX_STREAMS
        if frame.fingerprint and self.known_things is not None:
            self.known_things.by_policy(tunnel.thing, frame.fingerprint)
        if frame.token:
            self.settings = replace(self.settings, key=frame.token)
        self.notices.emit(
            "granted",
            tunnel=tunnel.id.hex(),
            max_streams=frame.max_streams or None,
            seconds=frame.ends_ms / 1000 if frame.ends_ms else None,
        )

    def on_refused(self, error: LinkRefused) -> None:
        if error.reason in _FINAL:
            raise error  # a wrong key does not become right; a person is waiting

    def on_visited(self, visit: Visit) -> None:
        if visit.linked:
            self._patient = True  # it worked, so it may again: somebody is at it
        if self._patient:
            return
        self._hopeless.pop(visit.url, None)
        if isinstance(visit.problem, LinkHopeless):
            self._hopeless[visit.url] = visit.problem
        if all(url in self._hopeless for url in self.settings.urls):
            tried = "; to ".join(f"{url}: {why}" for url, why in self._hopeless.items())
            raise LinkHopeless(f"could not connect to {tried}")

    def on_event(self, tunnel: Tunnel, event: Event) -> None:
        assert isinstance(tunnel, RemoteTunnel)
        about = {"tunnel": tunnel.id.hex(), "thing": tunnel.thing, "service": tunnel.service}
        if isinstance(event, TunnelAttached):
            if event.seconds is None and not self._is_who_we_know(tunnel):
                return
            self._settled[tunnel.id].set()
            if event.seconds is None:
                shown = fingerprint_of(tunnel.identity) if tunnel.sealed else None
                self.notices.emit("attached", url=self.url, fingerprint=shown, **about)
            else:
                self.notices.emit("resumed", seconds=round(event.seconds, 3), **about)
        elif isinstance(event, TunnelDetached):
            self.notices.emit("detached", reason=event.text or event.reason.text, **about)
            self._attach(tunnel)  # at once, if it was the edge's link that was lost
        elif isinstance(event, AttachLost):
            self._attach(tunnel)
        elif isinstance(event, TunnelClosed):
            self._forget(tunnel)
            text = event.text or event.reason.text
            self.notices.emit("closed", reason=text, code=int(event.reason), **about)

    def _is_who_we_know(self, tunnel: RemoteTunnel) -> bool:
        """Before the first stream can be opened: is this the device that it was before?

        It reads a small file while everybody waits, and that is wanted: nothing goes on until then.
        """
        if self.known_things is None:
            return True
        fingerprint = fingerprint_of(tunnel.identity)
        try:
            fresh = self.known_things.check(tunnel.thing, fingerprint)
        except TunnelEnded as error:
            tunnel.close(error.reason, error.text, tell="")  # it names files of the user
            return False
        if fresh:
            self.notices.emit("remembered", thing=tunnel.thing, fingerprint=fingerprint)
        return True

    def _forget(self, tunnel: RemoteTunnel) -> None:
        if self._by_name.get((tunnel.thing, tunnel.service)) is tunnel:
            del self._by_name[tunnel.thing, tunnel.service]
        settled = self._settled.pop(tunnel.id, None)
        if settled is not None:
            settled.set()

    def leave(self) -> None:
        """Close all tunnels and say goodbye."""
        self._left = True
        self.close_tunnels(Reason.PEER_LEFT, "the user left")
        if self.link is not None:
            self.link.end(Reason.SHUTTING_DOWN, "the user left")


@asynccontextmanager
async def open_remote(
    urls: Sequence[str],
    key: str,
    *,
    resume_timeout: float = RESUME_TIMEOUT,
    retries: int | None = None,
    dial: Dial | None = None,
    connect_timeout: float = 10.0,
    ping_interval: float = 5.0,
    ping_timeout: float = 10.0,
    tls: TlsSettings | None = None,
    http_proxy: HttpProxy | None = None,
    encryption: bool = True,
    known_things: KnownThings | None = None,
    thing: str = "",
    patient: bool = True,
) -> AsyncIterator[Remote]:
    """Run a remote for the length of the block; it links in the background.

    Whoever leaves the block, also by being cancelled, says goodbye (2 s at the most), and
    what is still open is reset at the device.

    Args:
      urls: nodes, tried in order: ``wss://host[:port]``.
      key: the user's key.
      resume_timeout: seconds that a tunnel may be detached before it ends.
      retries: attempts in a row that may fail; None: any number.
      dial: how to open a connection, for tests; the network if left out.
      connect_timeout: seconds for TCP, TLS and the handshake, each.
      ping_interval: seconds after which a quiet link is pinged.
      ping_timeout: seconds of silence after a ping that end the link.
      tls: how to verify a node, for ``wss://``.
      http_proxy: the HTTP proxy to go through.
      encryption: end to end, between this remote and the device; a tunnel to a device, or through
        a node, that cannot do it ends with Reason.ENCRYPTION. False: nodes can read what passes.
      known_things: the devices that are known. If left out, whom each thing shows at its first
        tunnel is known for as long as the remote runs; `KnownThings(known_things_path())` are
        those of ``edge-tunnel connect``.
      thing: the one that tunnels will be opened to, if that is known: named in the request for a
        link, it brings the link to where the device is, if balancers or workers go by it. Where
        tunnels are open already, it is the thing of the first of them.
      patient: go on also where to try again is of no use until somebody changes something, as with
        a certificate of a CA that is not trusted here. False: if that is so of each node before the
        first link, give up, because a person waits.

    Raises:
      ConfigError: there is no address, or one is none, or a certificate file cannot be used.
      LinkRefused: a node does not accept the key or the version.
      LinkLost: `retries` is used up; LinkHopeless, which is one: see `patient`.
    """
    settings = EndpointSettings(
        urls=tuple(urls),
        key=key,
        greeting_timeout=connect_timeout,
        ping_interval=ping_interval,
        ping_timeout=ping_timeout,
        retries=retries,
    )
    if dial is None:
        for url in settings.urls:
            parse_url(url)  # said now, and not when the link is lost
        dial = dial_websocket(
            connect_timeout, tls, http_proxy, about=lambda: remote.main_thing or thing
        )
    async with open_plain_nursery() as nursery:
        known = (known_things or KnownThings()) if encryption else None
        remote = Remote(settings, dial, resume_timeout, known, patient=patient)
        nursery.start_soon(remote.run_until_left)
        try:
            yield remote
        finally:
            await remote.say_goodbye()
            nursery.cancel_scope.cancel()


def _check_name(name: str, reason: Reason) -> None:
    """The node would end the link for what cannot be one. Raises TunnelEnded."""
    if not is_name(name):
        text = f"{reason.text}: a name is 1 to 256 characters that can be seen, not {name[:64]!a}"
        raise TunnelEnded(reason, text)
