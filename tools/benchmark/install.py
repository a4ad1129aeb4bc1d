"""Brings the peers of the benchmark, by name and version, with the ordinary clients.

Into `.bench-peers`, which git ignores; nothing of the system changes but what apt installs.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Final

from benchmark.peers import FOLDER, PEERS, is_there

__all__ = ["install_peers"]

_CHISEL: Final = "v1.10.1"
_FRP: Final = "v0.61.1"


def install_peers() -> int:
    """All that are missing; 0 if all are there then."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "package.json").write_text("{}")  # else npm goes up until it finds one
    for name, install in _INSTALL.items():
        if is_there(PEERS[name]):
            print(f"{name}: there")
            continue
        try:
            install()
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"{name}: could not be installed: {_line(error)}", file=sys.stderr)
        else:
            print(f"{name}: installed")
    return int(not all(is_there(PEERS[name]) for name in _INSTALL))


def _line(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError) and error.stderr:
        return str(error.stderr.strip().splitlines()[-1])
    return str(error)


def _run(*command: str) -> None:
    """Politely: a build takes all processors for minutes."""
    polite = ("nice", "-n", "10", *command)
    subprocess.run(polite, cwd=FOLDER, check=True, stderr=subprocess.PIPE, text=True)


def _apt(package: str) -> Callable[[], None]:
    return lambda: _run("apt-get", "install", "--yes", "--no-install-recommends", package)


def _cargo(package: str) -> Callable[[], None]:
    # not --locked: the newest compiler refuses some of the versions that rathole has locked
    return lambda: _run("cargo", "install", package, "--root", str(FOLDER))


def _go(
    module: str, version: str, programs: tuple[str, ...] = ("",), replace: str = "", flags: str = ""
) -> None:
    """From a module of our own, since `go install` takes none that replaces a dependency."""
    build = FOLDER / "build" / module.rpartition("/")[2]
    build.mkdir(parents=True, exist_ok=True)
    lines = ["module bench", "go 1.22", f"require {module} {version}", replace, ""]
    (build / "go.mod").write_text("\n".join(lines))
    (FOLDER / "bin").mkdir(exist_ok=True)
    packages = [module + program for program in programs]
    _run(
        "go", "-C", str(build), "build", "-mod=mod", f"-ldflags={flags}",
        "-o", f"{FOLDER / 'bin'}/", *packages,
    )  # fmt: skip


def _chisel() -> None:
    module = "github.com/jpillora/chisel"
    _go(module, _CHISEL, flags=f"-X {module}/share.BuildVersion={_CHISEL}")


def _frp() -> None:
    yamux = "github.com/fatedier/yamux v0.0.0-20230628132301-7aca4898904d"
    replace = f"replace github.com/hashicorp/yamux => {yamux}"
    _go("github.com/fatedier/frp", _FRP, ("/cmd/frps", "/cmd/frpc"), replace)


_INSTALL: Final[dict[str, Callable[[], None]]] = {
    "socat": _apt("socat"),
    "OpenSSH": _apt("openssh-server"),
    "chisel": _chisel,
    "frp": _frp,
    "rathole": _cargo("rathole"),
    "wstunnel": _cargo("wstunnel"),
    "npm wstunnel": lambda: _run("npm", "install", "--no-audit", "--no-fund", "wstunnel@1.4.0"),
}
