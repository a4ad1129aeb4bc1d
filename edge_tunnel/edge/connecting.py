"""A TCP connection to a service.

`trio.open_tcp_stream` races the addresses of a name: a look-up, a nursery and a task for each. Most
services are given by an address, most of them on the device itself, where the kernel connects while
we ask it to; then a connection costs its system calls and nothing else.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Final

import trio

__all__ = ["connect"]

_UNDER_WAY: Final = (errno.EINPROGRESS, errno.EALREADY, errno.EINTR)
_DONE: Final = (0, errno.EISCONN)


async def connect(host: str, port: int, timeout: float) -> trio.SocketStream:
    """A connection to that port. It yields only if it has to wait, at most `timeout` seconds.

    Raises:
      trio.TooSlowError: nobody answered in time.
      OSError, UnicodeError: as `trio.open_tcp_stream`.
    """
    family = _family(host)
    if family is None:
        with trio.fail_after(timeout):
            return await trio.open_tcp_stream(host, port)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if not _is_connected(sock, (host, port)):
            with trio.fail_after(timeout):
                await trio.lowlevel.wait_writable(sock)
            _raise_if(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        return trio.SocketStream(trio.socket.from_stdlib_socket(sock))
    except BaseException:
        sock.close()
        raise


def _family(host: str) -> socket.AddressFamily | None:
    """Of an address; None: it is a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):  # ValueError: a name that is not ASCII
            continue
        return family
    return None


def _is_connected(sock: socket.socket, address: tuple[str, int]) -> bool:
    """Ask for the connection, and at once again: on loopback the first call has done it all."""
    for _ in range(2):
        error = sock.connect_ex(address)
        if error in _DONE:
            return True
        if error not in _UNDER_WAY:
            _raise_if(error)
    return False


def _raise_if(error: int) -> None:
    if error:
        raise OSError(error, os.strerror(error))
