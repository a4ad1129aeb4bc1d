"""What a node records for the audit: the one place that makes an event of a port or a route.

Of a tunnel in a cluster two nodes know. The one that has the remote's link records it, and the
other nothing: one opening, one record.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from edge_tunnel.audit.records import NO_AUDIT, Audit, Event, Kind
from edge_tunnel.protocol.frames import Attach, Bye, Close
from edge_tunnel.proxy.port import Port
from edge_tunnel.reasons import Reason

if TYPE_CHECKING:
    from edge_tunnel.proxy.route import Route

__all__ = ["Recording"]


class Recording:
    """Tells an `Audit` what happens to links, things and tunnels."""

    def __init__(self, audit: Audit = NO_AUDIT) -> None:
        self.audit = audit

    # -- links

    def link_opened(self, port: Port) -> None:
        self.audit.record(_of_port(Kind.LINK_OPENED, port))

    def link_refused(self, role: str, address: str, bye: Bye) -> None:
        self.audit.record(
            Event(
                kind=Kind.LINK_REFUSED,
                role=role,
                address=address,
                code=bye.reason,
                reason=bye.text or Reason.of(bye.reason).text,
            )
        )

    def api_refused(self, address: str, *, guessing: bool) -> None:
        """A key that the API does not know; `guessing`: one of many, and it was not looked at."""
        code = Reason.TOO_MANY if guessing else Reason.NOT_AUTHORISED
        text = "too many refused keys from this address" if guessing else "the key is not accepted"
        self.audit.record(
            Event(kind=Kind.API_REFUSED, address=address, code=code.value, reason=text)
        )

    def link_closed(self, port: Port, reason: str) -> None:
        seconds = time.time() - port.since
        self.audit.record(_of_port(Kind.LINK_CLOSED, port, reason=reason, seconds=seconds))

    # -- things

    def bound(self, port: Port, thing: str, epoch: int) -> None:
        self.audit.record(_of_port(Kind.BOUND, port, thing=thing, epoch=epoch))

    def bind_refused(self, port: Port, thing: str, code: Reason, reason: str) -> None:
        event = _of_port(Kind.BIND_REFUSED, port, thing=thing, code=code.value, reason=reason)
        self.audit.record(event)

    def unbound(self, port: Port, thing: str, reason: str) -> None:
        self.audit.record(_of_port(Kind.UNBOUND, port, thing=thing, reason=reason))

    def listed(self, port: Port, what: str) -> None:
        """An administrator asks for this list."""
        self.audit.record(_of_port(Kind.LISTED, port, detail=what))

    # -- tunnels

    def denied(self, port: Port, attach: Attach, close: Close) -> None:
        """An attach was refused: by this node, or by the device."""
        if not port.is_hop:
            event = _of_port(
                Kind.TUNNEL_DENIED,
                port,
                thing=attach.thing,
                service=attach.service,
                tunnel=attach.tunnel.hex(),
                epoch=attach.epoch,
                code=close.reason,
                reason=close.text or Reason.of(close.reason).text,
            )
            self.audit.record(event)

    def attached(self, route: Route, *, again: bool) -> None:
        """The route has its two ends now."""
        assert route.remote is not None
        if route.remote.is_hop:
            self.left(route, "the remote went to another node")
            return
        kind = Kind.TUNNEL_RESUMED if again else Kind.TUNNEL_OPENED
        if route.recorded is None:
            route.recorded_at = time.time()
        route.recorded = _who(route.remote)  # not the port: what hangs on it ends with its link
        self._of_route(kind, route, epoch=route.epoch)

    def detached(self, route: Route, side: str, reason: str) -> None:
        """One of its ends was lost; it may come back."""
        self._of_route(Kind.TUNNEL_DETACHED, route, side=side, reason=reason)

    def closed(self, route: Route, code: int, reason: str) -> None:
        """It is over."""
        self._of_route(Kind.TUNNEL_CLOSED, route, code=code, reason=reason)
        route.recorded = None

    def left(self, route: Route, reason: str) -> None:
        """Its remote end is not at this node any more, or the node forgets it."""
        self._of_route(Kind.TUNNEL_LEFT, route, reason=reason)
        route.recorded = None

    def _of_route(self, kind: Kind, route: Route, **more: object) -> None:
        who = route.recorded
        if who is not None:
            about = {
                "thing": route.thing,
                "service": route.service,
                "tunnel": route.tunnel.hex(),
                **more,
            }
            if kind is not Kind.TUNNEL_OPENED:
                about |= {
                    "from_edge": route.from_edge,
                    "from_remote": route.from_remote,
                    "seconds": time.time() - route.recorded_at,
                }
            self.audit.record(_of(kind, who, **about))


def _of_port(kind: Kind, port: Port, **more: object) -> Event:
    return _of(kind, _who(port), **more)


def _who(port: Port) -> dict[str, str]:
    about = {"role": port.role, "address": port.peer}
    who = port.principal
    if who is not None:
        about |= {"role": who.role, "who": who.name, "via": who.via}
    return about


def _of(kind: Kind, who: Mapping[str, str], **more: object) -> Event:
    return Event(kind=kind, **who, **more)  # type: ignore[arg-type]
