"""What every kind of load needs: a connection that wants something, and figures."""

from __future__ import annotations

import select
import socket
import sys
from collections.abc import Sequence
from typing import Final, TypeAlias

__all__ = ["Figures", "connect", "happened", "percentile", "some", "under_way"]

Figures: TypeAlias = dict[str, float]

_SILENCE: Final = 30.0
"""Seconds without a byte after which a measurement has failed."""


def connect(port: int, wish: bytes) -> socket.socket:
    """A connection to the service behind `port`, which is told what we want."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=_SILENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(None)  # a time-out would cost a poll for each call
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(_SILENCE))
    connection.sendall(wish)
    return connection


def _timeval(seconds: float) -> bytes:
    return int(seconds).to_bytes(8, sys.byteorder) + bytes(8)


def under_way() -> None:
    """Tell the bench that the load is on."""
    print("{}", flush=True)


def some(part: bytes | int) -> None:
    """Raises ConnectionError if that was the end of the connection."""
    if not part:
        raise ConnectionError("the far end closed the connection")


def happened(ready: select.epoll) -> list[tuple[int, int]]:
    """The next events. Raises TimeoutError if there are none for long."""
    events = ready.poll(_SILENCE)
    if not events:
        raise TimeoutError(f"nothing happened for {_SILENCE:g} s")
    return events


def percentile(values: Sequence[float], part: int) -> float:
    """The value that `part` of a hundred are not above."""
    return sorted(values)[len(values) * part // 100]
