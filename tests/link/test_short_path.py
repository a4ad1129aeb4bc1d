"""link/short_path.py: bounded buffers on short paths, and only there."""

from __future__ import annotations

import socket
import struct
from typing import cast

import pytest
import trio

from edge_tunnel.link import short_path


class Connection:
    """What is asked of a connection, with a round trip of our choice (microseconds)."""

    def __init__(self, trip: int) -> None:
        self.trip = trip
        self.socket = self
        self.family = socket.AF_INET
        self.buffer: int | None = None

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert (level, option) == (socket.IPPROTO_TCP, socket.TCP_INFO)
        return (bytes(68) + struct.pack("I", self.trip) + bytes(100))[:size]

    def setsockopt(self, level: int, option: int, value: int) -> None:
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_RCVBUF)
        self.buffer = value


@pytest.mark.parametrize(("trip", "fitted"), [(0, False), (30, True), (999, True), (1000, False)])
def test_where_it_is_set(monkeypatch: pytest.MonkeyPatch, trip: int, fitted: bool) -> None:
    """Not where the path is long, nor where nobody knows."""
    monkeypatch.setattr(short_path, "most_allowed", lambda: 4 * 1024 * 1024)
    connection = Connection(trip)
    short_path.fit_receive_buffer(cast("trio.SocketStream", connection))
    assert (connection.buffer is not None) is fitted


@pytest.mark.parametrize("most", [0, 212_992])
def test_a_kernel_that_gives_less_is_not_asked(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """It would be less for good; left alone, the buffer grows."""
    monkeypatch.setattr(short_path, "most_allowed", lambda: most)
    connection = Connection(30)
    short_path.fit_receive_buffer(cast("trio.SocketStream", connection))
    assert connection.buffer is None


async def test_on_loopback() -> None:
    """The kernel knows the round trip from the handshake; on Linux it tells."""
    with trio.fail_after(10):
        async with (
            (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0] as listener,
            await trio.open_tcp_stream(*listener.socket.getsockname()) as stream,
        ):
            short_path.fit_receive_buffer(stream)
            buffer = stream.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    if short_path.most_allowed() >= 512 * 1024:
        assert buffer == 2 * 512 * 1024
