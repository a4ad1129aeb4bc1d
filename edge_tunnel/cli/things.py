"""``edge-tunnel things``: the devices of the whole cluster."""

from __future__ import annotations

from typing import Final

from edge_tunnel.cli.arguments import Subparsers
from edge_tunnel.cli.listing import View, add_named_listing, seconds
from edge_tunnel.cli.rates import Rate
from edge_tunnel.cli.table import UNKNOWN, Column, age, size, speed
from edge_tunnel.protocol.listing import ThingRow
from edge_tunnel.remote.lists import Lister

__all__ = ["VIEW", "add_parser"]

OURS: Final = "edge-tunnel"
"""What a device speaks that has our own edge."""

_EXAMPLES: Final = """\
examples (with EDGE_TUNNEL_PROXY=ws://127.0.0.1:9100 and EDGE_TUNNEL_KEY set):
  edge-tunnel things                          # all that are bound, at any node of the cluster
  edge-tunnel things 'pump-*' --watch         # some, again every 2 s, until Ctrl-C
  edge-tunnel things --json | jq -r 'select(.node == "a") | .thing'

UP is what came from the device, DOWN what went to it: bytes of its tunnels since it was bound, and
per second. Rates are measured over one second, or since the last look of --watch. ADDRESS is where
its link comes from, as its node sees it: behind a balancer that is the balancer. SERVICES are what
the device says that it offers. FINGERPRINT (whole with --wide and --json) is whose identity it
says it has, as it came through the nodes: connect checks the one that the device itself proves, and
compare that with what the device prints at its start.

PROTOCOL is what the device speaks: alwayson is a ThingWorx device as it is. A node is the end of
its tunnels, and of end-to-end encryption; all such devices show one fingerprint, the cluster's.

An administrator's policy says who sees what: the things on which it gives you some service.

Any node can be asked; it asks the others. One that does not answer is named, and of its things
everything but name, node and epoch is unknown (-).

events of --json: thing, one a row (thing, node, epoch, since, address, services, tunnels, streams,
from_edge, from_remote, from_edge_rate, from_remote_rate, protocol, fingerprint; null: not known),
missing (node, reason); with --watch also sample (rows, missing) after each, and link_lost (reason)
"""


def add_parser(subparsers: Subparsers) -> None:
    """Register ``things``."""
    parser = subparsers.add_parser(
        "things",
        help="list the devices that are bound, at any node",
        description="List the devices that are bound, at any node of the cluster.",
        epilog=_EXAMPLES,
    )
    add_named_listing(parser, VIEW)


def _cells(row: ThingRow, rate: Rate, now: float) -> list[str]:
    if not row.known:
        return [row.thing, row.node, UNKNOWN, UNKNOWN, str(row.epoch), *[UNKNOWN] * 8]
    return [
        row.thing,
        row.node,
        age(now - row.since_ms / 1000),
        row.address or UNKNOWN,
        str(row.epoch),
        ",".join(row.services) or UNKNOWN,
        str(row.streams),
        size(row.from_edge),
        size(row.from_remote),
        speed(rate.from_edge),
        speed(rate.from_remote),
        row.protocol or OURS,
        row.fingerprint or UNKNOWN,
    ]


def _data(row: ThingRow, rate: Rate) -> dict[str, object]:
    known: dict[str, object] = {
        "since": seconds(row.since_ms),
        "address": row.address,
        "services": row.services,
        "tunnels": row.tunnels,
        "streams": row.streams,
        "from_edge": row.from_edge,
        "from_remote": row.from_remote,
        "from_edge_rate": rate.from_edge,
        "from_remote_rate": rate.from_remote,
        "protocol": row.protocol or OURS,
        "fingerprint": row.fingerprint or None,
    }
    facts = known if row.known else dict.fromkeys(known)
    return {"thing": row.thing, "node": row.node, "epoch": row.epoch, **facts}


VIEW: Final = View(
    event="thing",
    ask=Lister.things,
    columns=(
        Column("THING", 99),
        Column("NODE", 9),
        Column("SINCE", 4),
        Column("ADDRESS", 3),
        Column("EPOCH", 1, right=True),
        Column("SERVICES", 6),
        Column("STREAMS", 5, right=True),
        Column("UP", 2, right=True),
        Column("DOWN", 2, right=True),
        Column("UP/S", 8, right=True),
        Column("DOWN/S", 8, right=True),
        Column("PROTOCOL", 1),
        Column("FINGERPRINT", 0),
    ),
    cells=_cells,
    data=_data,
    nothing=("no device that you may use is bound", "as"),
)
