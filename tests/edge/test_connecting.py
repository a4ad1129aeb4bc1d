"""edge/connecting.py: at once where the kernel connects at once, and in time elsewhere."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest
import trio

from edge_tunnel.edge import connecting
from edge_tunnel.edge.connecting import connect


class Turns(trio.abc.Instrument):
    """Of the scheduler."""

    count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002
        self.count += 1


@pytest.fixture(params=["127.0.0.1", "::1"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """A port of this machine, with room for one connection that nobody accepts."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    try:
        made = socket.create_server((request.param, 0), family=family, backlog=0)
    except OSError:
        pytest.skip(f"this machine has no {request.param}")
    with made:
        yield made


async def test_a_loopback_address_is_connected_at_once(listener: socket.socket) -> None:
    """No name is looked up, no task is started and nobody else has a turn."""
    with trio.fail_after(10):
        turns = [await _turns_of_a_connection(listener) for _ in range(20)]
    assert 0 in turns  # a kernel that is very busy does it a little later


async def _turns_of_a_connection(listener: socket.socket) -> int:
    host, port, *_ = listener.getsockname()
    turns = Turns()
    trio.lowlevel.add_instrument(turns)
    stream = await connect(host, port, 5.0)
    trio.lowlevel.remove_instrument(turns)
    async with stream:
        with listener.accept()[0] as accepted:
            await stream.send_all(b"x")
            assert accepted.recv(1) == b"x"
    return turns.count


async def test_a_name_is_looked_up() -> None:
    """As by trio."""
    with trio.fail_after(10), socket.create_server(("127.0.0.1", 0)) as listener:
        async with await connect("localhost", listener.getsockname()[1], 5.0) as stream:
            assert stream.socket.getpeername() == listener.getsockname()


async def test_who_has_to_wait_is_connected_later(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that is far away answers after the call."""

    def ask_once(sock: socket.socket, address: tuple[str, int]) -> bool:
        assert sock.connect_ex(address) == errno.EINPROGRESS
        return False

    monkeypatch.setattr(connecting, "_is_connected", ask_once)
    host, port, *_ = listener.getsockname()
    with trio.fail_after(10):
        async with await connect(host, port, 5.0) as stream:
            assert stream.socket.getpeername()[1] == port
        listener.close()
        with pytest.raises(ConnectionRefusedError):
            await connect(host, port, 5.0)


async def test_nobody_listens() -> None:
    """The error has the system's number: the remote is told in words."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with trio.fail_after(10), pytest.raises(ConnectionRefusedError):
        await connect("127.0.0.1", port, 5.0)


async def test_nobody_answers(listener: socket.socket) -> None:
    """A port whose queue is full drops who asks; no socket of ours is left behind."""
    host, port, *_ = listener.getsockname()
    the_one = socket.create_connection((host, port))
    with trio.fail_after(20), the_one, pytest.raises(trio.TooSlowError):
        await connect(host, port, 0.05)


@pytest.mark.parametrize("host", ["no such host", "ex\udcffample", "bücher." * 40, ""])
async def test_not_a_host(host: str) -> None:
    """A name that cannot be one is an error of the kinds that are documented."""
    with trio.fail_after(20), pytest.raises((OSError, UnicodeError)):
        await connect(host, 1, 5.0)
