"""TLS towards a node, as the EMS group ``certificates`` asks for it."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import trio

from edge_tunnel.config.model import CertificateCriteria, TlsSettings
from edge_tunnel.errors import ConfigError, LinkHopeless, LinkLost
from edge_tunnel.link.handshake import shake_hands
from edge_tunnel.link.signatures import signature_of
from edge_tunnel.link.tls_words import SELF_SIGNED, client_problem

__all__ = ["ClientTls"]

_log = logging.getLogger("edge_tunnel.link")

_FIELDS: Final = (
    ("common_name", "subject", "commonName"),
    ("organization", "subject", "organizationName"),
    ("organizational_unit", "subject", "organizationalUnitName"),
    ("issuer_common_name", "issuer", "commonName"),
    ("issuer_organization", "issuer", "organizationName"),
    ("issuer_organizational_unit", "issuer", "organizationalUnitName"),
)
"""Attribute of CertificateCriteria, and where `ssl.SSLSocket.getpeercert` has it."""


_CLIENT_CERT: Final = "certificates.client_cert (or --cert)"


class ClientTls:
    """Makes a connected stream secure, or says in one line why not."""

    def __init__(self, settings: TlsSettings | None = None) -> None:
        """Raises ConfigError: a file is missing or is not what it should be."""
        self.settings = settings or TlsSettings()
        self._contexts: dict[bool, ssl.SSLContext] = {}
        self._files = _files(self.settings)
        self._seen = signature_of(self._files)
        if self.settings != TlsSettings():  # what it names must be usable, said now
            self._load()

    def _load(self) -> None:
        """All that may be needed: what is read later may be broken by then."""
        its = self.settings
        for verify in {its.validate, its.validate and not its.allow_self_signed}:
            self._context(verify=verify)

    def _context(self, *, verify: bool) -> ssl.SSLContext:
        """Made when it is needed: the system's CAs take 50 ms and megabytes to load."""
        if verify not in self._contexts:
            self._contexts[verify] = _context(self.settings)
            if not verify:
                _trust_anything(self._contexts[verify])
        return self._contexts[verify]

    def _renew(self) -> None:
        """Files that were replaced count from the next connection on, if they can be used."""
        seen = signature_of(self._files)
        if seen == self._seen:
            return
        old, self._contexts, self._seen = self._contexts, {}, seen
        try:
            self._load()
        except ConfigError as error:
            _log.warning("%s; the former certificates stay in use", error)
            self._contexts = old

    async def secure(
        self, stream: trio.abc.Stream, host: str, *, verify: bool = True
    ) -> trio.abc.Stream:
        """Shake hands. Raises LinkLost; the stream is closed then."""
        verify = verify and self.settings.validate
        self._renew()
        try:
            secured = await shake_hands(stream, self._context(verify=verify), host=host)
            if verify:
                _check_criteria(secured.peer_fields(), self.settings.criteria)
        except trio.BrokenResourceError as error:
            await trio.aclose_forcefully(stream)
            raise client_problem(error.__cause__, host) from error.__cause__
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        secured.explain = lambda error: client_problem(error, host)
        return secured

    def tolerates(self, error: LinkLost) -> bool:
        """Whether to connect again without verifying: the certificate is self-signed, and that
        is allowed (``allow_self_signed``). Whoever can sign one can be anybody, so it is no less
        than not to verify; it holds for this one connection."""
        cause = error.__cause__
        return isinstance(cause, ssl.SSLCertVerificationError) and (
            self.settings.allow_self_signed and cause.verify_code == SELF_SIGNED
        )


def _files(settings: TlsSettings) -> tuple[str, ...]:
    ours = (settings.client_cert, settings.client_key)
    return (*settings.ca_files, *(path for path in ours if path is not None))


def _context(settings: TlsSettings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = settings.check_hostname
    if settings.ca_files:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = settings.check_hostname
    for path in settings.ca_files:
        with _readable("certificates.cert_chain (or --ca-file)", path):
            context.load_verify_locations(path)
    context.set_alpn_protocols(["http/1.1"])
    if settings.client_cert is not None:
        _load_client_cert(context, settings)
    if settings.ciphers is not None:
        try:
            context.set_ciphers(settings.ciphers)
        except ssl.SSLError:
            raise ConfigError(
                "certificates.cipher_suite: this OpenSSL knows none of these ciphers; "
                "remove the key to use its own choice"
            ) from None
    return context


def _load_client_cert(context: ssl.SSLContext, settings: TlsSettings) -> None:
    assert settings.client_cert is not None
    passphrase = settings.client_key_passphrase
    with _readable(_CLIENT_CERT, settings.client_cert, settings.client_key):
        context.load_cert_chain(
            settings.client_cert,
            settings.client_key,
            # an empty one where none is given: OpenSSL would ask at the terminal
            password=passphrase.reveal() if passphrase is not None else "",
        )


@contextmanager
def _readable(key: str, *paths: str | None) -> Iterator[None]:
    names = " and ".join(path for path in paths if path is not None)
    try:
        yield
    except ssl.SSLError as error:
        text = error.reason or "not a PEM file that fits"
        raise ConfigError(f"{key}: {names}: {text.lower().replace('_', ' ')}") from None
    except OSError as error:
        raise ConfigError(f"{key}: {names}: {(error.strerror or str(error)).lower()}") from None


def _trust_anything(context: ssl.SSLContext) -> None:
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE


def _check_criteria(certificate: Mapping[str, object], criteria: CertificateCriteria) -> None:
    for attribute, part, name in _FIELDS:
        wanted = getattr(criteria, attribute)
        if wanted is not None and wanted not in _names(certificate.get(part), name):
            raise LinkHopeless(
                f"the node's certificate has no {part} {name} {wanted!r}, "
                "which certificates.validation_criteria asks for"
            )


def _names(distinguished: object, name: str) -> list[str]:
    """The values of `name` in a tuple of relative names, as `getpeercert` gives them."""
    if not isinstance(distinguished, tuple):
        return []
    return [value for relative in distinguished for key, value in relative if key == name]
