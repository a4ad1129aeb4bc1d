"""``HOST:PORT`` on the command line."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from edge_tunnel.cli.exits import CommandFailed, Exit
from edge_tunnel.config import LISTEN_SCHEMES, ListenAddress

__all__ = ["is_loopback", "parse_address", "parse_listen", "shown"]


def parse_listen(text: str, option: str) -> ListenAddress:
    """``ws://`` or ``wss://`` may stand in front. Raises CommandFailed, which names the option."""
    scheme, slashes, rest = text.rpartition("://")
    if slashes and scheme.lower() not in LISTEN_SCHEMES:
        raise CommandFailed(Exit.USAGE, f"{option} {text}: write it as 127.0.0.1:9100")
    return replace(parse_address(rest, option), tls=LISTEN_SCHEMES.get(scheme.lower()))


def parse_address(text: str, option: str) -> ListenAddress:
    """Raises CommandFailed, which names the option."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit() and int(port[:6]) <= 65535):
        raise CommandFailed(Exit.USAGE, f"{option} {text}: write it as 127.0.0.1:9100")
    bare = host.removeprefix("[").removesuffix("]")
    return ListenAddress(host=None if bare in ("", "*") else bare, port=int(port))


def shown(address: ListenAddress) -> str:
    """As it is written."""
    host = address.host or "127.0.0.1"
    return f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"


def is_loopback(host: str | None) -> bool:
    """Whether nobody but this machine gets there. A name other than localhost may be anything."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
