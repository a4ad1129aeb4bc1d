"""Where a node listens: which addresses it may have, and whether they are TLS."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import trio

from edge_tunnel.cli.addresses import is_loopback
from edge_tunnel.cli.events import Reporter
from edge_tunnel.cli.exits import CommandFailed, Exit
from edge_tunnel.cli.ports import why_not_open
from edge_tunnel.config import ListenAddress, ProxyConfig
from edge_tunnel.proxy.node import Node
from edge_tunnel.proxy.tls import ServerContext

__all__ = ["demand_loopback", "demand_safe", "has_tls", "listen"]


def demand_safe(address: ListenAddress, config: ProxyConfig) -> None:
    """What is not encrypted does not leave the machine. Raises CommandFailed."""
    where = f"{address.host or '*'}:{address.port}"
    if address.tls and config.tls is None:
        text = f"listen on wss://{where}: no certificate; edge-tunnel tls init makes one"
        raise CommandFailed(Exit.CONFIGURATION, text)
    if not has_tls(address, config):
        demand_loopback(address)
    wanted = config.tls is not None and config.tls.client_certificates == "required"
    if wanted and not has_tls(address, config):
        text = f"listen on ws://{where}: who has no certificate would get in there"
        raise CommandFailed(Exit.CONFIGURATION, text)


def demand_loopback(address: ListenAddress) -> None:
    """Raises CommandFailed if anybody else gets there."""
    if not is_loopback(address.host):
        where = f"{address.host or '*'}:{address.port}"
        text = (
            f"listen on {where}: without TLS on 127.0.0.1 only; give --tls-cert and --tls-key, "
            "or write [tls] in proxy.toml (edge-tunnel tls init makes certificates)"
        )
        raise CommandFailed(Exit.CONFIGURATION, text)


def has_tls(address: ListenAddress, config: ProxyConfig) -> bool:
    """Whether links are TLS there."""
    return config.tls is not None if address.tls is None else address.tls


async def listen(
    node: Node,
    address: ListenAddress,
    tls: ServerContext | None,
    nursery: trio.Nursery,
    reporter: Reporter,
    *,
    shared: bool = False,
) -> None:
    """Take links there, in the background. Raises CommandFailed.

    `shared`: other processes of ours may listen there, too.
    """
    # by number, because a name may mean several addresses, and port 0 several ports then
    host = "127.0.0.1" if address.host == "localhost" else address.host
    try:
        listeners: Sequence[trio.SocketListener] = await nursery.start(
            partial(node.serve, shared=shared), host, address.port, tls
        )
    except OSError as error:
        why = why_not_open(host or "*", address.port, error)
        raise CommandFailed(Exit.CONFIGURATION, why) from error
    for listener in listeners:
        bound_host, bound_port, *_ = listener.socket.getsockname()
        shown = f"[{bound_host}]" if ":" in bound_host else bound_host
        scheme = "ws" if tls is None else "wss"
        reporter.emit("listening", url=f"{scheme}://{shown}:{bound_port}")
