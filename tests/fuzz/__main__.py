"""Fuzz one target, or all, each in a process of its own, two at a time, and count.

The exit code is 1 if a target failed; the input that did it is in tests/fuzz/found.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.fuzz.seeds import write_seeds
from tests.fuzz.targets import TARGETS

__all__ = ["Outcome", "fuzz"]

_FOUND: Final = Path(__file__).parent / "found"
_LONGEST_INPUT: Final = 4096
_LONGEST_RUN: Final = 20
"""Seconds for one input; beyond it libFuzzer calls it a hang."""


@dataclass(frozen=True)
class Outcome:
    """What one run did."""

    target: str
    code: int
    runs: int
    seconds: float
    seeds: int
    corpus: int
    """Inputs that reached something new, those of the start included."""

    peak_mb: int
    last_words: str

    def __str__(self) -> str:
        state = "ok" if self.code == 0 and self.runs else f"FAILED (exit code {self.code})"
        return (
            f"{self.target:10} {self.runs:10,} runs in {self.seconds:6.1f} s"
            f"  corpus {self.seeds} -> {self.corpus}  peak {self.peak_mb} MB  {state}"
        )


def fuzz(target: str, seconds: float, seed: int) -> Outcome:
    """One run of one target, in a process."""
    with tempfile.TemporaryDirectory() as folder:
        start, grown = Path(folder) / "seeds", Path(folder) / "corpus"
        grown.mkdir()
        count = write_seeds(target, start)
        _FOUND.mkdir(exist_ok=True)
        options = {
            "max_total_time": max(int(seconds), 1),
            "seed": seed,
            "max_len": _LONGEST_INPUT,
            "timeout": _LONGEST_RUN,
            "print_final_stats": 1,
            "verbosity": 0,
            "artifact_prefix": f"{_FOUND}/{target}-",
        }
        command = [sys.executable, "-m", "tests.fuzz.one", target]
        command += [f"-{key}={value}" for key, value in options.items()]
        began = time.monotonic()
        done = subprocess.run(
            [*command, str(grown), str(start)], capture_output=True, text=True, check=False
        )
        took = time.monotonic() - began
        kept = len(list(grown.iterdir()))
    said = done.stdout + done.stderr
    return Outcome(
        target=target,
        code=done.returncode,
        runs=_stat(said, "number_of_executed_units"),
        seconds=took,
        seeds=count,
        corpus=count + kept,
        peak_mb=_stat(said, "peak_rss_mb"),
        last_words="\n".join(said.splitlines()[-40:]),
    )


def _stat(said: str, name: str) -> int:
    found = re.search(rf"stat::{name}:\s+(\d+)", said)
    return int(found.group(1)) if found else 0


def main() -> int:
    """The tool."""
    parser = argparse.ArgumentParser(prog="tools/fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("target", nargs="?", choices=sorted(TARGETS), help="all, if left out")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each target (60)")
    parser.add_argument("--seed", type=int, default=1, help="of the mutations (1)")
    options = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("fuzz: atheris is not installed: pip install 'edge-tunnel[fuzz]'", file=sys.stderr)
        return 69
    names = [options.target] if options.target else list(TARGETS)
    failed = False
    with ThreadPoolExecutor(max_workers=2) as pool:
        runs = [pool.submit(fuzz, name, options.seconds, options.seed) for name in names]
        for run in runs:
            outcome = run.result()
            print(outcome, flush=True)
            if outcome.code or not outcome.runs:
                failed = True
                print(outcome.last_words)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
