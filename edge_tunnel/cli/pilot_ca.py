"""A small certificate authority in a folder, for a pilot.

Nodes get DNS names and addresses, and may be servers and clients (towards each other). Edges and
remotes get a URI that says their role, ``edge-tunnel:edge:THING`` or ``edge-tunnel:remote:USER``,
and may only be clients: so that no edge's certificate is good for a node's name, nor for a user's.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID as Use
from cryptography.x509.oid import NameOID

from edge_tunnel.cli.exits import CommandFailed, Exit
from edge_tunnel.errors import ConfigError
from edge_tunnel.link.pem import read_certificates

__all__ = ["Leaf", "PilotCa", "edge_leaf", "node_leaf", "refuse_existing", "remote_leaf"]

_CA_DAYS: Final = 3650
_BEFORE: Final = timedelta(hours=1)
"""A device whose clock is behind takes a new certificate all the same."""


@dataclass(frozen=True)
class Leaf:
    """What a certificate is for."""

    file: str
    """Name of its files, without the suffix."""

    common_name: str
    names: tuple[x509.GeneralName, ...]
    uses: tuple[x509.ObjectIdentifier, ...]


def node_leaf(node: str | None, hosts: Sequence[str]) -> Leaf:
    """Of a node that is reached at these hosts and, in a cluster, is called `node`."""
    names = dict.fromkeys(_host(each) for each in ((*((node,) if node else ()), *hosts)))
    file = "node" if node is None else f"node-{_safe(node)}"
    return Leaf(file, node or hosts[0], tuple(names), (Use.SERVER_AUTH, Use.CLIENT_AUTH))


def edge_leaf(thing: str) -> Leaf:
    """Of the device on which this thing is bound."""
    return _client("edge", thing)


def remote_leaf(user: str) -> Leaf:
    """Of a technician."""
    return _client("remote", user)


def _client(role: str, name: str) -> Leaf:
    uri = x509.UniformResourceIdentifier(f"edge-tunnel:{role}:{quote(name, safe='')}")
    return Leaf(f"{role}-{_safe(name)}", name, (uri,), (Use.CLIENT_AUTH,))


def _host(host: str) -> x509.GeneralName:
    with suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    try:
        return x509.DNSName(host.encode("idna").decode("ascii"))
    except UnicodeError:
        raise CommandFailed(Exit.USAGE, f"{host} is not a host name") from None


def refuse_existing(folder: Path, files: Sequence[str]) -> None:
    """Raises CommandFailed if there is any of these already, in full or in part."""
    for file in files:
        for path in (folder / f"{file}.pem", folder / f"{file}.key"):
            if path.exists():
                text = f"{path} is there already, and nothing was changed"
                hint = "tls add makes more of the same CA, tls renew new ones for the same names"
                raise CommandFailed(Exit.CANNOT_CREATE, f"{text}; {hint}")


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)


class PilotCa:
    """The authority of a folder: ``ca.pem`` and ``ca.key``. Raises CommandFailed."""

    def __init__(
        self, folder: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate
    ) -> None:
        self.folder = folder
        self._key = key
        self._certificate = certificate

    @classmethod
    def create(cls, folder: Path) -> PilotCa:
        """A new one. It replaces nothing."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _subject(f"edge-tunnel pilot CA {datetime.now(timezone.utc):%Y-%m-%d}")
        use = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False,
            encipher_only=False, decipher_only=False,
        )  # fmt: skip
        certificate = (
            _begun(name, name, key, _CA_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(use, critical=True)
            .sign(key, hashes.SHA256())
        )
        ca = cls(folder, key, certificate)
        refuse_existing(folder, ["ca"])
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise CommandFailed(Exit.CANNOT_CREATE, f"{folder}: {error.strerror}") from None
        ca._write("ca", key, certificate)
        return ca

    @classmethod
    def open(cls, folder: Path) -> PilotCa:
        """The one that `create` made."""
        path = folder / "ca.key"
        try:
            key = load_pem_private_key(path.read_bytes(), None)
            certificate = read_certificates("the CA", str(folder / "ca.pem"))[0]
        except OSError as error:
            text = (
                f"{path}: {(error.strerror or str(error)).lower()}; edge-tunnel tls init makes it"
            )
            raise CommandFailed(Exit.CONFIGURATION, text) from None
        except (ConfigError, ValueError, TypeError) as error:
            raise CommandFailed(Exit.CONFIGURATION, f"{path} cannot be used: {error}") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise CommandFailed(Exit.CONFIGURATION, f"{path}: not a key of edge-tunnel tls init")
        return cls(folder, key, certificate)

    def issue(self, leaf: Leaf, days: int) -> Path:
        """A new key and its certificate; those that are there are replaced. Its path."""
        key = ec.generate_private_key(ec.SECP256R1())
        ours = self._key.public_key()
        certificate = (
            _begun(_subject(leaf.common_name), self._certificate.subject, key, days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(leaf.names), critical=False)
            .add_extension(x509.ExtendedKeyUsage(leaf.uses), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ours), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return self._write(leaf.file, key, certificate)

    def again(self, file: str) -> Leaf:
        """What the certificate of these files is for."""
        path = self.folder / f"{file}.pem"
        try:
            old = read_certificates(file, str(path))[0]
            names = old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            uses = old.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except (ConfigError, x509.ExtensionNotFound):
            text = f"{path} is not a certificate of edge-tunnel tls init or tls add"
            raise CommandFailed(Exit.CONFIGURATION, text) from None
        called = old.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        return Leaf(file, str(called), tuple(names), tuple(uses))

    def _write(
        self, file: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate
    ) -> Path:
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        try:
            _replace(self.folder / f"{file}.key", secret, 0o600)
            path = self.folder / f"{file}.pem"
            _replace(path, certificate.public_bytes(Encoding.PEM), 0o644)
        except OSError as error:
            text = f"{self.folder}: {error.strerror or error}"
            raise CommandFailed(Exit.CANNOT_CREATE, text) from None
        return path


def _replace(path: Path, data: bytes, mode: int) -> None:
    """Nobody ever sees half a file, nor a key with other rights than its own."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    new.replace(path)


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(timezone.utc)
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEFORE)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
