"""What a node holds in memory for its peers, and who is cut when that is too much.

Each queue has a bound of its own (`routes`), but thousands of them at their bounds are more than a
machine has. A process that runs out of memory is killed with all it serves; so before that the node
ends tunnels: of the port towards which the most waits (it does not read), the biggest first.

What streams hold is counted with each message, in one addition. Control frames are counted once a
second (`Budget.others`): each port's are bounded, and small.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator, Mapping
from typing import Final, TypeVar

__all__ = ["OBJECT", "Budget", "whom_to_cut"]

OBJECT: Final = 64
"""Bytes that a message costs beside its own: the object's head and its place in a queue (measured
with sys.getsizeof: 33 and 8, and what the allocator rounds up). A flood of the smallest frames
would otherwise hold several times what was counted."""

_LEFT: Final = 7 / 8
"""Of the limit, that cutting leaves: looking for the biggest is not to become what is done most."""

Port = TypeVar("Port", bound=Hashable)
Item = TypeVar("Item", bound=Hashable)


class Budget:
    """The bytes of one node."""

    def __init__(self, limit: int) -> None:
        """`limit`: bytes; 0: none."""
        self.limit = limit
        self.held = 0
        """Bytes that wait in queues of streams, now."""

        self.others = 0
        """Bytes of control frames and of attaches that are not answered, as of the last look."""

    @property
    def is_over(self) -> bool:
        """Whether somebody must be cut."""
        return 0 < self.limit < self.held + self.others

    @property
    def excess(self) -> int:
        """Bytes to get rid of, once it is over."""
        return self.held + self.others - int(self.limit * _LEFT)


def whom_to_cut(held: Mapping[Port, Mapping[Item, int]], excess: int) -> Iterator[Item]:
    """Items to end, in order, until `excess` bytes are free (or there is nothing left).

    `held`: what each item holds, by the port that it waits for. Always the biggest item of the port
    that holds the most then; no item twice.
    """
    items = {port: sorted(each.items(), key=lambda item: item[1]) for port, each in held.items()}
    turns = [(-sum(each.values()), turn, port) for turn, (port, each) in enumerate(held.items())]
    heapq.heapify(turns)
    ended: set[Item] = set()
    while excess > 0 and turns:
        total, turn, port = heapq.heappop(turns)
        item, size = items[port].pop()
        if items[port]:
            heapq.heappush(turns, (total + size, turn, port))
        excess -= size
        if item not in ended:
            ended.add(item)
            yield item
