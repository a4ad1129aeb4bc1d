"""The workers of one node hand connections to each other: a socket, and what was read from it.

The kernel spreads connections over the workers without knowing which belong together. The worker
that has read a request may know better (see `meeting`), and passes the connected socket on
(SCM_RIGHTS) over a Unix socket between the workers:

* It connects, and the other one says that it takes links, or closes. One that is dead, drains or is
  full does not say it, and one that hangs not in time: then the connection stays where it is.
* Only then the socket and its bytes are sent, and closed here. What became of it is the other's
  business, who treats it as any connection that the kernel gave him: places, sources, keys.

A connection is passed on once at the most. With TLS that ends here nothing is passed on: when the
request can be read, the keys are in this process already.

The Unix sockets have abstract names (Linux; elsewhere nothing is passed on), so that no file is
left behind by a worker that was killed. Anybody on the machine may see them; a process of another
user is not talked to, on either side.
"""

from __future__ import annotations

import array
import os
import secrets
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, TypeAlias

import trio

from edge_tunnel.proxy.meeting import better_places

__all__ = ["Siblings", "new_family"]

_PATIENCE: Final = 0.5
"""Seconds for the other worker's answer, and for the socket. They are on one machine; a person
waits for the link meanwhile."""

_COME: Final = b"+"
_LENGTH: Final = struct.Struct("!I")
_MOST: Final = 64 * 1024
"""Bytes of a request and of what came behind it; what is longer is not passed on. An empty Unix
socket takes as much at once."""

_FD: Final = array.array("i").itemsize
_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid

Take: TypeAlias = Callable[[trio.SocketStream, bytes], Awaitable[None]]
"""Serves a connection from which these bytes were read already, to its end; must not raise."""


def new_family() -> str:
    """What the workers of one parent know of each other; made before they are forked."""
    return secrets.token_hex(8)


class Siblings:
    """The other workers, as one of them sees them."""

    def __init__(self, family: str, me: str, workers: Sequence[str]) -> None:
        """`workers`: the names of all, this one's included, in an order that all have in common."""
        self.me = me
        self.workers = tuple(workers)
        self._family = family
        self.passed = 0
        """Connections that were passed on from here."""

        self.taken = 0
        """Connections that came from the others."""

    def _address(self, worker: str) -> str:
        # by number: a name may be longer than an address
        return f"\0edge-tunnel-{self._family}-{self.workers.index(worker)}"

    # -- to the others

    async def pass_on(
        self, stream: trio.SocketStream, head: bytes, thing: str, bound_at: str | None
    ) -> bool:
        """Whether a better worker has the connection now; then `stream` is closed."""
        if len(head) > _MOST:
            return False
        for worker in better_places(thing, bound_at, self.me, self.workers):
            gone = False
            with trio.move_on_after(_PATIENCE), suppress(OSError):
                gone = await self._hand_over(worker, stream, head)
            if gone:
                self.passed += 1
                stream.socket.close()
                return True
        return False

    async def _hand_over(self, worker: str, stream: trio.SocketStream, head: bytes) -> bool:
        """Raises OSError if the worker is not there."""
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            await sock.connect(self._address(worker))
            if not _is_ours(sock) or await sock.recv(1) != _COME:
                return False
            fds = array.array("i", [stream.socket.fileno()])
            message = _LENGTH.pack(len(head)) + head
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)
            # not all of it: the other one drops it, too; and a connection in two hands is worse
            # than one that is lost
            await sock.sendmsg([message], [rights])
            return True

    # -- from the others

    async def run(
        self,
        take: Take,
        is_ready: Callable[[], bool],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Take what the others pass on, until cancelled. `is_ready`: whether links are taken."""
        if sys.platform != "linux":
            task_status.started()
            return
        sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        await sock.bind(self._address(self.me))
        sock.listen(socket.SOMAXCONN)

        async def hear(stream: trio.SocketStream) -> None:
            passed = await _receive(stream.socket) if is_ready() else None
            await trio.aclose_forcefully(stream)
            if passed is not None:
                self.taken += 1
                await take(*passed)

        task_status.started()
        await trio.serve_listeners(hear, [trio.SocketListener(sock)])


async def _receive(sock: trio.socket.SocketType) -> tuple[trio.SocketStream, bytes] | None:
    """The connection that another worker passes on, and the bytes that it has read."""
    passed: list[socket.socket] = []
    head = b""
    with trio.move_on_after(_PATIENCE), suppress(OSError):
        if not _is_ours(sock):
            return None
        await sock.send(_COME)
        flags = socket.MSG_CMSG_CLOEXEC
        data, rights, *_ = await sock.recvmsg(_LENGTH.size + _MOST, socket.CMSG_SPACE(_FD), flags)
        passed = [socket.socket(fileno=each) for each in _numbers(rights)]
        while more := await sock.recv(_MOST):
            data += more
        if len(data) >= _LENGTH.size and _LENGTH.unpack_from(data)[0] == len(data) - _LENGTH.size:
            head = data[_LENGTH.size :]
    if len(passed) == 1 and head and passed[0].type == socket.SOCK_STREAM:
        passed[0].setblocking(False)
        return trio.SocketStream(trio.socket.from_stdlib_socket(passed[0])), head
    for each in passed:
        each.close()
    return None


def _numbers(rights: Sequence[tuple[int, int, bytes]]) -> array.array[int]:
    fds = array.array("i")
    for level, kind, data in rights:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % _FD])
    return fds


def _is_ours(sock: trio.socket.SocketType) -> bool:
    """Whether the process at the other end is of our own user."""
    shown = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    user: int = _CREDENTIALS.unpack(shown)[1]
    return user == os.geteuid()
