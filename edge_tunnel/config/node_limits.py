"""The group ``limits`` of a node's file: what one node takes on, of all and of each."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any, TypeAlias

from edge_tunnel.config import scalars
from edge_tunnel.config.kinds import Duration, Kind, ListOf, Text, Whole
from edge_tunnel.config.nodes import Node
from edge_tunnel.config.rules import Group, Rule
from edge_tunnel.config.scalars import Say, Unfit, shortened

__all__ = ["LIMITS_GROUP", "LIMITS_RULES", "Network", "NodeLimits"]

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, kw_only=True)
class NodeLimits:
    """What one node takes on."""

    handshake_timeout: float = 10.0
    """Seconds from the TCP connection to a complete greeting; the stack's own 60 s let idle
    strangers hold a place for a minute."""

    max_unauthenticated: int = 256
    """Connections at once that have not shown a key yet."""

    max_unauthenticated_per_source: int = 32
    """Of them, from one IPv4 address or one /64 of IPv6; 0: no limit. Behind a balancer that is
    not in `trusted_proxies` all come from the balancer's address, so there it is 0."""

    trusted_proxies: tuple[Network, ...] = ()
    """Balancers. What their X-Forwarded-For says is where a peer comes from: for the limits of each
    source, the audit and the lists. Of others that header is not looked at."""

    max_failures_per_source: int = 20
    """Refused keys of one address in a minute: a person's attempts, and those of a few devices
    with a wrong key behind one router. At links and at the API together. 0: no limit, as behind a
    balancer that is not in `trusted_proxies`."""

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


@dataclass(frozen=True)
class _Network(Text):
    def read(self, node: Node, warn: Say) -> Any:
        written = scalars.visible_text(node, warn)
        try:
            return ipaddress.ip_network(written)
        except ValueError:
            hint = 'write it as in "10.0.0.0/8" or "192.0.2.7"'
            text = f"{shortened(written)} is no address, and no network with its bits"
            raise Unfit(text, hint) from None

    def write(self, value: Any) -> str:
        return super().write(str(value))

    def show(self, value: Any) -> str:
        return str(value)


def _rule(key: str, kind: Kind) -> Rule:
    return Rule(group="limits", key=key, kind=kind, target=f"limits.{key}")


LIMITS_RULES = (
    _rule("handshake_timeout", Duration(scale=1, low=0.1, high=600)),
    _rule("max_unauthenticated", Whole(low=1, high=1_000_000)),
    _rule("max_unauthenticated_per_source", Whole(low=0, high=1_000_000)),
    _rule("trusted_proxies", ListOf(_Network())),
    _rule("max_failures_per_source", Whole(low=0, high=1_000_000)),
    _rule("memory", Whole(low=0, high=2**50)),
    _rule("max_links", Whole(low=1, high=10_000_000)),
    _rule("max_silence", Duration(scale=1, low=1, high=86_400)),
    _rule("admission_rate", Whole(low=1, high=1_000_000)),
    _rule("admission_burst", Whole(low=1, high=1_000_000)),
)
LIMITS_GROUP = Group(path="limits")
