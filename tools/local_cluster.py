"""Runs a cluster on loopback until Ctrl-C: members of etcd, nodes, and HAProxy in front of them.

Needs etcd and haproxy (Debian: etcd-server, haproxy).

The key is that of the variable EDGE_TUNNEL_DEV_KEY, or a random one. Kill, stop or restart what you
like by its pid: with --json each line says what a program needs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trio

from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.testing.cluster_site import ClusterSite, open_cluster_site
from edge_tunnel.testing.processes import THING, ChildFailed

EXAMPLE = Path(__file__).parents[1] / "examples" / "haproxy.cfg"
MAXCONN = 2000


def main() -> int:
    """Run until SIGINT or SIGTERM. Exit code 1: something did not start."""
    options = _options()
    missing = [name for name in ("etcd", "haproxy") if not _installed(name, options)]
    if missing:
        print(f"tools/cluster: not installed: {', '.join(missing)} (Debian: etcd-server, haproxy)")
        return 1
    try:
        trio.run(_run, options, restrict_keyboard_interrupt_to_checkpoints=True)
    except (ChildFailed, OSError, TimeoutError) as error:
        print(f"tools/cluster: {error}", file=sys.stderr)
        return 1
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tools/cluster",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--nodes", type=int, choices=range(1, 10), metavar="N", default=3, help="nodes (3)")
    add("--members", type=int, choices=(1, 3, 5), default=3, help="members of etcd (3)")
    add("--no-haproxy", action="store_true", help="nothing in front: endpoints know all nodes")
    add("--port", type=int, help="of HAProxy; the nodes and etcd take those above it (any free)")
    add("--json", action="store_true", help="one JSON object on stdout, when all is there")
    return parser.parse_args()


def _installed(program: str, options: argparse.Namespace) -> bool:
    if program == "haproxy" and options.no_haproxy:
        return True
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is not None


async def _run(options: argparse.Namespace) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="edge-tunnel-cluster-") as folder,
        trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals,
    ):
        async with open_plain_nursery() as nursery:
            nursery.start_soon(_hold, options, Path(folder))
            async for _ in signals:
                nursery.cancel_scope.cancel()


async def _hold(options: argparse.Namespace, folder: Path) -> None:
    async with open_cluster_site(
        folder,
        [chr(ord("a") + number) for number in range(options.nodes)],
        options.members,
        haproxy=None if options.no_haproxy else EXAMPLE,
        maxconn=MAXCONN,
        base_port=options.port,
        key=os.environ.get("EDGE_TUNNEL_DEV_KEY"),
    ) as site:
        _write_example(site)
        print(json.dumps(_facts(site)) if options.json else "\n".join(_story(site)), flush=True)
        await trio.sleep_forever()


def _write_example(site: ClusterSite) -> Path:
    """An edge's file, to try it with: the service is whatever listens on port 22."""
    ports = [int(url.rpartition(":")[2]) for url in site.front()]
    return site.write_edge(site.folder / "config.json", THING, ports, {"ssh": 22})


def _facts(site: ClusterSite) -> dict[str, Any]:
    return {
        "key": site.key,
        "proxy": site.front(),
        "edge_config": str(site.folder / "config.json"),
        "nodes": [
            {"name": each.name, "url": each.url, "hop_port": each.hop_port, "pid": each.pid}
            for each in site.nodes.values()
        ],
        "etcd": [
            {"name": each.name, "endpoint": str(each.endpoint), "pid": each.pid}
            for each in site.etcd.members
        ],
        "haproxy": site.haproxy and {"url": site.haproxy.url, "pid": site.haproxy.pid},
    }


def _story(site: ClusterSite) -> Iterator[str]:
    for member in site.etcd.members:
        yield f"etcd {member.name:<8} {member.endpoint!s:<28} pid {member.pid}"
    for node in site.nodes.values():
        yield f"node {node.name:<8} {node.url:<28} pid {node.pid}"
    if site.haproxy is not None:
        yield f"haproxy       {site.haproxy.url:<28} pid {site.haproxy.pid}"
    proxies = " ".join(f"--proxy {url}" for url in site.front())
    yield "\nin other terminals, with edge-tunnel on the PATH (.venv-dev/bin here):"
    yield f"  edge-tunnel edge --config {site.folder / 'config.json'}"
    yield f"  export EDGE_TUNNEL_KEY={site.key}"
    yield f"  edge-tunnel connect {THING} ssh {proxies} --local 2222"
    yield "  ssh -p 2222 127.0.0.1"
    yield "\nkill any node, stop it (kill -STOP), or a member of etcd: the session goes on"
    yield "Ctrl-C ends all of it"


if __name__ == "__main__":
    sys.exit(main())
