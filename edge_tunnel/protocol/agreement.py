"""How the two ends of a sealed tunnel come to a secret that no node knows.

The remote offers in each ATTACH, the edge answers in each ATTACHED (WIRE.md, "Sealed tunnels")::

    offer  = the remote's X25519 public key (32)  nonce (32)
    answer = the edge's X25519 public key (32)  nonce (32)  identity (32)  signature (64)

* The X25519 keys belong to the tunnel, and are made for it; the nonces are new each time.
* The signature is the device's, over both messages: so over the tunnel's id, thing, service, epoch,
  positions and both shares. A node that puts a share of its own in place of one of them, or plays
  an older answer again, has no signature for that.
* The tunnel's *secret* comes from the two X25519 keys. It proves each later ATTACH and each
  ATTACHED (proof.py), as the secret of a tunnel that is not sealed does.
* The *keys* of an epoch, one for each direction, come from the secret and from the very bytes of
  the ATTACH and ATTACHED that began it, nonces and all. So they are new with every attach, and
  two ends that did not see the same two messages open nothing of each other.

Deliberately missing: the remote proves to the device only that it is the one that began the tunnel.
Who may begin one is for the nodes to say, and for the service behind the device to ask again.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Final, NamedTuple

from edge_tunnel.errors import RemoteProtocolError
from edge_tunnel.protocol import ciphers
from edge_tunnel.protocol.codec import encode
from edge_tunnel.protocol.frames import Attach, Attached
from edge_tunnel.protocol.identity import Identity, verifies
from edge_tunnel.reasons import Reason

__all__ = ["Disagreement", "EdgeAgreement", "Keys", "RemoteAgreement", "epoch_keys"]

_LABEL: Final = b"edge-tunnel 1 "
_UNSIGNED: Final = bytes(64)


class Disagreement(RemoteProtocolError):
    """The ends do not agree; the tunnel ends with `reason`."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Keys(NamedTuple):
    """Of one epoch, 32 bytes each."""

    to_edge: bytes
    to_remote: bytes


class RemoteAgreement:
    """The side that offers."""

    def __init__(self) -> None:
        self._private = ciphers.X25519PrivateKey.generate()
        self._share = self._private.public_key().public_bytes_raw()
        self.secret = b""
        """Empty until the first answer."""

        self.identity = b""
        """The device's public key, once it has proved that it has the private half."""

    def offer(self) -> bytes:
        """For the next ATTACH."""
        return self._share + secrets.token_bytes(32)

    def conclude(self, asked: Attach, frame: Attached) -> None:
        """Check the answer; afterwards `secret` and `identity` are there.

        Raises:
          Disagreement: it is none, or not of the device that answered before.
        """
        if not frame.answer:
            text = "the device answered without end-to-end encryption, though it was asked for"
            raise Disagreement(Reason.ENCRYPTION, text)
        share, identity, signature = frame.answer[:32], frame.answer[64:96], frame.answer[96:]
        if self.identity and identity != self.identity:
            text = "another device answers for the one that the tunnel was opened to"
            raise Disagreement(Reason.IDENTITY, text)
        if not verifies(identity, signature, _signed(asked, frame)):
            raise Disagreement(Reason.IDENTITY, "the device could not prove who it is")
        if not self.secret:
            salt = _salt(asked.tunnel, self._share, share, identity)
            self.secret = _secret(self._private, share, salt)
            self.identity = identity


class EdgeAgreement:
    """The side that answers."""

    def __init__(self, identity: Identity, opening: Attach) -> None:
        """Raises RemoteProtocolError: the remote's share is not one."""
        private = ciphers.X25519PrivateKey.generate()
        self._identity = identity
        self._share = private.public_key().public_bytes_raw()
        self.far_share = opening.offer[:32]
        salt = _salt(opening.tunnel, self.far_share, self._share, identity.public)
        self.secret = _secret(private, self.far_share, salt)

    def answered(self, asked: Attach, frame: Attached) -> Attached:
        """The frame, with our part of the agreement in it."""
        ours = self._share + secrets.token_bytes(32) + self._identity.public
        signature = self._identity.sign(_signed(asked, frame._replace(answer=ours + _UNSIGNED)))
        return frame._replace(answer=ours + signature)


def epoch_keys(secret: bytes, asked: Attach, frame: Attached) -> Keys:
    """The keys for what is sent after this ATTACH and its ATTACHED, both as they were sent."""
    salt = hashlib.sha256(encode(asked) + encode(frame)).digest()
    return Keys(_derive(secret, salt, b"to edge"), _derive(secret, salt, b"to remote"))


def _salt(tunnel: bytes, remote: bytes, edge: bytes, identity: bytes) -> bytes:
    """What stays the same in every attach of the tunnel: its first may have been said twice."""
    return hashlib.sha256(tunnel + remote + edge + identity).digest()


def _secret(private: ciphers.X25519PrivateKey, far_share: bytes, salt: bytes) -> bytes:
    try:
        shared = private.exchange(ciphers.X25519PublicKey.from_public_bytes(far_share))
    except ValueError:  # a point that gives zero, whatever the private key is
        raise RemoteProtocolError("the key that was offered cannot be used") from None
    return _derive(shared, salt, b"secret")


def _signed(asked: Attach, frame: Attached) -> bytes:
    """What the device signs: both messages, without the parts that come after the signature."""
    unsigned = frame._replace(proof=b"", answer=frame.answer[:96] + _UNSIGNED)
    hashes = (hashlib.sha256(encode(each)).digest() for each in (asked, unsigned))
    return _LABEL + b"attached" + b"".join(hashes)


def _derive(key: bytes, salt: bytes, what: bytes) -> bytes:
    return ciphers.HKDF(ciphers.SHA256(), 32, salt, _LABEL + what).derive(key)
