"""``edge-tunnel nodes``: the cluster itself."""

from __future__ import annotations

from typing import Final

from edge_tunnel.cli.arguments import Subparsers
from edge_tunnel.cli.listing import View, add_named_listing, seconds
from edge_tunnel.cli.rates import Rate
from edge_tunnel.cli.table import UNKNOWN, Column, age, speed
from edge_tunnel.protocol.listing import NodeRow
from edge_tunnel.remote.lists import Lister

__all__ = ["VIEW", "add_parser"]

_EXAMPLES: Final = """\
examples (with EDGE_TUNNEL_PROXY=ws://127.0.0.1:9100 and EDGE_TUNNEL_KEY set):
  edge-tunnel nodes                           # versions, load, and who drains
  edge-tunnel nodes --watch                   # again every 2 s, until Ctrl-C
  edge-tunnel nodes --json | jq -r 'select(.draining) | .node'

BYTES/S is all that the node passes on, both ways, measured over one second, or since the last look
of --watch; a tunnel between two nodes counts at both. UP is how long the node runs, ADDRESS where
the other nodes reach it. STATE is ready, draining (it takes no new links, and asks its endpoints to
go elsewhere), or silent: it did not answer, and the line says what it told the cluster last.

events of --json: node, one a row (node, answered, address, software, started, draining, links,
tunnels, things, passed, rate; null: not known), missing (node, reason); with --watch also sample
(rows, missing) after each, and link_lost (reason)
"""


def add_parser(subparsers: Subparsers) -> None:
    """Register ``nodes``."""
    parser = subparsers.add_parser(
        "nodes",
        help="list the nodes of the cluster: version, load, draining",
        description="List the nodes of the cluster: version, load, and which of them drain.",
        epilog=_EXAMPLES,
    )
    add_named_listing(parser, VIEW)


def _state(row: NodeRow) -> str:
    states = [*(["silent"] if not row.known else []), *(["draining"] if row.draining else [])]
    return ", ".join(states) or "ready"


def _cells(row: NodeRow, rate: Rate, now: float) -> list[str]:
    return [
        row.node,
        row.address or UNKNOWN,
        row.software.rpartition("/")[2] or UNKNOWN,
        age(now - row.started_ms / 1000) if row.started_ms else UNKNOWN,
        str(row.links),
        str(row.tunnels),
        str(row.things) if row.known else UNKNOWN,
        speed(rate.from_edge),
        _state(row),
    ]


def _data(row: NodeRow, rate: Rate) -> dict[str, object]:
    return {
        "node": row.node,
        "answered": row.known,
        "address": row.address or None,
        "software": row.software or None,
        "started": seconds(row.started_ms),
        "draining": row.draining,
        "links": row.links,
        "tunnels": row.tunnels,
        "things": row.things if row.known else None,
        "passed": row.passed if row.known else None,
        "rate": rate.from_edge,
    }


VIEW: Final = View(
    event="node",
    ask=Lister.nodes,
    columns=(
        Column("NODE", 99),
        Column("ADDRESS", 2),
        Column("VERSION", 6),
        Column("UP", 3, right=True),
        Column("LINKS", 8, right=True),
        Column("TUNNELS", 8, right=True),
        Column("THINGS", 4, right=True),
        Column("BYTES/S", 8, right=True),
        Column("STATE", 9),
    ),
    cells=_cells,
    data=_data,
    nothing=("there is no node", "called"),
)
