"""The config room: what a user wrote down, made into typed settings. A leaf: no trio in here.

Three steps, one after the other, and none of them raises on bad input::

    text  --json_reader, toml_reader-->  nodes with places
    nodes --walk, against a table of keys (ems_keys, ems_ignored)-->  settings, findings
    settings --build, checks, credentials-->  the frozen model

`load_config` and `load_proxy_config` raise once, at the end, with everything that was found.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from edge_tunnel.config.changes import Changes, changes
from edge_tunnel.config.findings import ConfigFileError, Finding, Severity
from edge_tunnel.config.load import Inspection, LoadedConfig, inspect_config, load_config
from edge_tunnel.config.model import (
    CertificateCriteria,
    EdgeConfig,
    HttpProxy,
    LinkSettings,
    Server,
    Service,
    TlsSettings,
    TunnelSettings,
)
from edge_tunnel.config.origins import Origin, OriginKind
from edge_tunnel.config.secret import Secret
from edge_tunnel.config.settings import Setting

if TYPE_CHECKING:
    from edge_tunnel.config.audit import AuditSettings
    from edge_tunnel.config.node_tls import NodeTls
    from edge_tunnel.config.proxy import (
        LISTEN_SCHEMES,
        ClusterSettings,
        ListenAddress,
        NodeLimits,
        ProxyConfig,
        ProxyInspection,
        inspect_proxy_config,
        load_proxy_config,
    )
    from edge_tunnel.config.proxy_access import AccessSettings
    from edge_tunnel.config.toml_writer import to_toml

__all__ = [
    "LISTEN_SCHEMES",
    "AccessSettings",
    "AuditSettings",
    "CertificateCriteria",
    "Changes",
    "ClusterSettings",
    "ConfigFileError",
    "EdgeConfig",
    "Finding",
    "HttpProxy",
    "Inspection",
    "LinkSettings",
    "ListenAddress",
    "LoadedConfig",
    "NodeLimits",
    "NodeTls",
    "Origin",
    "OriginKind",
    "ProxyConfig",
    "ProxyInspection",
    "Secret",
    "Server",
    "Service",
    "Setting",
    "Severity",
    "TlsSettings",
    "TunnelSettings",
    "changes",
    "inspect_config",
    "inspect_proxy_config",
    "load_config",
    "load_proxy_config",
    "to_toml",
]

_PLACES: Final = {
    "AccessSettings": "proxy_access",
    "AuditSettings": "audit",
    "NodeTls": "node_tls",
    "to_toml": "toml_writer",
    **dict.fromkeys(
        (
            "LISTEN_SCHEMES",
            "ClusterSettings",
            "ListenAddress",
            "NodeLimits",
            "ProxyConfig",
            "ProxyInspection",
            "inspect_proxy_config",
            "load_proxy_config",
        ),
        "proxy",
    ),
}
"""What a device never uses: more than a MiB with what it imports."""


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
