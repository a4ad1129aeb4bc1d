"""What a device offers: the allow-list, and how a stream gets to its service."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import trio

from edge_tunnel.config.model import Service
from edge_tunnel.edge.connecting import connect
from edge_tunnel.link.oserrors import in_words, root_cause
from edge_tunnel.link.streams import TunnelStream
from edge_tunnel.reasons import Reason

__all__ = ["Refusal", "ServiceTarget", "StreamServer", "connect_service"]

StreamServer: TypeAlias = Callable[[TunnelStream], Awaitable[object]]
"""An application's own service: is handed each stream, which is closed when it returns."""

ServiceTarget: TypeAlias = Service | StreamServer


class Refusal(Exception):
    """The service could not be reached: what the remote is told."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(reason, text)
        self.reason = reason
        self.text = text


async def connect_service(service: Service, timeout: float) -> trio.SocketStream:
    """A connection to the service. `timeout` in seconds. Raises Refusal."""
    where = f"{service.host}:{service.port}"
    try:
        return await connect(service.host, service.port, timeout)
    except trio.TooSlowError:
        raise Refusal(Reason.UNREACHABLE, f"{where} did not answer within {timeout:g} s") from None
    except UnicodeError:
        text = f"{where} cannot be reached: this is not a host name"
        raise Refusal(Reason.UNREACHABLE, text) from None
    except OSError as error:
        if root_cause(error).errno == errno.ECONNREFUSED:
            raise Refusal(Reason.CONNECTION_REFUSED, f"{where} refused the connection") from None
        text = f"{where} cannot be reached: {in_words(error)}"
        raise Refusal(Reason.UNREACHABLE, text) from None
