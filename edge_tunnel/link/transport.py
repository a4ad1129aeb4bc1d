"""What a link needs of whatever carries its messages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

__all__ = ["Transport"]


class Transport(ABC):
    """Whole messages, both ways, in order, until it is lost.

    One task sends and one task receives (DESIGN.md section 4, rules 1 and 2). A cancelled `send` or
    `flush` may leave half a message behind: whoever cancels it gives the transport up.

    The two with ``now`` in their names wait for nothing, so that a message that can be passed on at
    once needs no turn of the scheduler. A transport that has nothing at once need not have them.
    """

    peer: str = "?"
    """The other end, for people: an address or a URL."""

    group: int = 0
    """Bytes up to which it is worth to give `send_now` more than one message."""

    _kept: Sequence[bytes] = ()

    @abstractmethod
    async def send(self, message: bytes) -> None:
        """Send one message. Raises LinkLost."""

    @abstractmethod
    async def receive(self) -> bytes:
        """Wait for the next message. Raises LinkLost, or RemoteProtocolError for a text message."""

    def send_now(self, messages: Sequence[bytes]) -> bool:
        """Take messages. Returns whether they are sent; if not, `flush` sends them (or the rest of
        them), and nothing else may be sent before that. Raises LinkLost."""
        self._kept = messages
        return False

    async def flush(self) -> None:
        """Send what `send_now` could not. Raises LinkLost."""
        messages, self._kept = self._kept, ()
        for message in messages:
            await self.send(message)

    def receive_now(self) -> bytes | None:
        """The next message if it is here already. Raises as `receive` does."""
        return None
