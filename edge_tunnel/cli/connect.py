"""``edge-tunnel connect THING SERVICE``: the technician's side."""

from __future__ import annotations

import argparse
import sys
from typing import Final

import trio

from edge_tunnel.access.tickets import TICKET
from edge_tunnel.cli.access import Access, add_access, read_access
from edge_tunnel.cli.allocator import keep_freed_memory
from edge_tunnel.cli.arguments import (
    Subparsers,
    add_json,
    add_lifetime,
    add_log_level,
    name,
    positive_seconds,
)
from edge_tunnel.cli.carry import LinkWatch, Target, keep_port, use_stdio
from edge_tunnel.cli.encryption import add_encryption, read_known_things
from edge_tunnel.cli.events import Reporter, open_reporter, set_up_logging
from edge_tunnel.cli.exits import CommandFailed, Exit, exit_of_error
from edge_tunnel.cli.stopping import Stop, open_stop
from edge_tunnel.errors import LinkRefused
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.protocol.tunnel import RESUME_TIMEOUT
from edge_tunnel.reasons import Reason
from edge_tunnel.remote.remote import Remote, open_remote

__all__ = ["add_parser", "run"]

_CONNECT_TIMEOUT: Final = 10.0
"""Seconds until a person is told that nothing works."""

_DIAL_TIMEOUT: Final = 5.0
"""Seconds for one node: a second one must get its turn before the person is told."""

_EXAMPLES: Final = """\
examples (with EDGE_TUNNEL_PROXY=ws://127.0.0.1:9100 and EDGE_TUNNEL_KEY set):
  edge-tunnel connect device-7 ssh --local 2222        # then: ssh -p 2222 127.0.0.1
  edge-tunnel connect device-7 web                     # any free port; it is printed
  ssh -o ProxyCommand='edge-tunnel connect %h ssh --stdio' device-7
  scp -o ProxyCommand='edge-tunnel connect %h ssh --stdio' device-7:/var/log/messages .
  rsync -e "ssh -o ProxyCommand='edge-tunnel connect %h ssh --stdio'" -a device-7:/etc .

A connection survives the loss of the link, on either side: it pauses, and goes on when there is a
new one. Only if that takes longer than --resume-timeout it is reset. A local port stays open when
its tunnel ends; the next connection opens a new one.

With --stdio nothing but the service's bytes goes to stdout (events of --json then go to stderr). A
pipe cannot show that a stream was cut: look at the exit code. It is 0 only if both ways ended as
they should and everything was delivered; 128 + the signal if a signal ended it.

What passes is encrypted between here and the device; proxy nodes cannot read it. The device's
fingerprint is remembered at the first use (edge-tunnel forget THING undoes it), and a device that
shows another one later is not talked to.

events: connecting, linked, listening (host, port), remembered (fingerprint),
attached (fingerprint), granted (seconds, max_streams: the policy's limits; null: none),
detached (reason), resumed (seconds), closed (reason), link_lost (reason),
connect_failed (reason), stream_refused (reason), failed (code),
notice (text: the node asks for a newer version, for example)
"""


def add_parser(subparsers: Subparsers) -> None:
    """Register ``connect``."""
    parser = subparsers.add_parser(
        "connect",
        help="reach a service of a device, through a local port or stdin and stdout",
        description="Reach a service of a device, through a local port or stdin and stdout.",
        epilog=_EXAMPLES,
    )
    text = "the device's name, as in auto_bind"
    parser.add_argument("thing", metavar="THING", type=name, help=text)
    text = "a name on the device's list, as ssh"
    parser.add_argument("service", metavar="SERVICE", type=name, help=text)
    add_access(parser, tickets=True)
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--local",
        metavar="[HOST:]PORT",
        type=_address,
        default=("127.0.0.1", 0),
        help="listen here; the default is a free port of 127.0.0.1",
    )
    where.add_argument("--stdio", action="store_true", help="one stream, on stdin and stdout")
    add_encryption(parser)
    _add_times(parser)
    add_lifetime(parser)
    add_json(parser)
    add_log_level(parser, default="ERROR")
    parser.set_defaults(run=run)


def _add_times(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--connect-timeout",
        type=positive_seconds,
        default=_CONNECT_TIMEOUT,
        metavar="S",
        help="seconds to get to the device at first (%(default)g)",
    )
    parser.add_argument(
        "--resume-timeout",
        type=positive_seconds,
        default=RESUME_TIMEOUT,
        metavar="S",
        help="seconds that a connection waits for a new link (%(default)g)",
    )


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port[:6]) <= 65535):
        raise argparse.ArgumentTypeError("must be a port, or an address and a port: 127.0.0.1:2222")
    host = host.removeprefix("[").removesuffix("]") if colon else "127.0.0.1"
    return ("127.0.0.1" if host == "localhost" else host), int(port)


def run(args: argparse.Namespace) -> int:
    """Carry until told to stop, or until the stream has ended."""
    if args.stdio and args.exit_with_stdin:
        text = "--exit-with-stdin reads stdin, and so does --stdio: give one of them"
        raise CommandFailed(Exit.USAGE, text)
    access = read_access(args)
    set_up_logging(args.log_level)
    keep_freed_memory()
    return trio.run(_connect, args, access)


async def _connect(args: argparse.Namespace, access: Access) -> int:
    watch = LinkWatch()
    target = Target(args.thing, args.service, args.connect_timeout, watch)
    async with (
        open_stop(with_stdin=args.exit_with_stdin) as stop,
        open_reporter(as_json=args.json, on_broken=stop.set, fd=2 if args.stdio else 1) as reporter,
    ):
        try:
            async with open_remote(
                access.urls,
                access.key.reveal(),
                resume_timeout=args.resume_timeout,
                connect_timeout=min(_DIAL_TIMEOUT, args.connect_timeout),
                tls=access.tls,
                http_proxy=access.http_proxy,
                encryption=not args.no_encryption,
                known_things=read_known_things(args),
                thing=args.thing,
                patient=False,
            ) as remote:
                remote.notices.call(watch)
                if args.json or not args.stdio:  # a terminal under ssh belongs to ssh
                    remote.notices.call(reporter)
                return await _carry(args, remote, target, reporter, stop)
        except LinkRefused as error:
            advice = _advice(access) if error.reason is Reason.NOT_AUTHORISED else ""
            text = f"{watch.url} refuses us: {error}{advice}"
            raise CommandFailed(exit_of_error(error), text) from error


def _advice(access: Access) -> str:
    if access.key.reveal().startswith(TICKET):
        return "; a ticket works once, and within seconds: have another one made"
    return "; check the key"


async def _carry(
    args: argparse.Namespace, remote: Remote, target: Target, reporter: Reporter, stop: Stop
) -> int:
    async with open_plain_nursery() as nursery:
        nursery.start_soon(stop.cancels, nursery.cancel_scope)
        if args.stdio:
            await use_stdio(remote, target, aloud=not args.json)
            nursery.cancel_scope.cancel()
            return Exit.DONE
        live = not args.json and sys.stderr.isatty()
        await keep_port(remote, target, args.local, show=reporter if live else None)
    return _interrupted(stop) if args.stdio else Exit.DONE


def _interrupted(stop: Stop) -> int:
    """The stream was not over: this is no success."""
    return 128 + stop.signal if stop.signal is not None else Exit.COULD_NOT_CONNECT
