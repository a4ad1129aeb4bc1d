"""Rounds over all measures and paths, then the table."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path as File

from benchmark.measures import MEASURES, Figures, Scale
from benchmark.paths import PATHS, Path, open_path, started
from benchmark.processes import Failed, python
from benchmark.report import Results, as_json, surroundings, table, write_page


def main() -> int:
    """Measure, print, and say by the exit code whether every measurement could be made."""
    options = _options()
    about = surroundings()  # the load average of before counts, not that of our own doing
    results = _measure(options)
    about |= {"run": f"{options.rounds} rounds of {options.seconds:g} s"}
    text = table(results, options.path)
    print(text)
    for name, value in about.items():
        print(f"{name}: {value}")
    if options.json:
        options.json.write_text(as_json(results, about))
    if options.write:
        write_page(text, about)
    return int("failed" in text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/bench", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="one short round, about 30 s")
    add("--rounds", type=int, help="rounds over everything (default 5, quick 1)")
    add("--seconds", type=float, help="of each measurement (default 2, quick 0.4)")
    add("--idle", type=int, help="idle links and streams (default 500, quick 100)")
    add("--only", action="append", choices=MEASURES, metavar="NAME", help=", ".join(MEASURES))
    add("--path", action="append", choices=PATHS, metavar="NAME", help=", ".join(PATHS))
    add("--json", type=File, metavar="FILE", help="write every single figure")
    add("--write", action="store_true", help="put the table into docs/performance.md")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 5)
    options.seconds = options.seconds or (0.4 if options.quick else 2.0)
    options.idle = options.idle or (100 if options.quick else 500)
    options.only = options.only or list(MEASURES)
    options.path = options.path or list(PATHS)
    return options


def _measure(options: argparse.Namespace) -> Results:
    results: Results = {}
    with ExitStack() as stack:
        service = stack.enter_context(started(python("service", "service")))
        scale = Scale(service.answer()["port"], options.seconds, options.idle)
        paths = [stack.enter_context(open_path(name, scale.service)) for name in options.path]
        for number in range(options.rounds):
            for name in options.only:
                for path in paths:
                    print(f"round {number + 1}: {name}, {path.name} ...", file=sys.stderr)
                    _record(results, name, path, scale)
    return results


def _record(results: Results, name: str, path: Path, scale: Scale) -> None:
    figures: Figures | dict[str, str]
    try:
        figures = MEASURES[name](path, scale)
    except (Failed, OSError) as failure:
        figures = {name: str(failure)}
    for figure, value in figures.items():
        results.setdefault(figure, {}).setdefault(path.name, []).append(value)


if __name__ == "__main__":
    sys.exit(main())
