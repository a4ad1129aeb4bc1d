"""What a node needs to know to take ThingWorx devices."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_tunnel.access.rights import ServiceOffer
from edge_tunnel.protocol.identity import Identity

__all__ = ["AlwaysOnSettings", "stand_in"]

_STAND_IN: Final = b"edge-tunnel alwayson identity 1"
"""What the cluster's secret is used for here."""


@dataclass(frozen=True, kw_only=True)
class AlwaysOnSettings:
    """Seconds, but where another unit is named."""

    silence: float = 90.0
    """Without anything from a device its main socket is over. C devices ping every 55 s, Java
    devices after 45 s; the platform's own default is 60."""

    open_timeout: float = 15.0
    """From asking a device for a tunnel to its socket. Its quick "success" means nothing, and a Java
    device whose target refuses never says any more."""

    max_streams: int = 1000
    """Tunnel sockets at once, of all devices of the node: a Connection Server's is 50."""

    max_streams_per_thing: int = 64
    """Of them, of one thing. A device serves all of its tunnels in one thread (C), and may take no
    more than four (EMS)."""

    notify: bool = True
    """Whether to send NotifyPropertyUpdate after a bind, as the platform does."""

    services: tuple[ServiceOffer, ...] = ()
    """Of every such device, beside those that the policy names for it."""


def stand_in(secret: str) -> Identity:
    """Who AlwaysOn devices are to remotes: one identity, the cluster's own.

    Such a device has none, and the far end of its tunnels is a node. All nodes derive the same one
    from the cluster's secret, so that a device may come by any of them; without one it is made anew.
    """
    if not secret:
        return Identity()
    seed = hmac.new(secret.encode(), _STAND_IN, hashlib.sha256).digest()
    return Identity(Ed25519PrivateKey.from_private_bytes(seed))
