"""What an edge is told: the typed model behind every format.

Seconds and bytes inside. Readers (`ems`, `toml`) convert at their border; this module knows no
format, prints nothing and reads no file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from edge_tunnel.config.secret import Secret

__all__ = [
    "CertificateCriteria",
    "EdgeConfig",
    "HttpProxy",
    "LinkSettings",
    "Server",
    "Service",
    "TlsSettings",
    "TunnelSettings",
]


PING: Final = 5.0
"""Seconds: with `ping_timeout`, a user who works learns after 15 that an end is dead."""

IDLE_PING: Final = 30.0
"""Seconds. Half of the shortest time after which what stands in between forgets a quiet connection
(60 s: nginx's proxy_read_timeout, a load balancer's default; routers keep one for minutes), and a
sixth of the work for 10,000 devices; a ThingWorx Connection Server pings as often. With
`ping_timeout` a device notices after 40 that a node died without a word."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """One entry of ``ws_servers``: where a proxy node listens."""

    host: str
    port: int


@dataclass(frozen=True, kw_only=True)
class Service:
    """A named target that this edge will dial for a tunnel, and nothing else."""

    name: str
    """What a remote asks for, as in ``edge-tunnel connect THING ssh``."""

    host: str
    """Resolved on the device."""

    port: int

    description: str = ""


@dataclass(frozen=True, kw_only=True)
class LinkSettings:
    """How the edge keeps its one WebSocket up (EMS group ``ws_connection``). Seconds."""

    encrypted: bool = True
    """TLS. EMS: ``encryption`` = ``ssl`` (its default) or ``none``."""

    connect_timeout: float = 10.0
    """TCP, TLS, HTTP CONNECT and greeting together. EMS: ``connect_timeout``, 10000 ms."""

    ping_interval: float = PING
    """A link that has been silent this long is pinged, while a tunnel uses it. EMS: ``ping_rate``,
    55000 ms; ours is shorter because a dead node must be noticed in seconds. A file that sets it is
    obeyed, also where no tunnel is."""

    idle_ping_interval: float | None = None
    """The same while no tunnel uses the link; None: `resting_ping_interval` says what it is. A node
    without the feature ``pings`` is pinged every `ping_interval` in any case."""

    ping_timeout: float = 10.0
    """Silence after a ping that ends the link. EMS: ``pingpong_timeout``, 10000 ms."""

    retry_interval: float = 10.0
    """The most that is waited between two attempts. EMS: ``connect_retry_interval``, 10000 ms."""

    max_connect_delay: float = 0.0
    """The first attempt waits a random part of this, so that a fleet does not come at once.
    EMS: ``max_connect_delay``, 10000 ms; here off unless the file asks for it."""

    retries: int | None = None
    """Attempts before the edge gives up; None: never. EMS: ``connect_retries``, -1 = never."""

    max_message_size: int = 1024 * 1024
    """Bytes of one WebSocket message. EMS: ``max_msg_size``."""

    @property
    def resting_ping_interval(self) -> float:
        """What holds where no tunnel uses the link."""
        if self.idle_ping_interval is not None:
            return self.idle_ping_interval
        return IDLE_PING if self.ping_interval == PING else self.ping_interval


@dataclass(frozen=True, kw_only=True)
class CertificateCriteria:
    """What the proxy node's certificate must say beside being valid (EMS group
    ``certificates.validation_criteria``). None: anything."""

    common_name: str | None = None
    organization: str | None = None
    organizational_unit: str | None = None
    issuer_common_name: str | None = None
    issuer_organization: str | None = None
    issuer_organizational_unit: str | None = None


@dataclass(frozen=True, kw_only=True)
class TlsSettings:
    """EMS group ``certificates``."""

    validate: bool = True
    allow_self_signed: bool = False
    check_hostname: bool = True
    ca_file: str | None = None
    """PEM file of the accepted CAs; None: the system's. EMS: ``cert_chain``."""

    more_ca_files: tuple[str, ...] = ()
    """The rest, where ``cert_chain`` is a list (EMS up to 5.3)."""

    client_cert: str | None = None
    client_key: str | None = None
    client_key_passphrase: Secret | None = None
    ciphers: str | None = None
    criteria: CertificateCriteria = field(default_factory=CertificateCriteria)

    @property
    def ca_files(self) -> tuple[str, ...]:
        """All CA files, in order."""
        return () if self.ca_file is None else (self.ca_file, *self.more_ca_files)


@dataclass(frozen=True, kw_only=True)
class HttpProxy:
    """EMS group ``proxy``: the corporate proxy, passed with HTTP CONNECT."""

    host: str
    port: int = 3128
    user: str | None = None
    password: Secret | None = None


@dataclass(frozen=True, kw_only=True)
class TunnelSettings:
    """EMS group ``tunnel`` (which EMS itself never honoured), and what is new here. Seconds."""

    max_concurrent: int | None = None
    """Tunnels at once; None: no limit beyond memory."""

    idle_timeout: float | None = None
    """A tunnel without a byte for this long is closed; None: never."""

    buffer_size: int = 64 * 1024
    """Bytes that one read takes from a service's socket: 64 KiB is near the best message size
    on this stack (DESIGN.md section 9)."""

    read_timeout: float | None = None
    """A stream whose service sends nothing for this long is reset; None: never."""

    resume_timeout: float = 120.0
    """A tunnel that stays detached longer than this ends on both sides."""

    max_streams: int = 1024
    """Streams at once in one tunnel."""


@dataclass(frozen=True, kw_only=True)
class EdgeConfig:
    """All that `edge_tunnel.open_edge` needs."""

    servers: tuple[Server, ...]
    """Proxy nodes, tried in this order. EMS uses only the first."""

    app_key: Secret

    things: tuple[str, ...]
    """Names under which this device is bound (EMS ``auto_bind[].name``)."""

    services: tuple[Service, ...] = ()
    """The device's allow-list. It is the last word: no node can widen it."""

    resource: str = "/Thingworx/WS"
    """URL path of the WebSocket (EMS ``resource``)."""

    link: LinkSettings = field(default_factory=LinkSettings)
    tls: TlsSettings = field(default_factory=TlsSettings)
    http_proxy: HttpProxy | None = None
    tunnel: TunnelSettings = field(default_factory=TunnelSettings)
    end_to_end_encryption: str = "allow"
    """Of tunnels, between remote and device: ``allow`` (the remote decides), ``require``, or
    ``off`` (a node may inspect what passes)."""

    protocol: str = "auto"
    """What is spoken with a server: ``edge-tunnel`` (our own wire), ``alwayson`` (that of
    ThingWorx), or ``auto``: ours where the server offers it in the handshake."""

    identity_file: str | None = None
    """Where the device keeps the key that shows remotes who it is; ``edge-tunnel edge`` without
    one uses a file beside the configuration."""

    log_level: str = "WARNING"

    def urls(self) -> tuple[str, ...]:
        """The servers as WebSocket URLs, in order."""
        scheme = "wss" if self.link.encrypted else "ws"
        return tuple(
            f"{scheme}://{_bracketed(server.host)}:{server.port}{self.resource}"
            for server in self.servers
        )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
