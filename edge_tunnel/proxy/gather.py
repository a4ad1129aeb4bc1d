"""One list that somebody asked this node for: its own rows, then those of the other nodes.

Whoever asks pulls, page by page, and so does this node from the others: what is held for a list is
one page of each node, however large the cluster and however slow the reader. A page is made when
its turn at the outlet comes, between the messages of streams. Pure: `now` is passed in.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final

from edge_tunnel.errors import RemoteProtocolError
from edge_tunnel.protocol.frames import Ask, Page
from edge_tunnel.protocol.listing import MAX_MISSING, MAX_ROWS, Missing, Row

__all__ = ["MAX_DUE", "PATIENCE", "Gather"]

PATIENCE: Final = 2.0
"""Seconds for one page of another node. A person waits, and nodes are near each other."""

MAX_DUE: Final = 64
"""Pages of one list that may be asked for ahead: enough for a path of any length."""

_PAGE_BYTES: Final = 96 * 1024
"""Text of one page, at four bytes a character. With one more row of the largest kind (75 KB) and
the missing nodes (33 KB) it is still a message."""

_WHY: Final = 256
"""Characters of the reason why a node is missing."""


class _Part:
    """The rows of one other node."""

    def __init__(self, deadline: float) -> None:
        self.next_page = 0  # the one that is asked for, or will be
        self.deadline = deadline  # of the page that is asked for; infinite: none is
        self.ready: tuple[Row, ...] | None = None
        self.more = True  # pages behind the one that is ready


class Gather:
    """One list, page by page."""

    def __init__(
        self,
        ask: Ask,
        own: Iterator[Row | None],
        nodes: Iterable[str] = (),
        *,
        now: float = 0.0,
        pull: Callable[[str, int], None] = lambda _node, _page: None,
        about: Callable[[Collection[str]], Iterator[Row | None]] = lambda _silent: iter(()),
        shown: Callable[[Row], object] = lambda _row: True,
    ) -> None:
        """Nothing is asked before `start`.

        Args:
          ask: the first.
          own: rows of this node.
          nodes: the others that have rows.
          now: the moment, in seconds of any clock that goes on.
          pull: ``(node, page)``: ask that node for that page; it may call `missed` at once.
          about: rows of the map about nodes that are missing.
          shown: whether a row of another node may be passed on.
        """
        self._ask = ask
        self._own: Iterator[Row | None] | None = own
        self._parts = {node: _Part(now + PATIENCE) for node in nodes}
        self._pull = pull
        self._about = about
        self._shown = shown
        self._rest: Iterator[Row | None] | None = (
            None  # the rows of `about`, once all others are done
        )
        self._exhausted = False
        self._silent: dict[str, None] = {}
        self._untold: deque[Missing] = deque()
        self._page = 0  # the next one to be made
        self._asked = 0  # the next one that may be asked for
        self.finished = False
        """Whether the last page was made, or nobody wants one any more."""

    def start(self) -> None:
        """Ask all other nodes."""
        for node in list(self._parts):
            self._pull(node, 0)

    def want(self, ask: Ask) -> None:
        """The asker asks for a page.

        Raises:
          RemoteProtocolError: not in order, or too many at once.
        """
        if self.finished:
            return
        if (ask.page, ask.list) != (self._asked, self._ask.list):
            raise RemoteProtocolError(f"Ask: page {self._asked} of list {ask.ask} comes next")
        if self._asked - self._page >= MAX_DUE:
            raise RemoteProtocolError(f"Ask: more than {MAX_DUE} pages at once")
        self._asked += 1

    # -- what the other nodes do

    @property
    def deadline(self) -> float:
        """When to call `expire`."""
        return min((part.deadline for part in self._parts.values()), default=math.inf)

    def answered(self, node: str, page: Page) -> None:
        """A page of another node; one that nobody waits for any more is late."""
        part = self._parts.get(node)
        if part is None or part.ready is not None or page.page != part.next_page:
            return
        rows = tuple(filter(self._shown, page.rows))
        part.ready, part.more, part.deadline = rows, page.more, math.inf
        for each in page.missing:  # itself
            self._miss(each.node, each.why)

    def missed(self, node: str, why: str) -> None:
        """Nothing (more) will come from a node. What has come is passed on."""
        part = self._parts.get(node)
        if part is None:
            return
        part.more, part.deadline = False, math.inf
        if part.ready is None:
            del self._parts[node]
        self._miss(node, why)

    def expire(self, now: float) -> None:
        """Whoever should have answered by now is silent."""
        for node, part in list(self._parts.items()):
            if part.deadline <= now:
                self.missed(node, f"did not answer within {PATIENCE:g} s")

    def _miss(self, node: str, why: str) -> None:
        if node not in self._silent:
            self._silent[node] = None
            self._untold.append(Missing(node, why[:_WHY]))

    def drop(self) -> None:
        """Nobody wants it any more."""
        self.finished = True
        self._parts.clear()

    # -- pages

    def next_page(self, now: float) -> Page | None:
        """The page that is due. None: none is, or it is not known yet."""
        if self.finished or self._page >= self._asked:
            return None
        rows = self._next_rows(now)
        if rows is None:
            return None
        missing = [self._untold.popleft() for _ in range(min(MAX_MISSING, len(self._untold)))]
        self.finished = self._exhausted and not self._untold
        page = Page(
            self._ask.ask, self._page, self._ask.list, rows, tuple(missing), not self.finished
        )
        self._page += 1
        return page

    def _next_rows(self, now: float) -> tuple[Row, ...] | None:
        if self._own is not None:
            rows, ended = _take(self._own)
            self._own = None if ended else self._own
            if rows or not ended:
                return rows  # perhaps none: a page that only says that more follows
        for node, part in self._parts.items():
            if part.ready is not None:
                return self._take_ready(node, part, now)
        if self._parts:
            return None
        if self._rest is None:
            self._rest = self._about(self._silent)
        rows, self._exhausted = _take(self._rest)
        return rows

    def _take_ready(self, node: str, part: _Part, now: float) -> tuple[Row, ...]:
        rows, part.ready = part.ready, None
        assert rows is not None
        if part.more:
            part.next_page += 1
            part.deadline = now + PATIENCE
            self._pull(node, part.next_page)
        else:
            del self._parts[node]
        return rows


def _take(rows: Iterator[Row | None]) -> tuple[tuple[Row, ...], bool]:
    """As many as one page holds, or as come before a pause; and whether that was the end."""
    taken: list[Row] = []
    size = 0
    for row in rows:
        if row is None:
            return tuple(taken), False
        taken.append(row)
        size += _size(row)
        if len(taken) == MAX_ROWS or size > _PAGE_BYTES:
            return tuple(taken), False
    return tuple(taken), True


def _size(row: Row) -> int:
    """Bytes that it has on the wire at the most."""
    texts = [each for each in row if isinstance(each, str)]
    names = [name for each in row if isinstance(each, tuple) for name in each]
    return 128 + sum(4 * len(text) + 3 for text in (*texts, *names))
