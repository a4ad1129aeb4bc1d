"""``edge-tunnel ticket THING SERVICE``: lets somebody in once, without a key."""

from __future__ import annotations

import argparse
import sys
from typing import Any, Final

from edge_tunnel.cli.access import add_access, read_access
from edge_tunnel.cli.arguments import Subparsers, duration
from edge_tunnel.cli.exits import Exit
from edge_tunnel.cli.node_api import ask
from edge_tunnel.cli.tables import print_json, when

__all__ = ["add_parser", "run"]

_EXAMPLES: Final = """\
examples (with EDGE_TUNNEL_PROXY and EDGE_TUNNEL_KEY set):
  export EDGE_TUNNEL_TICKET=$(edge-tunnel ticket device-7 ssh)
  edge-tunnel connect device-7 ssh --local 2222        # within 15 s
  edge-tunnel ticket device-7 ssh --user anna          # with an administrator's key

A ticket works once, within seconds, for one user, one thing and one service, and only if the policy
gives that user the right. It is printed alone on stdout.
"""


def add_parser(subparsers: Subparsers) -> None:
    """Register ``ticket``."""
    parser = subparsers.add_parser(
        "ticket",
        help="make a ticket: one session of one user, without giving out a key",
        description="Make a ticket: one session of one user, without giving out a key.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("thing", metavar="THING", help="the device's name")
    parser.add_argument("service", metavar="SERVICE", help="as in ssh")
    parser.add_argument("--user", metavar="USER", help="for whom; you, if it is left out")
    parser.add_argument(
        "--lifetime", type=duration, metavar="TIME", help="to be used within (15s, or as the node)"
    )
    add_access(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask for it and print it."""
    wish: dict[str, Any] = {"thing": args.thing, "service": args.service}
    wish.update({k: v for k in ("user", "lifetime") if (v := getattr(args, k)) is not None})
    said = ask(read_access(args, web=True), "POST", "tickets", wish)
    if args.json:
        print_json(said)
        return Exit.DONE
    print(f"to be used once, until {when(said['expires'])}", file=sys.stderr)
    print(said["ticket"])
    return Exit.DONE
