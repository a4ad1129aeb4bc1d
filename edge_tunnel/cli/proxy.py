"""``edge-tunnel proxy``: one node, in development mode."""

from __future__ import annotations

import argparse
import ipaddress
import os
from collections.abc import Sequence
from typing import Final

import trio

from edge_tunnel.cli.arguments import Subparsers, add_json, add_lifetime, add_log_level
from edge_tunnel.cli.events import Reporter, open_reporter, set_up_logging
from edge_tunnel.cli.exits import CommandFailed, Exit
from edge_tunnel.cli.ports import why_not_open
from edge_tunnel.cli.stopping import open_stop
from edge_tunnel.config import ListenAddress, NodeLimits, ProxyConfig, Secret, load_proxy_config
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.proxy.node import Node, NodeSettings, one_key

__all__ = ["add_parser", "run"]

_FAREWELL: Final = 2.0
"""Seconds that the endpoints have to take our goodbye."""

_EXAMPLES: Final = """\
examples:
  EDGE_TUNNEL_DEV_KEY=choose-one edge-tunnel proxy --listen 127.0.0.1:9100
  edge-tunnel proxy --config proxy.toml --json

Development mode: no TLS and one key for all, and therefore on this machine's loopback address only.
Another user of the machine sees the arguments of a process: prefer the variable, or the file, to
--dev-key. SIGTERM ends the node; endpoints go elsewhere or wait for its return.

events: listening, bound, unbound, tunnel_opened, tunnel_attached, tunnel_detached, tunnel_closed
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
        return load_proxy_config(args.config, environ=environ)
    key = args.dev_key or os.environ.get("EDGE_TUNNEL_DEV_KEY", "")
    if not key:
        text = "no key: set EDGE_TUNNEL_DEV_KEY or give --dev-key; edges and remotes show the same"
        raise CommandFailed(Exit.USAGE, text)
    return ProxyConfig(dev_key=Secret(key), listen=(_address(args.listen),), log_level="WARNING")


def _address(text: str) -> ListenAddress:
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit() and int(port[:6]) <= 65535):
        raise CommandFailed(Exit.USAGE, f"--listen {text}: write it as 127.0.0.1:9100")
    return ListenAddress(host=host.removeprefix("[").removesuffix("]") or None, port=int(port))


def _demand_loopback(address: ListenAddress) -> None:
    if not _is_loopback(address.host):
        where = f"{address.host or '*'}:{address.port}"
        text = f"listen on {where}: development mode has no TLS, so it listens on 127.0.0.1 only"
        raise CommandFailed(Exit.CONFIGURATION, text)


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _settings(limits: NodeLimits) -> NodeSettings:
    return NodeSettings(
        handshake_timeout=limits.handshake_timeout, max_unauthenticated=limits.max_unauthenticated
    )


async def _serve(config: ProxyConfig, as_json: bool, with_stdin: bool) -> None:
    node = Node(_settings(config.limits), one_key(config.dev_key.reveal()))
    async with (
        open_stop(with_stdin=with_stdin) as stop,
        open_reporter(as_json=as_json, on_broken=stop.set) as reporter,
        open_plain_nursery() as nursery,
    ):
        node.notices.call(reporter)
        for address in config.listen:
            await _listen(node, address, nursery, reporter)
        await stop.wait()
        node.say_goodbye()
        await node.wait_idle(_FAREWELL)
        nursery.cancel_scope.cancel()


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
