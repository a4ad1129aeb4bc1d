"""End-to-end encryption on the technician's side: whom we know, and how to go without."""

from __future__ import annotations

import argparse

from edge_tunnel.protocol.identity import is_fingerprint
from edge_tunnel.remote.known_things import KnownThings, known_things_path

__all__ = ["add_encryption", "read_known_things"]


def add_encryption(parser: argparse.ArgumentParser) -> None:
    """The options --fingerprint and --no-encryption."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--fingerprint",
        type=_fingerprint,
        metavar="SHA256:...",
        help="the device's fingerprint, as its edge prints it; the default is the one that was "
        "remembered, or at the first use any",
    )
    group.add_argument(
        "--no-encryption",
        action="store_true",
        help="no end-to-end encryption: proxy nodes can read and change what passes",
    )


def read_known_things(args: argparse.Namespace) -> KnownThings:
    """The user's, and what the command line says."""
    expected = {args.thing: args.fingerprint} if args.fingerprint else {}
    return KnownThings(known_things_path(), expected=expected)


def _fingerprint(text: str) -> str:
    if not is_fingerprint(text):
        raise argparse.ArgumentTypeError("must be SHA256: and 43 characters, as its edge prints it")
    return text
