"""The services of a device that open and end a tunnel, and those of the server that it calls."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from edge_tunnel.alwayson.messages import THING, Characteristic, Entity, Method, Request
from edge_tunnel.alwayson.reading import AlwaysOnError
from edge_tunnel.alwayson.values import InfoTable, Plain, Value, integer, one_row, string

__all__ = [
    "CANCEL",
    "CHUNKSIZE",
    "DISCONNECT",
    "CommandFromEdge",
    "CommandToEdge",
    "CompleteTunnel",
    "StartTunnel",
    "service",
    "tunnel_request",
]

CHUNKSIZE: Final = 8192
"""Bytes. Never below 6,144: the C SDK 2.2.1 then writes beyond its buffer (measured: 4,096 ended
the real client)."""

CONNECT: Final = "CONNECT"
DISCONNECT: Final = "DISCONNECT"
"""From a device: its local connection is lost, or was never made. To it: close it."""

CANCEL: Final = "CANCEL"
"""From a device: it wants the tunnel gone."""

_MAX_TID: Final = 256


def service(thing: str, name: str, params: InfoTable | None = None) -> Request:
    """The call of a service of a thing."""
    return Request(Method.POST, Entity(THING, thing), Characteristic.SERVICE, name, params)


@dataclass(frozen=True)
class TunnelService:
    """What they have in common."""

    tid: str = field(repr=False)
    """Whoever knows it may be the tunnel's other end."""

    def request(self, thing: str) -> Request:
        """The request that says it, to or of this thing."""
        return service(thing, type(self).__name__, one_row(self._values()))

    def _values(self) -> dict[str, Value]:
        raise NotImplementedError


@dataclass(frozen=True)
class StartTunnel(TunnelService):
    """Server to device: open `tid`'s own socket, and dial host and port. Success of it does not
    mean that either was reached."""

    host: str
    port: int
    type: str = "tcp"
    chunksize: int = CHUNKSIZE
    idle_timeout: int = 30_000
    """Milliseconds. C devices count only what they send."""

    read_timeout: int = 10
    num_connects: int = 1
    """Connections of the device in the life of the tunnel; -1: any number."""

    message: str = ""

    def _values(self) -> dict[str, Value]:
        connection = {
            "host": self.host,
            "port": self.port,
            "num_connects": self.num_connects,
            "message": self.message,
        }
        return {
            "tid": string(self.tid),
            "type": string(self.type),
            "chunksize": integer(self.chunksize),
            "idle_timeout": integer(self.idle_timeout),
            "read_timeout": integer(self.read_timeout),
            "connection": string(json.dumps(connection)),
        }

    @classmethod
    def of(cls, given: Mapping[str, Plain]) -> StartTunnel:
        """Raises AlwaysOnError: no tid, host or port."""
        connection = _json(given, "connection")
        return cls(
            _tid(given),
            _text(connection, "host"),
            _port(connection),
            _text(given, "type", "tcp"),
            _number(given, "chunksize", CHUNKSIZE),
            _number(given, "idle_timeout", 30_000),
            _number(given, "read_timeout", 10),
            _number(connection, "num_connects", 1) or 1,
            _text(connection, "message", ""),
        )


@dataclass(frozen=True)
class CompleteTunnel(TunnelService):
    """Server to device: the tunnel is over."""

    peer_name: str = ""
    """The user; a C device wants one, for its records."""

    reason: str = ""

    def _values(self) -> dict[str, Value]:
        connection = json.dumps({"reason": self.reason})
        return {
            "tid": string(self.tid),
            "peer_name": string(self.peer_name),
            "connection": string(connection),
        }

    @classmethod
    def of(cls, given: Mapping[str, Plain]) -> CompleteTunnel:
        """Raises AlwaysOnError: no tid."""
        connection = _json(given, "connection") if given.get("connection") else {}
        peer = _text(given, "peer_name", "")
        return cls(_tid(given), peer, _text(connection, "reason", ""))


@dataclass(frozen=True)
class _Command(TunnelService):
    command: str

    def _values(self) -> dict[str, Value]:
        return {"tid": string(self.tid), "command": string(self.command)}


@dataclass(frozen=True)
class CommandToEdge(_Command):
    """Server to device: `CONNECT` or `DISCONNECT`. Java devices do not know it."""

    def request(self, thing: str) -> Request:
        return service(thing, "TunnelCommandToEdge", one_row(self._values()))

    @classmethod
    def of(cls, given: Mapping[str, Plain]) -> CommandToEdge:
        """Raises AlwaysOnError: no tid, or no command."""
        return cls(_tid(given), _text(given, "command"))


@dataclass(frozen=True)
class CommandFromEdge(_Command):
    """Device to server: `CANCEL` or `DISCONNECT`; a C device says it again and again."""

    def request(self, thing: str) -> Request:
        return service(thing, "TunnelCommandFromEdge", one_row(self._values()))

    @classmethod
    def of(cls, given: Mapping[str, Plain]) -> CommandFromEdge:
        """Raises AlwaysOnError: no tid, or no command."""
        return cls(_tid(given), _text(given, "command"))


_SERVICES: Final[dict[str, Any]] = {
    "StartTunnel": StartTunnel,
    "CompleteTunnel": CompleteTunnel,
    "TunnelCommandToEdge": CommandToEdge,
    "TunnelCommandFromEdge": CommandFromEdge,
}


def tunnel_request(request: Request) -> TunnelService | None:
    """What a request says of a tunnel; None: it is about something else.

    Raises:
      AlwaysOnError: it is about a tunnel, and something is missing or of the wrong type.
    """
    if request.characteristic != Characteristic.SERVICE or request.name not in _SERVICES:
        return None
    given = request.params.first() if request.params is not None else {}
    found: TunnelService = _SERVICES[request.name].of(given)
    return found


# -- arguments: by their names, in any order, and of more than one type ----------------------------


def _tid(given: Mapping[str, Any]) -> str:
    tid = _text(given, "tid")
    if not tid or len(tid) > _MAX_TID or not tid.isascii() or not tid.isprintable():
        raise AlwaysOnError("the tid is no id of a tunnel")
    return tid


def _text(given: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = given.get(name, default)
    if not isinstance(value, str):
        raise AlwaysOnError(f"{name} is missing, or no text")
    return value


def _number(given: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """An INTEGER, a NUMBER without a fraction, or a text of one."""
    value = given.get(name)
    if value is None:
        value = default
    if isinstance(value, str) and len(value) < 20:
        value = _parsed(value)
    if isinstance(value, float) and math.isfinite(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise AlwaysOnError(f"{name} is missing, or no number")
    return value


def _parsed(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _port(connection: Mapping[str, Any]) -> int:
    port = _number(connection, "port")
    if not 0 < port < 65_536:
        raise AlwaysOnError(f"{port} is no port")
    return port


def _json(given: Mapping[str, Any], name: str) -> dict[str, Any]:
    """JSON as STRING or as JSON: both are its text on the wire."""
    try:
        value = json.loads(_text(given, name))
    except (ValueError, RecursionError):
        raise AlwaysOnError(f"{name} is no JSON") from None
    if not isinstance(value, dict):
        raise AlwaysOnError(f"{name} is no JSON object")
    return value
