"""The names of a certificate, as names of devices and users.

Who holds a device's certificate must not be a user by it, so a name says what it is a name of: with
the defaults, ``edge-tunnel:edge:device-7`` and ``edge-tunnel:remote:anna`` (URIs among the
alternative names). A site whose certificates name the bare device sets that prefix to ``*``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

from edge_tunnel.access.patterns import name_problem
from edge_tunnel.config.proxy_access import AccessSettings

_URI: Final = "edge-tunnel:"
"""A URI has blanks and all but ASCII as %20, and so has a name in it (`edge-tunnel tls add`)."""

__all__ = ["names_of"]


def names_of(certificate: Iterable[str], role: str, settings: AccessSettings) -> tuple[str, ...]:
    """What a certificate names for a role, in its order."""
    found = (_name(each, role, settings) for each in certificate)
    return tuple(name for name in found if name is not None)


def _name(written: str, role: str, settings: AccessSettings) -> str | None:
    prefixes = {
        settings.certificate_edge_prefix: "edge",
        settings.certificate_remote_prefix: "remote",
    }
    prefix = max((each for each in prefixes if written.startswith(each)), key=len, default=None)
    if prefix is None or prefixes[prefix] != role:
        return None
    name = written.removeprefix(prefix)
    if written.startswith(_URI):
        name = unquote(name, errors="replace")
    return None if name_problem(name) else name
