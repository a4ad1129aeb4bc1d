"""``edge-tunnel forget THING``: the next device of that name is a new one."""

from __future__ import annotations

import argparse
from typing import Final

from edge_tunnel.cli.arguments import Subparsers
from edge_tunnel.cli.exits import CommandFailed, Exit
from edge_tunnel.link.oserrors import in_words
from edge_tunnel.remote.known_things import KnownThings, known_things_path

__all__ = ["add_parser", "run"]

_EXAMPLES: Final = """\
example, after the device was replaced:
  edge-tunnel forget device-7
  edge-tunnel connect device-7 ssh --fingerprint SHA256:...   # as its edge prints it, to be sure

The fingerprints that are known stand in ~/.local/share/edge-tunnel/known_things (or below
XDG_DATA_HOME), one line for each thing.
"""


def add_parser(subparsers: Subparsers) -> None:
    """Register ``forget``."""
    parser = subparsers.add_parser(
        "forget",
        help="forget the fingerprint of a device that was replaced",
        description="Forget the fingerprint of a device: whatever it shows next is remembered.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("thing", metavar="THING", help="the device's name, as in connect")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Remove its lines."""
    path = known_things_path()
    try:
        found = KnownThings(path).forget(args.thing)
    except OSError as error:
        raise CommandFailed(Exit.CONFIGURATION, f"{path}: {in_words(error)}") from error
    if not found:
        raise CommandFailed(Exit.NO_SUCH_THING, f"{args.thing} is not known in {path}")
    print(f"{args.thing} is forgotten")
    return Exit.DONE
