"""``edge-tunnel edge``: the device's side."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from typing import Final

import trio

from edge_tunnel.cli.allocator import keep_freed_memory
from edge_tunnel.cli.arguments import Subparsers, add_json, add_lifetime, add_log_level
from edge_tunnel.cli.events import open_reporter, set_up_logging
from edge_tunnel.cli.exits import Exit
from edge_tunnel.cli.reload import open_reload
from edge_tunnel.cli.stopping import open_stop
from edge_tunnel.config import EdgeConfig, Severity, load_config
from edge_tunnel.edge.edge import open_edge
from edge_tunnel.edge.identity_file import identity_path, load_identity_aside
from edge_tunnel.protocol.identity import Identity

__all__ = ["add_parser", "run"]

_log = logging.getLogger("edge_tunnel.config")

_EXAMPLES: Final = """\
examples:
  edge-tunnel edge --config /opt/ems/etc/config.json
  edge-tunnel edge --config config.toml --json --exit-with-stdin   # started by another program

The file is the EMS's own config.json, and the services that may be reached stand in a group of it:
  "edge_tunnel": {"services": [{"name": "ssh", "host": "127.0.0.1", "port": 22}]}
Nothing listens on the device. A lost link is dialled again; open connections wait for it.

At its first start the device makes a key that shows remotes who it is, and keeps it beside the file
(config.identity.pem; or edge_tunnel.identity_file). Keep it: a remote that knows this device stops
if its fingerprint is another one.

events: identity (fingerprint), connecting, linked (protocol: edge-tunnel.1 or alwayson),
bound (thing, url, fingerprint), link_lost (reason), link_refused (reason), connect_failed (reason),
unbound, tunnel_opened, tunnel_detached, tunnel_resumed (seconds), tunnel_closed (reason),
stream_opened, stream_refused (reason), reloaded, reload_failed (reason), notice (text)

SIGHUP reads the file again: services and limits change at once, another server or key makes a new
link without losing a stream, and a broken file changes nothing.
"""


def add_parser(subparsers: Subparsers) -> None:
    """Register ``edge``."""
    parser = subparsers.add_parser(
        "edge",
        help="run on a device: make its services reachable",
        description="Run on a device: bind its things at a proxy node and serve their tunnels.",
        epilog=_EXAMPLES,
    )
    parser.add_argument(
        "--config", required=True, metavar="FILE", help="EMS config.json, or the same as .toml"
    )
    parser.add_argument(
        "--protocol",
        choices=("auto", "edge-tunnel", "alwayson"),
        help="what to speak: edge-tunnel (our nodes), alwayson (ThingWorx servers), or auto: ours "
        "where the server offers it (default: edge_tunnel.protocol of the file, or auto)",
    )
    add_lifetime(parser)
    add_json(parser)
    add_log_level(parser, default=None)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop."""
    loaded = load_config(args.config)
    set_up_logging(args.log_level or loaded.config.log_level)
    for finding in loaded.findings:
        if finding.severity is Severity.WARNING:
            _log.warning("%s", finding)
    keep_freed_memory()
    identity = load_identity_aside(identity_path(args.config, loaded.config.identity_file))
    trio.run(_serve, _with_options(loaded.config, args), args, identity)
    return Exit.DONE


def _with_options(config: EdgeConfig, args: argparse.Namespace) -> EdgeConfig:
    """What is said on the command line wins over the file, also when that is read again."""
    return dataclasses.replace(config, protocol=args.protocol) if args.protocol else config


async def _serve(config: EdgeConfig, args: argparse.Namespace, identity: Identity) -> None:
    async with (
        open_stop(with_stdin=args.exit_with_stdin, with_hangup=False) as stop,
        open_reporter(as_json=args.json, on_broken=stop.set) as reporter,
        open_edge(config, identity=identity) as edge,
        open_reload(edge, args.config, reporter, lambda config: _with_options(config, args)),
    ):
        edge.notices.call(reporter)
        edge.notices.emit("identity", fingerprint=edge.fingerprint)
        await stop.wait()
