"""remote/forward.py: the local port that is told is the one that is open."""

from __future__ import annotations

import gc
import socket

import pytest
import trio

from edge_tunnel import Remote, TunnelStream
from edge_tunnel.link.notices import Notices
from edge_tunnel.remote.forward import forward
from tests.conftest import OpenBench


class TwoAddresses(trio.abc.HostnameResolver):
    """Each name means two addresses of this machine, as "localhost" often does."""

    async def getaddrinfo(self, _host, port, *_hints, **_more):  # type: ignore[no-untyped-def,override]  # noqa: ANN001, ANN002, ANN003, ANN201
        tcp = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*tcp, ("127.0.0.1", port)), (*tcp, ("127.0.0.2", port))]

    async def getnameinfo(self, sockaddr, flags):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        raise NotImplementedError


async def test_any_free_port_of_a_name_with_two_addresses(open_bench: OpenBench) -> None:
    """One port is opened and told; not another one on the second address, of which nobody knows."""
    trio.socket.set_custom_hostname_resolver(TwoAddresses())
    with trio.fail_after(20):
        async with open_bench() as bench, trio.open_nursery() as nursery:
            before = _listening()
            host, port = await nursery.start(_forward, bench.remote)
            assert _listening() - before == {(host, port)}
            nursery.cancel_scope.cancel()


async def _forward(remote: Remote, task_status: trio.TaskStatus[tuple[str, int]]) -> None:
    await remote.forward("device", "echo", "localhost", task_status=task_status)


def _listening() -> set[tuple[str, int]]:
    """Our own listening sockets, from the garbage collector's list of all objects."""
    return {
        each.getsockname()[:2]
        for each in gc.get_objects()
        if isinstance(each, socket.socket)
        and each.fileno() != -1
        and each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    }


class Broken:
    """A remote with a bug."""

    notices = Notices()

    async def open_stream_early(self, _thing: str, _service: str) -> TunnelStream:
        raise ZeroDivisionError


async def test_a_bug_met_by_one_connection() -> None:
    """It is reset, and the next one is taken."""
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            host, port = await nursery.start(forward, Broken(), "device", "echo")
            for _ in range(2):
                # the reset may be there before its user has seen that it is connected
                with pytest.raises((OSError, trio.BrokenResourceError)):
                    async with await trio.open_tcp_stream(host, port) as user:
                        await user.receive_some()
            nursery.cancel_scope.cancel()


class Waiting:
    """A remote without a link."""

    notices = Notices()

    def __init__(self) -> None:
        self.asked = trio.Event()

    async def open_stream_early(self, _thing: str, _service: str) -> TunnelStream:
        self.asked.set()
        await trio.sleep_forever()
        raise AssertionError


async def test_a_port_that_is_closed_before_the_tunnel_is_there() -> None:
    """Its user sees a reset: the end of a connection would say that the service had no more."""
    remote = Waiting()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            host, port = await nursery.start(forward, remote, "device", "echo")
            async with await trio.open_tcp_stream(host, port) as user:
                await remote.asked.wait()
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True), pytest.raises(trio.BrokenResourceError):
                    await user.receive_some()
