"""What nodes say of things, tunnels and nodes, and how the words of several become one list.

Counters are totals, never rates: whoever asks twice takes the difference. Times are milliseconds
since 1970, by the clock of the node that says them; 0 is "not known".
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias, TypeVar

__all__ = [
    "LISTS",
    "MAX_MISSING",
    "MAX_OFFER",
    "MAX_ROWS",
    "List",
    "Missing",
    "NodeRow",
    "Row",
    "ThingRow",
    "TunnelRow",
    "merge",
    "offered",
]

LISTS: Final = "lists"
"""The feature of the greeting: this node answers ASK."""

MAX_ROWS: Final = 256
"""Rows of one PAGE: some 30 KB, made in a millisecond or two."""

MAX_OFFER: Final = 64
"""Services that OFFER names, and so a row."""

MAX_MISSING: Final = 16
"""Nodes that one PAGE names as missing; more of them take more pages."""


def offered(services: Iterable[str]) -> tuple[str, ...]:
    """The names that OFFER has room and letters for."""
    names = (name for name in services if 0 < len(name) <= 256 and name.isprintable())
    return tuple(sorted(names)[:MAX_OFFER])


class List(enum.IntEnum):
    """What can be asked for. Numbers are never used again for anything else."""

    THINGS = 1
    TUNNELS = 2
    NODES = 3


class ThingRow(NamedTuple):
    """A thing, from the node that has it; or, if that one is silent, from another's map."""

    thing: str
    node: str
    epoch: int
    known: bool
    """Whether its own node says so. If not, all that follows is empty."""

    since_ms: int
    """When it was bound."""

    address: str
    """Where its link comes from, as the node sees it."""

    services: tuple[str, ...]
    """At most 64; none if the edge did not say."""

    tunnels: int
    streams: int
    from_edge: int
    """Bytes of the messages of its tunnels, those that ended since it was bound among them."""

    from_remote: int
    fingerprint: str = ""
    """Of the device's identity, as its edge says; empty if it did not say."""

    protocol: str = ""
    """What the device itself speaks, if that is not this wire: a node is the end of its tunnels."""


class TunnelRow(NamedTuple):
    """A tunnel, from a node that carries it: the device's, the remote's, or one that is both."""

    tunnel: bytes
    epoch: int
    thing: str
    service: str
    since_ms: int
    """Since when this node carries it."""

    edge_node: str
    """Empty: detached, or not known."""

    edge_address: str
    """Empty: the edge's link is at another node."""

    remote_node: str
    remote_address: str
    streams: int
    from_edge: int
    from_remote: int


class NodeRow(NamedTuple):
    """A node, from itself; or, if it is silent, what it told the cluster last."""

    node: str
    known: bool
    address: str
    """Where other nodes reach it."""

    software: str
    started_ms: int
    draining: bool
    links: int
    tunnels: int
    things: int
    passed: int
    """Bytes of all messages that it passed on."""


Row: TypeAlias = ThingRow | TunnelRow | NodeRow


class Missing(NamedTuple):
    """A node whose rows are not all here, and why."""

    node: str
    why: str


AnyRow = TypeVar("AnyRow", ThingRow, TunnelRow, NodeRow)


def merge(rows: Iterable[AnyRow]) -> list[AnyRow]:
    """Each thing, tunnel and node once, in the order of their names.

    Two nodes may report one thing (the higher epoch is right, and its own node knows more than
    others), and two nodes carry a tunnel whose ends are apart.
    """
    best: dict[object, AnyRow] = {}
    for row in rows:
        known = best.get(row[0])
        best[row[0]] = row if known is None else _better(known, row)
    return sorted(best.values(), key=_order)


def _better(one: AnyRow, other: AnyRow) -> AnyRow:
    if isinstance(one, TunnelRow) and isinstance(other, TunnelRow):
        return _joined(one, other)
    if isinstance(one, ThingRow) and isinstance(other, ThingRow):
        newer = (other.epoch, other.known) > (one.epoch, one.known)
        return other if newer else one
    return one if one[1] else other


def _joined(one: TunnelRow, other: TunnelRow) -> TunnelRow:
    """What two nodes say of one tunnel. Each knows the address of its own end."""
    old, new = sorted((one, other), key=lambda row: (row.epoch, bool(row.edge_address)))
    if old.epoch == new.epoch:
        new = new._replace(
            edge_node=new.edge_node or old.edge_node,
            edge_address=new.edge_address or old.edge_address,
            remote_node=new.remote_node or old.remote_node,
            remote_address=new.remote_address or old.remote_address,
        )
    return new._replace(
        since_ms=min(one.since_ms, other.since_ms),
        from_edge=max(one.from_edge, other.from_edge),
        from_remote=max(one.from_remote, other.from_remote),
    )


def _order(row: Row) -> tuple[object, ...]:
    return (row.thing, row.service, row.tunnel) if isinstance(row, TunnelRow) else (row[0],)
