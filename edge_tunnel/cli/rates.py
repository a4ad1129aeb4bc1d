"""Bytes per second, from the counters of two samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from edge_tunnel.protocol.listing import NodeRow, Row, ThingRow, TunnelRow

__all__ = ["NO_RATE", "Counters", "Rate", "Rates", "moves"]


class Rate(NamedTuple):
    """Bytes per second; None: there is nothing to compare with."""

    from_edge: float | None
    """For a node: all that it passed on."""

    from_remote: float | None


NO_RATE: Final = Rate(None, None)

Counters = tuple[int, int]


def _identity(row: Row) -> object:
    """Counters are comparable where this is the same: they count the same, from the same moment."""
    if isinstance(row, ThingRow):
        return row.thing, row.node, row.since_ms
    if isinstance(row, TunnelRow):  # each of its two nodes counts, and one may be silent
        return row.tunnel, row.epoch, bool(row.edge_address), bool(row.remote_address)
    return row.node, row.started_ms


def _counters(row: Row) -> Counters | None:
    if isinstance(row, NodeRow):
        return (row.passed, 0) if row.known else None
    if isinstance(row, ThingRow) and not row.known:
        return None
    return row.from_edge, row.from_remote


def moves(row: Row) -> bool:
    """Whether bytes may pass: if not, no second sample is worth the wait."""
    return bool(isinstance(row, TunnelRow) or row.tunnels)


class Rates:
    """Between the last two samples."""

    def __init__(self) -> None:
        self._before: Mapping[object, Counters] = {}
        self._now: Mapping[object, Counters] = {}
        self._at = 0.0
        self._seconds = 0.0

    def take(self, rows: Sequence[Row], now: float) -> None:
        """A new sample, at `now` in seconds."""
        counters = ((_identity(row), _counters(row)) for row in rows)
        self._before = self._now
        self._now = {name: known for name, known in counters if known is not None}
        self._at, self._seconds = now, now - self._at

    def of(self, row: Row) -> Rate:
        """Of a row of the last sample."""
        name = _identity(row)
        old, new = self._before.get(name), self._now.get(name)
        if old is None or new is None or self._seconds <= 0 or new < old or new[1] < old[1]:
            return NO_RATE
        from_edge, from_remote = (
            round((late - early) / self._seconds, 1) for early, late in zip(old, new, strict=True)
        )
        return Rate(from_edge, from_remote)
