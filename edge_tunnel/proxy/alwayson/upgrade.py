"""The HTTP request that opens a device's socket, and the one answer that all devices understand.

The C SDK reads the answer naively: ``101`` at its place in the first line, ``Connection`` that says
``Upgrade`` and nothing else, no header without a value. No extension is agreed on (nobody
compresses then) and no subprotocol, because no device offers one. Ours do, also at the path that a
device uses: so the subprotocol tells the two apart. No I/O here.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import h11
from wsproto.utilities import generate_accept_token

from edge_tunnel.protocol.greeting import SUBPROTOCOL

__all__ = ["MAIN", "TUNNEL", "Upgrade", "is_tunnel", "read_upgrade", "refusal", "switching"]

MAIN: Final = "/Thingworx/WS"
"""Where a main socket is opened."""

TUNNEL: Final = "/Thingworx/WSTunnelServer/"
"""Where a tunnel socket is: a tid follows."""

_VERSION: Final = b"13"
_PHRASES: Final = {400: "Bad Request", 403: "Forbidden", 404: "Not Found", 503: "Unavailable"}


class Upgrade(NamedTuple):
    """A request for a device's socket."""

    tid: str | None
    """Of a tunnel socket; None: it is a main socket."""

    app_key: str
    """What is in the header of that name; C devices show it at every socket, Java devices only at
    tunnel sockets."""

    challenge: bytes
    """``Sec-WebSocket-Key``; empty: this is no handshake as it should be."""

    rest: bytes
    """What came behind the request."""


def is_tunnel(target: bytes) -> bool:
    """Whether a request is for a tunnel socket: no link, but a part of one that is there."""
    return target.startswith(TUNNEL.encode())


def read_upgrade(head: bytes) -> Upgrade | None:
    """What these bytes, which begin with a whole head, ask for; None: it is nothing of ours."""
    http = h11.Connection(h11.SERVER)
    http.receive_data(head)
    request = http.next_event()
    if not isinstance(request, h11.Request):
        return None
    path = bytes(request.target).decode("ascii", "replace").partition("?")[0]
    headers = {bytes(name): bytes(value) for name, value in request.headers}
    offered = headers.get(b"sec-websocket-protocol", b"").decode("latin-1")
    if SUBPROTOCOL in [each.strip() for each in offered.split(",")]:
        return None
    is_tunnel = path.startswith(TUNNEL)
    if path.rstrip("/") != MAIN and not is_tunnel:
        return None
    return Upgrade(
        path.removeprefix(TUNNEL) if is_tunnel else None,
        headers.get(b"appkey", b"").decode("utf-8", "replace"),
        _challenge(headers),
        http.trailing_data[0],
    )


def _challenge(headers: dict[bytes, bytes]) -> bytes:
    tokens = [each.strip().lower() for each in headers.get(b"connection", b"").split(b",")]
    good = b"upgrade" in tokens and headers.get(b"sec-websocket-version") == _VERSION
    return headers.get(b"sec-websocket-key", b"") if good else b""


def switching(challenge: bytes) -> bytes:
    """The answer that makes it a WebSocket."""
    accept = generate_accept_token(challenge).decode("ascii")
    lines = (
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept}",
    )
    return "\r\n".join((*lines, "", "")).encode("ascii")


def refusal(status: int, text: str) -> bytes:
    """Any other answer: the device takes it for a failed connection, and tries again."""
    body = f"{text}\n".encode()
    head = (
        f"HTTP/1.1 {status} {_PHRASES[status]}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
