"""``edge-tunnel tunnels``: who uses what, in the whole cluster."""

from __future__ import annotations

import argparse
from typing import Final

from edge_tunnel.cli.arguments import Subparsers
from edge_tunnel.cli.listing import View, add_listing, run_listing, seconds
from edge_tunnel.cli.rates import Rate
from edge_tunnel.cli.table import UNKNOWN, Column, age, size, speed
from edge_tunnel.protocol.listing import TunnelRow
from edge_tunnel.remote.lists import Lister

__all__ = ["VIEW", "add_parser", "run"]

_EXAMPLES: Final = """\
examples (with EDGE_TUNNEL_PROXY=ws://127.0.0.1:9100 and EDGE_TUNNEL_KEY set):
  edge-tunnel tunnels                         # all of the cluster
  edge-tunnel tunnels device-7 --watch        # to one device, again every 2 s, until Ctrl-C
  edge-tunnel tunnels --json | jq -r 'select(.service == "ssh") | .remote_address'

TUNNEL is the first part of its id (--json has all of it). REMOTE is where the technician's link
comes from, as its node sees it. NODES are the remote's and the device's, as b>a, or a where it is
one; ? stands for an end that is away at the moment (the tunnel waits for it) or is not known.
UP is what came from the device, DOWN what went to it. SINCE is when the nodes of now began to carry
it. Rates are measured over one second, or since the last look of --watch.

Any node can be asked; it asks the others. One that does not answer is named.

events of --json: tunnel, one a row (tunnel, epoch, thing, service, since, edge_node, edge_address,
remote_node, remote_address, streams, from_edge, from_remote, from_edge_rate, from_remote_rate;
null: not known), missing (node, reason); with --watch also sample (rows, missing) after each, and
link_lost (reason)
"""

_SHORT: Final = 8
"""Characters of an id that people compare."""


def add_parser(subparsers: Subparsers) -> None:
    """Register ``tunnels``."""
    parser = subparsers.add_parser(
        "tunnels",
        help="list the tunnels that are open, through any node",
        description="List the tunnels that are open, through any node of the cluster.",
        epilog=_EXAMPLES,
    )
    text = "to this device only; * and ? work (all)"
    parser.add_argument("thing", metavar="THING", nargs="?", default="", help=text)
    add_listing(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """List."""
    return run_listing(args, VIEW, args.thing)


def _nodes(row: TunnelRow) -> str:
    if row.remote_node == row.edge_node:
        return row.edge_node or "?"
    return f"{row.remote_node or '?'}>{row.edge_node or '?'}"


def _cells(row: TunnelRow, rate: Rate, now: float) -> list[str]:
    return [
        row.tunnel.hex()[:_SHORT],
        row.thing,
        row.service,
        row.remote_address or UNKNOWN,
        _nodes(row),
        age(now - row.since_ms / 1000),
        str(row.streams),
        size(row.from_edge),
        size(row.from_remote),
        speed(rate.from_edge),
        speed(rate.from_remote),
    ]


def _data(row: TunnelRow, rate: Rate) -> dict[str, object]:
    return {
        "tunnel": row.tunnel.hex(),
        "epoch": row.epoch,
        "thing": row.thing,
        "service": row.service,
        "since": seconds(row.since_ms),
        "edge_node": row.edge_node or None,
        "edge_address": row.edge_address or None,
        "remote_node": row.remote_node or None,
        "remote_address": row.remote_address or None,
        "streams": row.streams,
        "from_edge": row.from_edge,
        "from_remote": row.from_remote,
        "from_edge_rate": rate.from_edge,
        "from_remote_rate": rate.from_remote,
    }


VIEW: Final = View(
    event="tunnel",
    ask=Lister.tunnels,
    columns=(
        Column("TUNNEL", 6),
        Column("THING", 99),
        Column("SERVICE", 9),
        Column("REMOTE", 9),
        Column("NODES", 7),
        Column("SINCE", 1),
        Column("STREAMS", 3, right=True),
        Column("UP", 2, right=True),
        Column("DOWN", 2, right=True),
        Column("UP/S", 8, right=True),
        Column("DOWN/S", 8, right=True),
    ),
    cells=_cells,
    data=_data,
    nothing=("no tunnel is open", "to"),
)
