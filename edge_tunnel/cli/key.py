"""``edge-tunnel key``: make, list and revoke keys, on any node."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Final

from edge_tunnel.access.keys import generate
from edge_tunnel.cli.access import add_access, read_access, read_secret
from edge_tunnel.cli.arguments import Subparsers, duration
from edge_tunnel.cli.exits import CommandFailed, Exit
from edge_tunnel.cli.node_api import ask
from edge_tunnel.cli.tables import print_json, print_table, when

__all__ = ["add_parser"]

_EXAMPLES: Final = """\
examples (with EDGE_TUNNEL_PROXY, and EDGE_TUNNEL_KEY an administrator's key):
  edge-tunnel key generate > admin.key                 # for a node's --admin-key-file
  edge-tunnel key new --edge device-7 > device-7.key   # "appKey" of that device
  edge-tunnel key new --edge gateway-3 --thing 'plc-3?' --expires 365d
  edge-tunnel key new --edge device-8 --import old.key # the appKey that it has already
  edge-tunnel key new --remote anna --comment "service team"
  edge-tunnel key new --replaces 1f3a9c20b7d4 --overlap 7d
  edge-tunnel key list
  edge-tunnel key revoke 1f3a9c20b7d4                  # what lives by it ends at once

A new key is printed once, alone on stdout; no node can show it again. ID may be shortened as long
as only one key begins like that.
"""


def add_parser(subparsers: Subparsers) -> None:
    """Register ``key``."""
    parser = subparsers.add_parser(
        "key",
        help="make, list and revoke the keys of devices, technicians and administrators",
        description="Make, list and revoke the keys of devices, technicians and administrators.",
        epilog=_EXAMPLES,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_new(actions)
    listing = actions.add_parser("list", help="all keys, without the keys themselves")
    listing.set_defaults(run=_list)
    revoking = actions.add_parser("revoke", help="end a key, and what lives by it, at once")
    revoking.add_argument("id", metavar="ID")
    revoking.set_defaults(run=_revoke)
    making = actions.add_parser("generate", help="print a random key; asks no node")
    making.set_defaults(run=_generate)
    for action in (listing, revoking):
        add_access(action)
        action.add_argument("--json", action="store_true", help="one JSON object on stdout")


def _add_new(actions: Subparsers) -> None:
    parser = actions.add_parser("new", help="make a key, or import one")
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--edge", metavar="NAME", help="for this device")
    whose.add_argument("--remote", metavar="USER", help="for this technician")
    whose.add_argument("--admin", metavar="NAME", help="for this administrator")
    whose.add_argument("--replaces", metavar="ID", help="in place of this key, which ends soon")
    parser.add_argument(
        "--thing",
        action="append",
        default=[],
        metavar="PATTERN",
        help="what the device may bind, again for more; its own name, if it is left out",
    )
    parser.add_argument("--expires", type=duration, metavar="TIME", help="ends after, as in 90d")
    parser.add_argument(
        "--overlap", type=duration, metavar="TIME", help="the old key goes on for this long (1d)"
    )
    parser.add_argument("--comment", default="", metavar="TEXT")
    parser.add_argument(
        "--import",
        dest="imported",
        nargs="?",
        const="-",
        metavar="FILE",
        help="take the key in this file, or on stdin; at least 16 characters",
    )
    add_access(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(run=_new)


def _new(args: argparse.Namespace) -> int:
    if args.overlap is not None and args.replaces is None:
        raise CommandFailed(Exit.USAGE, "--overlap goes with --replaces")
    if args.thing and args.edge is None:
        raise CommandFailed(Exit.USAGE, "--thing goes with --edge")
    access = read_access(args, web=True)
    said = ask(access, "POST", "keys", _wish(args))
    record = said["record"]
    if args.json:
        print_json(said)
        return Exit.DONE
    what = f"key {record['id']} of {record['role']} {record['name']}"
    print(f"{what}, expires {when(record['expires'])}", file=sys.stderr)
    if "key" in said:
        print(said["key"])
    return Exit.DONE


def _wish(args: argparse.Namespace) -> dict[str, Any]:
    wish: dict[str, Any] = {"comment": args.comment}
    if args.replaces is not None:
        wish["replaces"] = args.replaces
    else:
        role = next(role for role in ("edge", "remote", "admin") if getattr(args, role) is not None)
        wish.update(role=role, name=getattr(args, role), things=args.thing)
    times = {"lifetime": args.expires, "overlap": args.overlap}
    wish.update({field: value for field, value in times.items() if value is not None})
    if args.imported is not None:
        wish["key"] = _import(args.imported)
    return wish


def _import(file: str) -> str:
    if file != "-":
        return read_secret(Path(file), "key")
    key = sys.stdin.readline(4096).strip()
    if not key:
        raise CommandFailed(Exit.USAGE, "--import: there is no key on stdin")
    return key


def _list(args: argparse.Namespace) -> int:
    said = ask(read_access(args, web=True), "GET", "keys")
    if args.json:
        print_json(said)
        return Exit.DONE
    rows = [
        (
            each["id"],
            each["role"],
            each["name"],
            " ".join(each["things"]) or "-",
            when(each["created"]),
            when(each["expires"]),
            f"replaced by {each['replaced_by']}" if each["replaced_by"] else each["comment"],
        )
        for each in said["keys"]
    ]
    head = ("ID", "ROLE", "NAME", "THINGS", "CREATED", "EXPIRES", "COMMENT")
    print_table(head, rows, "no keys yet")
    return Exit.DONE


def _revoke(args: argparse.Namespace) -> int:
    said = ask(read_access(args, web=True), "DELETE", f"keys/{_in_path(args.id)}")
    record = said["record"]
    if args.json:
        print_json(said)
    else:
        print(f"revoked key {record['id']} of {record['role']} {record['name']}")
    return Exit.DONE


def _in_path(key_id: str) -> str:
    """An id has hex digits only; anything else would be another path."""
    if not (key_id.isascii() and key_id.isalnum()):
        raise CommandFailed(Exit.USAGE, "ID: write it as `edge-tunnel key list` shows it")
    return key_id


def _generate(_args: argparse.Namespace) -> int:
    print(generate())
    return Exit.DONE
