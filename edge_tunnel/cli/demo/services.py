"""What stands behind the demo's edge: a real service with one large file, and a way to fetch it.

Plain: Python's own HTTP server behind a local port of ``connect``. With ``--ssh``: the machine's
sshd, reached by ssh with ``connect --stdio`` as its ProxyCommand.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import trio

from edge_tunnel.cli.exits import CommandFailed, Exit
from edge_tunnel.testing.processes import THING, Child, ChildFailed, Site, our_command

__all__ = ["Fetch", "HttpService", "Service", "SshService", "make_file"]

FILE: Final = "payload.bin"

_READ: Final = 256 * 1024


def make_file(folder: Path, size: int) -> str:
    """A file of random bytes, which nothing can compress or guess; returns its SHA-256."""
    digest = hashlib.sha256()
    with (folder / FILE).open("wb") as file:
        for start_of_part in range(0, size, 1 << 20):
            part = os.urandom(min(1 << 20, size - start_of_part))
            digest.update(part)
            file.write(part)
    return digest.hexdigest()


class Fetch:
    """A transfer that has begun: the remote process, and the file's bytes as they arrive."""

    def __init__(self, remote: Child, stream: trio.abc.ReceiveStream, first: bytes = b"") -> None:
        self.remote = remote
        self._stream = stream
        self._first = first

    async def chunks(self) -> AsyncIterator[bytes | bytearray]:
        """All bytes of the file; ends early if the connection does."""
        if self._first:
            yield self._first
        while data := await self._stream.receive_some(_READ):
            yield data


class Service(ABC):
    """A service with the file, and the remote that fetches it."""

    name = ""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.folder = site.folder

    @abstractmethod
    async def start(self) -> int:
        """Start it; returns its port."""

    @abstractmethod
    async def fetch(self) -> Fetch:
        """Start a remote and ask for the file."""


class HttpService(Service):
    """``python -m http.server``, and a local port to it."""

    name = "web"

    async def start(self) -> int:
        command = [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1"]
        command += ["--directory", str(self.folder), "0"]
        child = await self.site.start_program("web server", command)
        said = await child.line("Serving HTTP")
        return int(said.partition(" port ")[2].split()[0])

    async def fetch(self) -> Fetch:
        words = ("connect", THING, self.name, "--json", "--exit-with-stdin")
        remote = await self.site.start(*words)
        where = await remote.event("listening")
        stream = await trio.open_tcp_stream(where["host"], where["port"])
        await stream.send_all(f"GET /{FILE} HTTP/1.0\r\n\r\n".encode())
        return Fetch(remote, stream, await _after_head(stream))


async def _after_head(stream: trio.SocketStream) -> bytes:
    """Read an HTTP response's head; returns what came of the body with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = await stream.receive_some(_READ)
        if not more:
            raise ChildFailed("the web server did not answer")
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n")[0] + b" ":
        raise ChildFailed("the web server refused the file")
    return body


class SshService(Service):
    """The machine's sshd with keys of its own, and ssh with us as its ProxyCommand."""

    name = "ssh"

    async def start(self) -> int:
        sshd = _program("sshd", "openssh-server")
        for key in ("host_key", "user_key"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / key)]
            await trio.run_process(command)
        port = _free_port()
        self._write_settings(port)
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)  # noqa: PTH103 - sshd demands it of root
        command = [sshd, "-D", "-e", "-f", str(self.folder / "sshd_config")]
        child = await self.site.start_program("sshd", command)
        await child.line("Server listening")
        return port

    def _write_settings(self, port: int) -> None:
        host_key = (self.folder / "host_key.pub").read_text(encoding="ascii")
        (self.folder / "known_hosts").write_text(f"{THING} {host_key}", encoding="ascii")
        settings = {
            "Port": port,
            "ListenAddress": "127.0.0.1",
            "HostKey": self.folder / "host_key",
            "AuthorizedKeysFile": self.folder / "user_key.pub",
            "AuthenticationMethods": "publickey",
            "PermitRootLogin": "prohibit-password",
            "StrictModes": "no",  # the keys lie in a temporary folder
            "UsePAM": "no",
            "PidFile": "none",
            "Subsystem": "sftp internal-sftp",
        }
        text = "".join(f"{name} {value}\n" for name, value in settings.items())
        (self.folder / "sshd_config").write_text(text, encoding="utf-8")

    def options(self, proxy_command: Sequence[str]) -> list[str]:
        """For ssh and scp: our keys, our way, and nothing of the user's own settings."""
        settings = {
            "ProxyCommand": shlex.join(proxy_command),
            "IdentityFile": self.folder / "user_key",
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": self.folder / "known_hosts",
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
            "LogLevel": "ERROR",
        }
        words = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        return [*words, "-F", os.devnull]

    async def fetch(self) -> Fetch:
        options = self.options(our_command("connect", "%h", self.name, "--stdio", "--json"))
        target = f"{getpass.getuser()}@{THING}"
        ssh = await self.site.start_program(
            "ssh",
            ["ssh", *options, target, f"cat {self.folder / FILE}"],
            stdin=subprocess.DEVNULL,
            data_on_stdout=True,
        )
        assert ssh.process.stdout is not None
        return Fetch(ssh, ssh.process.stdout)


def _program(name: str, package: str) -> str:
    """Its full path: sshd demands to be started by it, and is not on everybody's PATH."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        text = f"demo: there is no {name} on this machine; install it (Debian: {package})"
        raise CommandFailed(Exit.CONFIGURATION, text)
    return found


def _free_port() -> int:
    """One that was free a moment ago: sshd cannot choose one itself."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
