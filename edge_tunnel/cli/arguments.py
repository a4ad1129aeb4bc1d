"""argparse, with our exit code, one line for a mistake, and no secret in it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn, TypeAlias

from edge_tunnel.cli.exits import CommandFailed, Exit

__all__ = [
    "Parser",
    "Subparsers",
    "add_json",
    "add_lifetime",
    "add_log_level",
    "duration",
    "name",
    "positive_seconds",
    "warn_of_secret",
]

_MAX_NAME = 256
"""Characters, as on the wire (`protocol.spec`)."""

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, where argparse prints its whole usage and exits with 2."""

    def __init__(self, *args: object, **options: object) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        # `--k` for `--key` would let a typing mistake change what a word means
        options.setdefault("allow_abbrev", False)
        super().__init__(*args, **options)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        raise CommandFailed(Exit.USAGE, f"{message} ({self.prog} --help shows how)")

    def parse_all(self, words: Sequence[str] | None) -> argparse.Namespace:
        """As `parse_args`, but what is not known is not repeated: it may be a key."""
        args, unknown = self.parse_known_args(words)
        if unknown:
            options = [word.partition("=")[0] for word in unknown if word.startswith("-")]
            what = f"unknown: {' '.join(options)}" if options else "too many arguments"
            self.error(what)
        return args


Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option of every long-running command."""
    parser.add_argument(
        "--json",
        action="store_true",
        help="events as JSON lines on stdout, `event` and `time` first; logs go to stderr",
    )


def add_lifetime(parser: argparse.ArgumentParser) -> None:
    """The option of a command that another program starts."""
    parser.add_argument(
        "--exit-with-stdin", action="store_true", help="end when stdin ends: with the parent"
    )


def add_log_level(parser: argparse.ArgumentParser, default: str | None = "WARNING") -> None:
    """How much goes to stderr."""
    parser.add_argument(
        "--log-level",
        choices=LOG_LEVELS,
        default=default,
        type=str.upper,
        metavar="LEVEL",
        help=f"what to log on stderr: {', '.join(LOG_LEVELS)}",
    )


def name(text: str) -> str:
    """An argparse type: what can be the name of a thing or a service on the wire."""
    if not 0 < len(text) <= _MAX_NAME or not text.isprintable():
        what = f"must be a name: 1 to {_MAX_NAME} characters that can be seen"
        raise argparse.ArgumentTypeError(what)
    return text


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def duration(text: str) -> float:
    """An argparse type: ``90d``, ``12h``, ``30m``, ``15s`` or seconds; in seconds."""
    unit = _UNITS.get(text[-1:], 0)
    try:
        return positive_seconds(str(float(text[:-1]) * unit) if unit else text)
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError("must be a time as in 90d, 12h, 30m or 15s") from None


def warn_of_secret(option: str, better: str) -> None:
    """Tell that a secret was given where others see it."""
    text = f"edge-tunnel: {option}: every user of this machine sees it in the list of processes"
    print(f"{text}; use {better}", file=sys.stderr)


def positive_seconds(text: str) -> float:
    """An argparse type."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError("must be a number of seconds above 0")
    return seconds
