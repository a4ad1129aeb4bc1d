"""What waits at a node for one stream's turn at a port."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from edge_tunnel.proxy.budget import OBJECT, Budget

if TYPE_CHECKING:
    from edge_tunnel.proxy.route import Route

__all__ = ["StreamQueue"]


class StreamQueue:
    """Messages of one stream, one way, waiting for their turn at a port's outlet."""

    __slots__ = ("_budget", "_key", "_messages", "_route", "size")

    def __init__(self, route: Route, key: tuple[bool, int], budget: Budget) -> None:
        self._route = route
        self._key = key
        self._budget = budget
        self._messages: deque[bytes] = deque()
        self.size = 0

    @property
    def held(self) -> int:
        """Bytes of memory."""
        return self.size + OBJECT * len(self._messages)

    def append(self, message: bytes) -> None:
        self._messages.append(message)
        self.size += len(message)
        self._budget.held += len(message) + OBJECT

    def clear(self) -> None:
        self._budget.held -= self.held
        self._messages.clear()
        self.size = 0

    @property
    def pending(self) -> bool:
        """Whether there is a message."""
        return bool(self._messages)

    def next_message(self) -> bytes | None:
        """For the outlet. An empty queue leaves the table."""
        if not self._messages:
            return None
        message = self._messages.popleft()
        self.size -= len(message)
        self._budget.held -= len(message) + OBJECT
        if not self._messages:
            self._route.queues.pop(self._key, None)
        return message
