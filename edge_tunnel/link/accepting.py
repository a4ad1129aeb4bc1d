"""Connections of a local port, as many at once as are there.

`trio.serve_listeners` accepts one, lets everybody have a turn, looks whether there is another one,
and watches each of its tasks to close what it has served. Whoever connects often, as a browser
does, pays for that more than for the connection.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

import trio

__all__ = ["serve"]

_log = logging.getLogger("edge_tunnel.link")

_IN_A_ROW: Final = 64
"""Connections that are accepted before the others have a turn."""

_SHORT_OF: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
_PAUSE: Final = 0.1
"""Seconds to wait when the system has no room for a connection, as trio does."""

Carry: TypeAlias = Callable[[trio.SocketStream], Awaitable[object]]


async def serve(carry: Carry, listeners: Sequence[trio.SocketListener]) -> None:
    """Run `carry` for each connection until cancelled. It closes the connection, and raises
    nothing; the listeners are closed here."""
    async with trio.open_nursery() as nursery:
        for listener in listeners:
            nursery.start_soon(_serve_one, carry, listener, nursery)


async def _serve_one(carry: Carry, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
    async with listener:
        with socket.socket(fileno=os.dup(listener.socket.fileno())) as sock:
            sock.setblocking(False)
            while True:
                await trio.lowlevel.wait_readable(sock)
                try:
                    for _ in range(_IN_A_ROW):
                        nursery.start_soon(carry, _accepted(sock))
                except BlockingIOError:
                    pass
                except OSError:
                    await _accept_or_pause(carry, listener, nursery)


def _accepted(sock: socket.socket) -> trio.SocketStream:
    return trio.SocketStream(trio.socket.from_stdlib_socket(sock.accept()[0]))


async def _accept_or_pause(
    carry: Carry, listener: trio.SocketListener, nursery: trio.Nursery
) -> None:
    """Something is wrong; trio knows which errors are those of one connection, and no matter."""
    try:
        nursery.start_soon(carry, await listener.accept())
    except OSError as error:
        if error.errno not in _SHORT_OF:
            raise
        _log.error("no more connections can be accepted: %s", os.strerror(error.errno))
        await trio.sleep(_PAUSE)
