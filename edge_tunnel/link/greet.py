"""The first message of whoever dialled, and what a node answers."""

from __future__ import annotations

import math

import trio

from edge_tunnel.config.source import printable
from edge_tunnel.errors import LinkLost, RemoteProtocolError
from edge_tunnel.link.transport import Transport
from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import Bye, Hello, Join, Welcome

__all__ = ["greet"]


async def greet(
    transport: Transport, hello: Hello | Join, *, node: str = "the node", within: float = math.inf
) -> Welcome | Bye:
    """Greet, and return the answer; what it says to people is fit for a terminal and a log.

    `node`: what errors call it. `within`: seconds.

    Raises:
      LinkLost: there is no answer in time, or it is none.
    """
    try:
        with trio.fail_after(within):
            await transport.send(encode(hello))
            answer = decode(await transport.receive())
    except trio.TooSlowError:
        raise LinkLost(f"no greeting from {node} within {within:g} s") from None
    except RemoteProtocolError as error:
        raise LinkLost(f"{node} greeted with nonsense: {error}") from None
    if isinstance(answer, Bye):
        return answer._replace(text=printable(answer.text))
    if isinstance(answer, Welcome):
        return answer._replace(notice=printable(answer.notice))
    raise LinkLost(f"{node} greeted with {type(answer).__name__}")
