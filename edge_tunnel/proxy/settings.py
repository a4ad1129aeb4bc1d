"""What a node is told once, when it starts."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge_tunnel.config.alwayson import AlwaysOnSettings
from edge_tunnel.config.node_limits import Network
from edge_tunnel.config.versions import Demands
from edge_tunnel.proxy.hop import HopSettings

__all__ = ["NodeSettings"]


@dataclass(frozen=True, kw_only=True)
class NodeSettings:
    """What a node needs to know. Seconds."""

    name: str = "node"
    handshake_timeout: float = 10.0
    """From accept to the end of the greeting, in its parts: TLS, WebSocket, and HELLO."""

    max_unauthenticated: int = 256
    """Connections that have not greeted yet; more are closed at once."""

    max_unauthenticated_per_source: int = 32
    """Of them, from one address (IPv6: one /64); 0: no limit, as behind a balancer of TCP."""

    trusted_proxies: tuple[Network, ...] = ()
    """Balancers, whose X-Forwarded-For says for whom they come; nobody else's is looked at."""

    max_failures_per_source: int = 20
    """Refused keys of one address in a minute, at links and the API together; 0: no limit. Beyond
    it no key is looked at but those that were accepted from there lately."""

    memory: int = 512 * 1024 * 1024
    """Bytes that may wait for links that do not read; then the biggest are cut. 0: no limit."""

    max_links: int = 20_000
    """Links at once, edges and remotes together."""

    max_silence: float = 600.0
    """Silence that an endpoint may ask for: EMS pings every 55 s, and duty cycles exist."""

    origins: tuple[str, ...] = ()
    """Whose web pages may ask this node: values of HTTP's Origin."""

    admission_rate: float = 100.0
    """New links a second; the others are told when to come back (see `admission`)."""

    admission_burst: float = 200.0
    """New links that may come at once after a quiet time."""

    hops: HopSettings = field(default_factory=HopSettings)
    demands: Demands = field(default_factory=Demands)
    alwayson: AlwaysOnSettings | None = None
    """Whether ThingWorx devices are taken, and how; None: not."""
