"""How many connections that nobody has answered for yet each address holds.

A node has a few hundred places for connections that have not greeted. One address must not take
them all; OpenSSH's PerSourceMaxStartups is the same. An IPv6 source is its /64: every host has that
many addresses. Behind a balancer all come from the balancer's address: there the limit is 0, off.
"""

from __future__ import annotations

import ipaddress
from typing import Final

__all__ = ["Sources", "source_of"]

_PREFIX: Final = 64
"""Bits of an IPv6 address that one subscriber has (RFC 6177); what follows he chooses himself."""


def source_of(peer: str) -> str:
    """Who is counted as one, of a peer as ``host:port``; what is no address counts as it stands."""
    host = peer.rpartition(":")[0].partition("%")[0].removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((address, _PREFIX), strict=False))
        return str(address.ipv4_mapped)
    return host


class Sources:
    """The connections that have not greeted, by their source."""

    def __init__(self, most: int) -> None:
        """`most`: of one source; 0: no limit."""
        self.most = most
        self._counts: dict[str, int] = {}  # as many as there are such connections, at the most

    def __len__(self) -> int:
        return len(self._counts)

    def has_room(self, peer: str) -> bool:
        """Whether another connection of this peer's source may come."""
        return not self.most or self._counts.get(source_of(peer), 0) < self.most

    def enter(self, peer: str) -> None:
        """One came."""
        source = source_of(peer)
        self._counts[source] = self._counts.get(source, 0) + 1

    def leave(self, peer: str) -> None:
        """It has greeted, or is gone."""
        source = source_of(peer)
        left = self._counts[source] - 1
        if left:
            self._counts[source] = left
        else:
            del self._counts[source]
