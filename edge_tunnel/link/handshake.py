"""The TLS handshake, with its last words.

A side that does not like what it gets says why in an *alert*, and then it closes. Two things lose
the alert on its way. trio leaves it in its own buffer when a handshake fails; here it is sent. And
a socket that is closed while unread bytes wait in it is reset, which takes the alert along: so
`part` reads what still comes, for a moment.

In TLS 1.3 a client is through with its handshake before the server has looked at its certificate.
It gets to know the server's opinion as an alert in its first read; `tls_words` knows these, too.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Any, Final

import trio

__all__ = ["Secured", "part", "shake_hands"]

Secured = trio.SSLStream[trio.abc.Stream]

_FAREWELL: Final = 2.0
"""Seconds that a peer has to take our alert and close: a round trip over a satellite, and more."""

_MOST_UNREAD: Final = 64 * 1024
"""Bytes of a peer that we hear out: a request that it sent before it heard of our refusal."""


class _Overheard:
    """A TLS context that keeps hold of the bytes that are to be sent."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self.outgoing = ssl.MemoryBIO()

    def wrap_bio(
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, **options: Any
    ) -> ssl.SSLObject:
        """As `ssl.SSLContext.wrap_bio`."""
        self.outgoing = outgoing
        return self._context.wrap_bio(incoming, outgoing, **options)


async def shake_hands(
    stream: trio.abc.Stream, context: ssl.SSLContext, *, host: str | None = None
) -> Secured:
    """TLS over `stream`: as the client of `host`, or without one as the server.

    Raises:
      trio.BrokenResourceError: with an ssl.SSLError as its cause, unless the peer went away. The
        alert was sent; `stream` is open.
      ValueError: `host` cannot be a name in a certificate.
    """
    overheard = _Overheard(context)
    # EOF without TLS's own goodbye is as good as one: WebSocket and hops have their own ends
    secured = trio.SSLStream(
        stream,
        overheard,  # type: ignore[arg-type]  # has all that trio asks of a context
        server_hostname=host,
        server_side=host is None,
        https_compatible=True,
    )
    try:
        await secured.do_handshake()
    except trio.BrokenResourceError:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await stream.send_all(overheard.outgoing.read())
        raise
    return secured


async def part(stream: trio.abc.Stream, last: bytes = b"") -> None:
    """Close `stream` so that what was said last arrives; `last` is said before."""
    unread = 0
    with (
        trio.move_on_after(_FAREWELL),
        suppress(trio.BrokenResourceError, trio.ClosedResourceError),
    ):
        if last:
            await stream.send_all(last)
        if isinstance(stream, trio.abc.HalfCloseableStream):
            await stream.send_eof()
            while unread < _MOST_UNREAD and (data := await stream.receive_some()):
                unread += len(data)
    await trio.aclose_forcefully(stream)
