"""Plain HTTP on the port of the WebSocket: what a load balancer asks a node, and its API.

* ``GET /health``: 200 as long as the node is alive.
* ``GET /ready``: 200 while it takes new links, 503 while it drains or is full.
* ``GET /ready?busy=404``: the same for HAProxy, to which 404 means "nothing new, but leave alone
  what is there" (``http-check disable-on-404``), and 503 that the node is dead.
* ``/api/v1/...``: see `api`; 404 on a node without it.

One request, one answer, and the connection is closed. A request for a WebSocket goes on to the
WebSocket library with all its bytes; a node that takes no links answers it with 503, so that a
balancer may try the next node. Whoever sends slowly, much, or nonsense is shown out.

A browser names the page that makes it ask, in ``Origin``. Pages of others are refused
(CVE-2024-26135: a page that opened a WebSocket with its visitor's rights). A device's SDK may name
the node itself: that is no page of others, because nodes have no pages.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Final, TypeAlias

import h11
import trio

from edge_tunnel.proxy.api import PREFIX, ApiAnswer, ApiRequest

__all__ = ["MAX_BODY", "answer_http", "values_in"]

_MAX_HEAD: Final = 16 * 1024
"""Bytes of a request's head: cookies of a company's proxies and a bearer token, generously."""

MAX_BODY: Final = 1024 * 1024
"""Bytes of a request's body: a policy, whose JSON may be twice its text."""

_READ: Final = 4096

_ACT: Final = 30.0
"""Seconds for what the API does: every member of the engine is tried, and the first one again."""
_TLS_RECORD: Final = b"\x16\x03"
"""How a TLS client begins: a record of its handshake (RFC 8446, section 5.1)."""

_TEXT: Final = "this is an edge_tunnel node: it takes WebSockets, GET /health and GET /ready"

Headers = Sequence[tuple[str, str]]
Act: TypeAlias = Callable[[ApiRequest], Awaitable[ApiAnswer]]


class _TooLarge(Exception):
    """A body above `MAX_BODY`."""


async def answer_http(
    stream: trio.abc.Stream,
    timeout: float,
    why_not_ready: Callable[[], str | None],
    tell: Callable[[str], None] = lambda _what: None,
    *,
    act: Act | None = None,
    origins: Sequence[str] = (),
    comes_for: Callable[[Sequence[str]], bool] = lambda _forwarded: True,
    may_always: Callable[[bytes], bool] = lambda _target: False,
    first: bytes = b"",
) -> bytes | None:
    """Read a request's head: its bytes, if it asks for a WebSocket; None: it is answered.

    Args:
      stream: closed when None is returned.
      timeout: seconds for the request, and again for the answer.
      why_not_ready: why no new links are taken now; None: they are.
      act: answers below ``/api/v1/``; None: there is no API.
      origins: pages that may ask.
      tell: called with what the node's operator should know of the peer.
      comes_for: called with the values of X-Forwarded-For: whether that peer has a place.
      may_always: whether a WebSocket at this target is no new link, and so taken in any case.
      first: what was read of the request already.
    """
    visit = _Visit(stream, first)
    question: ApiRequest | None = None
    answer = _response(408, f"no request within {timeout:g} s")
    try:
        with trio.move_on_after(timeout):
            request = await visit.request()
            if not comes_for(_values(request, b"x-forwarded-for")):
                await _end(stream, _response(429, "too many connections of your address"), timeout)
                return None
            taken = why_not_ready() is None or may_always(bytes(request.target))
            if _is_upgrade(request) and taken and _is_welcome(request, origins):
                return bytes(visit.read)
            answer = _answer(request, why_not_ready(), origins)
            if act is not None and _is_for_api(request, origins):
                answer = _refusal(408, f"no whole request within {timeout:g} s")
                question = await visit.question(request)
        if question is not None and act is not None:
            answer = await _act(act, question, _allowed(request, origins))
    except h11.RemoteProtocolError as error:
        status = error.error_status_hint
        if visit.read.startswith(_TLS_RECORD):
            tell("it speaks TLS (wss://) where none is spoken")
        answer = _response(status, "the head is too long" if status == 431 else _TEXT)
    except _TooLarge:
        answer = _refusal(413, f"the body has more than {MAX_BODY} bytes")
    except (trio.BrokenResourceError, trio.ClosedResourceError, EOFError):
        answer = b""
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    await _end(stream, answer, timeout)
    return None


class _Visit:
    """One request, as it comes."""

    def __init__(self, stream: trio.abc.Stream, first: bytes) -> None:
        self.read = bytearray(first)
        """All that was read until the head was whole. Not the rest: only time bounds how much the
        extensions of chunks are."""

        self._stream = stream
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD)
        if first:
            self._http.receive_data(first)

    async def request(self) -> h11.Request:
        """The head. Raises EOFError if the peer leaves."""
        event = await self._next()
        if isinstance(event, h11.Request):
            return event
        raise EOFError

    async def question(self, request: h11.Request) -> ApiRequest:
        """The request with its body. Raises _TooLarge."""
        if self._http.they_are_waiting_for_100_continue:  # curl, for what it thinks is long
            await self._stream.send_all(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = bytearray()
        while isinstance(event := await self._next(), h11.Data):
            body += event.data
            if len(body) > MAX_BODY:
                raise _TooLarge
        if isinstance(event, h11.EndOfMessage):
            method, path = bytes(request.method).decode(), bytes(request.target).decode("latin-1")
            return ApiRequest(method, path, _bearer(request), bytes(body))
        raise EOFError

    async def _next(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            data = await self._stream.receive_some(_READ)
            if self._http.their_state is h11.IDLE:
                self.read += data
            self._http.receive_data(bytes(data))
        return event


def _values(request: h11.Request, name: bytes) -> list[str]:
    return [bytes(value).decode("latin-1") for key, value in request.headers if key == name]


def values_in(head: bytes, name: str) -> list[str]:
    """The values of a header, of these bytes that begin with a whole head."""
    http = h11.Connection(h11.SERVER)
    http.receive_data(head)
    request = http.next_event()
    return _values(request, name.lower().encode()) if isinstance(request, h11.Request) else []


def _bearer(request: h11.Request) -> str:
    """Of two logins nobody can say which one was meant: none."""
    logins = [bytes(value) for name, value in request.headers if name == b"authorization"]
    scheme, _, key = (logins[0] if len(logins) == 1 else b"").partition(b" ")
    return key.strip().decode(errors="replace") if scheme.lower() == b"bearer" else ""


def _is_upgrade(request: h11.Request) -> bool:
    # With another method the library would say nothing, and hold the place until its time is over.
    wanted = any(value.strip().lower() == "websocket" for value in _values(request, b"upgrade"))
    return wanted and request.method == b"GET"


def _allowed(request: h11.Request, origins: Sequence[str]) -> str | None:
    """The page that asks, if it is one of those that may. Empty: nobody's page asks."""
    found = _values(request, b"origin")
    if not found:
        return ""
    return found[0] if len(found) == 1 and found[0] in origins else None


def _is_welcome(request: h11.Request, origins: Sequence[str]) -> bool:
    """Whether it may have a WebSocket."""
    host, found = _values(request, b"host"), _values(request, b"origin")
    itself = len(found) == len(host) == 1 and found[0].partition("://")[2] == host[0]
    return itself or _allowed(request, origins) is not None


def _is_for_api(request: h11.Request, origins: Sequence[str]) -> bool:
    ours = bytes(request.target).startswith(PREFIX.encode())
    return ours and not _is_upgrade(request) and _allowed(request, origins) is not None


def _answer(request: h11.Request, busy: str | None, origins: Sequence[str]) -> bytes:
    """To all but the API."""
    path, _, query = bytes(request.target).partition(b"?")
    if _is_upgrade(request) and _is_welcome(request, origins):
        return _response(503, busy or "")
    if _allowed(request, origins) is None:
        return _response(403, "a web page of another origin may not ask this node")
    if path not in (b"/health", b"/ready"):
        return _response(404, _TEXT)
    if request.method not in (b"GET", b"HEAD"):
        return _response(405, "GET or HEAD")
    bodiless = request.method == b"HEAD"
    if path == b"/ready" and busy is not None:
        return _response(404 if query == b"busy=404" else 503, busy, bodiless=bodiless)
    return _response(200, "ok", bodiless=bodiless)


async def _act(act: Act, question: ApiRequest, origin: str | None) -> bytes:
    """What the API answers. `origin`: the page that may read it."""
    page: Headers = ()
    if origin:
        page = (("Access-Control-Allow-Origin", origin), ("Vary", "Origin"))
        if question.method == "OPTIONS":  # a browser asks before it asks, without a key
            page = (*page, ("Access-Control-Allow-Headers", "authorization, content-type"))
            page = (*page, ("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE"))
            return _rendered(200, b"", "text/plain", page)
    answer = ApiAnswer(503, {"error": f"not done within {_ACT:g} s; it may be done later"})
    with trio.move_on_after(_ACT):
        answer = await act(question)
    body = json.dumps(answer.body).encode() + b"\n"
    later = (("Retry-After", str(answer.retry_after)),) if answer.retry_after else ()
    headers = (*page, *later, ("Cache-Control", "no-store"))
    return _rendered(answer.status, body, "application/json", headers)


def _refusal(status: int, text: str) -> bytes:
    """Of a request to the API that does not come so far: in its form."""
    return _rendered(status, json.dumps({"error": text}).encode() + b"\n", "application/json")


def _response(status: int, text: str, *, bodiless: bool = False) -> bytes:
    return _rendered(status, f"{text}\n".encode(), "text/plain; charset=utf-8", bodiless=bodiless)


def _rendered(
    status: int, body: bytes, kind: str, more: Headers = (), *, bodiless: bool = False
) -> bytes:
    headers = (("Content-Type", kind), ("Content-Length", str(len(body))), *more)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    first = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
    head = f"{first}{lines}Connection: close\r\n\r\n".encode("latin-1")
    return head if bodiless else head + body


async def _end(stream: trio.abc.Stream, answer: bytes, timeout: float) -> None:
    """Answer, if there is something to say, and close."""
    with trio.move_on_after(timeout), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        if answer:
            await stream.send_all(answer)
        await stream.aclose()
    await trio.aclose_forcefully(stream)
