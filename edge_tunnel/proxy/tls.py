"""TLS at a node's own listener: the context, the handshake, and who the peer says that it is."""

from __future__ import annotations

import hashlib
import logging
import ssl
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import trio

from edge_tunnel.access.rights import PeerCertificate
from edge_tunnel.config.node_tls import NodeTls
from edge_tunnel.errors import ConfigError
from edge_tunnel.link.handshake import part, shake_hands
from edge_tunnel.link.pem import Pair
from edge_tunnel.link.secured import Secured
from edge_tunnel.link.tls_words import is_plain_http, server_words
from edge_tunnel.proxy.seldom import Seldom

__all__ = ["ServerContext", "files_of", "peer_certificate", "secure_client", "server_context"]

ServerContext: TypeAlias = Callable[[], ssl.SSLContext]
"""The one for the next connection."""

_log = logging.getLogger("edge_tunnel.proxy")

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy, and encryption that authenticates (RFC 9325, section 4.2). Those
of TLS 1.3 are all of that kind."""

_VERIFY: Final = {
    "off": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}
_OLDEST: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

_NO_TLS_HERE: Final = b"this port speaks TLS: write wss:// (or https://)\n"
_TO_PLAIN_HTTP: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(_NO_TLS_HERE), _NO_TLS_HERE)
)


def files_of(settings: NodeTls, called: tuple[str, str, str] | None = None) -> Pair:
    """The files, which `called` gives other names than those of proxy.toml."""
    asks = settings.client_certificates != "off"
    names = {} if called is None else {"called": called}
    return Pair(
        certificate=settings.certificate,
        key=settings.key,
        password=settings.key_password,
        ca=settings.client_ca if asks else None,
        **names,
    )


def server_context(settings: NodeTls, pair: Pair) -> ssl.SSLContext:
    """For new connections. Raises ConfigError, as `Pair.check` does."""
    pair.check()
    password = settings.key_password
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _OLDEST[settings.minimum]
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.num_tickets = 0  # our ends do not resume sessions, and a link lasts for days
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(
            pair.certificate, pair.key, password=password.reveal() if password else ""
        )
        if pair.ca is not None:
            context.load_verify_locations(pair.ca)
    except OSError as error:  # ssl.SSLError is one; replaced since `check`, or too weak a key
        raise ConfigError(f"{pair.called[0]}: {' and '.join(pair.files)}: {error}") from None
    context.verify_mode = _VERIFY[settings.client_certificates]
    return context


async def secure_client(
    stream: trio.abc.Stream, context: ssl.SSLContext, peer: str, timeout: float, tell: Seldom
) -> tuple[Secured, PeerCertificate | None] | None:
    """Shake hands with a client that connected: its stream, and what it has shown of itself.

    None: it was shown out, and `stream` is closed; `tell` says why, in the log.
    """
    with trio.move_on_after(timeout):
        try:
            secured = await shake_hands(stream, context)
            return secured, peer_certificate(secured)
        except trio.BrokenResourceError as error:
            cause, why = error.__cause__, server_words(error.__cause__)
        except (ValueError, KeyError):  # a trusted CA can sign odd things, too
            cause, why = None, "its certificate has names or times that cannot be read"
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        if why is not None:
            tell(why, peer)
        await part(stream, _TO_PLAIN_HTTP if is_plain_http(cause) else b"")
        return None
    await trio.aclose_forcefully(stream)
    return None


def peer_certificate(stream: Secured) -> PeerCertificate | None:
    """What the other end has shown and we have verified; None: nothing."""
    fields = stream.peer_fields()
    if not fields:
        return None
    return PeerCertificate(
        names=tuple(_names(fields)),
        fingerprint=hashlib.sha256(stream.peer_certificate()).hexdigest(),
        not_after=float(ssl.cert_time_to_seconds(fields["notAfter"])),
    )


def _names(fields: Mapping[str, Any]) -> Iterator[str]:
    """The common name counts only where there is no other: a CA that checks alternative names may
    let people write there what they like (RFC 9525, section 2)."""
    alternative = fields.get("subjectAltName", ())
    found = [name.lower() for kind, name in alternative if kind == "DNS"]
    found += [name for kind, name in alternative if kind == "URI"]
    common = [value for parts in fields.get("subject", ()) for key, value in parts
              if key == "commonName"]  # fmt: skip
    yield from found or common
