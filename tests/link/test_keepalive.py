"""link/keepalive.py: what the kernel is told of a connection on which nobody pings."""

from __future__ import annotations

import socket
import ssl

import pytest
import trio

from edge_tunnel.link.eager import EagerStream
from edge_tunnel.link.keepalive import keep_alive, socket_of
from edge_tunnel.link.secured import Secured
from edge_tunnel.testing.wire import wire_pair


@pytest.mark.parametrize("wrap", ["plain", "eager", "tls"])
async def test_the_kernel_asks(wrap: str) -> None:
    """Through whatever carries the bytes; within minutes, not hours."""
    with trio.fail_after(10):
        async with (
            (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0] as listener,
            await trio.open_tcp_stream(*listener.socket.getsockname()) as plain,
        ):
            stream: trio.abc.Stream = plain
            if wrap == "eager":
                stream = EagerStream(plain)
            elif wrap == "tls":
                stream = Secured(plain, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "h")
            keep_alive(stream)
            assert plain.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            if hasattr(socket, "TCP_KEEPIDLE"):
                idle = plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
                each = plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL)
                times = plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)
                assert idle + each * times == 120
        keep_alive(plain)  # closed: nothing to say


async def test_no_socket() -> None:
    """Streams in memory have none."""
    near, _ = wire_pair()
    keep_alive(near)
    assert socket_of(near) is None
