"""Who ThingWorx devices are to remotes, which remember the identity of each thing.

Such a device has no identity of its own, and the far end of its tunnels is a node. So all of them
have the cluster's: every node derives the same from the cluster's secret, and a device may come by
any of them. Without a secret it is made anew for each run. No I/O here.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_tunnel.protocol.identity import Identity

__all__ = ["stand_in"]

_USE: Final = b"edge-tunnel alwayson identity 1"
"""What the cluster's secret is used for here."""


def stand_in(secret: str) -> Identity:
    """The identity of a cluster with this secret."""
    if not secret:
        return Identity()
    seed = hmac.new(secret.encode(), _USE, hashlib.sha256).digest()
    return Identity(Ed25519PrivateKey.from_private_bytes(seed))
