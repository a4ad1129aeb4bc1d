"""The service at the end of every path. The first byte of a connection says what it wants:

``d`` bytes without end, ``u`` count what comes until EOF and answer the count (8 bytes), ``e``
echo, ``c`` one byte back and close, ``i`` one byte back and stay open, idle.

A pool of threads accepts, so that a connection costs no new thread; an idle one costs none at all.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from typing import Final

THREADS: Final = 64
BLOCK: Final = 256 * 1024
IDLE: Final[list[socket.socket]] = []


def main() -> None:
    """Print the port and serve until killed."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    for _ in range(THREADS):
        threading.Thread(target=_accept, args=(listener,), daemon=True).start()
    threading.Event().wait()


def _accept(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):  # a client that measured enough simply closes
            _serve(connection)


def _serve(connection: socket.socket) -> None:
    wish = connection.recv(1)
    if wish == b"i":
        connection.sendall(wish)
        IDLE.append(connection)
        return
    with connection:
        if wish == b"d":
            _download(connection)
        elif wish == b"u":
            _upload(connection)
        elif wish == b"e":
            _echo(connection)
        elif wish == b"c":
            connection.sendall(wish)


def _download(connection: socket.socket) -> None:
    block = bytes(BLOCK)
    while True:
        connection.sendall(block)


def _upload(connection: socket.socket) -> None:
    buffer = bytearray(4 * BLOCK)
    total = 0
    while count := connection.recv_into(buffer):
        total += count
    connection.sendall(total.to_bytes(8, "big"))


def _echo(connection: socket.socket) -> None:
    while data := connection.recv(BLOCK):
        connection.sendall(data)


if __name__ == "__main__":
    main()
