"""Kills, stops, parts and restarts a cluster under load, and counts what became of each byte.

Three nodes, three members of etcd, HAProxy, edges and remotes that move data both ways. What fails
when is a function of the seed, which is printed. Exit code 1: a byte was wrong, an end was clean
and short, a stream was stuck or reset with no reason, or something was not given back.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

import trio

from edge_tunnel.errors import EdgeTunnelError
from tools.storm.report import Result, command, commit, table, write_page
from tools.storm.storm import run_storm


def main() -> int:
    """One storm."""
    options = _options()
    result = Result(options.seed, options.seconds, options.edges, options.remotes, commit())
    print(f"{command(result)}   (commit {result.commit})", flush=True)
    with tempfile.TemporaryDirectory(prefix="edge-tunnel-chaos-") as folder:
        try:
            trio.run(run_storm, result, Path(folder), options.quiet)
        except (EdgeTunnelError, OSError, TimeoutError) as error:
            print(f"tools/chaos: it could not be run: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            return 130
    text = table(result)
    print(text)
    if options.write:
        write_page(result, text)
    return 1 if result.problems else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tools/chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--seconds", type=float, default=60.0, help="of faults (60); what they hit ends later")
    add("--seed", type=int, default=secrets.randbelow(1_000_000), help="a random one is printed")
    add("--edges", type=int, default=20, help="at least 2 (20)")
    add("--remotes", type=int, default=40, help="at least 3 (40)")
    add("--quiet", action="store_true", help="do not tell each fault")
    add("--write", action="store_true", help="put the table into docs/reliability.md")
    options = parser.parse_args()
    if options.edges < 2 or options.remotes < 3:
        parser.error("--edges: at least 2, --remotes: at least 3 (some are processes of their own)")
    return options


if __name__ == "__main__":
    sys.exit(main())
