"""The byte's way, as `edge_tunnel/__init__.py` tells it, is the way that a byte goes."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import trio

import edge_tunnel
from tests.link.test_splice import rig


def told_way() -> list[str]:
    """The modules of the docstring, in order."""
    assert edge_tunnel.__doc__ is not None
    return re.findall(r"^      -> ([a-z]+\.[a-z_]+) ", edge_tunnel.__doc__, flags=re.MULTILINE)


@contextmanager
def recorded() -> Iterator[list[str]]:
    """The modules whose functions are called in the block, in order."""
    called: list[str] = []

    def profile(frame: FrameType, event: str, _arg: object) -> None:
        name = frame.f_globals.get("__name__", "")
        if event == "call" and name.startswith("edge_tunnel."):
            called.append(name.removeprefix("edge_tunnel."))

    sys.setprofile(profile)
    try:
        yield called
    finally:
        sys.setprofile(None)


async def test_a_byte_walks_the_way() -> None:
    """A byte of a device's service passes every module that the map names, in that order."""

    async def service(sock: trio.SocketStream) -> None:
        await sock.send_all(b"!")
        with contextlib.suppress(trio.BrokenResourceError):  # the end of the test
            await sock.receive_some()

    way = told_way()
    assert len(way) >= 12
    async with rig(service, websocket=True) as the:
        with recorded() as called:
            user = await the.connect()
            assert await user.receive_some() == b"!"
    missing = walk(way, called)
    assert not missing, f"the byte did not come by {missing[0]} after the ones before it"


def walk(way: list[str], called: list[str]) -> list[str]:
    """What is left of the way after following it through the calls."""
    calls = iter(called)
    left = list(way)
    for call in calls:
        if left and call == left[0]:
            left.pop(0)
    return left
