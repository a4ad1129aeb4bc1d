"""remote/forward.py: the local port that is told is the one that is open."""

from __future__ import annotations

import gc
import socket

import trio

from edge_tunnel import Remote
from tests.conftest import OpenBench


class TwoAddresses(trio.abc.HostnameResolver):
    """Each name means two addresses of this machine, as "localhost" often does."""

    async def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):  # type: ignore[no-untyped-def]  # noqa: A002, ANN001, ANN201, ARG002
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
