"""The tunnels that a server has opened; they outlive the socket on which it asked for them.

The service is dialled before the request is answered, if that takes no longer than a moment: then
the user hears at once that it is refused, and why. (C devices say yes and then, for ever, that they
lost it; Java devices say yes and nothing more.) Only what is reached costs a second WebSocket.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol
from urllib.parse import quote

import trio

from edge_tunnel.alwayson.messages import APP_KEY, SUCCESS, Response, Status
from edge_tunnel.alwayson.text import raw_limit
from edge_tunnel.alwayson.tunnels import CANCEL, DISCONNECT, CommandFromEdge, StartTunnel
from edge_tunnel.config.model import EdgeConfig, Service
from edge_tunnel.edge.alwayson.relay import End, Relay, drop, fit
from edge_tunnel.edge.offered import Offered
from edge_tunnel.edge.services import Refusal, connect_service
from edge_tunnel.errors import LinkLost
from edge_tunnel.link.notices import Notices
from edge_tunnel.link.transport import GOING_AWAY, PlainTransport

__all__ = ["Asker", "Tunnels"]

_log = logging.getLogger("edge_tunnel.edge")

_PATH: Final = "/Thingworx/WSTunnelServer/"

_CONNECT_TIMEOUT: Final = 10.0
"""Seconds for a service on or next to the device, as in `edge.edge`."""

_SOON: Final = 2.0
"""Seconds after which the request is answered although the service was not reached yet: a server
waits ten for an answer."""

_COMPLETED: Final = 5.0
"""Seconds that the server has to close a tunnel's socket after it called the tunnel complete: bytes
may be on their way there that were sent before."""


class Asker(Protocol):
    """The main socket on which a tunnel was asked for."""

    transport: PlainTransport
    app_key: str
    """The application key that it was authenticated with."""

    def tell(self, thing: str, command: CommandFromEdge) -> None:
        """Call the server, if the socket is still there."""


@dataclass
class _Open:
    """One tunnel."""

    thing: str
    start: StartTunnel
    service: Service
    relay: Relay | None = None
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    """Around all of it, until there is a relay."""

    def stop(self, end: End) -> None:
        if self.relay is not None:
            self.relay.stop(end)
        else:
            self.scope.cancel()


class Tunnels:
    """Opens them, and ends them."""

    def __init__(
        self, config: EdgeConfig, offered: Offered, notices: Notices, nursery: trio.Nursery
    ) -> None:
        self.config = config
        self.opened = 0
        """Connections ever."""

        self._offered = offered
        self._notices = notices
        self._nursery = nursery
        self._open: dict[str, _Open] = {}
        self._over = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def relayed(self) -> int:
        """Those that carry bytes."""
        return sum(each.relay is not None for each in self._open.values())

    # -- what the server asks for

    def start(
        self, asker: Asker, thing: str, start: StartTunnel, answer: Callable[[Response], None]
    ) -> None:
        """StartTunnel. `answer` is called once, now or in a moment."""
        if start.tid in self._open:
            answer(SUCCESS)
            return
        found = self._find(start)
        if isinstance(found, Response):
            self._say("stream_refused", thing, start, reason=found.reason)
            answer(found)
            return
        tunnel = self._open[start.tid] = _Open(thing, start, found)
        self._nursery.start_soon(self._run, asker, tunnel, _Once(answer))

    def _find(self, start: StartTunnel) -> Service | Response:
        """What is to be dialled, or why nothing is."""
        limit = self.config.tunnel.max_concurrent
        service = self._offered.find_target(start.host, start.port)
        if start.type in ("udp", "serial", "file"):
            text = f"tunnels of the type {start.type} are not supported; tcp is"
            return Response(Status.INTERNAL_ERROR, text)  # as C devices answer
        if service is None:
            text = f"the device does not offer {_where(start)}"
            return Response(Status.FORBIDDEN, text)
        if limit is not None and len(self._open) >= limit:
            text = f"the device takes {limit} tunnels at once (tunnel.max_concurrent)"
            return Response(Status.UNAVAILABLE, text)
        return service

    def complete(self, tid: str, reason: str) -> Response:
        """CompleteTunnel: it is over; if the server does not close its socket, we do."""
        tunnel = self._open.get(tid)
        if tunnel is None:
            return Response(Status.BAD_REQUEST, "there is no such tunnel")
        end = End(
            f"the server ended the tunnel: {fit(reason)}" if reason else "the server ended it"
        )
        if tunnel.relay is None:
            tunnel.stop(end)
        else:
            self._nursery.start_soon(self._stop_later, tunnel, end)
        return SUCCESS

    async def _stop_later(self, tunnel: _Open, end: End) -> None:
        with trio.move_on_after(_COMPLETED):
            while self._open.get(tunnel.start.tid) is tunnel:
                await self._over.park()
        tunnel.stop(end)

    def holds(self, tid: str) -> bool:
        """Whether there is this tunnel."""
        return tid in self._open

    # -- what the device wants

    def configure(self, config: EdgeConfig) -> None:
        """Another configuration: what is no longer offered ends."""
        self.config = config
        for tunnel in list(self._open.values()):
            found = self._offered.find_target(tunnel.start.host, tunnel.start.port)
            if found is None or tunnel.thing not in config.things:
                tunnel.stop(End("the device offers it no longer"))

    async def end_all(self) -> None:
        """The device goes; wait until the servers know."""
        for tunnel in list(self._open.values()):
            tunnel.stop(End("the edge was shut down", GOING_AWAY))
        while self._open:
            await self._over.park()

    # -- one tunnel

    async def _run(self, asker: Asker, tunnel: _Open, answer: _Once) -> None:
        self._say("tunnel_opened", tunnel.thing, tunnel.start)
        try:
            text = await self._open_and_relay(asker, tunnel, answer)
        except Exception as error:  # noqa: BLE001 - a bug met by one tunnel is not everybody's end
            _log.exception("a tunnel to %s failed", tunnel.service.name)
            text = f"internal error: {type(error).__name__}"
            answer(Response(Status.INTERNAL_ERROR, text))
        finally:
            del self._open[tunnel.start.tid]
            self._over.unpark_all()
        self._say("tunnel_closed", tunnel.thing, tunnel.start, reason=text)

    async def _open_and_relay(self, asker: Asker, tunnel: _Open, answer: _Once) -> str:
        """Returns how it ended."""
        self._nursery.start_soon(_after, _SOON, answer)
        with tunnel.scope:
            try:
                sock = await connect_service(tunnel.service, _CONNECT_TIMEOUT)
            except Refusal as refusal:
                self._say("stream_refused", tunnel.thing, tunnel.start, reason=refusal.text)
                if not answer(Response(Status.BAD_GATEWAY, refusal.text)):
                    asker.tell(tunnel.thing, CommandFromEdge(tunnel.start.tid, DISCONNECT))
                    asker.tell(tunnel.thing, CommandFromEdge(tunnel.start.tid, CANCEL))
                return refusal.text
            answer(SUCCESS)
            try:
                return await self._relay(asker, tunnel, sock)
            except LinkLost as error:
                asker.tell(tunnel.thing, CommandFromEdge(tunnel.start.tid, CANCEL))
                return f"the server did not take the tunnel's socket: {error}"
            finally:
                drop(sock)
        answer(Response(Status.UNAVAILABLE, "the tunnel was ended before it was open"))
        return "ended before it was open"

    async def _relay(self, asker: Asker, tunnel: _Open, sock: trio.SocketStream) -> str:
        """Raises LinkLost: there was no socket for it."""
        start, settings = tunnel.start, self.config.tunnel
        path = _PATH + quote(start.tid, safe="")
        async with asker.transport.beside(path, {APP_KEY: asker.app_key}) as web:
            tunnel.relay = Relay(
                sock,
                web,
                limit=raw_limit(start.chunksize),
                idle_timeout=_shorter(start.idle_timeout / 1000, settings.idle_timeout),
                read_timeout=settings.read_timeout,
            )
            self.opened += 1
            self._say("stream_opened", tunnel.thing, tunnel.start, stream=self.opened)
            end = await tunnel.relay.run()
        if not end.by_server and not end.clean:
            asker.tell(tunnel.thing, CommandFromEdge(start.tid, end.command))
        return end.text

    def _say(self, event: str, thing: str, start: StartTunnel, **more: object) -> None:
        service = self._offered.find_target(start.host, start.port)
        name = _where(start) if service is None else service.name
        about = {"tunnel": start.tid[:8], "thing": thing, "service": name}  # the tid is a secret
        self._notices.emit(event, **about, **more)


class _Once:
    """An answer that is given once."""

    def __init__(self, answer: Callable[[Response], None]) -> None:
        self._answer: Callable[[Response], None] | None = answer

    def __call__(self, response: Response) -> bool:
        """Give it; or return False, because another was given."""
        answer, self._answer = self._answer, None
        if answer is None:
            return False
        answer(response)
        return True


async def _after(seconds: float, answer: _Once) -> None:
    await trio.sleep(seconds)
    answer(SUCCESS)


def _where(start: StartTunnel) -> str:
    return f"{fit(start.host)}:{start.port}"


def _shorter(theirs: float, ours: float | None) -> float | None:
    """Seconds without a byte; 0 or less of theirs is any time."""
    least = min(theirs if theirs > 0 else math.inf, math.inf if ours is None else ours)
    return None if least == math.inf else least
