"""Words about local ports that cannot be opened."""

from __future__ import annotations

import errno

from edge_tunnel.link.oserrors import in_words

__all__ = ["why_not_open"]


def why_not_open(host: str, port: int, error: OSError) -> str:
    """What is wrong with listening on this address, and what to do."""
    where = f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return f"cannot listen on {where}: another program does; choose another port, or 0 for any"
    if error.errno == errno.EACCES:
        return f"cannot listen on {where}: not allowed; ports below 1024 are the system's"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"cannot listen on {where}: it is not an address of this machine"
    return f"cannot listen on {where}: {in_words(error)}"
