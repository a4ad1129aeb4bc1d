"""What a link needs of whatever carries its messages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final

from edge_tunnel.errors import RemoteProtocolError

__all__ = ["CUT_OFF", "GOING_AWAY", "NORMAL", "PlainTransport", "Transport"]

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
CUT_OFF: Final = 1011
"""Codes of a closing handshake (RFC 6455, 7.4.1): all was said; the end was forced upon us."""


class Transport(ABC):
    """Whole messages, both ways, in order, until it is lost.

    One task sends and one task receives (DESIGN.md section 4, rules 1 and 2). A cancelled `send`
    may leave half a message behind: whoever cancels it gives the transport up.
    """

    peer: str = "?"
    """The other end, for people: an address or a URL."""

    @abstractmethod
    async def send(self, message: bytes) -> None:
        """Send one message. Raises LinkLost."""

    @abstractmethod
    async def receive(self) -> bytes:
        """Wait for the next message. Raises LinkLost, or RemoteProtocolError for a text message."""


class PlainTransport(Transport):
    """A WebSocket without a subprotocol of ours: also text, and the library's own ping.

    `receive` is for binary messages alone; a socket that may bring both is read with `receive_any`.
    """

    @abstractmethod
    async def send_text(self, text: str) -> None:
        """Send one text message. Raises LinkLost."""

    @abstractmethod
    async def receive_any(self) -> bytes | str:
        """Wait for the next message. Raises LinkLost."""

    @abstractmethod
    async def ping(self) -> None:
        """Send a ping and wait for its pong. Raises LinkLost."""

    @abstractmethod
    async def aclose(self, code: int = NORMAL, reason: str = "") -> None:
        """The closing handshake; what is said at the end of its block is `NORMAL`, if nothing was
        said before."""

    @property
    @abstractmethod
    def close_code(self) -> int | None:
        """How it was closed: None while it is open, 1006 if without a closing handshake."""

    def beside(
        self, path: str, headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[PlainTransport]:
        """One more WebSocket to the same host and port, the same way. Clients only.

        The context manager raises LinkLost.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot open another")

    async def receive(self) -> bytes:
        """The next message, which must be binary. Raises LinkLost or RemoteProtocolError."""
        message = await self.receive_any()
        if isinstance(message, str):
            raise RemoteProtocolError("a text message where a binary one is due")
        return message
