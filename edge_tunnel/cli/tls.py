"""``edge-tunnel tls``: a small CA and certificates for a pilot."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from edge_tunnel.cli.arguments import Subparsers
from edge_tunnel.cli.exits import CommandFailed, Exit
from edge_tunnel.cli.pilot_ca import (
    Leaf,
    PilotCa,
    edge_leaf,
    node_leaf,
    refuse_existing,
    remote_leaf,
)
from edge_tunnel.config.toml_text import quoted
from edge_tunnel.link.pem import read_certificates

__all__ = ["add_parser"]

_EXAMPLES: Final = """\
examples:
  edge-tunnel tls init --name tunnel.example.com --edge device-7 --remote anna
  edge-tunnel tls init --name tunnel.example.com --node a --node b --node c
  edge-tunnel tls add --edge device-8
  edge-tunnel tls renew node edge-device-7      # or --all
  edge-tunnel tls show tls/node.pem

For a pilot: ca.key signs all of it, and whoever has that file can be any node, device or user.
Keep it on one machine, not on a node. A certificate names its owner: a node's has the names and
addresses by which it is reached (and its name in the cluster), a device's the URI
edge-tunnel:edge:THING, a user's edge-tunnel:remote:USER. A running node takes renewed files up by
itself, within seconds.
"""


def add_parser(subparsers: Subparsers) -> None:
    """Register ``tls`` and what stands behind it."""
    parser = subparsers.add_parser(
        "tls",
        help="make certificates for a pilot",
        description="Make a small CA, and certificates for nodes, devices and technicians.",
        epilog=_EXAMPLES,
    )
    parser.set_defaults(json=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    init = commands.add_parser("init", help="a new CA and its first certificates")
    _add_owners(init)
    init.set_defaults(run=_init)
    add = commands.add_parser("add", help="more certificates of the same CA")
    _add_owners(add)
    add.set_defaults(run=_add)
    renew = commands.add_parser("renew", help="new certificates and keys for the same owners")
    renew.add_argument("files", nargs="*", metavar="FILE", help="such as node or edge-device-7")
    renew.add_argument("--all", action="store_true", help="all in the folder, but not the CA")
    _add_common(renew)
    renew.set_defaults(run=_renew)
    show = commands.add_parser("show", help="what a certificate says")
    show.add_argument("file", metavar="FILE")
    show.set_defaults(run=_show)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dir", default="tls", metavar="DIR", help="where the files are (tls)")
    parser.add_argument(
        "--days", type=_days, default=397, metavar="N", help="how long they are good for (397)"
    )


def _add_owners(parser: argparse.ArgumentParser) -> None:
    _add_common(parser)
    for option, metavar, text in (
        ("--name", "HOST", "name or address by which the nodes are reached (localhost)"),
        ("--node", "NAME", "a node of a cluster, by its name there"),
        ("--edge", "THING", "a device"),
        ("--remote", "USER", "a technician"),
    ):
        parser.add_argument(
            option, action="append", default=[], metavar=metavar, help=f"{text}; again for more"
        )


def _days(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 10_000):
        raise argparse.ArgumentTypeError("must be a number of days, 1 to 10000")
    return int(text)


def _init(args: argparse.Namespace) -> int:
    args.name = args.name or ["localhost", "127.0.0.1", "::1"]
    leaves = _leaves(args)
    folder = Path(args.dir)
    refuse_existing(folder, ["ca", *(leaf.file for leaf in leaves)])
    ca = PilotCa.create(folder)
    return _issue(ca, leaves, args)


def _add(args: argparse.Namespace) -> int:
    if args.node and not args.name:
        text = "--node needs --name, too: the host by which that node is reached"
        raise CommandFailed(Exit.USAGE, text)
    leaves = _leaves(args)
    if not leaves:
        raise CommandFailed(Exit.USAGE, "nothing to add: give --name, --node, --edge or --remote")
    ca = PilotCa.open(Path(args.dir))
    refuse_existing(ca.folder, [leaf.file for leaf in leaves])
    return _issue(ca, leaves, args)


def _renew(args: argparse.Namespace) -> int:
    ca = PilotCa.open(Path(args.dir))
    files = [Path(each).name.removesuffix(".pem") for each in args.files]
    if args.all:
        files = sorted(path.stem for path in ca.folder.glob("*.pem") if path.stem != "ca")
    if not files or "ca" in files:
        raise CommandFailed(Exit.USAGE, "name what to renew (not the CA), or give --all")
    for leaf in [ca.again(each) for each in files]:
        print(f"renewed {ca.issue(leaf, args.days)}")
    return Exit.DONE


def _show(args: argparse.Namespace) -> int:
    for one in read_certificates("tls show", args.file):
        print(f"subject      {one.subject.rfc4514_string()}")
        print(f"issuer       {one.issuer.rfc4514_string()}")
        print(f"names        {', '.join(_names_in(one)) or '-'}")
        print(f"good         {one.not_valid_before_utc:%Y-%m-%d %H:%M} to "
              f"{one.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")  # fmt: skip
        print(f"fingerprint  {one.fingerprint(hashes.SHA256()).hex()}")
    return Exit.DONE


def _leaves(args: argparse.Namespace) -> list[Leaf]:
    """All that is asked for. Raises CommandFailed."""
    nodes = [node_leaf(node, args.name) for node in args.node or [None]] if args.name else []
    edges, remotes = dict.fromkeys(args.edge), dict.fromkeys(args.remote)
    leaves = [*nodes, *map(edge_leaf, edges), *map(remote_leaf, remotes)]
    if len({leaf.file for leaf in leaves}) < len(leaves):
        raise CommandFailed(Exit.USAGE, "two of these names would have the same files")
    return leaves


def _issue(ca: PilotCa, leaves: list[Leaf], args: argparse.Namespace) -> int:
    paths = [ca.issue(leaf, args.days) for leaf in leaves]
    ca_file = (ca.folder / "ca.pem").resolve()
    host = args.name[0] if args.name else "THE-NODE"
    for path in paths:
        print(_where_to(path.resolve(), ca_file, host))
    print(f"# {ca.folder.resolve()}/ca.key signs more: keep it away from nodes and devices")
    return Exit.DONE


def _where_to(path: Path, ca: Path, host: str) -> str:
    """What goes where, to copy and paste."""
    key = path.with_suffix(".key")
    if path.name.startswith("edge-"):
        return _for_edge(path, key, ca, host)
    if path.name.startswith("remote-"):
        address = f"[{host}]" if ":" in host else host
        return (
            f"# {path.stem}: the technician's command\n"
            f"edge-tunnel connect THING SERVICE --proxy wss://{address}:9100 --ca-file {ca} \\\n"
            f"    --cert {path} --cert-key {key}\n"
        )
    return _for_node(path, key, ca)


def _for_node(path: Path, key: Path, ca: Path) -> str:
    lines = [
        f"# {path.stem}: in the node's proxy.toml",
        'listen = "0.0.0.0:9100"',
        "[tls]",
        f"certificate = {quoted(str(path))}",
        f"key = {quoted(str(key))}",
        f"client_ca = {quoted(str(ca))}",
        'client_certificates = "optional"      # or "required"',
    ]
    if path.stem != "node":
        lines += [
            "[cluster]                             # beside engine, node_name and advertise",
            f"node_ca = {quoted(str(ca))}",
            f"node_cert = {quoted(str(path))}",
            f"node_key = {quoted(str(key))}",
        ]
    return "\n".join(lines) + "\n"


def _for_edge(path: Path, key: Path, ca: Path, host: str) -> str:
    groups = {
        "ws_servers": [{"host": host, "port": 9100}],
        "ws_connection": {"encryption": "ssl"},
        "certificates": {
            "validate": True,
            "cert_chain": str(ca),
            "client_cert": str(path),
            "key_file": str(key),
        },
    }
    inside = json.dumps(groups, indent=2)[2:-2]
    return f"# {path.stem}: in the device's config.json\n{inside}\n"


def _names_in(one: x509.Certificate) -> list[str]:
    try:
        found = one.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(each.value) for each in found]
