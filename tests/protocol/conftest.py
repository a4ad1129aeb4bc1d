"""Somebody who counts nonces, in every test of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from edge_tunnel.protocol import ciphers


class CountedAESGCM:
    """AES-GCM that fails when a nonce is used twice with one key, whoever asks for it."""

    used: set[tuple[bytes, bytes]]

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._aead = AESGCM(key)

    def encrypt(self, nonce: bytes, data: bytes, associated: bytes) -> bytes:
        assert (self._key, nonce) not in self.used, "a nonce was used twice"
        self.used.add((self._key, nonce))
        return self._aead.encrypt(nonce, data, associated)

    def decrypt(self, nonce: bytes, data: bytes, associated: bytes) -> bytes:
        return self._aead.decrypt(nonce, data, associated)


@pytest.fixture(autouse=True, scope="module")
def nonces() -> Iterator[set[tuple[bytes, bytes]]]:
    """Every key and nonce that was used since the module's tests began."""
    CountedAESGCM.used = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ciphers, "AESGCM", CountedAESGCM)
        yield CountedAESGCM.used
