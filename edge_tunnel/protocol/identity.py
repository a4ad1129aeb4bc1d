"""Who a device is: an Ed25519 key that is its own, made at its first start and kept.

The edge signs its part of every attach with it (agreement.py). A remote remembers the public half,
so that nobody between the two can take the device's place. What people see and compare is the
fingerprint: as OpenSSH writes one, ``SHA256:`` and the base64 of the hash, without padding.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from edge_tunnel.protocol import ciphers

__all__ = ["Identity", "fingerprint_of", "is_fingerprint", "verifies"]

_MARK = "SHA256:"


class Identity:
    """A device's private key."""

    def __init__(
        self, key: ciphers.Ed25519PrivateKey | bytes | None = None, public: bytes = b""
    ) -> None:
        """A new one, if `key` is left out. `public`: see `known`."""
        key = ciphers.Ed25519PrivateKey.generate() if key is None else key
        self._private = key  # or its PEM, until it is used
        self.public = public or self._key.public_key().public_bytes_raw()
        """The public half, 32 bytes."""

    def __repr__(self) -> str:
        return f"<Identity {self.fingerprint}>"

    @property
    def fingerprint(self) -> str:
        """Of the public half, for people."""
        return fingerprint_of(self.public)

    def sign(self, text: bytes) -> bytes:
        """The signature, 64 bytes."""
        return self._key.sign(text)

    @property
    def _key(self) -> ciphers.Ed25519PrivateKey:
        if isinstance(self._private, bytes):
            self._private = _key_of(self._private)
        return self._private

    @classmethod
    def known(cls, public: bytes, pem: bytes) -> Identity:
        """Of a PEM that was read, and checked, elsewhere: it is not looked at before it is used."""
        return cls(pem, public)

    @classmethod
    def from_pem(cls, text: bytes) -> Identity:
        """Raises ValueError: this is no Ed25519 private key in PEM without a passphrase."""
        return cls(_key_of(text))

    def to_pem(self) -> bytes:
        """PKCS #8, without a passphrase: as ``openssl genpkey -algorithm ed25519`` writes it."""
        return self._key.private_bytes(
            ciphers.serialization.Encoding.PEM,
            ciphers.serialization.PrivateFormat.PKCS8,
            ciphers.serialization.NoEncryption(),
        )


def _key_of(pem: bytes) -> ciphers.Ed25519PrivateKey:
    try:
        key = ciphers.serialization.load_pem_private_key(pem, password=None)
    except (TypeError, ciphers.UnsupportedAlgorithm):  # the former: it has a passphrase
        raise ValueError("the key cannot be used") from None
    if not isinstance(key, ciphers.Ed25519PrivateKey):
        raise ValueError("the key is not an Ed25519 key")  # noqa: TRY004 - of its content
    return key


def fingerprint_of(public: bytes) -> str:
    """For a public key of 32 bytes."""
    digest = base64.b64encode(hashlib.sha256(public).digest())
    return _MARK + digest.decode().rstrip("=")


def is_fingerprint(text: str) -> bool:
    """Whether it has the form of one."""
    digest = text.removeprefix(_MARK)
    if digest == text or len(digest) != 43:
        return False
    try:
        return (
            base64.b64encode(base64.b64decode(digest + "=", validate=True)) == f"{digest}=".encode()
        )
    except (binascii.Error, ValueError):
        return False


def verifies(public: bytes, signature: bytes, text: bytes) -> bool:
    """Whether the holder of the private half signed `text`."""
    try:
        ciphers.Ed25519PublicKey.from_public_bytes(public).verify(signature, text)
    except (ciphers.InvalidSignature, ValueError):
        return False
    return True
