#!/usr/bin/env python3
"""Plants bugs in the product, one at a time, and reports whether a short storm sees them.

    python tools/chaos_mutants.py [NAME ...]

Each bug is an edit of the source text in a temporary copy. Exit code 0: every bug was seen. Bugs
that a second guard hides are for `tools/mutants.py`: an ATTACH with an old epoch that an edge would
accept is dropped by the node before it gets there, and no honest sender repeats a byte.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
STORM = ["--seconds", "30", "--seed", "4", "--edges", "6", "--remotes", "12", "--quiet"]


class Mutant(NamedTuple):
    """One bug: in that file, this text becomes that."""

    path: str
    before: str
    after: str


MUTANTS = {
    "a reset becomes an end": Mutant(
        "link/splice.py",
        "        clean = not nursery.cancel_scope.cancel_called\n",
        "        clean = True\n",
    ),
    "bytes are freed when they are sent, at the word of the node that took them": Mutant(
        "protocol/replay.py",
        "        self._skip = stop\n        return",
        "        self._skip = stop\n        self.release(self.next)\n        return",
    ),
    "a RESET frame becomes an end": Mutant(
        "protocol/receiving.py",
        '(ReceiveState.OPEN, "reset"): ReceiveState.BROKEN',
        '(ReceiveState.OPEN, "reset"): ReceiveState.ENDED',
    ),
    "a resume begins with the wrong byte": Mutant(
        "protocol/replay.py",
        "self._index, self._skip = index, offset - start",
        "self._index, self._skip = index, max(0, offset - start - 1)",
    ),
    "a node does not tell that the other end's link is lost": Mutant(
        "proxy/routes.py",
        "        if far is not None:\n            far.send(Detached(route.tunnel, 0, route.epoch",
        "        if False:\n            far.send(Detached(route.tunnel, 0, route.epoch",
    ),
}


def seen(mutant: Mutant, work: Path) -> str:
    """What the storm says of this bug; "" if nothing."""
    path = work / "edge_tunnel" / mutant.path
    original = path.read_text(encoding="utf-8")
    if original.count(mutant.before) != 1:
        raise SystemExit(f"this edit of {mutant.path} fits no longer:\n{mutant.before}")
    path.write_text(original.replace(mutant.before, mutant.after), encoding="utf-8")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tools.storm", *STORM],
            cwd=work,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        path.write_text(original, encoding="utf-8")
    # 1: it failed; 2: it could not be run, which proves nothing
    if done.returncode not in (0, 1):
        raise SystemExit(done.stdout + done.stderr)
    failures = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    return f"{len(failures)} failures, as {failures[0]}" if failures else ""


def main() -> int:
    """Plant them all, or the ones that are named."""
    names = sys.argv[1:] or list(MUTANTS)
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for part in ("edge_tunnel", "tools", "examples"):
            shutil.copytree(ROOT / part, work / part, ignore=shutil.ignore_patterns("__pycache__"))
        for name in names:
            start = time.monotonic()
            result = seen(MUTANTS[name], work)
            missed += not result
            print(f"{name}: {result or 'NOT SEEN'}  ({time.monotonic() - start:.0f} s)", flush=True)
    print(f"{len(names) - missed} of {len(names)} seen")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
