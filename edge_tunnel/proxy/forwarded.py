"""Who it is that a balancer speaks for: X-Forwarded-For, believed of the balancers alone.

Each proxy on the way appends the address that it saw; what stands in front of that was written by
somebody further out, at last by the peer itself, and may be invented. So it is read from the right:
behind the connection's own end, each address that is one of our proxies is passed over, and the
first that is not is the peer. Who connects without being such a proxy writes there in vain. Pure.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from edge_tunnel.config.node_limits import Network

__all__ = ["forwarded_peer", "is_among"]

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_among(peer: str, networks: Sequence[Network]) -> bool:
    """Whether a peer, as ``host:port``, is in one of the networks."""
    address = _address(peer.rpartition(":")[0])
    return address is not None and _is_in(address, networks)


def forwarded_peer(peer: str, values: Iterable[str], trusted: Sequence[Network]) -> str:
    """The peer as ``host:port``, the port 0 where no proxy said it.

    Args:
      peer: the connection's own other end.
      values: of X-Forwarded-For, in the order in which they came.
      trusted: our proxies.
    """
    if not is_among(peer, trusted):
        return peer
    for written in reversed(",".join(values).split(",")):
        read = _read(written.strip())
        if read is None:  # "unknown", or nothing: the last proxy is all that is known
            break
        address, port = read
        peer = f"{address}:{port}"
        if not _is_in(address, trusted):
            break
    return peer


def _is_in(address: _Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _read(written: str) -> tuple[_Address, str] | None:
    """``192.0.2.1``, ``2001:db8::1``; with a port ``192.0.2.1:80``, ``[2001:db8::1]:80``."""
    bare = _address(written)
    if bare is not None:
        return bare, "0"
    host, _, port = written.rpartition(":")
    address = _address(host)
    if address is None or not (port.isascii() and port.isdecimal() and len(port) <= 5):
        return None
    return address, port


def _address(host: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0].removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
