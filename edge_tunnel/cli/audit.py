"""``edge-tunnel audit verify`` and ``audit show``: a node's audit log, checked and read."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Final

from edge_tunnel.audit.chain import Seal, Sealed, Unsound
from edge_tunnel.audit.reading import STDIN, Wanted, in_order, lines_of
from edge_tunnel.audit.records import Kind, iso
from edge_tunnel.audit.verify import Report, Verifier
from edge_tunnel.cli.arguments import Subparsers
from edge_tunnel.cli.auditing import read_seal
from edge_tunnel.cli.events import fit_to_show
from edge_tunnel.cli.exits import CommandFailed, Exit

__all__ = ["add_parser"]

_VERIFY: Final = """\
examples:
  edge-tunnel audit verify /var/log/edge-tunnel/audit.log*
  edge-tunnel audit verify audit.log --key-file audit.key --expect-head 5f2c...
  journalctl -u edge-tunnel-proxy -o cat | grep '^{"seq"' | edge-tunnel audit verify -

Every line that was changed, removed, put in or moved is told, one per line: file, line, what. The
exit code is 65 then. Two things a chain alone cannot show: that records after the last one are
missing - give the hash of an audit_head event, which the node prints regularly, as --expect-head -
and, without a key, that somebody wrote the log anew from some line to its end.
"""

_SHOW: Final = """\
examples:
  edge-tunnel audit show audit.log --since 2h
  edge-tunnel audit show audit.log* --thing 'pump-*' --kind tunnel_opened --kind tunnel_denied
  edge-tunnel audit show audit.log --who alice --json

Times are UTC. It reads, and checks nothing: `edge-tunnel audit verify` does.
"""

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def add_parser(subparsers: Subparsers) -> None:
    """Register ``audit``."""
    parser = subparsers.add_parser(
        "audit",
        help="read a node's audit log, and check that it is as it was written",
        description="A node's audit log (edge-tunnel proxy --audit FILE).",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_verify(commands)
    _add_show(commands)


def _add_verify(commands: Subparsers) -> None:
    text = "Check that a log is as it was written."
    parser = commands.add_parser("verify", help=text, description=text, epilog=_VERIFY)
    text = "of one node, in any order; -: stdin"
    parser.add_argument("files", nargs="+", metavar="FILE", help=text)
    parser.add_argument("--key-file", metavar="FILE", help="the key that the node seals it with")
    parser.add_argument("--expect-head", metavar="HASH", type=_hash, help=_EXPECT)
    parser.set_defaults(run=_verify)


_EXPECT: Final = "the hash of an audit_head event: a record must have it"


def _add_show(commands: Subparsers) -> None:
    text = "Show records as a table."
    parser = commands.add_parser("show", help=text, description=text, epilog=_SHOW)
    parser.add_argument("files", nargs="+", metavar="FILE", help="in any order; -: stdin")
    parser.add_argument("--thing", default="", metavar="PATTERN")
    parser.add_argument("--who", default="", metavar="PATTERN", help="a name, or an address")
    parser.add_argument(
        "--since", type=_since, metavar="WHEN", help="2026-11-22, 2026-11-22T13:00, 2h"
    )
    parser.add_argument(
        "--kind",
        action="append",
        default=[],
        choices=[each.value for each in Kind],
        metavar="KIND",
        help=", ".join(each.value for each in Kind),
    )
    parser.add_argument("--json", action="store_true", help="the lines as they stand")
    parser.set_defaults(run=_show)


def _hash(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError("must be 64 hexadecimal digits")
    return text.lower()


def _since(text: str) -> str:
    """A moment, or how long ago, as the time of a record."""
    ago = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if ago is not None:
        return iso(max(0.0, time.time() - int(ago[1]) * _UNITS[ago[2]]))
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return iso(moment.replace(tzinfo=moment.tzinfo or timezone.utc).timestamp())
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError("must be as 2026-11-22T13:00 or 2h") from error


# -- verify


def _verify(args: argparse.Namespace) -> int:
    verifier = Verifier(read_seal(args.key_file), expect_head=args.expect_head or "")
    try:
        for name in in_order(args.files):
            verifier.file(name, lines_of(name), restarts=name == STDIN)
    except (OSError, EOFError) as error:
        raise _unreadable(error) from error
    report = verifier.end()
    for place in report.problems:
        print(fit_to_show(str(place)))
    for place in report.notes:
        print(fit_to_show(f"note: {place}"))
    print(_summary(report, len(args.files)))
    return Exit.UNREADABLE if report.problems else Exit.DONE


def _summary(report: Report, files: int) -> str:
    what = f"{report.records} records in {files} file{'s' if files > 1 else ''}"
    if report.first is not None and report.last is not None:
        first, last = report.first, report.last
        what += f", {first.seq} to {last.seq}, the last {last.kind} at {last.fields.get('time')}"
        what += f"\nhead {last.hash}"
    if report.after_expected is not None:
        what += f"\nthe expected head is there, {report.after_expected} records follow it"
    count = len(report.problems)
    verdict = f"{count} problem{'s' if count > 1 else ''}" if count else "ok"
    return fit_to_show(f"{verdict}: {what}")


def _unreadable(error: OSError | EOFError) -> CommandFailed:
    name = getattr(error, "filename", None)
    why = getattr(error, "strerror", None) or str(error)
    return CommandFailed(Exit.CONFIGURATION, f"{name}: {why}" if name else why)


# -- show


def _show(args: argparse.Namespace) -> int:
    wanted = Wanted(thing=args.thing, who=args.who, since=args.since or "", kinds=tuple(args.kind))
    strange = 0
    try:
        for name in in_order(args.files):
            strange += _show_lines(lines_of(name), wanted, as_json=args.json)
    except (OSError, EOFError) as error:
        raise _unreadable(error) from error
    if strange:
        text = f"{strange} lines are no records: edge-tunnel audit verify says more"
        print(f"edge-tunnel: {text}", file=sys.stderr)
    return Exit.DONE


def _show_lines(lines: Iterable[bytes], wanted: Wanted, *, as_json: bool) -> int:
    strange = 0
    for line in lines:
        try:
            record = Seal.claims(line.rstrip(b"\n"))
        except Unsound:
            strange += 1
            continue
        if wanted.wants(record):
            text = line.decode("ascii", "replace").rstrip() if as_json else row(record)
            print(fit_to_show(text))
    return strange


_SHOWN_ELSEWHERE: Final = {
    "seq", "time", "node", "kind", "who", "via", "role", "address", "thing", "service", "tunnel",
    "reason", "code", "previous", "sha256", "hmac_sha256", "from_edge", "from_remote", "seconds",
    "epoch",
}  # fmt: skip


def row(record: Sealed) -> str:
    """One line for people: when, what, who, where, and how it went."""
    of = record.fields.get
    who = " ".join(str(part) for part in (of("who"), of("address") or of("role")) if part)
    where = " ".join(str(part) for part in (of("thing"), of("service")) if part)
    shown = f"{of('time')}  {record.kind:15}  {who or '-':28}  {where or '-':20}  {_how(record)}"
    return shown.rstrip()


def _how(record: Sealed) -> str:
    of = record.fields.get
    parts = [str(of("reason") or "")]
    if of("from_edge") is not None:
        parts.append(f"{of('from_edge')} bytes from the edge, {of('from_remote')} from the remote")
    if of("seconds") is not None:
        parts.append(f"{of('seconds')} s")
    parts += [f"{k}={v}" for k, v in record.fields.items() if k not in _SHOWN_ELSEWHERE]
    return "; ".join(part for part in parts if part)
