"""The far ends of tunnels to devices that know nothing of tunnels: they are in this node.

What an edge of ours is for its own tunnels this is for all such devices of a node. A tunnel stays
while links come and go, the remote's as well as the device's main socket; its streams stand on
tunnel sockets, which are this node's and die with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

import trio

from edge_tunnel.config.source import printable
from edge_tunnel.errors import RemoteProtocolError
from edge_tunnel.link.clock import TunnelClock
from edge_tunnel.link.streams import StreamEvent, TunnelStream, wake_user
from edge_tunnel.protocol.attach import EdgeTunnel
from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import (
    Attach,
    Close,
    Detached,
    StreamFrame,
    TunnelFrame,
    clip,
)
from edge_tunnel.protocol.identity import Identity
from edge_tunnel.protocol.outlet import Outlet
from edge_tunnel.protocol.tunnel import (
    RESUME_TIMEOUT,
    StreamOpened,
)
from edge_tunnel.protocol.window import Budget
from edge_tunnel.reasons import Reason

__all__ = ["TunnelEnds", "WhyNot"]

WhyNot = Callable[[str, str], tuple[Reason, str] | None]
"""``(thing, service)``: why no tunnel to it is opened by this session; None: it is."""

_GROWTH: Final = 1024 * 1024
"""Bytes that the windows of a tunnel's streams may grow by, all together. An edge's may grow by 64
MiB, in the device's memory; here it is the node's, and a device takes some MB/s at best."""

_GONE: Final = (
    "the streams of an AlwaysOn device end with the node that has its connections; connect again"
)


class TunnelEnds:
    """Those of one node."""

    def __init__(
        self,
        identity: Identity,
        serve: Callable[[EdgeTunnel, TunnelStream], object],
        resume_timeout: float = RESUME_TIMEOUT,
    ) -> None:
        """`identity`: who a device is that has no identity of its own: the cluster, for it.

        `serve` is told of each new stream, and must not wait.
        """
        self.identity = identity
        self.on_idle: Callable[[str], None] = lambda _thing: None
        """A tunnel to this thing has no stream (any more). May be repeated."""

        self.tunnels: dict[bytes, EdgeTunnel] = {}
        self._serve = serve
        self._resume_timeout = resume_timeout
        self.clock = TunnelClock(self.tunnels, self._tell)

    def receive(self, tunnel_id: bytes, message: bytes, outlet: Outlet, why_not: WhyNot) -> None:
        """A message about a tunnel came by a session's link; `outlet` leads back.

        Raises:
          RemoteProtocolError: it is nonsense, and the node has let it pass.
        """
        tunnel = self.tunnels.get(tunnel_id)
        try:
            frame = cast("TunnelFrame | StreamFrame", decode(message))
        except RemoteProtocolError as error:
            if tunnel is not None:  # the far end's fault, not the link's
                tunnel.close(Reason.PROTOCOL_ERROR, str(error))
                self._tell(tunnel)
            return
        if isinstance(frame, (Close, Detached)):
            frame = frame._replace(text=printable(frame.text))
        if isinstance(frame, Attach):
            self._attach(tunnel, frame, outlet, why_not)
        elif tunnel is not None:
            tunnel.receive(frame, trio.current_time())
            self._tell(tunnel)

    def _attach(
        self, tunnel: EdgeTunnel | None, frame: Attach, outlet: Outlet, why_not: WhyNot
    ) -> None:
        refused = why_not(frame.thing, frame.service)
        if tunnel is None and refused is None:
            refused = (Reason.UNKNOWN_TUNNEL, _GONE) if not frame.fresh else None
        if tunnel is None and refused is None:
            try:
                tunnel = self._new(frame)
            except RemoteProtocolError as error:
                refused = Reason.PROTOCOL_ERROR, str(error)
        if tunnel is not None and refused is None:
            reason = tunnel.accept(frame, outlet, trio.current_time())
            refused = None if reason is None else (reason, "")
            self._tell(tunnel)
        if refused is not None:
            close = Close(frame.tunnel, 0, frame.epoch, refused[0], clip(refused[1]))
            outlet.push(encode(close))

    def _new(self, frame: Attach) -> EdgeTunnel:
        tunnel = EdgeTunnel(
            frame,
            now=trio.current_time(),
            resume_timeout=self._resume_timeout,
            identity=self.identity,
        )
        tunnel.budget = Budget(_GROWTH)
        tunnel.on_deadline = self.clock.wake
        tunnel.read_text = printable
        self.tunnels[tunnel.id] = tunnel
        self.clock.wake()
        return tunnel

    def detach(
        self, outlet: Outlet, text: str, reason: Reason = Reason.SILENT, thing: str | None = None
    ) -> None:
        """A session's link is gone: its tunnels wait for the device's next one.

        `thing`: it is still there, and has lost this thing alone.
        """
        for tunnel in list(self.tunnels.values()):
            if tunnel.uses(outlet) and thing in (None, tunnel.thing):
                tunnel.detach(trio.current_time(), reason, text)
                self._tell(tunnel)

    def review(self, why_not: WhyNot) -> None:
        """What the policy names may have changed: tunnels that lost their service end."""
        for tunnel in list(self.tunnels.values()):
            refused = why_not(tunnel.thing, tunnel.service)
            if refused is not None:
                tunnel.close(*refused)
                self._tell(tunnel)

    def close(self, reason: Reason, text: str) -> None:
        """All tunnels end; the remotes hear why."""
        for tunnel in list(self.tunnels.values()):
            tunnel.close(reason, text)
            self._tell(tunnel)

    def streams_of(self, things: set[str]) -> int:
        """How many streams these things have."""
        tunnels = [each for each in self.tunnels.values() if each.thing in things]
        return sum(len(each.streams) for each in tunnels)

    def _tell(self, tunnel: EdgeTunnel) -> None:
        """Pass on what happened to a tunnel; every call of its core is followed by this."""
        for event in tunnel.events():
            if isinstance(event, StreamOpened):
                self._serve(tunnel, TunnelStream(event.stream))
            elif isinstance(event, StreamEvent):
                wake_user(event)
        if not tunnel.streams:
            self.on_idle(tunnel.thing)
        if tunnel.closed and self.tunnels.get(tunnel.id) is tunnel:
            del self.tunnels[tunnel.id]
