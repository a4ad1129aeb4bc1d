"""What may come instead of a good WebSocket handshake: the end, at once, or anything at all."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from edge_tunnel.errors import LinkLost
from edge_tunnel.link.dialling import dial_websocket
from edge_tunnel.link.splice import reset_socket
from edge_tunnel.link.transport import Transport
from edge_tunnel.link.websocket import open_client, serve
from edge_tunnel.testing.wire import WireStream, wire_pair


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


@pytest.mark.parametrize(
    "answer",
    [
        b"\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgr\xc8de\r\n\r\n",
        b"HTTP/1.1 101 x\r\nSec-WebSocket-Protocol: \xd9\r\n\r\n",
        b"HTTP/1.1 500 no\r\nContent-Length: 7\r\n\r\n\x1b[31mhi",
        b"SSH-2.0-OpenSSH\r\n",
    ],
)
async def test_any_answer_ends_this_connection_only(
    answer: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    """A captive portal, another server, an attacker: a lost link, and a line for a terminal."""
    near, far = wire_pair()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_answer, far, answer)
            with pytest.raises(LinkLost) as lost:
                async with open_client(near, host="h", path="/", peer="p", timeout=5):
                    raise AssertionError
    assert str(lost.value).isprintable()


async def _answer(stream: WireStream, answer: bytes) -> None:
    await stream.receive_some()
    await stream.send_all(answer)
    await stream.aclose()


async def test_a_path_that_cannot_be_asked_for(autojump_clock: trio.testing.MockClock) -> None:
    """The library refuses to send it: a lost link, too."""
    near, _far = wire_pair()
    with trio.fail_after(60):
        with pytest.raises(LinkLost, match="LocalProtocolError"):
            async with open_client(near, host="h", path="/a b", peer="p", timeout=5):
                raise AssertionError


async def test_an_error_of_the_block_is_no_lost_link(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A bug of ours is not blamed on the peer."""
    near, far = wire_pair()

    async def listen(transport: Transport) -> None:
        with pytest.raises(LinkLost):
            await transport.receive()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: serve(far, listen, peer="test", timeout=5))
            with pytest.raises(ZeroDivisionError):
                async with open_client(near, host="h", path="/", peer="p", timeout=5):
                    raise ZeroDivisionError
