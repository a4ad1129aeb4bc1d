"""demo"""

from __future__ import annotations
import argparse
from edge_tunnel.cli.arguments import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser("demo")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    return 0
