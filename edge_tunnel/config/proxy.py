"""A proxy node's file, ``proxy.toml``: the model, its keys, and the loader.

::

    listen = "127.0.0.1:9100"     # or a list; ":9100" is all addresses
    dev_key = "..."               # or dev_key_file, or EDGE_TUNNEL_DEV_KEY
    log_level = "INFO"

    [limits]
    handshake_timeout = 10        # seconds
    max_unauthenticated = 256
    max_links = 20000
    max_silence = 600             # seconds that an endpoint may ask for
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_tunnel.config import scalars
from edge_tunnel.config.credentials import SecretPlace, choose_secrets
from edge_tunnel.config.ems_keys import LOG_LEVELS
from edge_tunnel.config.findings import ConfigFileError, Finding, Severity
from edge_tunnel.config.kinds import Choice, Duration, Hidden, ListOf, Text, Whole
from edge_tunnel.config.load import open_file
from edge_tunnel.config.nodes import Node
from edge_tunnel.config.rules import Group, Rule, Table
from edge_tunnel.config.scalars import Say, Unfit
from edge_tunnel.config.secret import Secret
from edge_tunnel.config.walk import Section

__all__ = [
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

    max_links: int = 20_000
    """Links at once, edges and remotes together."""

    max_silence: float = 600.0
    """Seconds of silence that an endpoint may ask for: EMS pings every 55 s, and slower ones
    exist. The endpoints ping; a node only listens."""


@dataclass(frozen=True, kw_only=True)
class ProxyConfig:
    """All that a proxy node is told."""

    dev_key: Secret
    """The one key that edges and remotes show. A node without a key does not start."""

    listen: tuple[ListenAddress, ...] = (ListenAddress(host="127.0.0.1", port=9100),)
    limits: NodeLimits = field(default_factory=NodeLimits)
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
        _rule("limits", "max_links", Whole(low=1, high=10_000_000)),
        _rule("limits", "max_silence", Duration(scale=1, low=1, high=86_400)),
    ),
    (Group(path="limits"),),
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
        **top,
    )


def _group(section: Section, prefix: str) -> dict[str, Any]:
    values = section.values.items()
    return {k.removeprefix(prefix): one.value for k, one in values if k.startswith(prefix)}
