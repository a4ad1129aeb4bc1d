"""A port on which several processes listen; the kernel gives each new connection to one of them.

SO_REUSEPORT: of one user's processes only, so that no stranger joins in.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack

import trio

__all__ = ["bind_shared", "open_shared_listeners"]


def bind_shared(host: str | None, port: int, *, alone: bool = False) -> list[socket.socket]:
    """Sockets on all addresses of `host`, bound, not listening; with port 0 all on the same one.

    Who holds one that does not listen gets no connection, and keeps the port for those who do.

    Args:
      host: None for all addresses of the machine.
      port: 0 for any free one.
      alone: nobody else may have the port at this moment.

    Raises:
      OSError: it cannot be used.
    """
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    with ExitStack() as stack:
        made = []
        for family, kind, protocol, _, address in infos:
            if alone and port:
                with socket.socket(family, kind, protocol) as probe:
                    _bind(probe, address, port, shared=False)
            sock = stack.enter_context(socket.socket(family, kind, protocol))
            _bind(sock, address, port, shared=True)
            port = port or sock.getsockname()[1]
            made.append(sock)
        stack.pop_all()
    return made


def _bind(sock: socket.socket, address: tuple[object, ...], port: int, *, shared: bool) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind((address[0], port, *address[2:]))


def open_shared_listeners(host: str | None, port: int, backlog: int) -> list[trio.SocketListener]:
    """Like `trio.open_tcp_listeners`, beside others. Raises OSError."""
    listeners = []
    for sock in bind_shared(host, port):
        sock.setblocking(False)
        sock.listen(backlog)
        listeners.append(trio.SocketListener(trio.socket.from_stdlib_socket(sock)))
    return listeners
