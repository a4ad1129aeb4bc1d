"""What else carries TCP connections: each peer as its users start it, on loopback.

A program is looked for in `.bench-peers` (see `install`), and then on the PATH.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path as File
from typing import Final

from benchmark.paths import Build, Opener, free_port
from benchmark.processes import Failed

__all__ = ["FOLDER", "PEERS", "Peer", "find", "is_there", "version"]

FOLDER: Final = File(__file__).parents[2] / ".bench-peers"
HOST: Final = "127.0.0.1"
_VERSION: Final = r"(?<![\d:.])\d+\.\d+(\.\d+)*(p\d+)?(?![\dZ])"
"""Numbers with dots, and not the seconds of a time of day."""


@dataclass(frozen=True)
class Peer:
    """How a peer is found, asked for its version, and started."""

    opener: Opener
    carries: str
    """How it carries a connection."""
    programs: tuple[str, ...] = ()
    version: str = "--version"


def find(program: str) -> str | None:
    """Where a program is; None: nowhere. ``npm:`` in front: one that npm has installed for us."""
    if program.startswith("npm:"):
        return shutil.which(program[4:], path=str(FOLDER / "node_modules" / ".bin"))
    places = (str(FOLDER / "bin"), os.environ["PATH"], "/usr/sbin")
    return shutil.which(program, path=os.pathsep.join(places))


def _found(program: str) -> str:
    path = find(program)
    if path is None:
        raise Failed(f"{program} is not installed")
    return path


def is_there(peer: Peer) -> bool:
    """Whether all of its programs are."""
    return all(find(each) for each in peer.programs)


def version(peer: Peer) -> str:
    """What the program says of itself: the first number with a dot in it."""
    program = peer.programs[0]
    if program.startswith("npm:"):
        said = (FOLDER / "node_modules" / program[4:] / "package.json").read_text()
        return str(json.loads(said)["version"])
    asked = subprocess.run(
        [_found(program), peer.version], capture_output=True, text=True, check=False
    )
    numbers = re.search(_VERSION, asked.stdout + asked.stderr)
    return numbers.group() if numbers else "of unknown version"


def _raw(build: Build) -> None:
    build.port = build.service


def _socat(build: Build) -> None:
    listen = f"TCP-LISTEN:{build.port},bind={HOST},reuseaddr,fork,backlog=1024,nodelay"
    target = f"TCP:{HOST}:{build.service},nodelay"
    build.quiet("socat", _found("socat"), "-lf/dev/null", "-b65536", listen, target)


_SSHD: Final = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
MaxSessions 1000
"""


def _openssh(build: Build) -> None:
    """A reverse forward, with the fastest cipher."""
    folder, port = build.folder(), free_port()
    for name in ("host", "user"):
        make = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{folder}/{name}")
        subprocess.run(make, check=True)
    config = folder / "sshd_config"
    config.write_text(_SSHD.format(port=port, folder=folder))
    if os.getuid() == 0:
        File("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd demands it of root
    build.quiet("sshd", _found("sshd"), "-D", "-f", config)
    options = (
        "BatchMode=yes",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "Ciphers=aes128-gcm@openssh.com",
        "ExitOnForwardFailure=yes",
        "ConnectionAttempts=20",
    )
    flags = [part for each in options for part in ("-o", each)]
    forward = f"{HOST}:{build.port}:{HOST}:{build.service}"
    who = f"{getpass.getuser()}@{HOST}"
    build.quiet(
        "ssh", "ssh", "-N", "-F/dev/null", "-i", folder / "user", *flags,
        "-p", port, "-R", forward, who,
    )  # fmt: skip


def _chisel(build: Build) -> None:
    chisel, port = _found("chisel"), free_port()
    build.quiet("server", chisel, "server", "--reverse", "--host", HOST, "--port", port)
    forward = f"R:{HOST}:{build.port}:{HOST}:{build.service}"
    build.quiet(
        "client", chisel, "client", "--max-retry-interval", "200ms", f"{HOST}:{port}", forward
    )


def _frp(build: Build) -> None:
    """Over WebSocket, without its TLS, many streams in one connection (its default)."""
    port = free_port()
    server = f'bindAddr = "{HOST}"\nbindPort = {port}\nlog.to = "/dev/null"\n'
    build.quiet("server", _found("frps"), "-c", build.file("frps.toml", server))
    client = f"""\
serverAddr = "{HOST}"
serverPort = {port}
loginFailExit = false
log.to = "/dev/null"
transport.protocol = "websocket"
transport.tls.enable = false
[[proxies]]
name = "service"
type = "tcp"
localIP = "{HOST}"
localPort = {build.service}
remotePort = {build.port}
"""
    build.quiet("client", _found("frpc"), "-c", build.file("frpc.toml", client))


def _wstunnel(build: Build) -> None:
    wstunnel, url = _found("wstunnel"), f"ws://{HOST}:{free_port()}"
    build.quiet("server", wstunnel, "server", url)
    forward = f"tcp://{HOST}:{build.port}:{HOST}:{build.service}"
    build.quiet("client", wstunnel, "client", "-R", forward, url)


def _npm_wstunnel(build: Build) -> None:
    """Another program of that name."""
    wstunnel, port = _found("npm:wstunnel"), free_port()
    build.quiet("server", wstunnel, "-s", f"{HOST}:{port}")
    forward = f"{HOST}:{build.port}:{HOST}:{build.service}"
    build.quiet("client", wstunnel, "-t", forward, f"ws://{HOST}:{port}")


_RATHOLE: Final = """\
[{role}]
{where} = "127.0.0.1:{port}"
default_token = "benchmark"
[{role}.services.service]
{what} = "127.0.0.1:{end}"
"""


def _rathole(build: Build) -> None:
    """Over TCP, its default."""
    rathole, port = _found("rathole"), free_port()
    for role, where, what, end in (
        ("server", "bind_addr", "bind_addr", build.port),
        ("client", "remote_addr", "local_addr", build.service),
    ):
        text = _RATHOLE.format(role=role, where=where, what=what, port=port, end=end)
        build.quiet(role, rathole, f"--{role}", build.file(f"{role}.toml", text))


PEERS: Final[dict[str, Peer]] = {
    "raw": Peer(_raw, "-"),
    "socat": Peer(_socat, "one TCP each", ("socat",), "-V"),
    "OpenSSH": Peer(_openssh, "channels in one TCP", ("sshd", "ssh", "ssh-keygen"), "-V"),
    "chisel": Peer(_chisel, "SSH channels in one WebSocket", ("chisel",)),
    "frp": Peer(_frp, "yamux in one WebSocket", ("frps", "frpc")),
    "wstunnel": Peer(_wstunnel, "one WebSocket each", ("wstunnel",)),
    "npm wstunnel": Peer(_npm_wstunnel, "one WebSocket each", ("npm:wstunnel",)),
    "rathole": Peer(_rathole, "one TCP each", ("rathole",)),
}
