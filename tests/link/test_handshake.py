"""The end of a connection in its WebSocket handshake is noticed at once, not by a timeout."""

from __future__ import annotations

import pytest
import trio

from edge_tunnel.errors import LinkLost
from edge_tunnel.link.dialling import dial_websocket
from edge_tunnel.link.splice import reset_socket


async def _reset(sock: trio.SocketStream) -> None:
    reset_socket(sock)


async def _close(sock: trio.SocketStream) -> None:
    sock.socket.close()


@pytest.mark.parametrize("end", [_reset, _close])
async def test_end_before_the_request_is_sent(end: object, nursery: trio.Nursery) -> None:
    """A relay without a node behind it resets before our request is out: try again at once."""
    listeners = await nursery.start(trio.serve_tcp, end, 0)
    port = listeners[0].socket.getsockname()[1]
    with trio.fail_after(5):
        for _ in range(20):  # the reset must win a race against our first write
            with pytest.raises(LinkLost):
                async with dial_websocket(20)(f"ws://127.0.0.1:{port}"):
                    raise AssertionError("there is no node")
