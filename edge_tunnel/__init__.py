"""edge_tunnel: remote access to devices behind NAT, over one outbound WebSocket.

The byte's way, one direction (the other is the same, mirrored)::

    device's TCP socket
      -> edge.serving     dials the service that a stream was opened for
      -> link.splice      reads the socket, writes the stream
      -> link.streams     trio's face of a stream
      -> protocol.stream  keeps the byte for replay, and makes DATA when its turn comes
      -> protocol.outlet  decides the order on the link
      -> link.writer      sends it at the end of the batch; its task what the link does not take
      -> link.websocket   one message is one frame
    proxy node
      -> proxy.traffic    reads the head of the message
      -> proxy.routes     looks its tunnel up, and passes it on as it came
    remote
      -> link.link        the one task that reads
      -> link.endpoint    finds the tunnel
      -> protocol.tunnel  drops what is late, finds the stream
      -> protocol.stream  puts the byte in order, once
      -> link.splice      writes the technician's TCP socket, at the end of the batch (link.batch)

The rooms: `protocol` (pure decisions; WIRE.md in it is the specification), `alwayson` (the wire of
ThingWorx devices in the same way: a codec and its WIRE.md), `link` (the trio shell), the roles
`edge`, `remote` and `proxy`, `config` (files), `access` (who may do what), `audit` (what happened),
`cli` (commands), `testing` (doubles for your own tests). Imports go one way, roles -> link ->
protocol; tests/test_rooms.py holds that.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from edge_tunnel.access.rights import DevelopmentKey
    from edge_tunnel.config import (
        ConfigFileError,
        EdgeConfig,
        Finding,
        HttpProxy,
        LinkSettings,
        LoadedConfig,
        Secret,
        Server,
        Service,
        Severity,
        TlsSettings,
        TunnelSettings,
        load_config,
    )
    from edge_tunnel.edge.edge import Edge, EdgeStatistics, open_edge
    from edge_tunnel.edge.identity_file import load_identity
    from edge_tunnel.errors import (
        ConfigError,
        EdgeTunnelError,
        LinkHopeless,
        LinkLost,
        LinkRefused,
        LocalProtocolError,
        ProtocolError,
        RemoteProtocolError,
        StreamRefused,
        TunnelEnded,
    )
    from edge_tunnel.link.notices import Notice
    from edge_tunnel.link.streams import TunnelStream
    from edge_tunnel.protocol.greeting import VERSION as __version__  # noqa: N811 - the usual name
    from edge_tunnel.protocol.identity import Identity
    from edge_tunnel.proxy.node import Node, NodeSettings
    from edge_tunnel.reasons import Reason
    from edge_tunnel.remote.known_things import KnownThings, known_things_path
    from edge_tunnel.remote.remote import Remote, RemoteStatistics, open_remote

__all__ = [
    "ConfigError",
    "ConfigFileError",
    "DevelopmentKey",
    "Edge",
    "EdgeConfig",
    "EdgeStatistics",
    "EdgeTunnelError",
    "Finding",
    "HttpProxy",
    "Identity",
    "KnownThings",
    "LinkHopeless",
    "LinkLost",
    "LinkRefused",
    "LinkSettings",
    "LoadedConfig",
    "LocalProtocolError",
    "Node",
    "NodeSettings",
    "Notice",
    "ProtocolError",
    "Reason",
    "Remote",
    "RemoteProtocolError",
    "RemoteStatistics",
    "Secret",
    "Server",
    "Service",
    "Severity",
    "StreamRefused",
    "TlsSettings",
    "TunnelEnded",
    "TunnelSettings",
    "TunnelStream",
    "__version__",
    "known_things_path",
    "load_config",
    "load_identity",
    "open_edge",
    "open_remote",
]

_PLACES: Final = {
    "ConfigError": "errors",
    "ConfigFileError": "config",
    "DevelopmentKey": "access.rights",
    "Edge": "edge.edge",
    "EdgeConfig": "config",
    "EdgeStatistics": "edge.edge",
    "EdgeTunnelError": "errors",
    "Finding": "config",
    "HttpProxy": "config",
    "Identity": "protocol.identity",
    "KnownThings": "remote.known_things",
    "LinkHopeless": "errors",
    "LinkLost": "errors",
    "LinkRefused": "errors",
    "LinkSettings": "config",
    "LoadedConfig": "config",
    "LocalProtocolError": "errors",
    "Node": "proxy.node",
    "NodeSettings": "proxy.node",
    "Notice": "link.notices",
    "ProtocolError": "errors",
    "Reason": "reasons",
    "Remote": "remote.remote",
    "RemoteProtocolError": "errors",
    "RemoteStatistics": "remote.remote",
    "Secret": "config",
    "Server": "config",
    "Service": "config",
    "Severity": "config",
    "StreamRefused": "errors",
    "TlsSettings": "config",
    "TunnelEnded": "errors",
    "TunnelSettings": "config",
    "TunnelStream": "link.streams",
    "__version__": "protocol.greeting",
    "known_things_path": "remote.known_things",
    "load_config": "config",
    "load_identity": "edge.identity_file",
    "open_edge": "edge.edge",
    "open_remote": "remote.remote",
}
"""The module of each public name."""


def __getattr__(name: str) -> object:
    """A public name, from its module at its first use.

    A device imports no proxy then, and a command no more than it needs: half a second of processor
    time and some MiB on a small gateway.
    """
    if name not in _PLACES:
        raise AttributeError(f"module 'edge_tunnel' has no attribute {name!r}")
    known_as = "VERSION" if name == "__version__" else name
    value: object = getattr(import_module(f"edge_tunnel.{_PLACES[name]}"), known_as)
    globals()[name] = value
    return value
