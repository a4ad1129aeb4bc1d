"""A proxy node's file, ``proxy.toml``: the model, its keys, and the loader.

::

    listen = "127.0.0.1:9100"     # or a list; ":9100" is all addresses; with [tls] that is TLS,
                                  # and "ws://127.0.0.1:9101" is not, for a balancer beside it
    dev_key = "..."               # or dev_key_file, or EDGE_TUNNEL_DEV_KEY; or [access]
    log_level = "INFO"
    # workers = 4                 # node processes on the one port; needs [cluster]
    # state and [access]: see `proxy_access`

    # [tls]: see node_tls

    [limits]
    handshake_timeout = 10        # seconds
    max_unauthenticated = 256
    max_unauthenticated_per_source = 32
    max_failures_per_source = 20  # refused keys of one address in a minute
    trusted_proxies = []          # balancers, whose X-Forwarded-For is believed: "10.0.0.7"
    memory = 536870912            # bytes that may wait for links that do not read
    max_links = 20000
    max_silence = 600             # seconds that an endpoint may ask for
    admission_rate = 100          # new links a second; the others are told when to come back
    admission_burst = 200         # new links at once after a quiet time

    [cluster]
    engine = ["127.0.0.1:2379"]   # etcd 3.4 or later
    node_name = "a"
    advertise = "127.0.0.1:9101"  # where the other nodes reach this one
    # hop_listen = "0.0.0.0:9101"  # where it listens for them, if not there (a port forward)
    prefix = "/edge-tunnel"
    drain_timeout = 30            # seconds that endpoints have to go elsewhere after SIGTERM
    # engine_ca, engine_cert, engine_key: TLS towards etcd
    # node_ca, node_cert, node_key: mutual TLS between nodes

    [versions]                    # of edge_tunnel at the other end
    edge_minimum = "0.1.0"        # what is older is refused
    edge_recommended = "0.1.0"    # what is older is taken, and its user is told
    # remote_minimum, remote_recommended, node_minimum, node_recommended

    [audit]                       # see config/audit.py
    file = "/var/log/edge-tunnel/audit.log"

    [alwayson]                    # see config/alwayson.py
    enabled = true
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edge_tunnel.config import scalars
from edge_tunnel.config.alwayson import (
    ALWAYSON_GROUP,
    ALWAYSON_RULES,
    AlwaysOnSettings,
    alwayson_settings,
    check_alwayson,
)
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
from edge_tunnel.config.node_limits import LIMITS_GROUP, LIMITS_RULES, NodeLimits
from edge_tunnel.config.node_tls import TLS_GROUP, TLS_RULES, TLS_SECRET, NodeTls, node_tls
from edge_tunnel.config.nodes import Node
from edge_tunnel.config.proxy_access import (
    ACCESS_GROUP,
    ACCESS_RULES,
    ADMIN_KEY,
    AccessSettings,
    check_access,
)
from edge_tunnel.config.rules import Group, Rule, Table
from edge_tunnel.config.scalars import Say, Unfit, shortened
from edge_tunnel.config.secret import Secret
from edge_tunnel.config.versions import Demand, Demands, is_older, is_version
from edge_tunnel.config.walk import Section

__all__ = [
    "LISTEN_SCHEMES",
    "ClusterSettings",
    "ListenAddress",
    "NodeLimits",
    "ProxyConfig",
    "ProxyInspection",
    "inspect_proxy_config",
    "load_proxy_config",
]


LISTEN_SCHEMES = {"ws": False, "wss": True}
"""In front of an address to listen on: whether it is TLS there."""


@dataclass(frozen=True, kw_only=True)
class ListenAddress:
    """Where a node takes links."""

    host: str | None
    """None: all addresses of the machine."""

    port: int

    tls: bool | None = None
    """Whether links are TLS there; None: if the node has a certificate."""


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """What makes a node a member of a cluster. Files are PEM."""

    engine: tuple[ListenAddress, ...]
    """The members of etcd that this node asks, in order."""

    node_name: str
    """No two nodes of a cluster have the same."""

    advertise: ListenAddress
    """Where other nodes reach this one."""

    hop_listen: ListenAddress | None = None
    """Where it listens for them, if that is elsewhere: behind a port forward, in a container."""

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

    dev_key: Secret | None = None
    """The one key that edges and remotes show, in development mode."""

    access: AccessSettings | None = None
    """Identities and policy. There is either this or `dev_key`: no node lets anybody in."""

    state: str | None = None
    """A folder for keys and policy of a node that is alone; in the file relative to that. None:
    they end with the node."""

    listen: tuple[ListenAddress, ...] = (ListenAddress(host="127.0.0.1", port=9100),)
    tls: NodeTls | None = None
    """None: no TLS, and so only loopback addresses."""

    limits: NodeLimits = field(default_factory=NodeLimits)
    versions: Demands = field(default_factory=Demands)
    cluster: ClusterSettings | None = None
    """None: the node is alone."""

    workers: int = 1
    """Node processes that share the port; more than one need a cluster."""

    audit: AuditSettings | None = None
    """None: nothing is recorded."""

    alwayson: AlwaysOnSettings | None = None
    """None: no ThingWorx devices as they are."""

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
    schemes: Mapping[str, bool] = field(default_factory=dict)
    """What may stand in front, and whether that is TLS."""

    def read(self, node: Node, warn: Say) -> Any:
        scheme, slashes, rest = scalars.visible_text(node, warn).rpartition("://")
        host, colon, port = rest.rpartition(":")
        if slashes and scheme.lower() not in self.schemes:
            hint = 'write it as in "127.0.0.1:9100"'
            raise Unfit(f"must not begin with {shortened(scheme + slashes)}", hint)
        if not (colon and port.isascii() and port.isdigit() and 0 <= int(port[:6]) <= 65535):
            raise Unfit("must be an address with a port", 'write it as in "127.0.0.1:9100"')
        bare = host.removeprefix("[").removesuffix("]")
        return ListenAddress(
            host=None if bare in ("", "*") else bare,
            port=int(port),
            tls=self.schemes.get(scheme.lower()),
        )


@dataclass(frozen=True)
class _Addresses(ListOf):
    def read(self, node: Node, warn: Say) -> tuple[Any, ...]:
        addresses = super().read(node, warn)
        if not addresses:
            raise Unfit("names no address to listen on", 'write it as in "127.0.0.1:9100"')
        return addresses


@dataclass(frozen=True)
class _Version(Text):
    def read(self, node: Node, warn: Say) -> Any:
        written = scalars.visible_text(node, warn)
        if not is_version(written):
            raise Unfit(f"{shortened(written)} is not a version", 'write it as in "0.1.0"')
        return written


def _rule(group: str, key: str, kind: Duration | Whole | _Version) -> Rule:
    return Rule(group=group, key=key, kind=kind, target=f"{group}.{key}")


_PEERS = ("edge", "remote", "node")
_TABLE = Table(
    (
        Rule(group="", key="listen", kind=_Addresses(_Address(LISTEN_SCHEMES)), target="listen"),
        Rule(group="", key="dev_key", kind=Hidden(), target="dev_key", secret=True),
        Rule(group="", key="dev_key_file", kind=Text(), target="dev_key_file"),
        Rule(group="", key="state", kind=Text(), target="state"),
        Rule(group="", key="workers", kind=Whole(low=1, high=256), target="workers"),
        Rule(group="", key="log_level", kind=Choice(LOG_LEVELS), target="log_level"),
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
        # with or without etcd:// in front, as --cluster has it
        Rule(
            group="cluster",
            key="engine",
            kind=_Addresses(_Address({"etcd": False})),
            target="cluster.engine",
        ),
        Rule(group="cluster", key="advertise", kind=_Address(), target="cluster.advertise"),
        Rule(group="cluster", key="hop_listen", kind=_Address(), target="cluster.hop_listen"),
        _rule("cluster", "drain_timeout", Duration(scale=1, low=0, high=3600)),
        *(
            _rule("versions", f"{peer}_{part}", _Version())
            for peer in _PEERS
            for part in ("minimum", "recommended")
        ),
        *LIMITS_RULES,
        *ACCESS_RULES,
        *AUDIT_RULES,
        *ALWAYSON_RULES,
        *TLS_RULES,
    ),
    (
        LIMITS_GROUP,
        Group(path="cluster"),
        Group(path="versions"),
        ACCESS_GROUP,
        AUDIT_GROUP,
        ALWAYSON_GROUP,
        TLS_GROUP,
    ),
)
_DEV_KEY = SecretPlace(
    "dev_key", "dev_key", "EDGE_TUNNEL_DEV_KEY", "dev_key", "dev_key_file", "dev_key_file"
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
    path: str | os.PathLike[str],
    *,
    environ: Mapping[str, str] = os.environ,
    data: bytes | None = None,
) -> ProxyInspection:
    """Like `load_proxy_config`, but gives what is wrong, and what is odd, instead of raising.

    `data`: what is in the file, where it has been read already.
    """
    opened = open_file(path, _TABLE, data)
    findings, section = opened.findings, opened.section
    config = None
    if section is not None:
        admin = (ADMIN_KEY,) if "access" in section.groups else ()
        places = (_DEV_KEY, TLS_SECRET, *admin)
        chosen = choose_secrets(places, section, opened.source, environ, findings)
        keys = {target: one.secret for target, one in chosen.items()}
        _check_cluster(_group(section, "cluster."), findings)
        check_access(section, keys, findings)
        _check_workers(section, findings)
        _check_versions(section, findings)
        tls = node_tls(section, opened.source, chosen.get(TLS_SECRET.target), findings)
        _check_listen(section, tls, findings)
        check_audit(_group(section, "audit."), findings)
        check_alwayson(_group(section, "alwayson."), findings)
        config = replace(_built(section, keys, opened.source.directory), tls=tls)
    told = findings.finish(opened.source)
    failed = any(finding.severity is Severity.ERROR for finding in told)
    return ProxyInspection(None if failed else config, told)


def _built(section: Section, keys: Mapping[str, Secret], directory: Path) -> ProxyConfig:
    top: dict[str, Any] = {
        key: section.value(key)
        for key in ("listen", "log_level", "workers")
        if key in section.values
    }
    if "state" in section.values:
        top["state"] = str(directory / section.value("state"))
    access = _group(section, "access.")
    return ProxyConfig(
        dev_key=keys.get("dev_key"),
        access=AccessSettings(admin_key=keys.get("admin_key"), **access)
        if "access" in section.groups
        else None,
        limits=NodeLimits(**_group(section, "limits.")),
        cluster=_cluster(_group(section, "cluster.")),
        versions=_versions(section),
        audit=audit_settings(_group(section, "audit.")),
        alwayson=alwayson_settings(_group(section, "alwayson.")),
        **top,
    )


def _check_listen(section: Section, tls: NodeTls | None, findings: Findings) -> None:
    for address in section.value("listen") or ():
        if address.tls and tls is None:
            hint = "write tls.certificate and tls.key"
            findings.error(None, "listen", "wss:// needs a certificate", hint)
        if address.tls is False and tls is not None and tls.client_certificates == "required":
            text = "ws:// lets in who has no certificate, and tls.client_certificates is required"
            findings.error(None, "listen", text, 'write "optional", or remove the ws:// address')


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


def _check_workers(section: Section, findings: Findings) -> None:
    workers = section.values.get("workers")
    if workers is not None and workers.value > 1 and "cluster" not in section.groups:
        text = f"{workers.value} workers are as many nodes, and need a cluster to find each other"
        findings.warning(workers.offset, workers.path, text, "write [cluster], or give --cluster")


def _check_versions(section: Section, findings: Findings) -> None:
    for peer in _PEERS:
        recommended = section.values.get(f"versions.{peer}_recommended")
        if recommended is None:
            continue
        minimum = section.value(f"versions.{peer}_minimum") or Demand().minimum
        if is_older(recommended.value, minimum):
            text = f"is older than {peer}_minimum ({minimum}): nobody would ever be told"
            findings.warning(recommended.offset, recommended.path, text, "raise it, or remove it")


def _versions(section: Section) -> Demands:
    def demand(peer: str) -> Demand:
        return Demand(**_group(section, f"versions.{peer}_"))

    return Demands(edge=demand("edge"), remote=demand("remote"), node=demand("node"))


def _cluster(values: Mapping[str, Any]) -> ClusterSettings | None:
    whole = all(key in values for key in _NEEDED)
    return ClusterSettings(**values) if whole else None


def _group(section: Section, prefix: str) -> dict[str, Any]:
    values = section.values.items()
    return {k.removeprefix(prefix): one.value for k, one in values if k.startswith(prefix)}
