"""What one link has to send, and in which order: the only place that decides it.

Urgent messages (control frames) go first, in their order. Then each *source* that has something
gives one message in turn, so that a bulk transfer delays a keystroke by one frame and no more. A
source is a stream's sending half (on an endpoint) or a stream's queue (on a node); it makes its
message only when its turn comes, so that nothing is copied or ordered too early.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Protocol

__all__ = ["Outlet", "Source"]


class Source(Protocol):
    """Something that gives messages, one at a time."""

    @property
    def pending(self) -> bool:
        """Whether there may be another one. If not, or if there is none: it is asked again only
        after it called `Outlet.ready`."""

    def next_message(self) -> bytes | None:
        """The next message, or None if there is none."""


class Outlet:
    """The sending order of one link."""

    __slots__ = ("_next", "_turns", "_urgent", "on_ready", "urgent_size")  # a node has 10,000

    def __init__(self) -> None:
        # Bounded by its users: an endpoint pushes at most a handful of frames for each stream
        # and each frame received; a node counts (see proxy.routes) what it puts here.
        self._urgent: deque[bytes] | None = None  # most links have nothing to say
        self._next: bytes | None = None  # has its turn before all sources
        self.urgent_size = 0
        """Bytes that wait here and not at a source."""

        self._turns: OrderedDict[Source, None] = OrderedDict()
        self.on_ready: Callable[[], object] = lambda: None
        """Called when there is something to send; the link's writer hangs itself in here."""

    def __repr__(self) -> str:
        return f"<Outlet urgent={len(self._urgent or ())} sources={len(self._turns)}>"

    def push(self, message: bytes) -> None:
        """Send `message` before any data."""
        if self._urgent is None:
            self._urgent = deque()
        self._urgent.append(message)
        self.urgent_size += len(message)
        self.on_ready()

    def pass_on(self, message: bytes) -> bool:
        """Send `message` behind what is urgent, if nothing else waits; returns whether it is so.

        What needs not wait for its turn needs no source.
        """
        if self._turns or self._urgent or self._next is not None:
            return False
        self._next = message
        self.urgent_size += len(message)
        self.on_ready()
        return True

    def take_back(self, message: bytes) -> None:
        """Do not send this message, if it is still here."""
        for index, waiting in enumerate(self._urgent or ()):
            if waiting is message:
                assert self._urgent is not None
                del self._urgent[index]
                self.urgent_size -= len(message)
                return

    def ready(self, source: Source) -> None:
        """`source` has something; it keeps its place if it waits already."""
        if source not in self._turns:
            self._turns[source] = None
            self.on_ready()

    def discard(self, source: Source) -> None:
        """`source` sends through this link no longer."""
        self._turns.pop(source, None)

    def next_group(self, size: int) -> list[bytes]:
        """The messages to send now, in one piece: one, and others while they are together below
        `size` bytes. Empty if there is nothing to send."""
        message = self.next_message()
        if message is None:
            return []
        group = [message]
        while self._urgent or self._turns or self._next is not None:  # mostly it is alone
            size -= len(message)
            if size <= 0 or (message := self.next_message()) is None:
                break
            group.append(message)
        return group

    def next_message(self) -> bytes | None:
        """The message to send now; None if there is nothing to send."""
        if self._urgent:
            urgent = self._urgent.popleft()
            self.urgent_size -= len(urgent)
            return urgent
        self._urgent = None
        message = self._next
        if message is not None:
            self._next = None
            self.urgent_size -= len(message)
            return message
        while self._turns:
            source = next(iter(self._turns))
            message = source.next_message()
            if message is None or not source.pending:
                del self._turns[source]
            elif len(self._turns) > 1:
                self._turns.move_to_end(source)
            if message is not None:
                return message
        return None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to send, as far as is known."""
        return not self._turns and not self._urgent and self._next is None
