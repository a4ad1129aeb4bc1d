"""TLS of a node on the command line: its options, its files, and what is wrong with them."""

from __future__ import annotations

import argparse
import os
import ssl
from collections.abc import Iterator
from functools import partial
from typing import Final

from edge_tunnel.cli.exits import CommandFailed, Exit
from edge_tunnel.config import NodeTls, ProxyConfig, Secret, Severity
from edge_tunnel.config.findings import Finding
from edge_tunnel.config.node_tls import TLS_SECRET
from edge_tunnel.link.pem import BadFile, Pair
from edge_tunnel.proxy.etcd_tls import engine_files
from edge_tunnel.proxy.peering import hop_files
from edge_tunnel.proxy.renewed import Renewed
from edge_tunnel.proxy.tls import files_of, server_context

__all__ = ["add_tls", "listener_tls", "read_tls", "tls_findings"]

_OPTIONS: Final = ("--tls-cert", "--tls-key", "--client-ca")


def add_tls(parser: argparse.ArgumentParser) -> None:
    """The options --tls-cert, --tls-key and --client-ca."""
    group = parser.add_argument_group("TLS (or the group [tls] of proxy.toml)")
    group.add_argument(
        "--tls-cert", metavar="FILE", help="this node's certificate and its chain, PEM"
    )
    group.add_argument("--tls-key", metavar="FILE", help="its private key, PEM")
    group.add_argument(
        "--client-ca", metavar="FILE", help="demand client certificates of this CA, PEM"
    )


def read_tls(args: argparse.Namespace) -> NodeTls | None:
    """From the options; None if there are none. Raises CommandFailed."""
    if args.tls_cert is None and args.tls_key is None and args.client_ca is None:
        return None
    if args.tls_cert is None or args.tls_key is None:
        text = "TLS needs --tls-cert and --tls-key, both; edge-tunnel tls init makes them"
        raise CommandFailed(Exit.USAGE, text)
    password = os.environ.get(TLS_SECRET.variable)
    return NodeTls(
        certificate=args.tls_cert,
        key=args.tls_key,
        key_password=Secret(password) if password else None,
        client_ca=args.client_ca,
        client_certificates="off" if args.client_ca is None else "required",
    )


def listener_tls(settings: NodeTls, *, from_options: bool) -> Renewed[ssl.SSLContext]:
    """What the node's own listeners show. Raises ConfigError, which names key and file."""
    pair = files_of(settings, _OPTIONS if from_options else None)
    return Renewed("the node", pair, partial(server_context, settings, pair))


def tls_findings(config: ProxyConfig, file: str) -> Iterator[Finding]:
    """What is wrong with the files that a node's file names, for check-config."""
    for pair in _pairs(config):
        try:
            pair.check()
        except BadFile as bad:
            yield Finding(
                severity=Severity.ERROR,
                key=bad.key,
                message=bad.message,
                hint=bad.hint,
                file=file,
            )


def _pairs(config: ProxyConfig) -> Iterator[Pair]:
    if config.tls is not None:
        yield files_of(config.tls)
    cluster = config.cluster
    if cluster is not None and cluster.node_cert and cluster.node_key and cluster.node_ca:
        yield hop_files(cluster.node_cert, cluster.node_key, cluster.node_ca)
    if cluster is not None and cluster.engine_cert and cluster.engine_key and cluster.engine_ca:
        yield engine_files(cluster.engine_cert, cluster.engine_key, cluster.engine_ca)
