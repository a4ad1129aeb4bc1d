"""The group ``[access]`` of proxy.toml: identities and policy in place of one development key.

::

    state = "/var/lib/edge-tunnel"   # keys and policy of a node that is alone; a cluster has etcd

    [access]
    admin_key_file = "admin.key"     # or EDGE_TUNNEL_ADMIN_KEY, or the systemd credential admin_key
    ticket_lifetime = 15             # seconds
    session = 28800                  # seconds of a session that began with a ticket
    origins = ["https://portal.example"]
    certificate_edge_prefix = "edge-tunnel:edge:"
    certificate_remote_prefix = "edge-tunnel:remote:"

There is no default key: a node without an administrator's key lets nobody in whom it does not know
already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from edge_tunnel.config.credentials import SecretPlace
from edge_tunnel.config.findings import Findings
from edge_tunnel.config.kinds import Duration, ListOf, Text
from edge_tunnel.config.nodes import Node
from edge_tunnel.config.rules import Group, Rule
from edge_tunnel.config.scalars import Say
from edge_tunnel.config.secret import Secret
from edge_tunnel.config.walk import Section

__all__ = ["ACCESS_GROUP", "ACCESS_RULES", "ADMIN_KEY", "AccessSettings", "check_access"]


@dataclass(frozen=True, kw_only=True)
class AccessSettings:
    """Who is let in, where no rule of the policy says it."""

    admin_key: Secret | None = None
    """Of the administrator who makes the other keys. None: only keys that are in the store."""

    ticket_lifetime: float = 15.0
    """Seconds; as the nonce of the original."""

    session: float = 8 * 3600.0
    """Seconds of a session that began with a ticket, where the policy does not say."""

    origins: tuple[str, ...] = ()
    """Whose web pages may ask: values of HTTP's Origin. Others, and all by default, are refused."""

    certificate_edge_prefix: str = "edge-tunnel:edge:"
    certificate_remote_prefix: str = "edge-tunnel:remote:"
    """What stands before a device's or a user's name in a certificate. The longer one that fits
    counts; an empty one (``*`` in the file) takes every name."""


@dataclass(frozen=True)
class _Prefix(Text):
    """``*`` is no prefix at all: an empty string is nothing that was set."""

    def read(self, node: Node, warn: Say) -> str:
        prefix = super().read(node, warn)
        return "" if prefix == "*" else prefix


ACCESS_GROUP: Final = Group(path="access")

ACCESS_RULES: Final = (
    Rule(group="access", key="admin_key_file", kind=Text(), target="admin_key_file"),
    Rule(
        group="access",
        key="ticket_lifetime",
        kind=Duration(scale=1, low=1, high=3600),
        target="access.ticket_lifetime",
    ),
    Rule(
        group="access",
        key="session",
        kind=Duration(scale=1, low=60, high=366 * 86_400),
        target="access.session",
    ),
    Rule(group="access", key="origins", kind=ListOf(Text()), target="access.origins"),
    *(
        Rule(group="access", key=key, kind=_Prefix(), target=f"access.{key}")
        for key in ("certificate_edge_prefix", "certificate_remote_prefix")
    ),
)

ADMIN_KEY: Final = SecretPlace(
    "admin_key",
    "access.admin_key",
    "EDGE_TUNNEL_ADMIN_KEY",
    "admin_key",
    "admin_key_file",
    "access.admin_key_file",
)


def check_access(section: Section, keys: Mapping[str, Secret], findings: Findings) -> None:
    """Either a development key or this group; and what in it does not fit together."""
    written = {*section.values, *section.wrong, *keys}
    has_dev, has_access = bool(written & {"dev_key", "dev_key_file"}), "access" in section.groups
    if has_dev and has_access:
        message = "a development key lets everybody in who has it, whatever [access] says"
        findings.error(None, "dev_key", message, "remove dev_key (or EDGE_TUNNEL_DEV_KEY)")
    if not has_dev and not has_access:
        hint = "write [access] with admin_key_file; or, to try it out, set EDGE_TUNNEL_DEV_KEY"
        findings.error(None, "access", "no key: such a node would let anybody in", hint)
    if has_access:
        _check_group(section, keys, findings)


def _check_group(section: Section, keys: Mapping[str, Secret], findings: Findings) -> None:
    alone = "cluster.engine" not in section.values
    if alone and not {*section.values, *section.wrong, *keys} & {
        "admin_key",
        "admin_key_file",
        "state",
    }:
        message = "no administrator: nobody could make a key on this node, so nobody gets in"
        hint = "write admin_key_file, or set EDGE_TUNNEL_ADMIN_KEY; edge-tunnel key generate"
        findings.error(None, "access.admin_key_file", message, f"{hint} makes one")
    if not alone and "state" in section.values:
        taken = section.values["state"]
        message = "not used: keys and policy of a cluster are in its etcd"
        findings.note(taken.offset, taken.path, message)
    prefixes = [section.value(f"access.certificate_{role}_prefix") for role in ("edge", "remote")]
    if None not in prefixes and prefixes[0] == prefixes[1]:
        message = "a device's certificate would be a user's, too"
        hint = "give devices and users different prefixes"
        findings.error(None, "access.certificate_edge_prefix", message, hint)
