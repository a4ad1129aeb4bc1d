"""Exit codes: what a script can act on. The numbers are those of sysexits.h."""

from __future__ import annotations

import enum
from typing import Final

from edge_tunnel.errors import (
    ConfigError,
    EdgeTunnelError,
    LinkLost,
    LinkRefused,
    TunnelEnded,
)
from edge_tunnel.reasons import Reason

__all__ = ["TABLE", "CommandFailed", "Exit", "exit_of_error", "exit_of_reason"]


class Exit(enum.IntEnum):
    """How a command ended."""

    DONE = 0
    USAGE = 64
    UNREADABLE = 65
    NOT_THERE = 66
    NO_SUCH_THING = 68
    SERVICE_NOT_ALLOWED = 69
    INTERNAL = 70
    OTHER_DEVICE = 71
    CONFLICT = 72
    CANNOT_CREATE = 73
    COULD_NOT_CONNECT = 75
    REFUSED_BY_DEVICE = 76
    NOT_AUTHORISED = 77
    CONFIGURATION = 78


_MEANINGS: Final = {
    Exit.DONE: "done, or ended by SIGTERM or SIGINT",
    Exit.USAGE: "the command line is wrong",
    Exit.UNREADABLE: "the text of a configuration cannot be read (check-config), or an audit log\n"
    "       is not as it was written (audit verify)",
    Exit.NOT_THERE: "no such key, or no such version of the policy",
    Exit.NO_SUCH_THING: "no such thing: no device is bound under that name",
    Exit.SERVICE_NOT_ALLOWED: "the service is not on the device's list",
    Exit.INTERNAL: "a bug in edge-tunnel (EDGE_TUNNEL_DEBUG=1 shows where)",
    Exit.OTHER_DEVICE: "the device shows another fingerprint than the one that is known",
    Exit.CONFLICT: "somebody else changed it meanwhile: look again, and repeat",
    Exit.CANNOT_CREATE: "the output cannot be written: stdout, or a file (convert-config, tls)",
    Exit.COULD_NOT_CONNECT: "could not connect, or the connection was lost: try again later",
    Exit.REFUSED_BY_DEVICE: "refused by the device, its service, or a node (too old a version)",
    Exit.NOT_AUTHORISED: "not authorised: the key is not accepted",
    Exit.CONFIGURATION: "a file, an address, a port or a policy cannot be used",
}

TABLE: Final = "exit codes (sysexits.h):\n" + "\n".join(
    f"  {code.value:>3}  {meaning}" for code, meaning in _MEANINGS.items()
)
"""For --help."""

_OF_REASON: Final = {
    Reason.DONE: Exit.DONE,
    Reason.INTERNAL_ERROR: Exit.INTERNAL,
    Reason.NOT_AUTHORISED: Exit.NOT_AUTHORISED,
    Reason.IDENTITY: Exit.OTHER_DEVICE,
    Reason.NO_SUCH_THING: Exit.NO_SUCH_THING,
    Reason.SERVICE_NOT_ALLOWED: Exit.SERVICE_NOT_ALLOWED,
    # They answered, and the answer is no: the same again gives the same.
    Reason.PROTOCOL_ERROR: Exit.REFUSED_BY_DEVICE,
    Reason.VERSION: Exit.REFUSED_BY_DEVICE,
    Reason.ENCRYPTION: Exit.REFUSED_BY_DEVICE,
    Reason.REFUSED_BY_DEVICE: Exit.REFUSED_BY_DEVICE,
    Reason.FLOW_CONTROL: Exit.REFUSED_BY_DEVICE,
    Reason.CONNECTION_REFUSED: Exit.REFUSED_BY_DEVICE,
    Reason.UNREACHABLE: Exit.REFUSED_BY_DEVICE,
    Reason.RESET: Exit.REFUSED_BY_DEVICE,
    Reason.TOO_MANY_STREAMS: Exit.REFUSED_BY_DEVICE,
    # The way there broke, or an end went away: later it may work.
    Reason.SHUTTING_DOWN: Exit.COULD_NOT_CONNECT,
    Reason.SILENT: Exit.COULD_NOT_CONNECT,
    Reason.SUPERSEDED: Exit.COULD_NOT_CONNECT,
    Reason.TOO_MANY: Exit.COULD_NOT_CONNECT,
    Reason.UNKNOWN_TUNNEL: Exit.COULD_NOT_CONNECT,
    Reason.RESUME_TIMEOUT: Exit.COULD_NOT_CONNECT,
    Reason.PEER_LEFT: Exit.COULD_NOT_CONNECT,
    Reason.IDLE: Exit.COULD_NOT_CONNECT,
}


class CommandFailed(Exception):
    """A command ends with this code and this one line."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return self.text


def exit_of_reason(reason: Reason) -> Exit:
    """The code for an end with this reason; a reason that is new here reads as refused."""
    return _OF_REASON.get(reason, Exit.REFUSED_BY_DEVICE)


def exit_of_error(error: EdgeTunnelError) -> Exit:
    """The code for one of our own errors."""
    if isinstance(error, (LinkRefused, TunnelEnded)):
        return exit_of_reason(error.reason)
    if isinstance(error, ConfigError):
        return Exit.CONFIGURATION
    return Exit.COULD_NOT_CONNECT if isinstance(error, LinkLost) else Exit.INTERNAL
