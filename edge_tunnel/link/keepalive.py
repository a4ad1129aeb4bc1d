"""Connections on which nobody pings: the kernel asks whether the far end is still there.

A ThingWorx tunnel's socket carries one TCP connection and nothing else. A device, or a server, that
loses its power or its network in the middle says no word, and whoever only reads would wait for it
for ever. On links we ping, and how often is their owner's choice.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Final

import trio

from edge_tunnel.link.eager import EagerStream
from edge_tunnel.link.secured import Secured

__all__ = ["keep_alive", "socket_of"]

_OPTIONS: Final = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""Two minutes of silence, of which the last is asked into four times. Linux's own are two hours."""


def keep_alive(stream: trio.abc.Stream) -> None:
    """Let reads of this connection fail when its far end has been gone for two minutes."""
    sock = socket_of(stream)
    if sock is None:
        return
    with suppress(OSError):  # it is over
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _OPTIONS.items():
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def socket_of(stream: trio.abc.Stream) -> trio.socket.SocketType | None:
    """What the kernel knows of a connection; None in tests, which have none."""
    if isinstance(stream, Secured):
        stream = stream.transport_stream
    return stream.socket if isinstance(stream, (trio.SocketStream, EagerStream)) else None
