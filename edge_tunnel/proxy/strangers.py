"""Connections that have not greeted yet: each holds a place, in total and of its source.

A balancer's connections are not counted as its own: what they ask says for whom they come (see
`forwarded`), and from then on they count for that address.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_tunnel.config.node_limits import Network
from edge_tunnel.proxy.forwarded import forwarded_peer, is_among
from edge_tunnel.proxy.sources import Sources

__all__ = ["Stranger", "Strangers"]


class Strangers:
    """Those of one node."""

    def __init__(self, most: int, most_of_source: int, trusted: Sequence[Network] = ()) -> None:
        """`most`: at once; `most_of_source`: of them, from one source (0: no limit).

        `trusted`: balancers that say for whom they come.
        """
        self.most = most
        self.trusted = tuple(trusted)
        self.sources = Sources(most_of_source)
        self.count = 0

    def has_room(self, peer: str) -> bool:
        """Whether another one of this peer may come."""
        if self.count >= self.most:
            return False
        return is_among(peer, self.trusted) or self.sources.has_room(peer)

    def enter(self, peer: str) -> Stranger:
        """One came. It must `leave`."""
        return Stranger(self, peer)


class Stranger:
    """One of them."""

    def __init__(self, all_of_them: Strangers, peer: str) -> None:
        self.peer = peer
        """``host:port``: of whom it comes from, as far as that is known."""

        self._all = all_of_them
        self._counted = not is_among(peer, all_of_them.trusted)
        self._here = True
        all_of_them.count += 1
        if self._counted:
            all_of_them.sources.enter(peer)

    def comes_for(self, forwarded: Sequence[str]) -> bool:
        """It said for whom it comes (values of X-Forwarded-For). Whether that one has a place."""
        peer = forwarded_peer(self.peer, forwarded, self._all.trusted)
        if peer == self.peer or self._counted:
            return True
        self.peer = peer
        if not self._all.sources.has_room(peer):
            return False
        self._counted = True
        self._all.sources.enter(peer)
        return True

    def leave(self) -> None:
        """It has greeted, or is gone; may be said twice."""
        if not self._here:
            return
        self._here = False
        self._all.count -= 1
        if self._counted:
            self._all.sources.leave(self.peer)
