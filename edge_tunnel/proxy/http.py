"""Plain HTTP on the port of the WebSocket: what a load balancer asks a node.

* ``GET /health``: 200 as long as the node is alive.
* ``GET /ready``: 200 while it takes new links, 503 while it drains or is full.
* ``GET /ready?busy=404``: the same for HAProxy, to which 404 means "nothing new, but leave alone
  what is there" (``http-check disable-on-404``), and 503 that the node is dead.

One request, one answer, and the connection is closed. A request for a WebSocket goes on to the
WebSocket library with all its bytes; a node that takes no links answers it with 503, so that a
balancer may try the next node. Whoever sends slowly, much, or nonsense is shown out.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Final

import h11
import trio

__all__ = ["answer_http"]

_MAX_HEAD: Final = 16 * 1024
"""Bytes of a request's head: cookies of a company's proxies and a bearer token, generously."""

_READ: Final = 4096

_TLS_RECORD: Final = b"\x16\x03"
"""How a TLS client begins: a record of its handshake (RFC 8446, section 5.1)."""

_TEXT: Final = "this is an edge_tunnel node: it takes WebSockets, GET /health and GET /ready"


async def answer_http(
    stream: trio.abc.Stream,
    timeout: float,
    why_not_ready: Callable[[], str | None],
    tell: Callable[[str], None] = lambda _what: None,
) -> bytes | None:
    """Read a request's head: its bytes, if it asks for a WebSocket; None: it is answered.

    Args:
      stream: closed when None is returned.
      timeout: seconds for the head, and again for the answer.
      why_not_ready: why no new links are taken now; None: they are.
      tell: called with what the node's operator should know of the peer.
    """
    head = bytearray()
    answer = _response(408, f"no request within {timeout:g} s")
    try:
        with trio.move_on_after(timeout):
            request = await _request(stream, head)
            if _is_upgrade(request) and why_not_ready() is None:
                return bytes(head)
            answer = _answer(request, why_not_ready())
    except h11.RemoteProtocolError as error:
        status = error.error_status_hint
        if head.startswith(_TLS_RECORD):
            tell("it speaks TLS (wss://) where none is spoken")
        answer = _response(status, "the head is too long" if status == 431 else _TEXT)
    except (trio.BrokenResourceError, trio.ClosedResourceError, EOFError):
        answer = b""
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    await _end(stream, answer, timeout)
    return None


async def _request(stream: trio.abc.Stream, head: bytearray) -> h11.Request:
    """The request; `head` grows by what was read. Raises EOFError if the peer leaves."""
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD)
    while True:
        event = http.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            raise EOFError
        data = await stream.receive_some(_READ)
        head += data
        http.receive_data(bytes(data))


def _is_upgrade(request: h11.Request) -> bool:
    return any(
        name == b"upgrade" and value.strip().lower() == b"websocket"
        for name, value in request.headers
    )


def _answer(request: h11.Request, busy: str | None) -> bytes:
    path, _, query = request.target.partition(b"?")
    if _is_upgrade(request):
        return _response(503, busy or "")
    if path not in (b"/health", b"/ready"):
        return _response(404, _TEXT)
    if request.method not in (b"GET", b"HEAD"):
        return _response(405, "GET or HEAD")
    bodiless = request.method == b"HEAD"
    if path == b"/ready" and busy is not None:
        return _response(404 if query == b"busy=404" else 503, busy, bodiless=bodiless)
    return _response(200, "ok", bodiless=bodiless)


def _response(status: int, text: str, *, bodiless: bool = False) -> bytes:
    body = f"{text}\n".encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode()
    return head if bodiless else head + body


async def _end(stream: trio.abc.Stream, answer: bytes, timeout: float) -> None:
    """Answer, if there is something to say, and close."""
    with trio.move_on_after(timeout), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        if answer:
            await stream.send_all(answer)
        await stream.aclose()
    await trio.aclose_forcefully(stream)
