"""What a device's AUTH becomes at its node, and what the node's answer becomes for the device."""

from __future__ import annotations

import secrets
from typing import Final

from edge_tunnel.alwayson.messages import Response, Status
from edge_tunnel.link.transport import Transport
from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import Bye, Frame, Hello
from edge_tunnel.protocol.greeting import FEATURES, NEWEST, OLDEST, SOFTWARE
from edge_tunnel.reasons import Reason

__all__ = ["ask_node", "refusal_of"]

_LONGEST_KEY: Final = 1024
"""Characters: what HELLO has room for. A C device has no more than some hundred."""


async def ask_node(transport: Transport, key: str, silence: float) -> Frame:
    """Greet as an edge with this key would: WELCOME, or BYE. `silence` is in seconds.

    Raises LinkLost.
    """
    if not 0 < len(key) <= _LONGEST_KEY or not key.isprintable():
        return Bye(Reason.NOT_AUTHORISED, "the application key is not accepted here", 0)
    about = (SOFTWARE, key, secrets.token_bytes(16), int(silence * 1000), FEATURES)
    await transport.send(encode(Hello(OLDEST, NEWEST, "edge", *about)))
    return decode(await transport.receive())


def refusal_of(answer: Frame) -> Response:
    """What a device hears if the node does not let it in."""
    if not isinstance(answer, Bye):
        return Response(Status.INTERNAL_ERROR)
    reason = Reason.of(answer.reason)
    wrong = reason is Reason.NOT_AUTHORISED
    status = Status.UNAUTHORIZED if wrong else Status.UNAVAILABLE
    return Response(status, answer.text or reason.text)
