"""A real sshd behind one edge, and rsync to it again and again."""

from __future__ import annotations

import getpass
import hashlib
import os
import shlex
import shutil
from pathlib import Path
from typing import Final

import trio

from edge_tunnel.cli.demo.services import SshService
from edge_tunnel.testing.processes import THING, our_command

__all__ = ["Rsync"]

_FILES: Final = 40
_FILE: Final = 50_000

_LAST: Final = 150.0
"""Seconds that a copy may still take when all faults are over. Until then it takes what it takes:
in one storm a good copy of ten seconds spent three minutes waiting for the next node to die."""


class Rsync:
    """Copies a tree, compares it, and begins anew."""

    def __init__(self, service: SshService, url: str) -> None:
        self.copies = 0
        self.refused = 0
        """Copies that found no device for a moment, and said so."""

        self.problems: list[str] = []
        self._service = service
        self._environ = {**service.site.environ, "EDGE_TUNNEL_PROXY": url}
        self._folder = service.site.folder
        self._source = self._folder / "rsync-source"

    def prepare(self) -> None:
        """Write the tree."""
        self._source.mkdir()
        for number in range(_FILES):
            (self._source / str(number)).write_bytes(os.urandom(_FILE))

    async def keep_copying(self, until: trio.Event) -> None:
        """One copy after another."""
        while not until.is_set():
            async with trio.open_nursery() as nursery:
                scope = trio.CancelScope()
                nursery.start_soon(_limit, scope, until)
                await self._copy(self._folder / f"rsync-copy-{self.copies}", scope)
                nursery.cancel_scope.cancel()

    async def _copy(self, target: Path, scope: trio.CancelScope) -> None:
        words = our_command("connect", "%h", "ssh", "--stdio", "--connect-timeout", "120")
        shell = shlex.join(["ssh", *self._service.options(words)])
        where = f"{getpass.getuser()}@{THING}:{target}"
        command = ["rsync", "-a", "--bwlimit=200", "-e", shell, f"{self._source}/", where]
        done = None
        with scope:
            done = await trio.run_process(
                command, capture_stderr=True, check=False, env=self._environ
            )
        if done is None:
            self.problems.append(f"rsync was stuck for {_LAST:g} s when all faults were over")
        elif done.returncode:
            last = done.stderr.decode(errors="replace").strip().replace("\n", " | ")
            if "edge-tunnel: " in last:  # our line says why
                self.refused += 1
                return
            self.problems.append(f"rsync ended with {done.returncode}: {last}")
        elif _tree(target) != _tree(self._source):
            self.problems.append("rsync ended well, and the copy differs")
        self.copies += 1
        shutil.rmtree(target, ignore_errors=True)


async def _limit(scope: trio.CancelScope, until: trio.Event) -> None:
    await until.wait()
    scope.deadline = trio.current_time() + _LAST


def _tree(folder: Path) -> dict[str, bytes]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).digest() for path in sorted(folder.iterdir())
    }
