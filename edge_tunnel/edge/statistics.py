"""What an edge says of itself."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EdgeStatistics"]


@dataclass(frozen=True, kw_only=True)
class EdgeStatistics:
    """A snapshot."""

    url: str | None
    """Where the link goes; None: there is none at the moment."""

    bound: tuple[str, ...]
    tunnels: int
    streams: int
    streams_opened: int
    """Streams ever."""
