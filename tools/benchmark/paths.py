"""The paths between the load generator and the service."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from benchmark.processes import Failed, Process, python

__all__ = ["PATHS", "Path", "open_path", "started"]


@dataclass(frozen=True)
class Path:
    """A port that ends at the service, and the processes between, by name."""

    name: str
    port: int
    processes: dict[str, Process]


@contextmanager
def started(process: Process) -> Iterator[Process]:
    """A process for the length of the block."""
    try:
        yield process
    finally:
        process.kill()


def _raw(_stack: ExitStack, service: int) -> tuple[int, dict[str, Process]]:
    return service, {}


def _socat(stack: ExitStack, service: int) -> tuple[int, dict[str, Process]]:
    port = _free_port()
    listen = f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,backlog=1024,nodelay"
    target = f"TCP:127.0.0.1:{service},nodelay"
    relay = stack.enter_context(
        started(Process("socat", "socat", "-lf/dev/null", "-b65536", listen, target))
    )
    _wait_listening(port)
    return port, {"relay": relay}


def _trio(stack: ExitStack, service: int) -> tuple[int, dict[str, Process]]:
    """Three trio processes in a row that do nothing but pass bytes on: the floor of our stack."""
    processes = {}
    for name in ("third", "second", "first"):
        process = stack.enter_context(started(python(name, "parts", "relay", service)))
        service = process.answer()["port"]
        processes[name] = process
    return service, processes


def _plain(stack: ExitStack, service: int) -> tuple[int, dict[str, Process]]:
    """Ours without end-to-end encryption."""
    return _ours(stack, service, encryption=0)


def _ours(
    stack: ExitStack, service: int, tls: str = "", encryption: int = 1
) -> tuple[int, dict[str, Process]]:
    node = stack.enter_context(started(python("node", "parts", "node", 0, tls)))
    node_port = node.answer()["port"]
    edge = stack.enter_context(started(python("edge", "parts", "edge", node_port, service, tls)))
    edge.answer()
    remote = stack.enter_context(
        started(python("remote", "parts", "remote", node_port, tls, encryption))
    )
    return remote.answer()["port"], {"edge": edge, "node": node, "remote": remote}


def _ours_tls(stack: ExitStack, service: int) -> tuple[int, dict[str, Process]]:
    """The same with both links in TLS: what `ours` over it says is the price."""
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    command = ("edge_tunnel", "tls", "init", "--dir", folder, "--name", "127.0.0.1")
    subprocess.run([sys.executable, "-m", *command], check=True, stdout=subprocess.DEVNULL)
    return _ours(stack, service, folder)


PATHS: Final[dict[str, Callable[[ExitStack, int], tuple[int, dict[str, Process]]]]] = {
    "raw": _raw,
    "socat": _socat,
    "trio chain": _trio,
    "plain": _plain,
    "ours": _ours,
    "TLS": _ours_tls,
}


@contextmanager
def open_path(name: str, service: int) -> Iterator[Path]:
    """A path of fresh processes."""
    with ExitStack() as stack:
        port, processes = PATHS[name](stack, service)
        yield Path(name, port, processes)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_listening(port: int) -> None:
    deadline = time.monotonic() + 5.0
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise Failed(f"nothing listens on {port}")
