"""The TLS handshake, with its last words.

A side that does not like what it gets says why in an *alert*, and then it closes. A socket that is
closed while unread bytes wait in it is reset, which takes the alert along: so `part` reads what
still comes, for a moment.

In TLS 1.3 a client is through with its handshake before the server has looked at its certificate.
It gets to know the server's opinion as an alert in its first read; `tls_words` knows these, too.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Final

import trio

from edge_tunnel.link.secured import Secured

__all__ = ["part", "shake_hands"]

_FAREWELL: Final = 2.0
"""Seconds that a peer has to take our alert and close: a round trip over a satellite, and more."""

_MOST_UNREAD: Final = 64 * 1024
"""Bytes of a peer that we hear out: a request that it sent before it heard of our refusal."""


async def shake_hands(
    stream: trio.abc.Stream, context: ssl.SSLContext, *, host: str | None = None
) -> Secured:
    """TLS over `stream`: as the client of `host`, or without one as the server.

    Raises:
      trio.BrokenResourceError: with an ssl.SSLError as its cause, unless the network failed. The
        other end was told; `stream` is open.
      ValueError: `host` cannot be a name in a certificate.
    """
    secured = Secured(stream, context, host)
    await secured.handshake()
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
