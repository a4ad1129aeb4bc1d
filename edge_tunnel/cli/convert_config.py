"""``edge-tunnel convert-config config.json``: the same configuration as commented TOML."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from edge_tunnel.cli.check_config import exit_code, write
from edge_tunnel.cli.exits import CommandFailed, Exit
from edge_tunnel.config.findings import Severity
from edge_tunnel.config.load import inspect_config
from edge_tunnel.config.report import report
from edge_tunnel.config.toml_writer import to_toml
from edge_tunnel.link.oserrors import in_words

__all__ = ["add_parser", "run"]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``convert-config``."""
    parser = subparsers.add_parser(
        "convert-config",
        help="write a config.json as TOML",
        description="Write a configuration as TOML, with comments that say where values came from.",
    )
    parser.add_argument("path", metavar="FILE", help="config.json, or a .toml to tidy up")
    parser.add_argument("-o", "--output", metavar="FILE", help="write here, not to the terminal")
    parser.add_argument(
        "--with-secrets",
        action="store_true",
        help="write keys and passwords too; without it comments say how to give them",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Convert; returns the exit code. Errors of the file go to standard error, as a report."""
    found = inspect_config(args.path, secrets_needed=args.with_secrets)
    if found.config is None:
        errors = [one for one in found.findings if one.severity is Severity.ERROR]
        sys.stderr.write(report(args.path, errors))
        return exit_code(found.findings)
    text = to_toml(found.config, found.origins, secrets=args.with_secrets)
    if args.output is None:
        write(text)
        return 0
    return _save(Path(args.output), text)


def _save(path: Path, text: str) -> int:
    """To a file that only its owner can read, and never over one that is there."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise _not_written(path, error, "choose another name") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        path.unlink(missing_ok=True)  # a part of a configuration looks like a whole one
        raise _not_written(path, error, "nothing was kept of it") from None
    return 0


def _not_written(path: Path, error: OSError, hint: str) -> CommandFailed:
    text = f"{path}: cannot be written: {in_words(error)}; {hint}"
    return CommandFailed(Exit.CANNOT_CREATE, text)
