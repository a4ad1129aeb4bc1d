"""``edge-tunnel proxy``: a node, alone or one of a cluster."""

from __future__ import annotations

import argparse
import os
import ssl
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import trio

from edge_tunnel.access.rights import DevelopmentKey
from edge_tunnel.cli.addresses import is_loopback, parse_listen
from edge_tunnel.cli.arguments import (
    Subparsers,
    add_json,
    add_lifetime,
    add_log_level,
    warn_of_secret,
)
from edge_tunnel.cli.cluster import (
    add_cluster,
    hop_tls,
    make_registry,
    read_cluster,
    serve_other_nodes,
)
from edge_tunnel.cli.events import Reporter, open_reporter, set_up_logging
from edge_tunnel.cli.exits import CommandFailed, Exit
from edge_tunnel.cli.node_tls import add_tls, listener_tls, read_tls
from edge_tunnel.cli.ports import why_not_open
from edge_tunnel.cli.renewal import open_renewal
from edge_tunnel.cli.stopping import open_stop
from edge_tunnel.config import ListenAddress, ProxyConfig, Secret, load_proxy_config
from edge_tunnel.errors import ConfigError
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.proxy.hop import HopSettings
from edge_tunnel.proxy.node import Node, NodeSettings
from edge_tunnel.proxy.peering import HopTlsSource, dial_hops
from edge_tunnel.proxy.renewed import Renewed
from edge_tunnel.proxy.tls import ServerContext

__all__ = ["add_parser", "run"]

_EXAMPLES: Final = """\
examples:
  EDGE_TUNNEL_DEV_KEY=choose-one edge-tunnel proxy --listen 127.0.0.1:9100
  edge-tunnel proxy --config proxy.toml --json

Without a certificate a node listens on this machine's loopback address only. With one, anywhere:
  edge-tunnel tls init --name tunnel.example.com --edge device-7
  edge-tunnel proxy --listen 0.0.0.0:9100 --tls-cert tls/node.pem --tls-key tls/node.key
--client-ca demands a certificate of edges and remotes, too. The files are read again when they
change and on SIGHUP; live links stay. ws:// in front of an address leaves TLS out there, for a
balancer on the same machine.

Another user of the machine sees the arguments of a process: prefer the variable, or the file, to
--dev-key. SIGTERM ends the node; endpoints go elsewhere or wait for its return.

Several nodes share an etcd (3.4 or later), each with a name and an address for the other nodes:
  edge-tunnel proxy --listen 127.0.0.1:9100 --cluster etcd://127.0.0.1:2379 \
      --node-name a --advertise 127.0.0.1:9101
A device on one node is reached from any other; a node that dies takes no connection with it.

events: listening, bound, unbound, tunnel_opened, tunnel_attached, tunnel_detached, tunnel_closed;
with certificates also reloaded, certificate_renewed, certificate_refused (reason),
certificate_ends (days: below 14);
in a cluster also waiting, joined, draining, hop_lost, engine_lost, engine_back
"""


def add_parser(subparsers: Subparsers) -> None:
    """Register ``proxy``."""
    parser = subparsers.add_parser(
        "proxy",
        help="run a proxy node, to which devices and technicians connect",
        description="Run a proxy node, to which devices and technicians connect.",
        epilog=_EXAMPLES,
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--listen", metavar="HOST:PORT", help="where links are taken; port 0: any free"
    )
    where.add_argument("--config", metavar="FILE", help="all of it from a file (proxy.toml)")
    parser.add_argument("--dev-key", metavar="KEY", help="or the variable EDGE_TUNNEL_DEV_KEY")
    add_tls(parser)
    add_cluster(parser)
    add_lifetime(parser)
    add_json(parser)
    add_log_level(parser, default=None)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop."""
    config = _config(args)
    for address in config.listen:
        _demand_safe(address, config)
    listener = _listener(args, config)
    if args.dev_key:
        warn_of_secret("--dev-key", "EDGE_TUNNEL_DEV_KEY or dev_key_file in proxy.toml")
    set_up_logging(args.log_level or config.log_level)
    trio.run(_serve, config, listener, args.json, args.exit_with_stdin)
    return Exit.DONE


def _listener(args: argparse.Namespace, config: ProxyConfig) -> Renewed[ssl.SSLContext] | None:
    if config.tls is None:
        return None
    from_options = args.tls_cert is not None
    try:
        return listener_tls(config.tls, from_options=from_options)
    except ConfigError as error:
        where = "" if from_options else f"{args.config}: "
        raise CommandFailed(Exit.CONFIGURATION, f"{where}{error}") from None


def _config(args: argparse.Namespace) -> ProxyConfig:
    if args.config is not None:
        environ = dict(os.environ)
        if args.dev_key:
            environ["EDGE_TUNNEL_DEV_KEY"] = args.dev_key
        config = load_proxy_config(args.config, environ=environ)
        tls, cluster = read_tls(args) or config.tls, read_cluster(args) or config.cluster
        return replace(config, tls=tls, cluster=cluster)
    key = args.dev_key or os.environ.get("EDGE_TUNNEL_DEV_KEY", "")
    if not key:
        text = "no key: set EDGE_TUNNEL_DEV_KEY or give --dev-key; edges and remotes show the same"
        raise CommandFailed(Exit.USAGE, text)
    return ProxyConfig(
        dev_key=Secret(key),
        listen=(parse_listen(args.listen, "--listen"),),
        tls=read_tls(args),
        cluster=read_cluster(args),
        log_level="WARNING",
    )


def _demand_safe(address: ListenAddress, config: ProxyConfig) -> None:
    """What is not encrypted does not leave the machine."""
    where = f"{address.host or '*'}:{address.port}"
    if address.tls and config.tls is None:
        text = f"listen on wss://{where}: no certificate; edge-tunnel tls init makes one"
        raise CommandFailed(Exit.CONFIGURATION, text)
    if not _has_tls(address, config):
        _demand_loopback(address)
    wanted = config.tls is not None and config.tls.client_certificates == "required"
    if wanted and not _has_tls(address, config):
        text = f"listen on ws://{where}: who has no certificate would get in there"
        raise CommandFailed(Exit.CONFIGURATION, text)


def _demand_loopback(address: ListenAddress) -> None:
    if not is_loopback(address.host):
        where = f"{address.host or '*'}:{address.port}"
        text = (
            f"listen on {where}: without TLS on 127.0.0.1 only; give --tls-cert and --tls-key, "
            "or write [tls] in proxy.toml (edge-tunnel tls init makes certificates)"
        )
        raise CommandFailed(Exit.CONFIGURATION, text)


def _has_tls(address: ListenAddress, config: ProxyConfig) -> bool:
    return config.tls is not None if address.tls is None else address.tls


def _settings(config: ProxyConfig) -> NodeSettings:
    limits, cluster = config.limits, config.cluster
    return NodeSettings(
        name=cluster.node_name if cluster is not None else "node",
        handshake_timeout=limits.handshake_timeout,
        max_unauthenticated=limits.max_unauthenticated,
        max_links=limits.max_links,
        max_silence=limits.max_silence,
        hops=HopSettings(key=config.dev_key.reveal()),
    )


async def _serve(
    config: ProxyConfig,
    listener: Renewed[ssl.SSLContext] | None,
    as_json: bool,
    with_stdin: bool,
) -> None:
    hops = None if config.cluster is None else hop_tls(config.cluster)
    certificates = [each for each in (listener, hops) if each is not None]
    async with (
        open_stop(with_stdin=with_stdin, with_hangup=False) as stop,
        open_reporter(as_json=as_json, on_broken=stop.set) as reporter,
        open_renewal(certificates, reporter.emit),
        open_plain_nursery() as nursery,
    ):
        with trio.CancelScope() as starting:
            nursery.start_soon(stop.cancels, starting)
            node = await _start(config, hops, nursery, reporter)
            for address in config.listen:
                tls = listener if _has_tls(address, config) else None
                await _listen(node, address, tls, nursery, reporter)
        await stop.wait()
        if not starting.cancelled_caught:
            await node.drain(0.0 if config.cluster is None else config.cluster.drain_timeout)
        nursery.cancel_scope.cancel()


async def _start(
    config: ProxyConfig, tls: HopTlsSource | None, nursery: trio.Nursery, reporter: Reporter
) -> Node:
    """A node that is alone, or one that is known to the others."""
    authenticate = DevelopmentKey(config.dev_key.reveal())
    cluster = config.cluster
    if cluster is None:
        node = Node(_settings(config), authenticate)
        node.notices.call(reporter)
        return node
    if tls is None:
        _demand_loopback(cluster.advertise)
    registry = make_registry(cluster, reporter.emit)
    node = Node(_settings(config), authenticate, registry, dial_hops(registry.address, tls))
    node.notices.call(reporter)
    await serve_other_nodes(nursery, node, cluster.advertise, tls)
    nursery.start_soon(registry.run)
    reporter.emit("waiting", what="the cluster's registry on etcd")
    await registry.ready.wait()
    known = sorted({cluster.node_name, *registry.nodes})
    reporter.emit("joined", node=cluster.node_name, nodes=known)
    return node


async def _listen(
    node: Node,
    address: ListenAddress,
    tls: ServerContext | None,
    nursery: trio.Nursery,
    reporter: Reporter,
) -> None:
    # by number, because a name may mean several addresses, and port 0 several ports then
    host = "127.0.0.1" if address.host == "localhost" else address.host
    try:
        listeners: Sequence[trio.SocketListener] = await nursery.start(
            node.serve, host, address.port, tls
        )
    except OSError as error:
        why = why_not_open(host or "*", address.port, error)
        raise CommandFailed(Exit.CONFIGURATION, why) from error
    for listener in listeners:
        bound_host, bound_port, *_ = listener.socket.getsockname()
        shown = f"[{bound_host}]" if ":" in bound_host else bound_host
        scheme = "ws" if tls is None else "wss"
        reporter.emit("listening", url=f"{scheme}://{shown}:{bound_port}")
