"""``edge-tunnel proxy``: a node, alone or one of a cluster."""

from __future__ import annotations

import argparse
import logging
import os
import ssl
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import trio

from edge_tunnel.audit.records import Audit
from edge_tunnel.cli.access import read_secret
from edge_tunnel.cli.addresses import parse_listen
from edge_tunnel.cli.allocator import keep_freed_memory
from edge_tunnel.cli.alwayson import add_alwayson, read_alwayson
from edge_tunnel.cli.arguments import (
    Subparsers,
    add_json,
    add_lifetime,
    add_log_level,
    warn_of_secret,
)
from edge_tunnel.cli.auditing import open_node_audit
from edge_tunnel.cli.authority import (
    ADMIN_VARIABLE,
    Decider,
    add_authority,
    make_authority,
    read_keys,
)
from edge_tunnel.cli.cluster import (
    add_cluster,
    engine_tls,
    hop_tls,
    make_registry,
    read_cluster,
    serve_other_nodes,
)
from edge_tunnel.cli.events import Reporter, fit_to_show, open_reporter, set_up_logging
from edge_tunnel.cli.exits import CommandFailed, Exit
from edge_tunnel.cli.hangup import open_hangup
from edge_tunnel.cli.listening import demand_loopback, demand_safe, has_tls, listen
from edge_tunnel.cli.node_tls import add_tls, listener_tls, read_tls
from edge_tunnel.cli.open_files import allow_open_files
from edge_tunnel.cli.renewal import open_renewal
from edge_tunnel.cli.stopping import open_stop
from edge_tunnel.cli.workers import add_workers, reloads, run_workers
from edge_tunnel.config import AuditSettings, ProxyConfig
from edge_tunnel.config.findings import ConfigFileError, Severity
from edge_tunnel.config.proxy import inspect_proxy_config
from edge_tunnel.errors import ConfigError
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.proxy.access_store import EtcdStore
from edge_tunnel.proxy.hop import HopSettings
from edge_tunnel.proxy.node import Node, NodeSettings
from edge_tunnel.proxy.peering import HopTls, dial_hops
from edge_tunnel.proxy.renewed import Renewed
from edge_tunnel.proxy.siblings import Siblings

__all__ = ["add_parser", "run"]

_log = logging.getLogger("edge_tunnel.proxy")

_OTHER_FILES: Final = 600
"""Beside links: 256 connections that have not greeted, hops, etcd, listeners, and room."""

_EXAMPLES: Final = """\
examples:
  EDGE_TUNNEL_DEV_KEY=choose-one edge-tunnel proxy --listen 127.0.0.1:9100
  edge-tunnel proxy --config proxy.toml --json

  EDGE_TUNNEL_ADMIN_KEY=$(cat admin.key) edge-tunnel proxy --listen 127.0.0.1:9100 --state state

Who is let in: with --admin-key-file (or the variable), whoever has a key of his own, made with
`edge-tunnel key new`, and no further than the policy says (`edge-tunnel policy push`); a cluster
keeps them in its etcd, a node that is alone in --state. In development mode everybody has one key.

Without a certificate a node listens on this machine's loopback address only. With one, anywhere:
  edge-tunnel tls init --name tunnel.example.com --edge device-7
  edge-tunnel proxy --listen 0.0.0.0:9100 --tls-cert tls/node.pem --tls-key tls/node.key
--client-ca demands a certificate of edges and remotes, too. The files are read again when they
change and on SIGHUP; live links stay. ws:// in front of an address leaves TLS out there, for a
balancer on the same machine.

Another user of the machine sees the arguments of a process: prefer the variable, or the file, to
--dev-key. SIGTERM ends the node; endpoints go elsewhere or wait for its return.

Several nodes share an etcd (3.4 or later), each with a name and an address for the other nodes:
  edge-tunnel proxy --listen 127.0.0.1:9100 --cluster etcd://127.0.0.1:2379 \\
      --node-name a --advertise 127.0.0.1:9101
A device on one node is reached from any other; a node that dies takes no connection with it.

A node is one process, and so one core. --workers 4 runs four of them on the one port: members of
the cluster like any other, called a-1 to a-4, for other nodes at 127.0.0.1:9101 to 9104, each with
limits and an audit log (audit-1.log ...) of its own. The parent passes on SIGTERM and SIGHUP, and
starts a worker that dies again; what hung on it goes on through the others meanwhile. Links to one
thing meet on one worker, unless the workers end TLS themselves. With certificates between nodes,
node-a.pem is to name all of them:
  edge-tunnel tls init --name tunnel.example.com --node a --name a-1 --name a-2

ThingWorx devices connect as they are (docs/thingworx.md) to a node with --alwayson, with the same
keys; their services are those that the policy names for them, and of --alwayson-service:
  edge-tunnel proxy --listen 127.0.0.1:9100 --alwayson --alwayson-service ssh=127.0.0.1:22

--audit FILE records who opened what, from where, when, and how it ended; `edge-tunnel audit` reads
it and shows whether it was changed. The [audit] table of proxy.toml has the rest of it: the
journal, a key, rotation, and what happens when it cannot be written.

events: listening, bound, unbound, tunnel_opened, tunnel_attached, tunnel_detached, tunnel_closed;
tunnel_denied and bind_denied (who, peer, thing, reason, code);
with certificates also reloaded, certificate_renewed, certificate_refused (reason),
certificate_ends (days: below 14);
in a cluster also waiting, joined, draining, hop_lost, engine_lost, engine_back, notice (text);
with --workers each has a worker, its name, and there are worker_started (pid) and worker_ended
(how, and again: in how many seconds; null: all end);
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
    where.add_argument(
        "--listen", metavar="HOST:PORT", help="where links are taken; port 0: any free"
    )
    where.add_argument("--config", metavar="FILE", help="all of it from a file (proxy.toml)")
    add_authority(parser)
    add_tls(parser)
    parser.add_argument(
        "--audit", metavar="FILE", help="record who does what; -: on stderr, for the journal"
    )
    add_cluster(parser)
    add_workers(parser)
    add_alwayson(parser)
    add_lifetime(parser)
    add_json(parser)
    add_log_level(parser, default=None)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop."""
    config = _config(args)
    for address in config.listen:
        demand_safe(address, config)
    listener = _listener(args, config)
    if args.dev_key:
        warn_of_secret("--dev-key", "EDGE_TUNNEL_DEV_KEY or dev_key_file in proxy.toml")
    set_up_logging(args.log_level or config.log_level)
    keep_freed_memory()
    if config.workers == 1:
        trio.run(_serve, config, listener, args.json, args.exit_with_stdin)
        return Exit.DONE
    own = run_workers(config, as_json=args.json, with_stdin=args.exit_with_stdin)
    if isinstance(own, int):
        return own
    trio.run(_serve, own.config, listener, args.json, False, own.siblings)  # stdin: the parent's
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
        if args.admin_key_file:
            environ[ADMIN_VARIABLE] = read_secret(Path(args.admin_key_file), "administrator's key")
        config = _read_file(args.config, environ)
        config = replace(config, state=args.state or config.state)
        tls, cluster = read_tls(args) or config.tls, read_cluster(args) or config.cluster
        return replace(
            config,
            tls=tls,
            cluster=cluster,
            workers=args.workers or config.workers,
            audit=_audit(args.audit, config.audit),
            alwayson=read_alwayson(args, config.alwayson),
        )
    dev_key, access = read_keys(args)
    return ProxyConfig(
        dev_key=dev_key,
        access=access,
        state=args.state,
        listen=(parse_listen(args.listen, "--listen"),),
        tls=read_tls(args),
        cluster=read_cluster(args),
        workers=args.workers or 1,
        audit=_audit(args.audit, None),
        alwayson=read_alwayson(args, None),
        log_level="WARNING",
    )


def _read_file(path: str, environ: Mapping[str, str]) -> ProxyConfig:
    """What it says; what is odd in it is told. Raises ConfigFileError."""
    found = inspect_proxy_config(path, environ=environ)
    if found.config is None:
        raise ConfigFileError(found.findings)
    for finding in found.findings:
        if finding.severity is Severity.WARNING:
            print(fit_to_show(f"edge-tunnel: {finding}"), file=sys.stderr)
    return found.config


def _audit(place: str | None, settings: AuditSettings | None) -> AuditSettings | None:
    """What --audit makes of the settings."""
    if place is None:
        return settings
    settings = settings or AuditSettings()
    return replace(settings, journal=True) if place == "-" else replace(settings, file=place)


def _bearable(links: int, streams: int) -> int:
    """As many links as this process may have sockets for; without one no hop could be dialled.

    `streams`: sockets of ThingWorx devices beside their links.
    """
    others = _OTHER_FILES + streams
    most = allow_open_files(links + others) - others
    if most < links:
        _log.info("takes %d links, not %d: raise the limit of open files (ulimit -Hn)", most, links)
    return min(most, links)


def _name(config: ProxyConfig) -> str:
    return config.cluster.node_name if config.cluster is not None else "node"


def _settings(config: ProxyConfig, hop_key: str) -> NodeSettings:
    limits, alwayson = config.limits, config.alwayson
    return NodeSettings(
        name=_name(config),
        handshake_timeout=limits.handshake_timeout,
        max_unauthenticated=limits.max_unauthenticated,
        max_unauthenticated_per_source=limits.max_unauthenticated_per_source,
        trusted_proxies=limits.trusted_proxies,
        max_failures_per_source=limits.max_failures_per_source,
        memory=limits.memory,
        max_links=_bearable(limits.max_links, 0 if alwayson is None else alwayson.max_streams),
        max_silence=limits.max_silence,
        hops=HopSettings(key=hop_key),
        origins=() if config.access is None else config.access.origins,
        demands=config.versions,
        admission_rate=limits.admission_rate,
        admission_burst=limits.admission_burst,
        alwayson=alwayson,
    )


async def _serve(
    config: ProxyConfig,
    listener: Renewed[ssl.SSLContext] | None,
    as_json: bool,
    with_stdin: bool,
    siblings: Siblings | None = None,
) -> None:
    cluster = _ClusterTls(None, None)
    if config.cluster is not None:
        cluster = _ClusterTls(hop_tls(config.cluster), engine_tls(config.cluster))
    certificates = [each for each in (listener, *cluster) if each is not None]
    hangs_on = reloads(config)
    worker = _name(config) if config.workers > 1 else ""
    async with (
        open_stop(with_stdin=with_stdin, with_hangup=not hangs_on) as stop,
        open_reporter(as_json=as_json, on_broken=stop.set, worker=worker) as reporter,
        open_hangup(wanted=hangs_on) as hangup,
        open_renewal(certificates, reporter.emit, hangup),
        open_node_audit(config.audit, _name(config), reporter.emit, hangup) as audit,
        open_plain_nursery() as nursery,
    ):
        with trio.CancelScope() as starting:
            nursery.start_soon(stop.cancels, starting)
            node = await _start(config, cluster, nursery, reporter, audit, siblings=siblings)
            if siblings is not None:
                await nursery.start(node.serve_siblings)
            for address in config.listen:
                tls = listener if has_tls(address, config) else None
                shared = config.workers > 1
                await listen(node, address, tls, nursery, reporter, shared=shared)
        await stop.wait()
        if not starting.cancelled_caught:
            await node.drain(0.0 if config.cluster is None else config.cluster.drain_timeout)
        nursery.cancel_scope.cancel()


class _ClusterTls(NamedTuple):
    hops: Renewed[HopTls] | None
    engine: Renewed[ssl.SSLContext] | None


async def _start(
    config: ProxyConfig,
    tls: _ClusterTls,
    nursery: trio.Nursery,
    reporter: Reporter,
    audit: Audit,
    *,
    siblings: Siblings | None,
) -> Node:
    """A node that is alone, or one that is known to the others."""
    decider = make_authority(config, reporter, audit, tls.engine)
    cluster = config.cluster
    if cluster is None:
        settings = _settings(config, await decider.start(reporter))
        return _dressed(Node(settings, decider.authority, audit=audit), decider, reporter)
    if tls.hops is None:
        demand_loopback(cluster.advertise)
        demand_loopback(cluster.hop_listen or cluster.advertise)
    store = decider.store if isinstance(decider.store, EtcdStore) else None
    registry = make_registry(cluster, tls.engine, reporter.emit, store)
    settings = _settings(config, await decider.start(reporter))
    dial = dial_hops(registry.address, tls.hops)
    node = Node(settings, decider.authority, registry, dial, audit=audit, siblings=siblings)
    _dressed(node, decider, reporter)
    await serve_other_nodes(nursery, node, cluster.hop_listen or cluster.advertise, tls.hops)
    nursery.start_soon(registry.run)
    if store is not None:
        nursery.start_soon(store.run)
    reporter.emit("waiting", what="the cluster's registry on etcd")
    await registry.ready.wait()
    known = sorted({cluster.node_name, *registry.nodes})
    reporter.emit("joined", node=cluster.node_name, nodes=known)
    return node


def _dressed(node: Node, decider: Decider, reporter: Reporter) -> Node:
    node.api = decider.api
    node.notices.call(reporter)
    return node
