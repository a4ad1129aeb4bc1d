"""The proof that an attach comes from the end that opened the tunnel.

Both ends share a secret of 32 random bytes. It is made by the remote and goes to the edge once, in
the ATTACH that opens the tunnel, through TLS; it is never sent again. Every ATTACH and ATTACHED
proves with HMAC-SHA256 that its sender knows it, so that a stolen tunnel id is worth nothing. The
proof is over the whole message that carries it: nothing in it can be changed, its kind keeps the
directions apart, and an old one cannot be played again, because its epoch is over.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from edge_tunnel.protocol.codec import encode
from edge_tunnel.protocol.frames import Attach, Attached

__all__ = ["attach_proof", "new_secret", "proves"]


def new_secret() -> bytes:
    """A secret for a new tunnel."""
    return secrets.token_bytes(32)


def attach_proof(secret: bytes, frame: Attach | Attached) -> bytes:
    """The proof for this frame: over its message with an empty proof in it."""
    return hmac.new(secret, encode(frame._replace(proof=b"")), hashlib.sha256).digest()


def proves(proof: bytes, expected: bytes) -> bool:
    """Compare in constant time (CVE-2021-33880 is what happens otherwise)."""
    return hmac.compare_digest(proof, expected)
