"""Kinds with a rule of their own: hosts, paths, ciphers, fingerprints, proxy users."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass

from edge_tunnel.config import scalars
from edge_tunnel.config.kinds import Choice, Duration, ListOf, Text
from edge_tunnel.config.nodes import Array, Node
from edge_tunnel.config.scalars import Say, Unfit, shortened

__all__ = [
    "Ciphers",
    "Encryption",
    "Fingerprints",
    "Host",
    "KeyFile",
    "ProxyUser",
    "ReadTimeout",
    "ServiceName",
    "ThingName",
    "UrlPath",
]

_HOST = re.compile(r"[\w.:%-]+")
_FINGERPRINT = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True)
class Host(Text):
    """A host name or address alone. IPv6 with or without brackets."""

    def read(self, node: Node, warn: Say) -> str:
        host = scalars.visible_text(node, warn)
        if "://" in host or "/" in host:
            raise Unfit("must be a host name alone, not a URL", "remove the scheme and the path")
        if host.startswith("[") and host.endswith("]"):
            return host[1:-1]
        if host.count(":") == 1:
            raise Unfit("must be a host name alone", "write the port as a key of its own")
        if not _HOST.fullmatch(host):
            raise Unfit("is not a host name or address", "remove blanks and special characters")
        return host


@dataclass(frozen=True)
class Encryption(Choice):
    """``ssl`` or ``none``. EMS took ``fips`` too before 5.4.0."""

    def read(self, node: Node, warn: Say) -> bool:
        if scalars.text(node).strip().lower() == "fips":
            message = "FIPS mode is not here (EMS dropped it in 5.4.7): the link is encrypted"
            warn(message, 'write "ssl"; the TLS library\'s own policy counts')
        return bool(super().read(node, warn))

    def show(self, value: bool) -> str:
        return "ssl" if value else "none"


@dataclass(frozen=True)
class UrlPath(Text):
    """The path of a URL."""

    def read(self, node: Node, warn: Say) -> str:
        path = scalars.visible_text(node, warn)
        if "://" in path or " " in path or not path.isascii():
            raise Unfit("must be the path of a URL", "write it as in /Thingworx/WS")
        if not path.startswith("/"):
            warn("does not begin with /: one was added", "write it as in /Thingworx/WS")
            return "/" + path
        return path


@dataclass(frozen=True)
class KeyFile(Text):
    """A private key: only PEM, because Python's TLS reads nothing else (EMS reads .p12 too)."""

    def read(self, node: Node, _warn: Say) -> str:
        path = scalars.text(node)
        if path.lower().endswith((".p12", ".pfx")):
            raise Unfit(
                "a PKCS#12 file cannot be used here",
                "convert it: openssl pkcs12 -in key.p12 -out key.pem",
            )
        return path


@dataclass(frozen=True)
class Ciphers(Text):
    """An OpenSSL cipher list, tried out on the TLS library of this machine."""

    def read(self, node: Node, warn: Say) -> str:
        ciphers = scalars.visible_text(node, warn)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).set_ciphers(ciphers)
        except (ssl.SSLError, ValueError):
            raise Unfit(
                "this TLS library knows no cipher of the list",
                "correct it, or remove it for the library's own choice",
            ) from None
        return ciphers


@dataclass(frozen=True)
class ProxyUser(Text):
    """A user for Basic. A domain in front means NTLM, which is bound to one TCP connection."""

    def read(self, node: Node, _warn: Say) -> str:
        user = scalars.text(node)
        if "\\" in user:
            raise Unfit(
                "a user with a domain asks for NTLM, which is not supported",
                "let the proxy accept Basic for this user, or exempt the proxy nodes from it",
            )
        if ":" in user:
            raise Unfit("must not contain a colon", "Basic ends the user name at the colon")
        return user


@dataclass(frozen=True)
class Fingerprints:
    """A list of SHA-256 fingerprints. An empty one makes EMS refuse the whole file (5.4.8)."""

    def read(self, node: Node, warn: Say) -> tuple[str, ...]:
        if isinstance(node, Array) and not node.items:
            raise Unfit(
                "is empty, and EMS refuses the whole file then", "add one, or remove the key"
            )
        for written in ListOf(Text()).read(node, warn):
            if not _FINGERPRINT.fullmatch(written.replace(":", "").strip()):
                raise Unfit(
                    f"{shortened(written)} is not SHA-256 in hex", "64 hex digits are needed"
                )
        return ()

    def write(self, _value: object) -> str:
        raise NotImplementedError("fingerprints have no effect here")

    def show(self, _value: object) -> str:
        return ""


@dataclass(frozen=True)
class ThingName(Text):
    """A name to bind. ``*id`` means to EMS an identifier that the platform looks up."""

    def read(self, node: Node, warn: Say) -> str:
        name = scalars.text(node)
        why_not = _why_no_name(name)
        if why_not:
            raise Unfit(why_not, "no node takes that: give it another name")
        if name.startswith("*"):
            warn(
                "binds by identifier on a ThingWorx platform; here it is a name like any other",
                f"connect to it as {shortened(name)}, or write the thing's name",
            )
        return name


@dataclass(frozen=True)
class ServiceName(Text):
    """What remotes ask for. With an odd one the others are served all the same."""

    def read(self, node: Node, warn: Say) -> str:
        name = scalars.text(node)
        why_not = _why_no_name(name)
        if why_not:
            warn(why_not, "nobody can ask for that: give it another name")
        return name


def _why_no_name(name: str) -> str:
    """Why it cannot be on the wire (`is_name` in protocol/spec.py); empty if it can."""
    hidden = next((each for each in name if not each.isprintable()), None)
    if hidden is not None:
        return f"holds a character that cannot be seen (U+{ord(hidden):04X})"
    return "" if 0 < len(name) <= 256 else "must have 1 and at most 256 characters"


@dataclass(frozen=True, kw_only=True)
class ReadTimeout(Duration):
    """Every sample of EMS up to 5.4.6 has 10 ms: how long one poll of a socket lasts. Taken as
    what its name says, that would reset each ssh session at the first pause of its user."""

    def read(self, node: Node, warn: Say) -> float | None:
        value = super().read(node, warn)
        if value is None or value >= 1:
            return value
        warn(
            "less than a second is EMS's polling interval, not a timeout: not applied",
            "remove it, or write at least 1000 to reset streams whose service is silent",
        )
        return None
