"""The streams to ThingWorx devices: each gets a tunnel socket of its own.

A device says "success" to StartTunnel at once, whatever comes of it. So what counts is the socket,
within a time of our own; if there is none, the first reason that anybody gives.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial

import trio

from edge_tunnel.access.rights import ServiceOffer
from edge_tunnel.alwayson.messages import Response
from edge_tunnel.config.alwayson import AlwaysOnSettings
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.link.streams import TunnelStream
from edge_tunnel.protocol.attach import EdgeTunnel
from edge_tunnel.proxy.alwayson.host import Host
from edge_tunnel.proxy.alwayson.relay import Relay
from edge_tunnel.proxy.alwayson.session import Session
from edge_tunnel.proxy.alwayson.tids import Opening, Openings
from edge_tunnel.reasons import Reason

__all__ = ["DeviceStreams"]

_log = logging.getLogger("edge_tunnel.proxy")


class _Refused(Exception):
    """A stream that comes to nothing."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(reason, text)
        self.reason = reason
        self.text = text


class DeviceStreams:
    """Those of one node."""

    def __init__(
        self,
        host: Host,
        settings: AlwaysOnSettings,
        sessions: Mapping[str, Session],
        openings: Openings,
    ) -> None:
        """`sessions`: by thing, the one that has bound it; whoever keeps them goes on to."""
        self._host = host
        self._settings = settings
        self._sessions = sessions
        self._openings = openings
        self._counts: dict[str, int] = {}  # streams of each thing

    async def serve(self, tunnel: EdgeTunnel, stream: TunnelStream) -> None:
        """One stream, from OPEN to its end."""
        thing = tunnel.thing
        self._counts[thing] = self._counts.get(thing, 0) + 1
        session = self._sessions.get(thing)
        try:
            await self._carry(tunnel, stream, session)
        except _Refused as refused:
            stream.abort(refused.reason, refused.text)
        except Exception as error:  # noqa: BLE001 - a bug met by one stream is not everybody's end
            _log.exception("a stream to %s failed", thing)
            stream.abort(Reason.INTERNAL_ERROR, f"the node failed: {type(error).__name__}")
        finally:
            self._counts[thing] -= 1
            if not self._counts[thing]:
                del self._counts[thing]

    async def _carry(
        self, tunnel: EdgeTunnel, stream: TunnelStream, session: Session | None
    ) -> None:
        if session is None or session.over.is_set():
            raise _Refused(Reason.UNREACHABLE, "the device's main connection is lost at the moment")
        if self._host.draining():
            raise _Refused(Reason.SHUTTING_DOWN, "the node that has the device is shutting down")
        offer = session.find(tunnel.thing, tunnel.service)
        if offer is None:
            raise _Refused(Reason.SERVICE_NOT_ALLOWED, "the policy names this service no longer")
        self._check_room(tunnel.thing)
        opening = self._openings.new(session.key)
        user = self._host.user_of(tunnel.id)
        opening.finish = partial(self._complete, tunnel.thing, user, opening, session)
        try:
            await self._open(opening, session, tunnel.thing, offer)
            await Relay(stream, opening, f"{offer.host}:{offer.port}").run()
        finally:
            self._openings.close(opening)

    def _check_room(self, thing: str) -> None:
        settings = self._settings
        if self._counts[thing] > settings.max_streams_per_thing:
            text = f"{thing} has {settings.max_streams_per_thing} streams at this node already"
            raise _Refused(Reason.TOO_MANY_STREAMS, text)
        if len(self._openings) >= settings.max_streams:
            text = f"the node has {settings.max_streams} streams to AlwaysOn devices already"
            raise _Refused(Reason.TOO_MANY_STREAMS, text)

    async def _open(
        self, opening: Opening, session: Session, thing: str, offer: ServiceOffer
    ) -> None:
        """Wait for the socket. Raises _Refused."""

        def answered(response: Response) -> None:
            if not response.ok:
                opening.fail(f"the device refused ({response.status:#x}) {response.why}".rstrip())

        async def watch() -> None:
            await session.over.wait()
            opening.fail("the device's main connection was lost meanwhile")

        session.start(thing, opening.tid, offer, answered)
        async with open_plain_nursery() as nursery:
            nursery.start_soon(watch)
            with trio.move_on_after(self._settings.open_timeout):
                await opening.settled.wait()
            nursery.cancel_scope.cancel()
        if opening.socket is None:
            seconds = self._settings.open_timeout
            silent = (
                f"the device opened no tunnel to {offer.host}:{offer.port} within {seconds:g} s"
            )
            raise _Refused(Reason.UNREACHABLE, opening.problem or silent)

    def _complete(self, thing: str, user: str, opening: Opening, session: Session) -> None:
        """Once for each tunnel: a C device says CANCEL and DISCONNECT until it hears this."""
        opening.finish = lambda: None
        current = self._sessions.get(thing, session)
        if not current.over.is_set() and opening.fits(current.key):
            current.complete(thing, opening.tid, user, "the stream is over")
