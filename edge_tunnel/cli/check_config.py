"""``edge-tunnel check-config FILE|DIR...``: what a file says, what is wrong, what takes effect.

Exit codes are those of sysexits.h: 0 usable, 65 the text cannot be read, 78 a setting is wrong
(with ``--strict`` also when there is a warning).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_tunnel.access.policy_reader import read_policy
from edge_tunnel.cli.node_tls import tls_findings
from edge_tunnel.config.booted import booted_findings
from edge_tunnel.config.files import decoded, is_there, read_bytes
from edge_tunnel.config.findings import Finding, Findings, Severity
from edge_tunnel.config.load import Inspection, inspect_config
from edge_tunnel.config.proxy import inspect_proxy_config
from edge_tunnel.config.report import report
from edge_tunnel.config.settings import Setting

__all__ = ["add_parser", "exit_code", "run", "write"]

OK, UNREADABLE, WRONG = 0, 65, 78

_NAMES = ("config.json", "config.toml", "proxy.toml")
"""What is looked for in a directory."""

_KEY = re.compile(r'^[ \t{\ufeff]*\[{0,2}"?([A-Za-z_]+)', re.MULTILINE)
"""What a line begins with, in TOML or JSON: enough to tell the kinds of files, also broken ones."""

_OF_EDGES = {"ws_servers", "appKey", "auto_bind", "edge_tunnel"}
_OF_POLICIES = {"format", "allow"}


@dataclass(frozen=True)
class Checked:
    """One file, whichever kind it is."""

    name: str
    findings: tuple[Finding, ...]
    settings: tuple[Setting, ...] = ()


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``check-config``."""
    parser = subparsers.add_parser(
        "check-config",
        help="say what a configuration means and what is wrong with it",
        description="Check EMS config.json files, their TOML form, a node's proxy.toml, policies.",
    )
    parser.add_argument("paths", nargs="+", metavar="FILE|DIR", help="a file, or where it stands")
    parser.add_argument("--json", action="store_true", help="write the report as JSON")
    parser.add_argument("--strict", action="store_true", help="take warnings for errors")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check and report; returns the exit code."""
    checked = [one for path in args.paths for one in _check(Path(path))]
    code = max(exit_code(one.findings, strict=args.strict) for one in checked)
    if any(exit_code(one.findings, strict=args.strict) == UNREADABLE for one in checked):
        code = UNREADABLE
    if args.json:
        write(json.dumps(_as_json(checked, code), indent=2) + "\n")
        return code
    colour = _wants_colour()
    reports = (
        report(one.name, one.findings, one.settings, strict=args.strict, colour=colour)
        for one in checked
    )
    write("\n".join(reports))
    return code


def exit_code(findings: tuple[Finding, ...], *, strict: bool = False) -> int:
    """0, 65 or 78 for one file."""
    if any(finding.unreadable for finding in findings):
        return UNREADABLE
    bad = {Severity.ERROR, Severity.WARNING} if strict else {Severity.ERROR}
    return WRONG if any(finding.severity in bad for finding in findings) else OK


def write(text: str) -> None:
    """To standard output, whatever its encoding: what it lacks becomes a question mark."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding))


def _check(path: Path) -> Iterator[Checked]:
    if not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for a name that is too long
        yield _checked(path)
        return
    found = [path / name for name in _NAMES if is_there(path / name)]
    for file in found:
        yield _checked(file, copies=True)
    if not found:
        message = f"there is no {' or '.join(_NAMES)} in this directory"
        missing = Finding(
            severity=Severity.ERROR,
            key="",
            message=message,
            hint="name the file itself",
            file=str(path),
            unreadable=True,
        )
        yield Checked(str(path), (missing,))


def _checked(path: Path, *, copies: bool = False) -> Checked:
    data = read_bytes(path, Findings())  # once: a pipe has no second time
    text = "" if data is None else decoded(data, Findings())
    kind = _kind(path, text)
    if kind == "node":
        found = inspect_proxy_config(path, data=data)
        files = () if found.config is None else tls_findings(found.config, str(path))
        return Checked(str(path), (*found.findings, *files))
    if kind == "policy":
        return Checked(str(path), read_policy(text, str(path)).findings)
    inspection = inspect_config(path, data=data)
    beside = _copies(path, inspection) if copies else ()
    return Checked(str(path), (*beside, *inspection.findings), inspection.settings)


def _kind(path: Path, text: str) -> str:
    """Whose file it is, by what it holds, else by its name: the edge's if nothing speaks."""
    keys = set(_KEY.findall(text))
    if keys & _OF_EDGES:
        return "edge"
    if keys >= _OF_POLICIES:
        return "policy"
    named = path.name.startswith("proxy") and path.suffix == ".toml"
    return "node" if named or "listen" in keys else "edge"


def _copies(path: Path, inspection: Inspection) -> tuple[Finding, ...]:
    return booted_findings(path, inspection, os.environ)


def _wants_colour() -> bool:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not plain


def _as_json(checked: list[Checked], code: int) -> dict[str, object]:
    return {
        "exit_code": code,
        "files": [
            {
                "file": one.name,
                "findings": [_finding(finding) for finding in one.findings],
                "settings": [
                    {"key": each.key, "value": each.value, "origin": str(each.origin)}
                    for each in one.settings
                ],
            }
            for one in checked
        ],
    }


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "severity": finding.severity.value,
        "key": finding.key,
        "line": finding.line,
        "column": finding.column,
        "message": finding.message,
        "hint": finding.hint,
        "excerpt": finding.excerpt,
        "caret": finding.caret,
    }
