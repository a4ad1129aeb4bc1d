#!/usr/bin/env python3
"""Plants bugs in the cluster's registry, one at a time, and reports whether its tests catch them.

    python tools/cluster_mutants.py [NAME ...]

As `mutants.py` does for the protocol, with a real etcd. Exit code 0: every bug was caught.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from shutil import copy, copytree, ignore_patterns
from subprocess import run

from mutants import ROOT, Mutant

MUTANTS = {
    "the epoch is ignored in the engine": Mutant("rows", '{**own, "result": "GREATER"}', "own"),
    "the epoch is ignored in the map": Mutant(
        "directory", "if known is not None and new < known:", "if False:"
    ),
    "the epoch is ignored by a bind": Mutant(
        "directory", "known > Claim(epoch, self.name):", "known > Claim(2**63, self.name):"
    ),
    "a bind stands against a higher claim": Mutant(
        "directory", "if ours is None or new.node == self.name or new < ours:", "if True:"
    ),
    "a bind falls to a lower claim": Mutant(
        "directory", "new.node == self.name or new < ours:", "new.node == self.name:"
    ),
    "a displaced port keeps its bind": Mutant(
        "directory",
        "        port.binds.pop(thing, None)\n        return [Displaced",
        "        return [Displaced",
    ),
    "the end of an older claim ends the newer": Mutant(
        "directory", "if known is None or known > Claim(epoch, node):", "if known is None:"
    ),
    "a lower claim is not answered": Mutant(
        "directory",
        "if self._ours(thing) != (new if node == self.name else None):",
        "if self._ours(thing) is None and node == self.name:",
    ),
    "a deleted row is not written again": Mutant(
        "directory",
        "        if thing in self._binds:\n            self._unsettled[thing] = None\n        ret",
        "        ret",
    ),
    "a row of an earlier life stays": Mutant(
        "directory", "known.node == self.name and (ours is None or known > ours)", "False"
    ),
    "a withdrawal deletes another's row": Mutant(
        "rows", "_nested([own], success=[", '_nested([{**own, "result": "LESS"}], success=['
    ),
    "a guess writes whatever the rows are": Mutant(
        "rows", "_nested(beliefs, success=operations)", "_nested([], success=operations)"
    ),
    "a guess takes an absent row for anything": Mutant(
        "rows",
        "        beliefs.append(_is(",
        "        if row is not None: beliefs.append(_is(",
    ),
    "a guess believes what is to be written": Mutant(
        "rows",
        "_is(keys.things + wish.thing, row)",
        "_is(keys.things + wish.thing, row and Claim(wish.epoch, node))",
    ),
    "a guess that was wrong is forgotten": Mutant(
        "cluster", "            if not was_right:\n", "            if False:\n"
    ),
    "one right guess is taken for all": Mutant(
        "cluster", "            if not was_right:\n", "            if not any(right):\n"
    ),
    "an own claim above the bind is written over": Mutant(
        "directory", "return known is not None and known.node != self.name", "return False"
    ),
    "epochs are not of fixed width": Mutant("rows", "{claim.epoch:0{_DIGITS}}", "{claim.epoch}"),
    "a snapshot leaves what is gone": Mutant(
        "directory",
        "        self._claims = {}\n        decisions += ",
        "        decisions += ",
    ),
    "a snapshot does not settle binds": Mutant(
        "directory",
        "            if self._ours(thing) != self._claims.get(thing):\n",
        "            if False:\n",
    ),
    "the snapshot is missed": Mutant(
        "cluster",
        "            if not self._revision:\n                await self._load()",
        "            self._revision = self._revision or 1",
    ),
    "only the first page of a snapshot": Mutant("cluster", "while page.more:", "while False:"),
    "a compacted watch goes on from nowhere": Mutant(
        "cluster",
        "            self._revision = 0\n\n    async def _follow",
        "            self._revision += 1\n\n    async def _follow",
    ),
    "an answer that the watch has overtaken counts": Mutant(
        "cluster", "if page.revision > self._revision:", "if True:"
    ),
    "a lease that is gone at once is asked for at once": Mutant(
        "cluster", "            if had_one:\n", "            if True:\n"
    ),
    "a watch that brought nothing is opened at once": Mutant(
        "cluster", "                if not is_good:\n", "                if False:\n"
    ),
    "a watch begins behind what is known": Mutant(
        "cluster",
        "open_watch(self._keys.all, self._revision)",
        "open_watch(self._keys.all, self._revision + 1)",
    ),
    "the lease is counted from the answer": Mutant(
        "cluster", "self._lease.renewed(sent, ttl)", "self._lease.renewed(trio.current_time(), ttl)"
    ),
    "a renewal moves the end of claims back": Mutant(
        "lease", "max(self.until, sent + ttl)", "sent + ttl"
    ),
    "binds are not batched": Mutant(
        "cluster", "self.to_announce(_GROUP * _GROUPS)", "self.to_announce(1)"
    ),
    "a new lease does not carry the old binds": Mutant(
        "cluster", "            self.announce_all()\n", "            pass\n"
    ),
    "an expired lease is renewed for ever": Mutant(
        "etcd", "        if ttl <= 0:", "        if ttl < -1:"
    ),
    "a batch that failed is forgotten": Mutant(
        "cluster",
        "            except EngineError:\n                self.announce_again(batch)",
        "            except EngineError:\n                pass",
    ),
    "the renewal writes no row": Mutant(
        "cluster", "        await self._client.put(row, node_value(self.me), self._lease.id)\n", ""
    ),
    "a silent watch is trusted": Mutant(
        "cluster", "with trio.fail_after(self._ttl):", "with trio.fail_after(1e9):"
    ),
    "a leaving node keeps its lease": Mutant(
        "cluster", "            if lease is not None:\n", "            if False:\n"
    ),
    "a failing member is not left": Mutant(
        "etcd", "            self._at = (at + 1) % len(self.endpoints)\n", ""
    ),
    "calls have no deadline": Mutant(
        "etcd",
        "with trio.fail_after(self._attempt):\n                    return",
        "with trio.fail_after(1e9):\n                    return",
    ),
    "a cancelled call leaves its connection in use": Mutant(
        "etcd",
        "        connection = self._idle.pop() if self._idle else await self._connect()\n",
        "        connection = self._idle[-1] if self._idle else await self._connect()\n",
    ),
}
TESTS = (
    "test_directory",
    "test_etcd",
    "test_cluster_registry",
    "test_cluster_leases",
    "test_broken_engine",
)


def caught(mutant: Mutant, work: Path) -> str:
    """The test that failed with this bug planted; "" if none did."""
    path = work / "edge_tunnel" / "proxy" / f"{mutant.module}.py"
    original = path.read_text(encoding="utf-8")
    if original.count(mutant.before) != 1:
        raise SystemExit(f"this edit of {mutant.module} fits no longer:\n{mutant.before}")
    path.write_text(original.replace(mutant.before, mutant.after), encoding="utf-8")
    try:
        return failed_test(work, "not slow") or failed_test(work, "slow")
    finally:
        path.write_text(original, encoding="utf-8")


def failed_test(work: Path, kind: str) -> str:
    """The first test of this kind that fails."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", kind]
    command += [f"tests/proxy/{name}.py" for name in TESTS]
    environment = {**os.environ, "PYTHONPATH": str(work), "PYTHONDONTWRITEBYTECODE": "1"}
    done = run(command, cwd=work, env=environment, capture_output=True, check=False)
    # 1: tests failed; 2 to 5: pytest could not run them, which proves nothing
    if done.returncode not in (0, 1):
        raise SystemExit(done.stdout.decode() + done.stderr.decode())
    failed = [line for line in done.stdout.decode().splitlines() if line.startswith("FAILED")]
    return failed[0].partition("::")[2].partition(" - ")[0] if failed else ""


def main() -> int:
    """Plant them all, or the ones that are named."""
    names = sys.argv[1:] or list(MUTANTS)
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for part in ("edge_tunnel", "tests"):
            copytree(ROOT / part, work / part, ignore=ignore_patterns("__pycache__"))
        copy(ROOT / "pyproject.toml", work)
        for name in names:
            start = time.monotonic()
            test = caught(MUTANTS[name], work)
            missed += not test
            result = f"caught by {test}" if test else "NOT CAUGHT"
            print(f"{name}: {result}  ({time.monotonic() - start:.1f} s)", flush=True)
    print(f"{len(names) - missed} of {len(names)} caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
