"""The corporate proxy on the technician's side: from an option, or from where everybody sets it."""

from __future__ import annotations

import urllib.request
from urllib.parse import unquote, urlsplit

from edge_tunnel.cli.exits import CommandFailed, Exit
from edge_tunnel.config import HttpProxy, Secret

__all__ = ["http_proxy_for"]

_DEFAULT_PORT = 3128
"""As squid's, and as EMS's ``proxy.port``."""


def http_proxy_for(given: str | None, urls: tuple[str, ...]) -> HttpProxy | None:
    """The proxy to go through.

    `given`: the option's text, "none" for no proxy; None: as the variables https_proxy, http_proxy
    and no_proxy say, in either case of letters (curl's rules, by way of urllib).

    Raises:
      CommandFailed: the text is not the address of a proxy.
    """
    if given is not None:
        return None if given == "none" else _parse(given, "--http-proxy")
    scheme = "https" if urls[0].startswith("wss:") else "http"
    found = urllib.request.getproxies_environment().get(scheme)
    host = urlsplit(urls[0]).hostname or ""
    if not found or _is_near(host) or urllib.request.proxy_bypass(host):
        return None
    return _parse(found, f"the variable {scheme}_proxy")


def _is_near(host: str) -> bool:
    """No proxy leads back to this machine."""
    return host in ("localhost", "::1") or host.startswith("127.")


def _parse(text: str, origin: str) -> HttpProxy:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if not host or parts.scheme != "http":
        # the text is not shown: there may be a password in it
        raise CommandFailed(
            Exit.CONFIGURATION,
            f"{origin} is not an HTTP proxy that can be used: write [USER:PASSWORD@]HOST[:PORT]",
        )
    password = None if parts.password is None else Secret(unquote(parts.password))
    user = None if parts.username is None else unquote(parts.username)
    return HttpProxy(host=host, port=port or _DEFAULT_PORT, user=user, password=password)
