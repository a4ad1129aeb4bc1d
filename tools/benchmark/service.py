"""The service at the end of every path. The first byte of a connection says what it wants:

``d`` bytes without end, ``u`` count zeros until a byte that is none, and answer the count, 8 bytes,
``e`` echo, ``c`` one byte back and close, ``i`` one byte back and stay open, idle.

One thread accepts, answers what is short and carries bulk, so that a new connection costs as little
as Python can make it, and sixteen with bulk do not wait for each other; an echo gets a thread and
blocking calls.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
from typing import Final

from benchmark.bulk import BLOCK, BUFFER

_block: Final = bytes(BLOCK)
_buffer: Final = bytearray(BUFFER)
_idle: Final[list[socket.socket]] = []


def main() -> None:
    """Print the port and serve until killed."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    listener.setblocking(False)
    ready, waiting, busy = select.epoll(), dict[int, socket.socket](), dict[int, _Bulk]()
    ready.register(listener, select.EPOLLIN)

    def begin(connection: socket.socket) -> None:
        bulk = _served(connection, ready, waiting)
        if bulk is not None:
            busy[connection.fileno()] = bulk
            ready.register(connection, bulk.event)

    while True:
        for number, _ in ready.poll():
            if number in busy:
                if not _carried(busy[number]):
                    ready.unregister(number)
                    busy.pop(number).connection.close()
            elif number == listener.fileno():
                connection = _accepted(listener)
                if connection is not None:
                    begin(connection)
            else:
                ready.unregister(number)
                begin(waiting.pop(number))


def _accepted(listener: socket.socket) -> socket.socket | None:
    try:
        connection, _ = listener.accept()
    except OSError:  # gone again
        return None
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setblocking(False)
    return connection


def _served(
    connection: socket.socket, ready: select.epoll, waiting: dict[int, socket.socket]
) -> _Bulk | None:
    """Do what is short, or begin it; what it wants may not have come yet. Bulk is for the loop."""
    try:
        wish = connection.recv(1)
        if wish in {b"c", b"i"}:
            connection.send(wish)
    except BlockingIOError:
        waiting[connection.fileno()] = connection
        ready.register(connection, select.EPOLLIN)
        return None
    except OSError:
        wish = b""
    if wish in _BULK:
        return _BULK[wish](connection)
    if wish == b"i":
        _idle.append(connection)
    elif wish == b"e":
        threading.Thread(target=_echo, args=(connection,), daemon=True).start()
    else:
        connection.close()
    return None


def _carried(bulk: _Bulk) -> bool:
    try:
        return bulk.carry()
    except BlockingIOError:
        return True
    except OSError:  # who has measured enough simply closes
        return False


class _Bulk:
    """A connection that carries bytes when it is ready."""

    event: int

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._total = 0

    def carry(self) -> bool:
        """Some of them. Returns whether there are more."""
        raise NotImplementedError


class _Download(_Bulk):
    event = select.EPOLLOUT

    def carry(self) -> bool:
        return self.connection.send(_block) > 0


class _Upload(_Bulk):
    event = select.EPOLLIN

    def carry(self) -> bool:
        count = self.connection.recv_into(_buffer)
        self._total += count
        if count and not _buffer[count - 1]:
            return True
        self.connection.send(self._total.to_bytes(8, "big"))
        return False


def _echo(connection: socket.socket) -> None:
    connection.setblocking(True)
    with connection, contextlib.suppress(OSError):
        while data := connection.recv(BLOCK):
            connection.sendall(data)


_BULK: Final[dict[bytes, type[_Bulk]]] = {b"d": _Download, b"u": _Upload}

if __name__ == "__main__":
    main()
