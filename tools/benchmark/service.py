"""The service at the end of every path. The first byte of a connection says what it wants:

``d`` bytes without end, ``u`` count zeros until a byte that is none, and answer the count, 8 bytes,
``e`` echo, ``c`` one byte back and close, ``i`` one byte back and stay open, idle.

One thread accepts and answers what is short, so that a new connection costs as little as Python can
make it; a connection that carries bytes gets a thread and blocking calls.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
from typing import Final

BLOCK: Final = 64 * 1024
BUFFER: Final = 256 * 1024

_idle: Final[list[socket.socket]] = []


def main() -> None:
    """Print the port and serve until killed."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    listener.setblocking(False)
    ready, waiting = select.epoll(), dict[int, socket.socket]()
    ready.register(listener, select.EPOLLIN)
    while True:
        for number, _ in ready.poll():
            if number == listener.fileno():
                connection = _accepted(listener)
                if connection is not None and not _served(connection):
                    waiting[connection.fileno()] = connection
                    ready.register(connection, select.EPOLLIN)
            else:
                connection = waiting.pop(number)
                ready.unregister(connection)
                _served(connection)


def _accepted(listener: socket.socket) -> socket.socket | None:
    try:
        connection, _ = listener.accept()
    except OSError:  # gone again
        return None
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setblocking(False)
    return connection


def _served(connection: socket.socket) -> bool:
    """Whether it could be done, or begun; if not, what it wants has not come yet."""
    try:
        wish = connection.recv(1)
        if wish in {b"c", b"i"}:
            connection.send(wish)
    except BlockingIOError:
        return False
    except OSError:
        wish = b""
    if wish == b"i":
        _idle.append(connection)
    elif wish in _LONG:
        threading.Thread(target=_carry, args=(wish, connection), daemon=True).start()
    else:
        connection.close()
    return True


def _carry(wish: bytes, connection: socket.socket) -> None:
    connection.setblocking(True)
    with connection, contextlib.suppress(OSError):  # who has measured enough simply closes
        _LONG[wish](connection)


def _download(connection: socket.socket) -> None:
    block = bytes(BLOCK)
    while True:
        connection.sendall(block)


def _upload(connection: socket.socket) -> None:
    buffer = bytearray(BUFFER)
    total = 0
    while count := connection.recv_into(buffer):
        total += count
        if buffer[count - 1]:
            break
    connection.sendall(total.to_bytes(8, "big"))


def _echo(connection: socket.socket) -> None:
    while data := connection.recv(BLOCK):
        connection.sendall(data)


_LONG: Final = {b"d": _download, b"u": _upload, b"e": _echo}

if __name__ == "__main__":
    main()
