"""The proof that an attach comes from the end that opened the tunnel.

Both ends share a secret of 32 random bytes. It is made by the remote and goes to the edge once, in
the ATTACH that opens the tunnel, through TLS; it is never sent again. Every ATTACH and ATTACHED
proves with HMAC-SHA256 that its sender knows it, over the epoch and the positions, so that a stolen
tunnel id is worth nothing and an old attach cannot be played again (its epoch is over).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import cast

import msgpack

from edge_tunnel.protocol.frames import Position

__all__ = ["attach_proof", "new_secret", "proves"]


def new_secret() -> bytes:
    """A secret for a new tunnel."""
    return secrets.token_bytes(32)


def attach_proof(
    secret: bytes, label: str, tunnel: bytes, epoch: int, positions: Sequence[Position]
) -> bytes:
    """The proof for one frame; `label` ("attach" or "attached") keeps the directions apart."""
    transcript = cast("bytes", msgpack.packb((label, tunnel, epoch, tuple(positions))))
    return hmac.new(secret, transcript, hashlib.sha256).digest()


def proves(proof: bytes, expected: bytes) -> bool:
    """Compare in constant time (CVE-2021-33880 is what happens otherwise)."""
    return hmac.compare_digest(proof, expected)
