"""A proxy node's file, ``proxy.toml``: the model, its keys, and the loader.

::

    listen = "127.0.0.1:9100"     # or a list; ":9100" is all addresses
    dev_key = "..."               # or dev_key_file, or EDGE_TUNNEL_DEV_KEY
    log_level = "INFO"

    [limits]
    handshake_timeout = 10        # seconds
    max_unauthenticated = 256
    max_unauthenticated_per_source = 32   # 0 behind a balancer: there all have one address
    max_failures_per_source = 20  # refused keys of one address in a minute; 0 behind a balancer
    memory = 536870912            # bytes that may wait for links that do not read
    max_links = 20000
    max_silence = 600             # seconds that an endpoint may ask for
    admission_rate = 100          # new links a second; the others are told when to come back
    admission_burst = 200         # new links at once after a quiet time

    [cluster]
    engine = ["127.0.0.1:2379"]   # etcd 3.4 or later
    node_name = "a"
    advertise = "127.0.0.1:9101"  # where the other nodes reach this one
    prefix = "/edge-tunnel"
    drain_timeout = 30            # seconds that endpoints have to go elsewhere after SIGTERM
    # engine_ca, engine_cert, engine_key: TLS towards etcd
    # node_ca, node_cert, node_key: mutual TLS between nodes

    [audit]                       # see config/audit.py
    file = "/var/log/edge-tunnel/audit.log"
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_tunnel.config import scalars
from edge_tunnel.config.audit import (
    AUDIT_GROUP,
    AUDIT_RULES,
    AuditSettings,
    audit_settings,
    check_audit,
)
from edge_tunnel.config.credentials import SecretPlace, choose_secrets
from edge_tunnel.config.ems_keys import LOG_LEVELS
from edge_tunnel.config.findings import ConfigFileError, Finding, Findings, Severity
from edge_tunnel.config.kinds import Choice, Duration, Hidden, ListOf, Text, Whole
from edge_tunnel.config.load import open_file
from edge_tunnel.config.nodes import Node
from edge_tunnel.config.rules import Group, Rule, Table
from edge_tunnel.config.scalars import Say, Unfit
from edge_tunnel.config.secret import Secret
from edge_tunnel.config.walk import Section

__all__ = [
    "ClusterSettings",
    "ListenAddress",
    "NodeLimits",
    "ProxyConfig",
    "ProxyInspection",
    "inspect_proxy_config",
    "load_proxy_config",
]


@dataclass(frozen=True, kw_only=True)
class ListenAddress:
    """Where a node takes links."""

    host: str | None
    """None: all addresses of the machine."""

    port: int


@dataclass(frozen=True, kw_only=True)
class NodeLimits:
    """What one node takes on."""

    handshake_timeout: float = 10.0
    """Seconds from the TCP connection to a complete greeting; the stack's own 60 s let idle
    strangers hold a place for a minute."""

    max_unauthenticated: int = 256
    """Connections at once that have not shown a key yet."""

    max_unauthenticated_per_source: int = 32
    """Of them, from one IPv4 address or one /64 of IPv6; 0: no limit. Behind a balancer all come
    from the balancer's address, so there it is 0."""

    max_failures_per_source: int = 20
    """Refused keys of one address in a minute: a person's attempts, and those of a few devices
    with a wrong key behind one router. 0: no limit, as behind a balancer."""

    memory: int = 512 * 1024 * 1024
    """Bytes that may wait in this node for links that do not read, all together; beyond it the
    tunnels that hold the most are ended. 0: no limit."""

    max_links: int = 20_000
    """Links at once, edges and remotes together."""

    max_silence: float = 600.0
    """Seconds of silence that an endpoint may ask for: EMS pings every 55 s, and slower ones
    exist. The endpoints ping; a node only listens."""

    admission_rate: float = 100.0
    """New links a second: what one core bears beside its traffic (docs/reliability.md). The others
    are told when to come back, each at a moment of its own."""

    admission_burst: float = 200.0
    """New links that may come at once after a quiet time."""


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """What makes a node a member of a cluster. Files are PEM."""

    engine: tuple[ListenAddress, ...]
    """The members of etcd that this node asks, in order."""

    node_name: str
    """No two nodes of a cluster have the same."""

    advertise: ListenAddress
    """Where other nodes reach this one; it listens there."""

    prefix: str = "/edge-tunnel"
    """Of all keys in etcd, so that several clusters can share one."""

    drain_timeout: float = 30.0
    """Seconds that endpoints have to go elsewhere after SIGTERM."""

    engine_ca: str | None = None
    engine_cert: str | None = None
    engine_key: str | None = None
    """TLS towards etcd; all three or none. None: plain, in development mode."""

    node_ca: str | None = None
    node_cert: str | None = None
    node_key: str | None = None
    """Mutual TLS between nodes; all three or none. The certificate names its node."""


@dataclass(frozen=True, kw_only=True)
class ProxyConfig:
    """All that a proxy node is told."""

    dev_key: Secret
    """The one key that edges and remotes show. A node without a key does not start."""

    listen: tuple[ListenAddress, ...] = (ListenAddress(host="127.0.0.1", port=9100),)
    limits: NodeLimits = field(default_factory=NodeLimits)
    cluster: ClusterSettings | None = None
    """None: the node is alone."""

    audit: AuditSettings | None = None
    """None: nothing is recorded."""

    log_level: str = "INFO"


@dataclass(frozen=True)
class ProxyInspection:
    """What a file says; `config` is None after errors."""

    config: ProxyConfig | None
    findings: tuple[Finding, ...]

    @property
    def unreadable(self) -> bool:
        """The text itself could not be read."""
        return any(finding.unreadable for finding in self.findings)


@dataclass(frozen=True)
class _Address(Text):
    def read(self, node: Node, warn: Say) -> Any:
        host, colon, port = scalars.visible_text(node, warn).rpartition(":")
        if not (colon and port.isascii() and port.isdigit() and 0 <= int(port[:6]) <= 65535):
            raise Unfit("must be an address with a port", 'write it as in "127.0.0.1:9100"')
        bare = host.removeprefix("[").removesuffix("]")
        return ListenAddress(host=None if bare in ("", "*") else bare, port=int(port))


@dataclass(frozen=True)
class _Addresses(ListOf):
    def read(self, node: Node, warn: Say) -> tuple[Any, ...]:
        addresses = super().read(node, warn)
        if not addresses:
            raise Unfit("names no address to listen on", 'write it as in "127.0.0.1:9100"')
        return addresses


def _rule(group: str, key: str, kind: Duration | Whole) -> Rule:
    return Rule(group=group, key=key, kind=kind, target=f"{group}.{key}")


_TABLE = Table(
    (
        Rule(group="", key="listen", kind=_Addresses(_Address()), target="listen"),
        Rule(group="", key="dev_key", kind=Hidden(), target="dev_key", secret=True),
        Rule(group="", key="dev_key_file", kind=Text(), target="dev_key_file"),
        Rule(group="", key="log_level", kind=Choice(LOG_LEVELS), target="log_level"),
        _rule("limits", "handshake_timeout", Duration(scale=1, low=0.1, high=600)),
        _rule("limits", "max_unauthenticated", Whole(low=1, high=1_000_000)),
        _rule("limits", "max_unauthenticated_per_source", Whole(low=0, high=1_000_000)),
        _rule("limits", "max_failures_per_source", Whole(low=0, high=1_000_000)),
        _rule("limits", "memory", Whole(low=0, high=2**50)),
        _rule("limits", "max_links", Whole(low=1, high=10_000_000)),
        _rule("limits", "max_silence", Duration(scale=1, low=1, high=86_400)),
        _rule("limits", "admission_rate", Whole(low=1, high=1_000_000)),
        _rule("limits", "admission_burst", Whole(low=1, high=1_000_000)),
        *(
            Rule(group="cluster", key=key, kind=Text(), target=f"cluster.{key}")
            for key in (
                "node_name",
                "prefix",
                "engine_ca",
                "engine_cert",
                "engine_key",
                "node_ca",
                "node_cert",
                "node_key",
            )
        ),
        Rule(group="cluster", key="engine", kind=_Addresses(_Address()), target="cluster.engine"),
        Rule(group="cluster", key="advertise", kind=_Address(), target="cluster.advertise"),
        _rule("cluster", "drain_timeout", Duration(scale=1, low=0, high=3600)),
        *AUDIT_RULES,
    ),
    (Group(path="limits"), Group(path="cluster"), AUDIT_GROUP),
)
_KEY_PLACES = (
    SecretPlace(
        "dev_key", "dev_key", "EDGE_TUNNEL_DEV_KEY", "dev_key", "dev_key_file", "dev_key_file"
    ),
)


def load_proxy_config(
    path: str | os.PathLike[str], *, environ: Mapping[str, str] = os.environ
) -> ProxyConfig:
    """Read a node's file (TOML; JSON where the name does not end in ``.toml``).

    Raises `edge_tunnel.ConfigError` with all that is wrong in it.
    """
    found = inspect_proxy_config(path, environ=environ)
    if found.config is None:
        raise ConfigFileError(found.findings)
    return found.config


def inspect_proxy_config(
    path: str | os.PathLike[str], *, environ: Mapping[str, str] = os.environ
) -> ProxyInspection:
    """Like `load_proxy_config`, but gives what is wrong, and what is odd, instead of raising."""
    opened = open_file(path, _TABLE)
    findings, section = opened.findings, opened.section
    config = None
    if section is not None:
        chosen = choose_secrets(_KEY_PLACES, section, opened.source, environ, findings)
        _check_cluster(_group(section, "cluster."), findings)
        check_audit(_group(section, "audit."), findings)
        if "dev_key" in chosen:
            config = _built(section, chosen["dev_key"].secret)
        elif not {*section.values, *section.wrong} & {"dev_key", "dev_key_file"}:
            hint = "write dev_key or dev_key_file, or set EDGE_TUNNEL_DEV_KEY"
            findings.error(None, "dev_key", "no key: such a node would let anybody in", hint)
    told = findings.finish(opened.source)
    failed = any(finding.severity is Severity.ERROR for finding in told)
    return ProxyInspection(None if failed else config, told)


def _built(section: Section, dev_key: Secret) -> ProxyConfig:
    top = {key: section.value(key) for key in ("listen", "log_level") if key in section.values}
    return ProxyConfig(
        dev_key=dev_key,
        limits=NodeLimits(**_group(section, "limits.")),
        cluster=_cluster(_group(section, "cluster.")),
        audit=audit_settings(_group(section, "audit.")),
        **top,
    )


_NEEDED = ("engine", "node_name", "advertise")


def _check_cluster(values: Mapping[str, Any], findings: Findings) -> None:
    missing = [f"cluster.{key}" for key in _NEEDED if key not in values] if values else []
    if missing:
        findings.error(None, missing[0], "is needed in a cluster", f"write {', '.join(missing)}")
    for side in ("engine", "node"):
        keys = [f"{side}_{part}" for part in ("ca", "cert", "key")]
        if any(key in values for key in keys) and not all(key in values for key in keys):
            hint = "write " + ", ".join(f"cluster.{key}" for key in keys)
            findings.error(None, f"cluster.{keys[0]}", "TLS needs all three files", hint)


def _cluster(values: Mapping[str, Any]) -> ClusterSettings | None:
    whole = all(key in values for key in _NEEDED)
    return ClusterSettings(**values) if whole else None


def _group(section: Section, prefix: str) -> dict[str, Any]:
    values = section.values.items()
    return {k.removeprefix(prefix): one.value for k, one in values if k.startswith(prefix)}
