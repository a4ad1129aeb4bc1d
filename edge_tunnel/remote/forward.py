"""Local ports: each connection to one becomes a stream of the tunnel."""

from __future__ import annotations

import logging
from functools import partial
from typing import Final, Protocol

import trio

from edge_tunnel.errors import TunnelEnded
from edge_tunnel.link.accepting import serve
from edge_tunnel.link.notices import Notices
from edge_tunnel.link.splice import reset_socket, splice
from edge_tunnel.link.streams import TunnelStream
from edge_tunnel.protocol.frames import MAX_DATA

__all__ = ["forward"]

_log = logging.getLogger("edge_tunnel.remote")

_BACKLOG: Final = 512
"""Connections that may wait to be accepted: a browser or a test opens hundreds at once."""


class StreamOpener(Protocol):
    """What a local port needs of its remote."""

    notices: Notices

    async def open_stream_early(self, thing: str, service: str) -> TunnelStream: ...


async def forward(
    remote: StreamOpener,
    thing: str,
    service: str,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listen on a local address until cancelled; port 0: any free one.

    A name may mean several addresses, and any free port would be another one on each: then only
    the first is opened.

    With ``await nursery.start(...)``: returns (host, port) once the port is open.

    Raises:
      OSError: the port cannot be opened.
    """
    listeners = await trio.open_tcp_listeners(port, host=host, backlog=_BACKLOG)
    if port == 0:
        for other in listeners[1:]:
            await other.aclose()
        del listeners[1:]
    bound = listeners[0].socket.getsockname()
    remote.notices.emit("listening", host=bound[0], port=bound[1], thing=thing, service=service)
    task_status.started((bound[0], bound[1]))
    await serve(partial(_carry, remote, thing, service), listeners)


async def _carry(remote: StreamOpener, thing: str, service: str, sock: trio.SocketStream) -> None:
    """One local connection, to its end; whatever that is, the port stays open."""
    try:
        await _carry_through(remote, thing, service, sock)
    except Exception:  # noqa: BLE001 - a bug met by one connection is not everybody's end
        _log.exception("%s of %s: internal error", service, thing)
    finally:
        if sock.socket.fileno() != -1:  # or the port was closed while it waited for its tunnel
            reset_socket(sock)


async def _carry_through(
    remote: StreamOpener, thing: str, service: str, sock: trio.SocketStream
) -> None:
    try:
        stream = await remote.open_stream_early(thing, service)
    except (TunnelEnded, trio.TooSlowError) as error:
        _refused(remote, thing, service, str(error) or "nothing answered in time")
        reset_socket(sock)
        return
    try:
        await splice(stream, sock, MAX_DATA)
    finally:
        if stream.core.reason is not None and not stream.core.accepted:
            _refused(remote, thing, service, stream.core.text or stream.core.reason.text)


def _refused(remote: StreamOpener, thing: str, service: str, text: str) -> None:
    _log.warning("%s of %s: %s", service, thing, text)
    remote.notices.emit("stream_refused", thing=thing, service=service, reason=text)
