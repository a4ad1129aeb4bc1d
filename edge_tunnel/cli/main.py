"""``edge-tunnel``: finds the command, and turns every error into one line and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

import edge_tunnel
from edge_tunnel.cli.arguments import Parser
from edge_tunnel.cli.events import fit_to_show, json_line
from edge_tunnel.cli.exits import TABLE, CommandFailed, Exit, exit_of_error
from edge_tunnel.errors import EdgeTunnelError
from edge_tunnel.link.groups import lone_error

__all__ = ["main", "make_parser"]

_COMMANDS: Final = (
    "proxy",
    "edge",
    "connect",
    "things",
    "tunnels",
    "nodes",
    "key",
    "ticket",
    "policy",
    "forget",
    "audit",
    "check-config",
    "convert-config",
    "tls",
    "demo",
)
"""In the order of --help; each has its module."""

_INTERRUPTED: Final = 130
"""128 + SIGINT, as a shell reports it: ended before the command could do it well."""

_PIPE: Final = 141
"""128 + SIGPIPE: nobody reads our output any more."""

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What a disk, or a terminal, says to who writes on it."""

_UNFIT: Final = (
    "edge-tunnel: this system cannot run it: Linux can, or another POSIX system; on Windows use WSL"
)

_EPILOG: Final = """\
a first tunnel, each command in a terminal of its own, with these variables in all of them:
  export EDGE_TUNNEL_DEV_KEY=choose-one EDGE_TUNNEL_KEY=choose-one
  export EDGE_TUNNEL_PROXY=ws://127.0.0.1:9100
  edge-tunnel proxy --listen 127.0.0.1:9100
  edge-tunnel edge --config config.json            # with "appKey": "choose-one"
  edge-tunnel connect device-7 ssh --local 2222
  ssh -p 2222 127.0.0.1

what there is, in the whole cluster:
  edge-tunnel things
  edge-tunnel tunnels --watch
  edge-tunnel nodes

or see it all at once:
  edge-tunnel demo

"""


def make_parser(words: Sequence[str] = ()) -> Parser:
    """The command line: all of it, or of the command alone that the first word names.

    No other command's module is imported then: a device starts in half the time.
    """
    parser = Parser(
        prog="edge-tunnel",
        description="Remote access to devices behind NAT: TCP through one outbound WebSocket,\n"
        "and connections that survive the loss of it.",
        epilog=_EPILOG + TABLE,
    )
    version = f"edge-tunnel {edge_tunnel.__version__}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in words[:1] if words and words[0] in _COMMANDS else _COMMANDS:
        import_module(f"edge_tunnel.cli.{command.replace('-', '_')}").add_parser(commands)
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """The entry point; `words` are the arguments, those of the process if left out."""
    try:
        code = _run(words)
        _flush()
        return code
    except BrokenPipeError:
        _forget_stdout()
        return _PIPE
    except KeyboardInterrupt:
        return _INTERRUPTED
    except OSError as error:  # of the flush
        return _unwritten(error)


def _run(words: Sequence[str] | None) -> int:
    as_json = False
    if not hasattr(os, "readv"):  # of link/eager.py, on which every byte goes
        print(_UNFIT, file=sys.stderr)
        return int(Exit.CONFIGURATION)
    try:
        words = sys.argv[1:] if words is None else words
        args = make_parser(words).parse_all(words)
        as_json = getattr(args, "json", False) and not getattr(args, "stdio", False)
        with lone_error():
            code: int = args.run(args)
        return code
    except SystemExit as end:  # --help and --version, said and done
        return int(end.code or 0)
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except (CommandFailed, EdgeTunnelError) as error:
        return _failed(error, as_json=as_json)
    except Exception as error:  # noqa: BLE001 - a bug is one line, too
        if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
            return _unwritten(error)
        return _bug(error)


def _failed(error: CommandFailed | EdgeTunnelError, *, as_json: bool) -> int:
    code = error.code if isinstance(error, CommandFailed) else exit_of_error(error)
    if _debugging():
        sys.excepthook(type(error), error, error.__traceback__)
    text = str(error)
    if text:
        print(f"edge-tunnel: {fit_to_show(text)}", file=sys.stderr)
    if as_json:
        with contextlib.suppress(OSError):
            print(json_line("failed", reason=text, code=int(code)), flush=True)
    return int(code)


def _bug(error: Exception) -> int:
    if _debugging():
        sys.excepthook(type(error), error, error.__traceback__)
    # the error's text is not shown: nobody has checked that it holds no secret
    text = f"edge-tunnel: internal error ({type(error).__name__}): a bug, please report it"
    print(f"{text}; EDGE_TUNNEL_DEBUG=1 shows where", file=sys.stderr)
    return int(Exit.INTERNAL)


def _unwritten(error: OSError) -> int:
    """What was to be said went nowhere, or not all of it."""
    _forget_stdout()
    text = f"edge-tunnel: stdout cannot be written: {(error.strerror or str(error)).lower()}"
    print(text, file=sys.stderr)
    return int(Exit.CANNOT_CREATE)


def _debugging() -> bool:
    return bool(os.environ.get("EDGE_TUNNEL_DEBUG"))


def _flush() -> None:
    if sys.stdout is not None and not sys.stdout.closed:
        sys.stdout.flush()


def _forget_stdout() -> None:
    """Keep the interpreter from complaining when it flushes at its end."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
