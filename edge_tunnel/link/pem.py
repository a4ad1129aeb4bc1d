"""Certificates and keys in files: whether they can be used, told before anybody connects."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from edge_tunnel.config.secret import Secret
from edge_tunnel.errors import ConfigError

__all__ = ["BadFile", "Pair", "read_certificates"]

_MOST: Final = 1024 * 1024
"""Bytes: the CAs of a whole system are 200 KiB."""


class BadFile(ConfigError):
    """A file of a certificate or key cannot be used."""

    def __init__(self, key: str, message: str, hint: str = "") -> None:
        super().__init__(key, message, hint)
        self.key, self.message, self.hint = key, message, hint

    def __str__(self) -> str:
        text = f"{self.key}: {self.message}"
        return f"{text}; {self.hint}" if self.hint else text


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A certificate (with its chain), its key, and the CAs of those that connect. PEM files."""

    certificate: str
    key: str
    password: Secret | None = None
    """Of the key."""

    ca: str | None = None
    called: tuple[str, str, str] = ("tls.certificate", "tls.key", "tls.client_ca")
    """The three in the user's words: keys of the configuration, or options."""

    @property
    def files(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(path for path in (self.certificate, self.key, self.ca) if path is not None)

    def ends(self) -> float:
        """When the certificate does, in seconds since 1970. Raises BadFile."""
        leaf = read_certificates(self.called[0], self.certificate)[0]
        return leaf.not_valid_after_utc.timestamp()

    def check(self) -> None:
        """Raises BadFile for what would keep TLS from working with these files."""
        certificate, key, ca = self.called
        leaf = read_certificates(certificate, self.certificate)[0]
        _check_time(certificate, self.certificate, leaf)
        private = _read_key(key, self.key, self.password)
        if _raw(leaf.public_key()) != _raw(private.public_key()):
            text = f"{self.key} is not the key of the certificate {self.certificate}"
            raise BadFile(key, text, "name the two files of one pair")
        if self.ca is not None:
            read_certificates(ca, self.ca)


def read_certificates(key: str, path: str) -> Sequence[x509.Certificate]:
    """All certificates of a PEM file, at least one. Raises BadFile, which names `key`."""
    data = _read(key, path)
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError:
        hint = "it begins with -----BEGIN CERTIFICATE-----, and its chain follows"
        raise BadFile(key, f"{path} is not a certificate in PEM form", hint) from None


def _check_time(key: str, path: str, leaf: x509.Certificate) -> None:
    now = datetime.now(timezone.utc)
    if leaf.not_valid_after_utc < now:
        text = f"the certificate {path} has expired on {leaf.not_valid_after_utc:%Y-%m-%d}"
        raise BadFile(key, text, "renew it")
    if leaf.not_valid_before_utc > now:
        text = f"the certificate {path} is valid from {leaf.not_valid_before_utc:%Y-%m-%d} on"
        raise BadFile(key, text, "look at this machine's clock")


def _read_key(key: str, path: str, password: Secret | None) -> PrivateKeyTypes:
    data = _read(key, path)
    if Path(path).stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
        raise BadFile(key, f"every user of this machine can read {path}", f"chmod 600 {path}")
    secret = password.reveal().encode() if password else None
    encrypted = b"ENCRYPTED" in data
    if encrypted and secret is None:
        hint = "set EDGE_TUNNEL_TLS_KEY_PASSWORD or tls.key_password_file, or decrypt it"
        raise BadFile(key, f"{path} is encrypted", hint)
    try:
        return load_pem_private_key(data, secret if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        why = (
            "the password does not open it" if encrypted else "it is not a private key in PEM form"
        )
        raise BadFile(key, f"{path}: {why}") from None


def _read(key: str, path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(_MOST)
    except (OSError, ValueError) as error:
        why = (getattr(error, "strerror", None) or "not a file name").lower()
        raise BadFile(key, f"{path} cannot be read: {why}") from None


def _raw(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
