"""What a link needs of whatever carries its messages."""

from __future__ import annotations

from abc import ABC, abstractmethod

__all__ = ["Transport"]


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
