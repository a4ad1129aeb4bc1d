"""Our own paths, and the floor that trio sets for them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path as File
from typing import Final

from benchmark.paths import Build, Opener, free_port
from benchmark.processes import Process, python
from edge_tunnel.testing.etcd import open_etcd

__all__ = ["OURS", "command", "edge_and_remote", "member"]

_HAPROXY: Final = File(__file__).parents[2] / "examples" / "haproxy.cfg"


def command(*arguments: object) -> list[str]:
    """An ``edge-tunnel`` command as a user runs it, with the benchmark's key."""
    program = ["env", "EDGE_TUNNEL_DEV_KEY=benchmark", sys.executable, "-m", "edge_tunnel"]
    return [*program, *map(str, arguments)]


def _floor(build: Build) -> None:
    """Three trio processes in a row that do nothing but pass bytes on."""
    target = build.service
    for name in ("third", "second", "first"):
        target = build.add(python(name, "parts", "relay", target)).answer()["port"]
    build.port = target


def _plain(build: Build) -> None:
    edge_and_remote(build, _node(build), encryption=0)


def _sealed(build: Build) -> None:
    edge_and_remote(build, _node(build))


def _tls(build: Build) -> None:
    folder = str(build.folder())
    init = ("edge_tunnel", "tls", "init", "--dir", folder, "--name", "127.0.0.1")
    subprocess.run([sys.executable, "-m", *init], check=True, stdout=subprocess.DEVNULL)
    edge_and_remote(build, _node(build, folder), tls=folder)


def _two_nodes(build: Build) -> None:
    """The edge on one node, the remote on the other; the hop without TLS, as loopback allows."""
    etcd = build.stack.enter_context(open_etcd())
    ports = []
    for name in ("node a", "node b"):
        node = build.add(Process(name, *member(etcd.url, name[-1])))
        ports.append(int(node.event("listening")["url"].rpartition(":")[2]))
    edge_and_remote(build, ports[0], ports[1])


def member(etcd: str, name: str, *more: object) -> list[str]:
    """The command of a node of a cluster."""
    options = ("--cluster", etcd, "--node-name", name, "--json", *more)
    if "--advertise" not in more:
        options = (*options, "--advertise", f"127.0.0.1:{free_port()}")
    return command("proxy", "--listen", "127.0.0.1:0", *options)


def _haproxy(build: Build) -> None:
    """The configuration that is shipped, with one node behind it."""
    node, front = _node(build), free_port()
    build.quiet("haproxy", "haproxy", "-db", "-f", build.file("cfg", _adapted(node, front)))
    edge_and_remote(build, front)


def _adapted(node: int, front: int) -> str:
    changes = (":9100", f":{front}"), (":9101", f":{node}"), ("maxconn 50000", "maxconn 5000")
    text = "\n".join(_one_server(_HAPROXY.read_text()))
    for old, new in changes:
        text = text.replace(old, new)
    return text + "\n"


def _one_server(text: str) -> Iterator[str]:
    return (
        line for line in text.splitlines() if not line.strip().startswith(("server b", "server c"))
    )


def _alwayson(build: Build) -> None:
    """The edge speaks the wire of ThingWorx devices, which is text, in base64."""
    node = build.add(python("node", "parts", "node", 0, "", build.service)).answer()["port"]
    edge_and_remote(build, node, protocol="alwayson")


def _node(build: Build, tls: str = "") -> int:
    port: int = build.add(python("node", "parts", "node", 0, tls)).answer()["port"]
    return port


def edge_and_remote(
    build: Build,
    for_edge: int,
    for_remote: int | None = None,
    tls: str = "",
    encryption: int = 1,
    protocol: str = "auto",
) -> None:
    """Both ends, on these ports of nodes."""
    edge = build.add(python("edge", "parts", "edge", for_edge, build.service, tls, protocol))
    edge.answer()
    remote = build.add(python("remote", "parts", "remote", for_remote or for_edge, tls, encryption))
    build.port = remote.answer()["port"]


OURS: Final[dict[str, Opener]] = {
    "trio floor": _floor,
    "plain": _plain,
    "sealed": _sealed,
    "TLS": _tls,
    "two nodes": _two_nodes,
    "HAProxy": _haproxy,
    "AlwaysOn": _alwayson,
}
