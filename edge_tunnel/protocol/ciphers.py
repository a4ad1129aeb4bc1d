"""What is used of `cryptography`, loaded with the first sealed tunnel.

It is 9 MiB, a quarter of what an edge has in memory, and a device that nobody talks to needs none
of it. So these names are looked up here when they are used, and never imported from here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

__all__ = [
    "AESGCM",
    "HKDF",
    "SHA256",
    "Ed25519PrivateKey",
    "Ed25519PublicKey",
    "InvalidSignature",
    "InvalidTag",
    "UnsupportedAlgorithm",
    "X25519PrivateKey",
    "X25519PublicKey",
    "serialization",
]

_PRIMITIVES: Final = "cryptography.hazmat.primitives"

_PLACES: Final = {
    "AESGCM": f"{_PRIMITIVES}.ciphers.aead",
    "HKDF": f"{_PRIMITIVES}.kdf.hkdf",
    "SHA256": f"{_PRIMITIVES}.hashes",
    "Ed25519PrivateKey": f"{_PRIMITIVES}.asymmetric.ed25519",
    "Ed25519PublicKey": f"{_PRIMITIVES}.asymmetric.ed25519",
    "InvalidSignature": "cryptography.exceptions",
    "InvalidTag": "cryptography.exceptions",
    "UnsupportedAlgorithm": "cryptography.exceptions",
    "X25519PrivateKey": f"{_PRIMITIVES}.asymmetric.x25519",
    "X25519PublicKey": f"{_PRIMITIVES}.asymmetric.x25519",
    "serialization": f"{_PRIMITIVES}.serialization",
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place = import_module(_PLACES[name])
    value: object = getattr(place, name, place)
    globals()[name] = value  # from the second use on it is a name as any other
    return value
