"""Rounds over all measures and paths, then the tables."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack
from pathlib import Path as File

from benchmark.compare import changes
from benchmark.figures import Results
from benchmark.install import install_peers
from benchmark.measures import FRESH, MEASURES, Scale
from benchmark.ours import OURS
from benchmark.page import DOCS, as_json, committed, surroundings, write_page
from benchmark.paths import Opener, Path, opened
from benchmark.peers import PEERS, is_there
from benchmark.plots import plot_run
from benchmark.processes import Failed, python, started
from benchmark.report import markdown, tables
from benchmark.sockets import Figures
from benchmark.studies import study_growth, study_workers

PATHS: dict[str, Opener] = {name: peer.opener for name, peer in PEERS.items()} | OURS
_QUICK_PATHS = ["trio floor", "sealed"]
_QUICK_MEASURES = ["bulk", "trips", "busy-trips", "connections"]


def main() -> int:
    """Measure, print, and say by the exit code whether every measurement could be made."""
    options = _options()
    # an installed package has its byte code; compiling it costs each process a second and 2 MiB
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if options.install_peers:
        return install_peers()
    if options.growth:
        return study_growth(options.growth, options.seconds, write=options.write)
    if options.workers:
        return study_workers(options.workers, options.rounds, options.seconds, write=options.write)
    about = surroundings(options.path)  # the load of before counts, not that of our own doing
    results = _measure(options)
    about |= {"run": f"{options.rounds} rounds of {options.seconds:g} s"}
    text = tables(results, options.path)
    print(text + "\n")
    for name, value in about.items():
        print(f"{name}: {value}")
    if options.json:
        options.json.write_text(as_json(results, about))
    if options.write:
        write_page(text, results, about)
        plot_run(results, options.path, DOCS / "performance.svg")
    worse = _compared(results) if options.quick else 0
    return int("What could not be measured" in text or worse > 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/bench", description=__doc__)
    add = parser.add_argument
    text = "about 30 s; says what got worse than noise since the committed figures (exit code 1)"
    add("--quick", action="store_true", help=text)
    add("--install-peers", action="store_true", help="into .bench-peers, with apt, go and cargo")
    text = "instead: what one message costs with 1, 100 and N links, tunnels, streams (10,000)"
    add("--growth", type=int, nargs="?", const=10_000, metavar="N", help=text)
    text = "instead: what N workers of `edge-tunnel proxy` carry, compared with one (as root)"
    add("--workers", type=int, metavar="N", help=text)
    add("--rounds", type=int, help="rounds over everything (default 5, quick 3)")
    add("--seconds", type=float, help="of each measurement (default 1, quick 0.2)")
    add("--idle", type=int, default=500, help="idle links and streams (500)")
    measures = [*MEASURES, *FRESH]
    add("--only", action="append", choices=measures, metavar="NAME", help=", ".join(measures))
    text = ", ".join(PATHS) + " (all whose programs are there)"
    add("--path", action="append", choices=PATHS, metavar="NAME", help=text)
    add("--json", type=File, metavar="FILE", help="write every single figure")
    add("--write", action="store_true", help="tables, figures and plot into docs/performance.*")
    options = parser.parse_args()
    there = [name for name in PATHS if name not in PEERS or is_there(PEERS[name])]
    options.rounds = options.rounds or (3 if options.quick else 5)
    options.seconds = options.seconds or (0.2 if options.quick else 1.0)
    options.only = options.only or (_QUICK_MEASURES if options.quick else measures)
    options.path = options.path or (_QUICK_PATHS if options.quick else there)
    return options


def _measure(options: argparse.Namespace) -> Results:
    results: Results = {}
    with ExitStack() as stack:
        service = stack.enter_context(started(python("service", "service")))
        scale = Scale(service.answer()["port"], options.seconds, options.idle)
        paths = {name: _opened(results, stack, name, scale) for name in options.path}
        for number in range(options.rounds):
            for name in options.only:
                for path in options.path:
                    print(f"round {number + 1}: {name}, {path} ...", file=sys.stderr)
                    _record(results, name, path, paths[path], scale)
    return results


def _opened(results: Results, stack: ExitStack, name: str, scale: Scale) -> Path | None:
    try:
        return stack.enter_context(opened(name, PATHS[name], scale.service))
    except (Failed, OSError) as failure:
        results.setdefault("start", {})[name] = [str(failure)]
        return None


def _record(results: Results, name: str, path: str, used: Path | None, scale: Scale) -> None:
    figures: Figures | dict[str, str] = {}
    try:
        if name in FRESH:
            figures = FRESH[name](path, PATHS[path], scale)
        elif used is not None:
            figures = MEASURES[name](used, scale)
    except (Failed, OSError) as failure:
        figures = {name: str(failure)}
    for figure, value in figures.items():
        results.setdefault(figure, {}).setdefault(path, []).append(value)


def _compared(results: Results) -> int:
    """Print what changed, and return how much of it got worse."""
    try:
        kept = committed()
    except FileNotFoundError:
        print("\nno committed figures to compare with: tools/bench --write makes them")
        return 0
    found = list(changes(kept["results"], results))
    head = ["ratio to the trio floor", "", f"at {kept['about']['commit']}", "now", ""]
    print("\n" + markdown([head, *(change.cells() for change in found)]))
    load, processors = os.getloadavg()[2], len(os.sched_getaffinity(0))
    if load > processors:
        print(f"the load average was {load:.1f} on {processors} processors: this is mostly noise")
    worse = sum(change.is_worse for change in found)
    print(f"{worse} of {len(found)} got worse than noise")
    return worse


if __name__ == "__main__":
    sys.exit(main())
