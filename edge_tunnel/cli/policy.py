"""``edge-tunnel policy``: who may reach what; pushed once, to any node, in force on all."""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path
from typing import Any, Final

from edge_tunnel.access.policy import Policy
from edge_tunnel.access.policy_diff import differences
from edge_tunnel.access.policy_reader import PolicyInspection, read_policy
from edge_tunnel.cli.access import Access, add_access, read_access
from edge_tunnel.cli.arguments import Subparsers
from edge_tunnel.cli.check_config import exit_code, write
from edge_tunnel.cli.events import fit_to_show
from edge_tunnel.cli.exits import CommandFailed, Exit
from edge_tunnel.cli.node_api import ask
from edge_tunnel.cli.tables import print_json, print_table, when
from edge_tunnel.config.files import decoded, read_bytes
from edge_tunnel.config.findings import ConfigFileError, Findings
from edge_tunnel.config.report import report
from edge_tunnel.config.source import Source

__all__ = ["add_parser"]

_EXAMPLES: Final = """\
examples (with EDGE_TUNNEL_PROXY, and EDGE_TUNNEL_KEY an administrator's key):
  edge-tunnel policy check policy.toml     # asks no node
  edge-tunnel policy diff policy.toml      # what a push would change
  edge-tunnel policy push policy.toml
  edge-tunnel policy show > policy.toml    # the one in force
  edge-tunnel policy history
  edge-tunnel policy rollback 3            # version 3 again, as a new version

A push is refused if the file has any error, or if somebody else pushed since this command looked.
What a policy can say: examples/policy.toml and docs/access.md.
"""


def add_parser(subparsers: Subparsers) -> None:
    """Register ``policy``."""
    parser = subparsers.add_parser(
        "policy",
        help="say who may reach which service of which device",
        description="Say who may reach which service of which device.",
        epilog=_EXAMPLES,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    push = actions.add_parser("push", help="check a file, show what it changes, put it in force")
    show = actions.add_parser("show", help="the policy in force, or an older version")
    diff = actions.add_parser("diff", help="what a file would change")
    history = actions.add_parser("history", help="the versions that are kept")
    rollback = actions.add_parser("rollback", help="put an old version in force again")
    check = actions.add_parser("check", help="say what is wrong with a file; asks no node")
    for action in (push, diff, check):
        action.add_argument("file", metavar="FILE")
    push.add_argument("--comment", default="", metavar="TEXT", help="why, for the history")
    push.add_argument(
        "--expected", type=int, metavar="N", help="only if version N is in force; 0: none"
    )
    show.add_argument("--version", type=int, metavar="N")
    rollback.add_argument("version", type=int, metavar="N")
    runs = {push: _push, show: _show, diff: _diff, history: _history, rollback: _rollback}
    for action, run in runs.items():
        add_access(action)
        action.add_argument("--json", action="store_true", help="one JSON object on stdout")
        action.set_defaults(run=run)
    check.set_defaults(run=_check)


def _inspected(file: str) -> tuple[str, PolicyInspection]:
    """The text of a file, and what it says. Raises ConfigFileError if it cannot be read."""
    findings = Findings()
    data = read_bytes(Path(file), findings)
    text = "" if data is None else decoded(data, findings)
    if findings.failed:
        raise ConfigFileError(findings.finish(Source(Path(file), "")))
    return text, read_policy(text, file)


def _checked(file: str) -> tuple[str, Policy]:
    """Raises ConfigFileError with all that is wrong."""
    text, found = _inspected(file)
    if found.policy is None:
        raise ConfigFileError(found.findings)
    return text, found.policy


def _check(args: argparse.Namespace) -> int:
    _, found = _inspected(args.file)
    write(report(args.file, found.findings))
    return exit_code(found.findings)


def _understood(text: str) -> Policy:
    """What is in force, as far as this program understands it."""
    return read_policy(text).policy or Policy()


def _push(args: argparse.Namespace) -> int:
    text, _ = _checked(args.file)
    access = read_access(args, web=True)
    expected = args.expected
    if expected is None:
        expected = ask(access, "GET", "policy")["version"]
    body = {"text": text, "expected": expected, "comment": args.comment}
    return _pushed(args, ask(access, "PUT", "policy", body))


def _rollback(args: argparse.Namespace) -> int:
    access = read_access(args, web=True)
    expected = ask(access, "GET", "policy")["version"]
    body = {"version": args.version, "expected": expected}
    return _pushed(args, ask(access, "POST", "policy/rollback", body))


def _pushed(args: argparse.Namespace, said: dict[str, Any]) -> int:
    if args.json:
        print_json(said)
        return Exit.DONE
    for line in said["changes"] or ["nothing that matters has changed"]:
        print(fit_to_show(line))
    print(f"version {said['version']} is in force")
    return Exit.DONE


def _show(args: argparse.Namespace) -> int:
    said = _version(read_access(args, web=True), args.version)
    if args.json:
        print_json(said)
        return Exit.DONE
    if said["version"] == 0:
        print("no policy was pushed yet: everything is denied", file=sys.stderr)
        return Exit.DONE
    head = f"version {said['version']}, pushed by {said['by']} at {when(said['at'])}"
    print(fit_to_show(head + (f": {said['comment']}" if said["comment"] else "")), file=sys.stderr)
    write(said["text"] if said["text"].endswith("\n") else said["text"] + "\n")
    return Exit.DONE


def _version(access: Access, number: int | None) -> dict[str, Any]:
    if number is not None and number < 1:
        raise CommandFailed(Exit.USAGE, "versions begin with 1")
    return ask(access, "GET", "policy" if number is None else f"policy/versions/{number}")


def _diff(args: argparse.Namespace) -> int:
    text, policy = _checked(args.file)
    said = ask(read_access(args, web=True), "GET", "policy")
    changes = differences(_understood(said["text"]), policy)
    if args.json:
        print_json({"version": said["version"], "changes": list(changes)})
        return Exit.DONE
    before = f"version {said['version']}"
    lines = difflib.unified_diff(
        said["text"].splitlines(), text.splitlines(), before, args.file, lineterm=""
    )
    for line in lines:
        print(fit_to_show(line))
    print("\n".join(map(fit_to_show, ("", *changes))) if changes else "it would change nothing")
    return Exit.DONE


def _history(args: argparse.Namespace) -> int:
    said = ask(read_access(args, web=True), "GET", "policy/history")
    if args.json:
        print_json(said)
        return Exit.DONE
    rows = [
        (str(each["version"]), when(each["at"]), each["by"], each["comment"])
        for each in said["versions"]
    ]
    print_table(("VERSION", "PUSHED", "BY", "COMMENT"), rows, "no policy was pushed yet")
    return Exit.DONE
