"""The demo from its beginning to its end."""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from pathlib import Path
from typing import Final

import trio

from edge_tunnel.cli.arguments import Subparsers, add_json
from edge_tunnel.cli.demo.faults import Faults
from edge_tunnel.cli.demo.services import Fetch, HttpService, Service, SshService, make_file
from edge_tunnel.cli.demo.telling import Report, Teller
from edge_tunnel.cli.exits import CommandFailed, Exit
from edge_tunnel.cli.stopping import open_stop
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.testing.processes import THING, Child, ChildFailed, Site, open_site
from edge_tunnel.testing.relay import open_relay

__all__ = ["add_parser", "run"]

_TRANSFER_TIMEOUT: Final = 120.0
"""Seconds: ten times what a slow machine needs. A demo that hangs shows nothing."""

_ABOUT: Final = """\
Starts a proxy node, an edge that reads an EMS config.json, and a remote, each as a process of its
own, with a real service behind the edge; fetches a file through the tunnel; resets the edge's link
on the way, and later kills the proxy process (SIGKILL) and starts it again, both in the middle of
the transfer. Ends with what it did. Everything stays on 127.0.0.1 and in a temporary folder.
"""

_EPILOG: Final = """\
examples:
  edge-tunnel demo
  edge-tunnel demo --ssh             # the same through this machine's sshd and ssh
  edge-tunnel demo --size 64 --json

The exit code is 0 only if both SHA-256 agree and the transfer survived both cuts.
"""


def add_parser(subparsers: Subparsers) -> None:
    """Register ``demo``."""
    parser = subparsers.add_parser(
        "demo",
        help="see it all at once, on this machine",
        description=_ABOUT,
        epilog=_EPILOG,
    )
    parser.add_argument("--ssh", action="store_true", help="through sshd and ssh, with own keys")
    parser.add_argument(
        "--size", type=_mebibytes, default=256, metavar="MIB", help="size of the file (%(default)s)"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def _mebibytes(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 65536):
        raise argparse.ArgumentTypeError("must be a number of MiB from 1 to 65536")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Run it; 0 only if it went well."""
    with tempfile.TemporaryDirectory(prefix="edge-tunnel-demo-") as folder:
        return trio.run(_run, args, Path(folder))


async def _run(args: argparse.Namespace, folder: Path) -> int:
    code: int | None = None
    async with open_stop() as stop, open_site(folder) as site, open_plain_nursery() as nursery:
        nursery.start_soon(stop.cancels, nursery.cancel_scope)
        try:
            code = await _tell(args, site)
        except ChildFailed as error:
            raise CommandFailed(Exit.INTERNAL, f"demo: {error}") from error
        nursery.cancel_scope.cancel()
    if code is None:
        return 128 + (stop.signal or 0)
    return code


async def _tell(args: argparse.Namespace, site: Site) -> int:
    size = args.size << 20
    stage = Stage(site, Teller(size, as_json=args.json), SshService if args.ssh else HttpService)
    stage.teller.say("preparing", f"making a file of {args.size} MiB ...", size=size)
    digest = await trio.to_thread.run_sync(make_file, site.folder, size)
    await stage.start_proxy()
    async with open_relay("127.0.0.1", site.port) as relay:
        await stage.start_edge(relay.port)
        faults = Faults(size, relay, stage.restart_proxy, stage.teller)
        with trio.fail_after(_TRANSFER_TIMEOUT):
            report = await _transfer(stage, faults, size, digest)
    stage.teller.report(report)
    return Exit.DONE if report.good else Exit.INTERNAL


async def _transfer(stage: Stage, faults: Faults, size: int, digest: str) -> Report:
    fetch = await stage.fetch()
    fetch.remote.on_event = faults.heard
    started = time.monotonic()
    received, seen = 0, hashlib.sha256()
    async for chunk in fetch.chunks():
        seen.update(chunk)
        received += len(chunk)
        stage.teller.progress(received)
        await faults.strike(received, fetch.remote)
    seconds = time.monotonic() - started
    await faults.survived(fetch.remote)
    resumes = tuple(fetch.remote.seconds_of("resumed"))
    return Report(size, received, digest, seen.hexdigest(), faults.made, resumes, seconds)


class Stage:
    """The processes of one demo, and what is said of them."""

    def __init__(self, site: Site, teller: Teller, kind: type[Service]) -> None:
        self.teller = teller
        self._site = site
        self._service = kind(site)

    async def start_proxy(self) -> None:
        self._started(await self._site.start_proxy(), f"proxy node at {self._site.url}")

    async def restart_proxy(self) -> None:
        self._started(await self._site.restart_proxy(), "proxy node, started again")

    async def start_edge(self, link_port: int) -> None:
        """The service, and an edge that reads an EMS config.json."""
        name = self._service.name
        edge = await self._site.start_edge({name: await self._service.start()}, link_port)
        self._started(edge, f"edge bound as {THING}, which offers {name}")

    async def fetch(self) -> Fetch:
        """The remote's part."""
        fetch = await self._service.fetch()
        self._started(fetch.remote, f"{fetch.remote.name} fetches the file through the tunnel")
        return fetch

    def _started(self, child: Child, text: str) -> None:
        pid = child.process.pid
        self.teller.say("started", f"{text}  (process {pid})", process=child.name, pid=pid)
