"""Every error that edge_tunnel raises on purpose.

Drawn as a tree::

    EdgeTunnelError
    ├─ ConfigError              a file or an argument is wrong: says where, and what to do
    ├─ ProtocolError
    │   ├─ LocalProtocolError       we asked for nonsense: a bug here
    │   └─ RemoteProtocolError      they sent nonsense: the link is closed
    ├─ LinkLost                 a WebSocket ended; endpoints dial again
    │   └─ LinkHopeless             to dial again is of no use until somebody has changed something
    ├─ LinkRefused              a node does not want this endpoint: key, role or version
    └─ TunnelEnded              a tunnel is over, with the reason that both users see
        └─ StreamRefused            one stream was refused by the device

Streams raise trio's own errors (``BrokenResourceError`` and so on), because programs are written
against trio's stream contract, with one of these as ``__cause__`` where a stream was reset.

This module imports nothing of edge_tunnel but the leaf `edge_tunnel.reasons`.
"""

from __future__ import annotations

from edge_tunnel.reasons import Reason

__all__ = [
    "ConfigError",
    "EdgeTunnelError",
    "LinkHopeless",
    "LinkLost",
    "LinkRefused",
    "LocalProtocolError",
    "ProtocolError",
    "RemoteProtocolError",
    "StreamRefused",
    "TunnelEnded",
]


class EdgeTunnelError(Exception):
    """The base of all errors of this package."""


class ConfigError(EdgeTunnelError):
    """A configuration cannot be used. The text names the place and the way out."""


class ProtocolError(EdgeTunnelError):
    """A rule of the wire (protocol/WIRE.md) was broken."""


class LocalProtocolError(ProtocolError):
    """Our own side asked the core for something that its state does not allow."""


class RemoteProtocolError(ProtocolError):
    """The peer sent something that WIRE.md does not allow; its link is closed with the text."""


class LinkLost(EdgeTunnelError):
    """The connection under a link is gone; the text says how. Tunnels outlive it."""


class LinkHopeless(LinkLost):
    """The same again until somebody changes something: a certificate, the rules of an HTTP proxy.

    A person who waits is told at once; whoever runs for years tries again, because somebody does.
    """


class _WithReason(EdgeTunnelError):
    """An end with a reason of the wire and a text for people."""

    def __init__(self, reason: Reason, text: str = "") -> None:
        super().__init__(reason, text)
        self.reason = reason
        self.text = text

    def __str__(self) -> str:
        return self.text or self.reason.text


class LinkRefused(_WithReason):
    """The node refused the greeting (wrong key, version too old, ...)."""


class TunnelEnded(_WithReason):
    """The tunnel is over and its streams were reset."""


class StreamRefused(TunnelEnded):
    """The device refused or reset one stream; the tunnel goes on."""
