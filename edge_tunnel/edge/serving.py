"""One stream at the device, from OPEN to its end: to a service's socket, or to the application."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

import trio

from edge_tunnel.config.model import Service, TunnelSettings
from edge_tunnel.edge.offered import Offered
from edge_tunnel.edge.services import Refusal, StreamServer, connect_service
from edge_tunnel.link.groups import lone_error
from edge_tunnel.link.notices import Notices
from edge_tunnel.link.splice import splice
from edge_tunnel.link.streams import TunnelStream
from edge_tunnel.protocol.attach import EdgeTunnel
from edge_tunnel.protocol.stream import Stream
from edge_tunnel.protocol.tunnel import Tunnel
from edge_tunnel.reasons import Reason

__all__ = ["Serving", "about"]

_log = logging.getLogger("edge_tunnel.edge")

_CONNECT_TIMEOUT: Final = 10.0
"""Seconds for a service on or next to the device: a local network, generously."""


class Serving:
    """Serves the streams that remotes open."""

    def __init__(
        self, offered: Offered, notices: Notices, settings: Callable[[], TunnelSettings]
    ) -> None:
        """`settings`: those of the moment."""
        self._offered = offered
        self._notices = notices
        self._settings = settings

    async def serve(self, tunnel: EdgeTunnel, core: Stream) -> None:
        """One stream, from OPEN to its end."""
        stream = TunnelStream(core)
        target = self._offered.find(tunnel.thing, tunnel.service)
        which = {**about(tunnel), "stream": core.id}
        try:
            if isinstance(target, Service):
                await self._serve_tcp(stream, target, which)
            elif target is not None:
                await self._serve_application(stream, target, which)
            else:  # taken off the list meanwhile
                raise Refusal(Reason.SERVICE_NOT_ALLOWED, "the device offers it no longer")
        except Refusal as refusal:
            stream.abort(refusal.reason, refusal.text)
            self._notices.emit("stream_refused", reason=refusal.text, **which)
        except Exception as error:  # noqa: BLE001 - a bug met by one stream is not everybody's end
            _log.exception("the service %s failed", which["service"])
            stream.abort(Reason.INTERNAL_ERROR, f"the service failed: {type(error).__name__}")

    async def _serve_tcp(
        self, stream: TunnelStream, service: Service, which: Mapping[str, object]
    ) -> None:
        sock = await connect_service(service, _CONNECT_TIMEOUT)
        stream.core.accept()
        self._notices.emit("stream_opened", **which)
        settings = self._settings()
        await splice(stream, sock, settings.buffer_size, settings.read_timeout)

    async def _serve_application(
        self, stream: TunnelStream, server: StreamServer, which: Mapping[str, object]
    ) -> None:
        stream.core.accept()
        self._notices.emit("stream_opened", **which)
        try:
            with lone_error():
                await server(stream)
            await stream.aclose()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            _log.info("stream %s of %s: %s", stream.core.id, which["service"], error)
            stream.abort(Reason.RESET, "the service broke off")


def about(tunnel: Tunnel) -> dict[str, object]:
    """For a notice."""
    assert isinstance(tunnel, EdgeTunnel)
    return {"tunnel": tunnel.id.hex(), "thing": tunnel.thing, "service": tunnel.service}
