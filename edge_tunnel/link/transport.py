"""What a link needs of whatever carries its messages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
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

    One task sends and one task receives (DESIGN.md section 4, rules 1 and 2). A cancelled `send` or
    `flush` may leave half a message behind: whoever cancels it gives the transport up.

    The two with ``now`` in their names wait for nothing, so that a message that can be passed on at
    once needs no turn of the scheduler. A transport that has nothing at once need not have them.
    """

    peer: str = "?"
    """The other end, for people: an address or a URL."""

    group: int = 0
    """Bytes up to which it is worth to give `send_now` more than one message."""

    take_now: Callable[[], bool] = staticmethod(lambda: False)
    """Called, in a batch, while `receive` waits and messages have come: it takes them with
    `receive_now`, and returns whether it took all. Then `receive` waits on, and no task has been
    woken. A transport may call it or not."""

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
