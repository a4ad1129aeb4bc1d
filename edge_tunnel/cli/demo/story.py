"""The demo from its beginning to its end."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import secrets
import tempfile
import time
from pathlib import Path
from typing import Final

import trio

from edge_tunnel.cli.arguments import Subparsers, add_json
from edge_tunnel.cli.demo.children import Child, our_command, start
from edge_tunnel.cli.demo.faults import Faults
from edge_tunnel.cli.demo.services import THING, Fetch, HttpService, Service, SshService, make_file
from edge_tunnel.cli.demo.telling import Report, Teller
from edge_tunnel.cli.exits import Exit
from edge_tunnel.cli.stopping import open_stop
from edge_tunnel.link.groups import open_plain_nursery
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
    async with open_stop() as stop, open_plain_nursery() as nursery:
        nursery.start_soon(stop.cancels, nursery.cancel_scope)
        code = await _tell(args, folder, nursery)
        nursery.cancel_scope.cancel()
    if code is None:
        return 128 + (stop.signal or 0)
    return code


async def _tell(args: argparse.Namespace, folder: Path, nursery: trio.Nursery) -> int:
    size = args.size << 20
    teller = Teller(size, as_json=args.json)
    stage = Stage(folder, nursery, teller, SshService if args.ssh else HttpService)
    teller.say("preparing", f"making a file of {args.size} MiB ...", size=size)
    digest = await trio.to_thread.run_sync(make_file, folder, size)
    await stage.start_proxy()
    async with open_relay("127.0.0.1", stage.proxy_port) as relay:
        await stage.start_edge(relay.port, await stage.service.start(nursery))
        faults = Faults(size, relay, stage.restart_proxy, teller)
        with trio.fail_after(_TRANSFER_TIMEOUT):
            report = await _transfer(stage, faults, size, digest)
    teller.report(report)
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
    """The processes of one demo."""

    def __init__(
        self, folder: Path, nursery: trio.Nursery, teller: Teller, kind: type[Service]
    ) -> None:
        key = secrets.token_urlsafe(24)
        self.teller = teller
        self.proxy_port = 0
        # in the environment, because other users see a process's arguments
        self.environ = {**os.environ, "EDGE_TUNNEL_DEV_KEY": key, "EDGE_TUNNEL_KEY": key}
        self.service = kind(folder, self.environ)
        self._key = key
        self._folder = folder
        self._nursery = nursery
        self._proxy: Child | None = None

    async def start_proxy(self) -> None:
        """A node; on the port that it had before, if it had one."""
        command = our_command(
            "proxy", "--listen", f"127.0.0.1:{self.proxy_port}", "--json", "--exit-with-stdin"
        )
        self._proxy = await start(self._nursery, "proxy", command, self.environ)
        url = (await self._proxy.event("listening"))["url"]
        self.proxy_port = int(url.rpartition(":")[2])
        self.environ["EDGE_TUNNEL_PROXY"] = url
        self._started(self._proxy, f"proxy node at {url}")

    async def restart_proxy(self) -> None:
        """Kill it as a power cut would, and start it again."""
        assert self._proxy is not None
        await self._proxy.kill()
        await self.start_proxy()

    async def start_edge(self, link_port: int, service_port: int) -> None:
        """An edge that reads an EMS config.json."""
        config = self._folder / "config.json"
        config.touch(mode=0o600)
        config.write_text(self._config(link_port, service_port), encoding="utf-8")
        command = our_command("edge", "--config", str(config), "--json", "--exit-with-stdin")
        edge = await start(self._nursery, "edge", command, self.environ)
        bound = await edge.event("bound")
        self._started(edge, f"edge bound as {bound['thing']}, which offers {self.service.name}")

    async def fetch(self) -> Fetch:
        """The remote's part."""
        fetch = await self.service.fetch(self._nursery)
        self._started(fetch.remote, f"{fetch.remote.name} fetches the file through the tunnel")
        return fetch

    def _started(self, child: Child, text: str) -> None:
        pid = child.process.pid
        self.teller.say("started", f"{text}  (process {pid})", process=child.name, pid=pid)

    def _config(self, link_port: int, service_port: int) -> str:
        service = {"name": self.service.name, "host": "127.0.0.1", "port": service_port}
        config = {
            "ws_servers": [{"host": "127.0.0.1", "port": link_port}],
            "appKey": self._key,
            "ws_connection": {"encryption": "none"},
            "auto_bind": [{"name": THING}],
            "edge_tunnel": {"services": [service]},
        }
        return json.dumps(config, indent=2)
