"""Receive buffers of a bounded size where the path is short.

What the kernel has taken for us stands in front of whatever is sent later on the same link, a
keystroke in another tunnel, too (in the same tunnel protocol/window.py sees to it). It grows the
buffer of a connection with the speed of its reader, up to megabytes, which a long path needs. A
short one does not: beyond what keeps both ends at work its buffer only makes the queue longer.
"""

from __future__ import annotations

import functools
import socket
import struct
from pathlib import Path
from typing import Final

import trio

__all__ = ["fit_receive_buffer", "most_allowed"]

_SHORT: Final = 0.001
"""Seconds of round trip: the same machine or rack."""

_BUFFER: Final = 512 * 1024
"""Bytes: eight of the largest frames, and 4 Gbit/s at 1 ms. With half of it the processes of a path
on one machine wait for each other more often, and bulk has a tenth less. With what the kernel makes
of it bulk is as fast, and a round trip beside a download in another tunnel of the device takes 3.3
ms instead of 2.7; with half of it 2.1 (measured with tools/bench and a second remote)."""

_TRIP: Final = struct.Struct("68xI")
"""Of Linux's tcp_info: the smoothed round trip in microseconds; the handshake measured it."""


def fit_receive_buffer(stream: trio.SocketStream) -> None:
    """Give a connection a bounded receive buffer if its round trip is short, and the kernel lets a
    program have that much."""
    if most_allowed() >= _BUFFER and 0 < _round_trip(stream) < _SHORT:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)


@functools.cache
def most_allowed() -> int:
    """Bytes that the kernel gives at the most; 0: it does not tell.

    Who asks for more gets just that, and it does not grow: with the 208 KiB that were the default
    for long, bulk has 0.8 to 0.9 of what it has where nothing is asked for (measured).
    """
    try:
        return int(Path("/proc/sys/net/core/rmem_max").read_text())
    except (OSError, ValueError):
        return 0


def _round_trip(stream: trio.SocketStream) -> float:
    """Seconds; 0: not known."""
    if not hasattr(socket, "TCP_INFO") or stream.socket.family == socket.AF_UNIX:
        return 0.0
    try:
        info = stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TRIP.size)
    except OSError:  # no TCP, or no connection any more
        return 0.0
    return float(_TRIP.unpack(info)[0] / 1e6) if len(info) == _TRIP.size else 0.0
