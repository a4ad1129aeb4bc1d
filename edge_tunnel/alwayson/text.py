"""What is said on a tunnel's own socket: text messages, each the base64 of some bytes.

There is no flow control, no half-close and no sequence number: TCP's back-pressure, and the end.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from typing import Final

from edge_tunnel.alwayson.reading import AlwaysOnError

__all__ = ["ALL_SENT", "MAX_RAW", "MAX_TEXT", "decode_text", "encode_text", "raw_limit", "texts"]

MAX_TEXT: Final = 65_536
"""Characters of one message that is taken: Java devices send what they have read, up to 22,000."""

MAX_RAW: Final = 6144
"""Bytes in one message, at the most: 8,192 characters, all that a Java device takes with a
chunksize of 8,192."""


ALL_SENT: Final = "the service ended the connection"
"""What our own edge says when it closes a tunnel's socket with code 1000 because its service has
sent all that it will. The SDKs close with 1000, too, when they give a tunnel up, in other words."""


def raw_limit(chunksize: int) -> int:
    """Bytes of one message to an end that said this chunksize: base64 has to fit into it."""
    return max(3, min(MAX_RAW, chunksize // 4 * 3))


def encode_text(data: bytes) -> str:
    """One message. No more than `MAX_RAW` bytes, if it is to be understood."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def texts(data: bytes, limit: int = MAX_RAW) -> Iterator[str]:
    """As many messages as it takes."""
    view = memoryview(data)
    for start in range(0, len(data), limit):
        yield encode_text(bytes(view[start : start + limit]))


def decode_text(text: str) -> bytes:
    """The bytes in one message; an empty message has none.

    Raises:
      AlwaysOnError: it is too long or no base64.
    """
    if len(text) > MAX_TEXT:
        raise AlwaysOnError(f"a tunnel message of {len(text)} characters; the limit is {MAX_TEXT}")
    try:
        return _strict(text.encode("ascii"))
    except (UnicodeEncodeError, binascii.Error):
        raise AlwaysOnError("a tunnel message is not base64") from None


def _strict(data: bytes) -> bytes:
    """Only base64's own letters, whole quartets, and nothing behind the padding."""
    decoded = binascii.a2b_base64(data)
    if binascii.b2a_base64(decoded, newline=False) != data:
        raise binascii.Error
    return decoded
