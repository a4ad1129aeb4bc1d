"""A node that is one of several: its options, its registry on etcd, and its hops."""

from __future__ import annotations

import argparse
import ssl
import time
from collections.abc import Callable
from functools import partial

import trio

from edge_tunnel.cli.addresses import parse_address, shown
from edge_tunnel.cli.exits import CommandFailed, Exit
from edge_tunnel.cli.ports import why_not_open
from edge_tunnel.config import ClusterSettings, ListenAddress
from edge_tunnel.protocol.greeting import VERSION
from edge_tunnel.proxy.cluster import ClusterRegistry, RowsBeside
from edge_tunnel.proxy.directory import NodeInfo
from edge_tunnel.proxy.etcd import EtcdClient
from edge_tunnel.proxy.etcd_http import Endpoint
from edge_tunnel.proxy.etcd_tls import EngineTls, engine_context, engine_files
from edge_tunnel.proxy.node import Node
from edge_tunnel.proxy.peering import (
    HopTls,
    HopTlsSource,
    hop_files,
    load_hop_tls,
    serve_hops,
)
from edge_tunnel.proxy.renewed import Renewed

__all__ = [
    "add_cluster",
    "engine_tls",
    "hop_tls",
    "make_client",
    "make_registry",
    "read_cluster",
    "serve_other_nodes",
]

_SCHEME = "etcd://"


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """The options --cluster, --node-name and --advertise."""
    group = parser.add_argument_group("a node of a cluster (or the group [cluster] of proxy.toml)")
    group.add_argument(
        "--cluster", metavar="etcd://HOST:PORT[,HOST:PORT...]", help="the etcd that nodes share"
    )
    group.add_argument("--node-name", metavar="NAME", help="no two nodes have the same")
    group.add_argument(
        "--advertise", metavar="HOST:PORT", help="where this node listens for the other nodes"
    )
    group.add_argument(
        "--hop-listen", metavar="HOST:PORT", help="where it listens, if not at that address"
    )
    group.add_argument("--cluster-prefix", metavar="KEY", help="of all keys in etcd (/edge-tunnel)")


def read_cluster(args: argparse.Namespace) -> ClusterSettings | None:
    """From the options; None if there are none. Raises CommandFailed."""
    given = (args.cluster, args.node_name, args.advertise)
    if not any((*given, args.hop_listen)) and args.cluster_prefix is None:
        return None
    if not all(given):
        text = "a cluster needs --cluster, --node-name and --advertise, all three"
        raise CommandFailed(Exit.USAGE, text)
    if not args.cluster.startswith(_SCHEME):
        text = f"--cluster {args.cluster}: write it as etcd://127.0.0.1:2379"
        raise CommandFailed(Exit.USAGE, text)
    members = args.cluster.removeprefix(_SCHEME).split(",")
    more = {} if args.cluster_prefix is None else {"prefix": args.cluster_prefix}
    listen = args.hop_listen and parse_address(args.hop_listen, "--hop-listen")
    return ClusterSettings(
        engine=tuple(parse_address(each, "--cluster") for each in members),
        node_name=args.node_name,
        advertise=parse_address(args.advertise, "--advertise"),
        hop_listen=listen,
        **more,
    )


def make_client(settings: ClusterSettings, tls: EngineTls | None) -> EtcdClient:
    """A client of the cluster's etcd."""
    endpoints = [Endpoint(each.host or "127.0.0.1", each.port) for each in settings.engine]
    return EtcdClient(endpoints, tls=tls)


def make_registry(
    settings: ClusterSettings,
    tls: EngineTls | None,
    emit: Callable[..., None],
    beside: RowsBeside | None = None,
) -> ClusterRegistry:
    """The registry on etcd; run it."""
    me = NodeInfo(
        name=settings.node_name,
        address=shown(settings.advertise),
        version=VERSION,
        started=time.time(),
    )
    client = make_client(settings, tls)
    return ClusterRegistry(me, client, prefix=settings.prefix, rows_beside=beside, emit=emit)


def engine_tls(settings: ClusterSettings) -> Renewed[ssl.SSLContext] | None:
    """TLS towards etcd, if files are given. Raises ConfigError, which names key and file."""
    if settings.engine_cert is None or settings.engine_key is None or settings.engine_ca is None:
        return None
    pair = engine_files(settings.engine_cert, settings.engine_key, settings.engine_ca)
    return Renewed("etcd's client", pair, partial(engine_context, pair))


def hop_tls(settings: ClusterSettings) -> Renewed[HopTls] | None:
    """Mutual TLS between nodes, if files are given. Raises ConfigError."""
    if settings.node_cert is None or settings.node_key is None or settings.node_ca is None:
        return None
    files = (settings.node_cert, settings.node_key, settings.node_ca)
    return Renewed("the hops to other nodes", hop_files(*files), partial(load_hop_tls, *files))


async def serve_other_nodes(
    nursery: trio.Nursery, node: Node, address: ListenAddress, tls: HopTlsSource | None
) -> None:
    """Take hops in the background. Raises CommandFailed if the address cannot be used."""
    assert node.hops is not None
    host = "127.0.0.1" if address.host in (None, "localhost") else address.host
    assert host is not None
    try:
        await nursery.start(serve_hops, node.hops, host, address.port, tls)
    except OSError as error:
        raise CommandFailed(Exit.CONFIGURATION, why_not_open(host, address.port, error)) from error
