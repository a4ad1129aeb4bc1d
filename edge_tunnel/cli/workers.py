"""Several nodes of one machine behind one port: what each of them is told, and their parent."""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from edge_tunnel.cli.addresses import shown
from edge_tunnel.cli.events import words_of
from edge_tunnel.cli.exits import CommandFailed, Exit
from edge_tunnel.cli.forking import Workers
from edge_tunnel.cli.ports import why_not_open
from edge_tunnel.cli.supervision import Supervision
from edge_tunnel.config import AuditSettings, ListenAddress, ProxyConfig
from edge_tunnel.link.notices import Notice
from edge_tunnel.proxy.shared_port import bind_shared
from edge_tunnel.proxy.siblings import Siblings, new_family

__all__ = ["Worker", "add_workers", "as_worker", "reloads", "run_workers", "worker_name"]

_MOST: Final = 256
_LAST_PORT: Final = 65_535


def add_workers(parser: argparse.ArgumentParser) -> None:
    """The option --workers."""
    parser.add_argument(
        "--workers",
        type=_count,
        metavar="N",
        help="as many node processes on the one port, each a member of the cluster (1)",
    )


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= _MOST):
        raise argparse.ArgumentTypeError(f"must be a number of processes, 1 to {_MOST}")
    return int(text)


class Worker(NamedTuple):
    """What one of them is told."""

    config: ProxyConfig
    """Of a node of its own."""

    siblings: Siblings


def run_workers(config: ProxyConfig, *, as_json: bool, with_stdin: bool) -> Worker | int:
    """Fork the workers and look after them. Like fork it returns in every process.

    Returns:
      In a worker, at once: what it is to serve. In the parent, when all is over: the exit code.

    Raises:
      CommandFailed: no worker could be started with that.
    """
    family = new_family()
    with ExitStack() as held:
        config = _reserved(config, held)
        shell = Workers(
            Supervision(config.workers),
            _Teller(config, as_json=as_json),
            with_stdin=with_stdin,
            hangup_ends=not reloads(config),
        )
        outcome = shell.run()
    if outcome.worker is None:
        return outcome.code
    return Worker(as_worker(config, outcome.worker), _siblings(config, outcome.worker, family))


def reloads(config: ProxyConfig) -> bool:
    """Whether SIGHUP has a node look at its files again; otherwise it ends it."""
    cluster = config.cluster
    files = () if cluster is None else (cluster.node_cert, cluster.engine_cert)
    return any(files) or config.tls is not None or config.audit is not None


def worker_name(name: str, worker: int) -> str:
    """In the cluster, of a worker of the node that was given this name."""
    return f"{name}-{worker}"


def as_worker(config: ProxyConfig, worker: int) -> ProxyConfig:
    """What is this worker's own: its name, its address for other nodes, and its audit log."""
    cluster = config.cluster
    assert cluster is not None, "without one it would be a node that nobody finds"
    listen = cluster.hop_listen and _moved(cluster.hop_listen, worker)
    own = replace(
        cluster,
        node_name=worker_name(cluster.node_name, worker),
        advertise=_moved(cluster.advertise, worker),
        hop_listen=listen,
    )
    return replace(config, cluster=own, audit=_own_log(config.audit, worker))


def _siblings(config: ProxyConfig, worker: int, family: str) -> Siblings:
    assert config.cluster is not None
    numbers = range(1, config.workers + 1)
    names = [worker_name(config.cluster.node_name, each) for each in numbers]
    return Siblings(family, names[worker - 1], names)


def _moved(address: ListenAddress, worker: int) -> ListenAddress:
    return replace(address, port=address.port + worker - 1)


def _own_log(audit: AuditSettings | None, worker: int) -> AuditSettings | None:
    """A log is a chain of hashes, and a chain has one writer: audit.log -> audit-2.log."""
    if audit is None or audit.file is None:
        return audit
    path = Path(audit.file)
    return replace(audit, file=str(path.with_name(f"{path.stem}-{worker}{path.suffix}")))


def _reserved(config: ProxyConfig, held: ExitStack) -> ProxyConfig:
    """The ports are the parent's first: one that is taken is told once, and port 0 is one port."""
    cluster = config.cluster
    if cluster is None:
        text = (
            f"{config.workers} workers are as many nodes, and find each other in a cluster only: "
            "give --cluster, --node-name and --advertise (or [cluster] in proxy.toml), "
            "or run one worker"
        )
        raise CommandFailed(Exit.USAGE, text)
    hops = cluster.hop_listen or cluster.advertise
    if hops.port == 0 or hops.port + config.workers - 1 > _LAST_PORT:
        text = f"{shown(hops)}: worker N listens for other nodes on the N-th port from there on"
        raise CommandFailed(Exit.USAGE, text)
    for worker in range(1, config.workers + 1):
        for sock in _bound(_moved(hops, worker)):
            sock.close()
    listen = tuple(_held(address, held) for address in config.listen)
    return replace(config, listen=listen)


def _held(address: ListenAddress, held: ExitStack) -> ListenAddress:
    socks = [held.enter_context(sock) for sock in _bound(address)]
    return replace(address, port=socks[0].getsockname()[1])


def _bound(address: ListenAddress) -> list[socket.socket]:
    host = "127.0.0.1" if address.host == "localhost" else address.host
    try:
        return bind_shared(host, address.port, alone=True)
    except OSError as error:
        why = why_not_open(host or "*", address.port, error)
        raise CommandFailed(Exit.CONFIGURATION, why) from error


class _Teller:
    """Prints what happens to workers. The parent must never wait for whoever reads that."""

    def __init__(self, config: ProxyConfig, *, as_json: bool) -> None:
        assert config.cluster is not None
        self._name = config.cluster.node_name
        self._as_json = as_json

    def __call__(self, event: str, *, worker: int, **data: object) -> None:
        name = worker_name(self._name, worker)
        notice = Notice(event, time.time(), {"worker": name, **data})
        line = json.dumps(notice.as_dict()) if self._as_json else words_of(notice)
        poll = select.poll()
        poll.register(1, select.POLLOUT)
        if poll.poll(0):  # a pipe that is ready takes a page at once
            os.write(1, f"{line}\n".encode(errors="replace"))
