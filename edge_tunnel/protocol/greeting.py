"""The first two frames of a link: which version is spoken, by whom, and whether a key fits.

HELLO names the range of protocol versions that the endpoint speaks; the node picks the highest that
both know. A peer that is too old gets one line that says which version is needed. (What a node
demands of the software, beyond the protocol, is its own: `proxy/demands.py`.)
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from edge_tunnel.protocol.frames import Bye, Hello, Join, Welcome
from edge_tunnel.protocol.listing import LISTS
from edge_tunnel.reasons import Reason

__all__ = [
    "FEATURES",
    "NEWEST",
    "OLDEST",
    "PASSES",
    "PASSING",
    "PINGS",
    "RESUMING",
    "ROLES",
    "SEALED",
    "SOFTWARE",
    "SUBPROTOCOL",
    "VERSION",
    "agree",
    "common_features",
    "wants_pings",
]

VERSION: Final = "0.1.0"
SOFTWARE: Final = f"edge_tunnel/{VERSION}"
SUBPROTOCOL: Final = "edge-tunnel.1"
"""The WebSocket subprotocol: another number would be another wire."""

OLDEST: Final = 1
NEWEST: Final = 1
SEALED: Final = "sealed"
PASSES: Final = "passes"
PINGS: Final = "pings"
FEATURES: Final[tuple[str, ...]] = ("drain", "grants", SEALED, "services", LISTS, PASSES, PINGS)
"""Optional features that this version can negotiate.

drain: a node may send DRAIN. grants: a node may send GRANT to a remote. sealed: an endpoint can
read the frames of sealed tunnels, a node passes them on. services: a node may send SERVICES to an
edge. lists: a node answers ASK, and takes OFFER. passes: a node takes passed connections. pings: a
node pings an endpoint that asks for it in HELLO (see `wants_pings`).
"""

PASSING: Final = "passing"
"""Named in JOIN by a node that passes one connection of a device on: this is no hop. WELCOME does
not name it."""

RESUMING: Final = "resuming"
"""Named in HELLO by an endpoint whose tunnels wait for this link: a node that takes new links at a
rate lets it in ahead of idle ones. WELCOME does not name it."""

ROLES: Final = ("edge", "remote")


def agree(hello: Hello | Join, node: str) -> Welcome | Bye:
    """The node's answer to HELLO or JOIN: protocol, role and features."""
    if hello.newest < OLDEST or hello.oldest > NEWEST:
        return _bye(
            Reason.VERSION,
            f"this node speaks protocol {OLDEST} to {NEWEST}, {hello.software} speaks "
            f"{hello.oldest} to {hello.newest}: update the older one",
        )
    if isinstance(hello, Hello) and hello.role not in ROLES:
        return _bye(Reason.PROTOCOL_ERROR, f"unknown role {hello.role!r}")
    unasked = () if wants_pings(hello) else (PINGS,)
    common = tuple(each for each in hello.features if each in FEATURES and each not in unasked)
    return Welcome(min(hello.newest, NEWEST), node, SOFTWARE, common, "")


def wants_pings(hello: Hello | Join) -> bool:
    """Whether the endpoint leaves the pings to its node, if the node can."""
    return isinstance(hello, Hello) and PINGS in hello.features and hello.ping_ms > 0


def common_features(greeting: Hello | Join | Welcome) -> frozenset[str]:
    """What both ends of a link or hop know."""
    return _common(greeting.features)


@lru_cache(maxsize=64)
def _common(features: tuple[str, ...]) -> frozenset[str]:
    # one set for all who say the same: a node may have 10,000 links
    return frozenset(features) & frozenset(FEATURES)


def _bye(reason: Reason, text: str) -> Bye:
    return Bye(reason, text, 0)
