"""``edge-tunnel proxy``: a node, alone or one of a cluster, in development mode."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import trio

from edge_tunnel.access.rights import DevelopmentKey
from edge_tunnel.audit.records import Audit
from edge_tunnel.cli.addresses import is_loopback, parse_address
from edge_tunnel.cli.arguments import Subparsers, add_json, add_lifetime, add_log_level
from edge_tunnel.cli.auditing import open_node_audit
from edge_tunnel.cli.cluster import (
    add_cluster,
    hop_tls,
    make_registry,
    read_cluster,
    serve_other_nodes,
)
from edge_tunnel.cli.events import Reporter, open_reporter, set_up_logging
from edge_tunnel.cli.exits import CommandFailed, Exit
from edge_tunnel.cli.open_files import allow_open_files
from edge_tunnel.cli.ports import why_not_open
from edge_tunnel.cli.stopping import open_stop
from edge_tunnel.config import AuditSettings, ListenAddress, ProxyConfig, Secret, load_proxy_config
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.proxy.hop import HopSettings
from edge_tunnel.proxy.node import Node, NodeSettings
from edge_tunnel.proxy.peering import dial_hops

__all__ = ["add_parser", "run"]

_log = logging.getLogger("edge_tunnel.proxy")

_OTHER_FILES: Final = 600
"""Beside links: 256 connections that have not greeted, hops, etcd, listeners, and room."""

_EXAMPLES: Final = """\
examples:
  EDGE_TUNNEL_DEV_KEY=choose-one edge-tunnel proxy --listen 127.0.0.1:9100
  edge-tunnel proxy --config proxy.toml --json

Development mode: no TLS and one key for all, and therefore on this machine's loopback address only.
Another user of the machine sees the arguments of a process: prefer the variable, or the file, to
--dev-key. SIGTERM ends the node; endpoints go elsewhere or wait for its return.

Several nodes share an etcd (3.4 or later), each with a name and an address for the other nodes:
  edge-tunnel proxy --listen 127.0.0.1:9100 --cluster etcd://127.0.0.1:2379 \
      --node-name a --advertise 127.0.0.1:9101
A device on one node is reached from any other; a node that dies takes no connection with it.

--audit FILE records who opened what, from where, when, and how it ended; `edge-tunnel audit` reads
it and shows whether it was changed. The [audit] table of proxy.toml has the rest of it: the
journal, a key, rotation, and what happens when it cannot be written.

events: listening, bound, unbound, tunnel_opened, tunnel_attached, tunnel_detached, tunnel_closed;
in a cluster also waiting, joined, draining, hop_lost, engine_lost, engine_back;
of the audit log audit_head (seq, head), audit_failed (reason), audit_recovered (lost)
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
    where.add_argument("--listen", metavar="HOST:PORT", help="a loopback address; port 0: any free")
    where.add_argument("--config", metavar="FILE", help="all of it from a file (proxy.toml)")
    parser.add_argument("--dev-key", metavar="KEY", help="or the variable EDGE_TUNNEL_DEV_KEY")
    parser.add_argument(
        "--audit", metavar="FILE", help="record who does what; -: on stderr, for the journal"
    )
    add_cluster(parser)
    add_lifetime(parser)
    add_json(parser)
    add_log_level(parser, default=None)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop."""
    config = _config(args)
    for address in config.listen:
        _demand_loopback(address)
    set_up_logging(args.log_level or config.log_level)
    trio.run(_serve, config, args.json, args.exit_with_stdin)
    return Exit.DONE


def _config(args: argparse.Namespace) -> ProxyConfig:
    if args.config is not None:
        environ = dict(os.environ)
        if args.dev_key:
            environ["EDGE_TUNNEL_DEV_KEY"] = args.dev_key
        config = load_proxy_config(args.config, environ=environ)
        audit = _audit(args.audit, config.audit)
        return replace(config, cluster=read_cluster(args) or config.cluster, audit=audit)
    key = args.dev_key or os.environ.get("EDGE_TUNNEL_DEV_KEY", "")
    if not key:
        text = "no key: set EDGE_TUNNEL_DEV_KEY or give --dev-key; edges and remotes show the same"
        raise CommandFailed(Exit.USAGE, text)
    return ProxyConfig(
        dev_key=Secret(key),
        listen=(parse_address(args.listen, "--listen"),),
        cluster=read_cluster(args),
        audit=_audit(args.audit, None),
        log_level="WARNING",
    )


def _audit(place: str | None, settings: AuditSettings | None) -> AuditSettings | None:
    """What --audit makes of the settings."""
    if place is None:
        return settings
    settings = settings or AuditSettings()
    return replace(settings, journal=True) if place == "-" else replace(settings, file=place)


def _demand_loopback(address: ListenAddress) -> None:
    if not is_loopback(address.host):
        where = f"{address.host or '*'}:{address.port}"
        text = f"listen on {where}: development mode has no TLS, so it listens on 127.0.0.1 only"
        raise CommandFailed(Exit.CONFIGURATION, text)


def _bearable(links: int) -> int:
    """As many links as this process may have sockets for; without one no hop could be dialled."""
    most = allow_open_files(links + _OTHER_FILES) - _OTHER_FILES
    if most < links:
        _log.info("takes %d links, not %d: raise the limit of open files (ulimit -Hn)", most, links)
    return min(most, links)


def _name(config: ProxyConfig) -> str:
    return config.cluster.node_name if config.cluster is not None else "node"


def _settings(config: ProxyConfig) -> NodeSettings:
    limits = config.limits
    return NodeSettings(
        name=_name(config),
        handshake_timeout=limits.handshake_timeout,
        max_unauthenticated=limits.max_unauthenticated,
        max_unauthenticated_per_source=limits.max_unauthenticated_per_source,
        max_failures_per_source=limits.max_failures_per_source,
        memory=limits.memory,
        max_links=_bearable(limits.max_links),
        max_silence=limits.max_silence,
        admission_rate=limits.admission_rate,
        admission_burst=limits.admission_burst,
        hops=HopSettings(key=config.dev_key.reveal()),
    )


async def _serve(config: ProxyConfig, as_json: bool, with_stdin: bool) -> None:
    async with (
        open_stop(with_stdin=with_stdin, with_hangup=config.audit is None) as stop,
        open_reporter(as_json=as_json, on_broken=stop.set) as reporter,
        open_node_audit(config.audit, _name(config), reporter.emit) as audit,
        open_plain_nursery() as nursery,
    ):
        with trio.CancelScope() as starting:
            nursery.start_soon(stop.cancels, starting)
            node = await _start(config, nursery, reporter, audit)
            for address in config.listen:
                await _listen(node, address, nursery, reporter)
        await stop.wait()
        if not starting.cancelled_caught:
            await node.drain(0.0 if config.cluster is None else config.cluster.drain_timeout)
        nursery.cancel_scope.cancel()


async def _start(
    config: ProxyConfig, nursery: trio.Nursery, reporter: Reporter, audit: Audit
) -> Node:
    """A node that is alone, or one that is known to the others."""
    authenticate = DevelopmentKey(config.dev_key.reveal())
    cluster = config.cluster
    if cluster is None:
        node = Node(_settings(config), authenticate, audit=audit)
        node.notices.call(reporter)
        return node
    tls = hop_tls(cluster)
    if tls is None:
        _demand_loopback(cluster.advertise)
    registry = make_registry(cluster, reporter.emit)
    dial = dial_hops(registry.address, tls)
    node = Node(_settings(config), authenticate, registry, dial, audit=audit)
    node.notices.call(reporter)
    await serve_other_nodes(nursery, node, cluster.advertise, tls)
    nursery.start_soon(registry.run)
    reporter.emit("waiting", what="the cluster's registry on etcd")
    await registry.ready.wait()
    known = sorted({cluster.node_name, *registry.nodes})
    reporter.emit("joined", node=cluster.node_name, nodes=known)
    return node


async def _listen(
    node: Node, address: ListenAddress, nursery: trio.Nursery, reporter: Reporter
) -> None:
    # by number, because a name may mean several addresses, and port 0 several ports then
    host = "127.0.0.1" if address.host in (None, "localhost") else address.host
    assert host is not None
    try:
        listeners: Sequence[trio.SocketListener] = await nursery.start(
            node.serve, host, address.port
        )
    except OSError as error:
        raise CommandFailed(Exit.CONFIGURATION, why_not_open(host, address.port, error)) from error
    for listener in listeners:
        bound_host, bound_port, *_ = listener.socket.getsockname()
        shown = f"[{bound_host}]" if ":" in bound_host else bound_host
        reporter.emit("listening", url=f"ws://{shown}:{bound_port}")
