"""The group ``limits`` of a node's file: what one node takes on, of all and of each."""

from __future__ import annotations

from dataclasses import dataclass

from edge_tunnel.config.kinds import Duration, Whole
from edge_tunnel.config.rules import Group, Rule

__all__ = ["LIMITS_GROUP", "LIMITS_RULES", "NodeLimits"]


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


def _rule(key: str, kind: Duration | Whole) -> Rule:
    return Rule(group="limits", key=key, kind=kind, target=f"limits.{key}")


LIMITS_RULES = (
    _rule("handshake_timeout", Duration(scale=1, low=0.1, high=600)),
    _rule("max_unauthenticated", Whole(low=1, high=1_000_000)),
    _rule("max_unauthenticated_per_source", Whole(low=0, high=1_000_000)),
    _rule("max_failures_per_source", Whole(low=0, high=1_000_000)),
    _rule("memory", Whole(low=0, high=2**50)),
    _rule("max_links", Whole(low=1, high=10_000_000)),
    _rule("max_silence", Duration(scale=1, low=1, high=86_400)),
    _rule("admission_rate", Whole(low=1, high=1_000_000)),
    _rule("admission_burst", Whole(low=1, high=1_000_000)),
)
LIMITS_GROUP = Group(path="limits")
