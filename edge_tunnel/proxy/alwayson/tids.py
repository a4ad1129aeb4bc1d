"""The ids by which a tunnel socket is recognised, and what each of them waits for.

A tid is a bearer secret: 128 random bits, good for one socket, for some seconds, and only together
with the key that the device's main socket showed. It also names the node that made it, so that a
balancer can send the socket there by its path, and a node that gets another's passes it on. A C
device puts the whole request into 512 bytes: a tid has at most 57 characters. No I/O here.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable
from typing import Final

import trio

from edge_tunnel.proxy.alwayson.websocket import DeviceSocket

__all__ = ["Opening", "Openings", "node_of", "tag_of"]

_PLAIN: Final = re.compile(r"[A-Za-z0-9._-]{1,24}")
_RANDOM: Final = 16
"""Bytes."""


def tag_of(node: str) -> str:
    """The node's part of a tid: its name, where that can stand in a path."""
    if _PLAIN.fullmatch(node):
        return node
    return hashlib.sha256(node.encode()).hexdigest()[:16]


def node_of(tid: str, nodes: Iterable[str]) -> str | None:
    """Which of these nodes made the tid; None: none of them."""
    tag, dash, _ = tid.rpartition("-")
    return next((node for node in nodes if dash and tag_of(node) == tag), None)


class Opening:
    """A tunnel socket that is asked for, or is there."""

    def __init__(self, tid: str, key: str) -> None:
        self.tid = tid
        self._key = key
        self.socket: DeviceSocket | None = None
        self.problem = ""
        """Why there will be no socket, or why its use is over: the device's words."""

        self.settled = trio.Event()
        """There is a socket, or a problem."""

        self.told = trio.Event()
        """The device said by its main socket that the tunnel is over (`problem`)."""

        self.over = trio.Event()
        """Nobody uses the socket any more."""

        self.finish: Callable[[], None] = lambda: None
        """Tells the device, once, that it is over."""

    def fits(self, key: str) -> bool:
        """Whether this is the key that the tunnel was asked for with."""
        return hmac.compare_digest(self._key.encode(), key.encode())

    def fail(self, problem: str) -> None:
        """There will be no socket, or it is over."""
        self.problem = self.problem or problem
        self.settled.set()
        self.told.set()


class Openings:
    """Those of one node. A device may say its commands again and again; the first one counts."""

    def __init__(self, node: str) -> None:
        self._tag = tag_of(node)
        self._table: dict[str, Opening] = {}

    def __len__(self) -> int:
        return len(self._table)

    def new(self, key: str) -> Opening:
        """Ask for a socket. `key`: what the device's main socket has shown."""
        tid = f"{self._tag}-{secrets.token_hex(_RANDOM)}"
        opening = self._table[tid] = Opening(tid, key)
        return opening

    def take(self, tid: str, key: str, socket: DeviceSocket) -> Opening | None:
        """A socket with this tid has come. None: `why_not` has changed its mind meanwhile."""
        if self.why_not(tid, key) is not None:
            return None
        opening = self._table[tid]
        opening.socket = socket
        opening.settled.set()
        return opening

    def why_not(self, tid: str, key: str) -> str | None:
        """Why such a socket is not taken: one answer for whatever is wrong; None: it is."""
        opening = self._table.get(tid)
        good = opening is not None and not opening.settled.is_set() and opening.fits(key)
        return None if good else "no tunnel of this id is waited for"

    def told(self, tid: str, key: str, problem: str) -> None:
        """A device says by its main socket that a tunnel is over. Of an unknown one: nothing."""
        opening = self._table.get(tid)
        if opening is not None and opening.fits(key):
            opening.fail(problem)
            opening.finish()

    def close(self, opening: Opening) -> None:
        """It is over."""
        self._table.pop(opening.tid, None)
        opening.finish()
        opening.over.set()
