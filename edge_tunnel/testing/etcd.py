"""Real etcd members on free loopback ports, for tests: to be killed, stopped and started again.

etcd comes from the system's packages (Debian: etcd-server). Nothing here waits on trio, so that a
fixture of any scope can use it.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from edge_tunnel.proxy.etcd import Endpoint

__all__ = ["Etcd", "Member", "free_port", "open_etcd"]

_READY: Final = b"ready to serve client requests"
_START: Final = 60.0
"""Seconds for a start: a single member needs about one, three on a busy machine several."""


_given: set[int] = set()


def free_port() -> int:
    """A loopback port that nobody uses at the moment.

    Below the ephemeral ones, so that nobody is given it while a member is down. Not one that was
    given before, and each process looks in a range of its own: until somebody listens there, it
    would be free for others, too.
    """
    first = 20_000 + os.getpid() % 12 * 1_000
    if len(_given) > 500:
        _given.clear()
    while True:
        port = random.randrange(first, first + 1_000)
        with socket.socket() as sock, suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port


class Member:
    """One etcd process, and where its data is."""

    def __init__(self, name: str, folder: Path, first_port: int | None = None) -> None:
        """`first_port`: for clients, and the one above it for members; None: any free ones."""
        self.name = name
        self.endpoint = Endpoint("127.0.0.1", first_port or free_port())
        self.peer = f"{name}=http://127.0.0.1:{first_port + 1 if first_port else free_port()}"
        self.ready = threading.Event()
        self._folder = folder
        self._command: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, peers: Sequence[str], options: Sequence[str]) -> None:
        """Start; `ready` is set when it serves."""
        scheme = "https" if "--cert-file" in options else "http"
        mine, client = self.peer.partition("=")[2], f"{scheme}://{self.endpoint}"
        self._command = ["etcd", "--name", self.name, "--data-dir", str(self._folder / self.name)]
        self._command += ["--listen-client-urls", client, "--advertise-client-urls", client]
        self._command += ["--listen-peer-urls", mine, "--initial-advertise-peer-urls", mine]
        self._command += ["--initial-cluster", ",".join(peers), *options]
        self.start_again()

    def start_again(self) -> None:
        """Start with the same data, after `kill`."""
        self.ready.clear()
        self._process = subprocess.Popen(
            self._command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us; we end it in order
        )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                if _READY in line:
                    self.ready.set()

    @property
    def pid(self) -> int:
        """Of the process of the moment."""
        assert self._process is not None
        return self._process.pid

    def _signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def stop(self) -> None:
        """SIGSTOP: connections stay, and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        if self._process is not None and self._process.poll() is None:
            self._signal(signal.SIGKILL)
            self._process.wait()


class Etcd:
    """Some members that are one engine. Use `open_etcd`."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = tuple(members)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where clients connect."""
        return tuple(member.endpoint for member in self.members)

    @property
    def url(self) -> str:
        """As ``--cluster`` takes it."""
        return "etcd://" + ",".join(map(str, self.endpoints))


@contextmanager
def open_etcd(
    size: int = 1, options: Sequence[str] = (), first_port: int | None = None
) -> Iterator[Etcd]:
    """Members that serve, for the length of the block; on ports from this one on, two for each.

    Raises FileNotFoundError if there is no etcd on this system, TimeoutError if it does not start.
    """
    folder = Path(tempfile.mkdtemp(prefix="edge-tunnel-etcd-"))
    ports = [None if first_port is None else first_port + 2 * number for number in range(size)]
    members = [Member(f"m{number}", folder, port) for number, port in enumerate(ports)]
    try:
        for member in members:
            member.start([each.peer for each in members], options)
        for member in members:
            if not member.ready.wait(_START):
                raise TimeoutError(f"etcd {member.name} did not start within {_START:g} s")
        yield Etcd(members)
    finally:
        for member in members:
            member.kill()
        shutil.rmtree(folder, ignore_errors=True)
