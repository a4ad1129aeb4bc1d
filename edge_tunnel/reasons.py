"""Why a link, a tunnel or a stream ended: the numbers on the wire and the words for people.

The numbers are part of the wire (protocol/WIRE.md) and are never used for anything else again.
"""

from __future__ import annotations

import enum

__all__ = ["Reason"]

_TEXTS = {
    0: "done",
    1: "the peer broke the protocol",
    2: "internal error",
    3: "shutting down",
    10: "not authorised",
    11: "the peer's version is not supported",
    12: "silent for too long",
    13: "replaced by a newer link",
    14: "too many connections",
    20: "no such thing",
    21: "the service is not allowed",
    22: "refused by the device",
    23: "the tunnel is unknown at the other end",
    24: "detached for longer than the resume timeout",
    25: "the other end left",
    26: "sent more than it was allowed to",
    27: "idle for too long",
    28: "the session has ended",
    30: "the ends do not agree about end-to-end encryption",
    31: "the device is not the one that was known",
    40: "the service refused the connection",
    41: "the service could not be reached",
    42: "the connection was reset",
    43: "too many streams",
}


class Reason(enum.IntEnum):
    """A reason code. 0-9 general, 10-19 links, 20-39 tunnels, 40-59 streams."""

    DONE = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    SHUTTING_DOWN = 3

    NOT_AUTHORISED = 10
    VERSION = 11
    SILENT = 12
    SUPERSEDED = 13
    TOO_MANY = 14

    NO_SUCH_THING = 20
    SERVICE_NOT_ALLOWED = 21
    REFUSED_BY_DEVICE = 22
    UNKNOWN_TUNNEL = 23
    RESUME_TIMEOUT = 24
    PEER_LEFT = 25
    FLOW_CONTROL = 26
    IDLE = 27
    SESSION_ENDED = 28
    ENCRYPTION = 30
    IDENTITY = 31

    CONNECTION_REFUSED = 40
    UNREACHABLE = 41
    RESET = 42
    TOO_MANY_STREAMS = 43

    @property
    def text(self) -> str:
        """A few words for people, the same on both ends."""
        return _TEXTS[self.value]

    @classmethod
    def of(cls, number: int) -> Reason:
        """The reason with this number; one that a newer peer added reads as INTERNAL_ERROR."""
        try:
            return cls(number)
        except ValueError:
            return cls.INTERNAL_ERROR
