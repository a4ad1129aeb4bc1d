"""Runs the attacks one after the other against a node with 20 honest streams, and prints a table.

The exit code is 1 if an honest stream failed, a byte came back wrong, or the node died.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Final

import trio

from attacks.attacker import ATTACKS
from attacks.honest import Feelings, Honest, serve_echo, serve_endless
from attacks.members import ENDLESS
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.testing.processes import THING, Child, ChildFailed, Site, open_site

_STREAMS: Final = 20
_MEMORY: Final = 16 * 1024 * 1024
"""The node's limit here: small, so that slow readers reach it in a few seconds."""

_TICK: Final = os.sysconf("SC_CLK_TCK")
_SETTLE: Final = 1.0
_HEAD: Final = (
    f"{'attack':22} {'errors':>6} {'wrong':>5} {'p50 ms':>7} {'p99 ms':>7} {'max ms':>7}"
    f" {'MB/s':>5} {'cpu':>5} {'peak MB':>8}  what was done"
)


class Node:
    """The node's process, measured from outside."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self._cpu, self._at = self._ticks(), trio.current_time()

    def _ticks(self) -> int:
        stat = Path(f"/proc/{self.child.process.pid}/stat").read_text()
        return sum(map(int, stat.rpartition(")")[2].split()[11:13]))

    def turn(self) -> float:
        """Parts of one processor that it used since the last turn."""
        ticks, now = self._ticks(), trio.current_time()
        used = (ticks - self._cpu) / _TICK / (now - self._at)
        self._cpu, self._at = ticks, now
        return used

    def peak(self) -> float:
        """The most that was resident since the last look, in MB."""
        folder = Path(f"/proc/{self.child.process.pid}")
        peak = int((folder / "status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
        (folder / "clear_refs").write_text("5")
        return peak

    def cut(self) -> int:
        """Tunnels that it ended for want of memory, since the last look."""
        events, self.child.events = self.child.events, []
        reasons = [str(each.get("reason")) for each in events if each["event"] == "tunnel_closed"]
        return sum("short of memory" in reason for reason in reasons)

    def is_alive(self) -> bool:
        return self.child.process.poll() is None


def main() -> int:
    """The tool."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        try:
            return trio.run(_run, Path(folder), options)
        except ChildFailed as error:
            print(f"attack: {error}", file=sys.stderr)
            return 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/attack", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each attack (10)")
    parser.add_argument("names", nargs="*", metavar="ATTACK", help=f"of {', '.join(ATTACKS)}; all")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(ATTACKS))
    if unknown:
        parser.error(f"no such attack: {', '.join(unknown)}")
    if options.seconds <= 0:
        parser.error("--seconds must be above 0")
    return options


async def _run(folder: Path, options: argparse.Namespace) -> int:
    async with open_site(folder) as site, open_plain_nursery() as nursery:
        node, honest = await _set_up(site, nursery)
        failed = await _attack_all(site, node, honest, options)
        nursery.cancel_scope.cancel()
    return failed


async def _set_up(site: Site, nursery: trio.Nursery) -> tuple[Node, Honest]:
    config = site.folder / "proxy.toml"
    config.write_text(
        f'listen = "127.0.0.1:0"\nlog_level = "ERROR"\n[limits]\nmemory = {_MEMORY}\n'
    )
    proxy = await site.start("proxy", "--config", str(config), "--json", "--exit-with-stdin")
    url: str = (await proxy.event("listening"))["url"]
    site.port = int(url.rpartition(":")[2])
    site.environ["EDGE_TUNNEL_PROXY"] = url
    ports = {}
    for name, serve in (("echo", serve_echo), (ENDLESS, serve_endless)):
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        ports[name] = listeners[0].socket.getsockname()[1]
    await site.start_edge(ports)
    remote = await site.start("connect", THING, "echo", "--json", "--exit-with-stdin")
    port = (await remote.event("listening"))["port"]
    honest = Honest(port, _STREAMS)
    nursery.start_soon(honest.run)
    await trio.sleep(2 * _SETTLE)
    honest.turn()
    return Node(proxy), honest


async def _attack_all(site: Site, node: Node, honest: Honest, options: argparse.Namespace) -> int:
    print(f"{_STREAMS} honest streams; each attack takes {options.seconds:g} s\n\n{_HEAD}")
    node.turn()
    node.peak()
    await trio.sleep(options.seconds)
    bad = _report("(none)", honest.turn(), options.seconds, node, {})
    for name in options.names or ATTACKS:
        command = [sys.executable, "-m", "attacks.attacker", name, str(site.port)]
        child = await site.start_program(name, [*command, str(options.seconds)])
        await child.event("ready")
        honest.turn()
        node.turn()
        with trio.move_on_after(options.seconds + 60):
            await child.process.wait()
        felt = honest.turn()
        counts = (await child.event("done"))["counts"]
        bad |= _report(name, felt, options.seconds, node, counts)
        if not node.is_alive():
            print(f"\nthe node died: {node.child.failed('died')}")
            return 1
        await trio.sleep(_SETTLE)
        bad |= _failed(honest.turn())
    print("\nan honest stream failed" if bad else "\nno honest stream failed; the node is alive")
    return int(bad)


def _report(name: str, felt: Feelings, seconds: float, node: Node, counts: dict[str, int]) -> bool:
    """One line of the table; whether somebody honest was hurt."""
    if cut := node.cut():
        counts = {**counts, "tunnels cut by the node": cut}
    done = ", ".join(f"{key}: {value:,}" for key, value in counts.items())
    cpu, peak = (node.turn(), node.peak()) if node.is_alive() else (0.0, 0.0)
    p50, p99, most = (1000 * felt.percentile(part) for part in (0.5, 0.99, 1.0))
    print(
        f"{name:22} {len(felt.errors):6} {felt.mismatches:5} {p50:7.1f} {p99:7.1f} {most:7.1f}"
        f" {felt.moved / seconds / 1e6:5.2f} {100 * cpu:4.0f}% {peak:8.1f}  {done}",
        flush=True,
    )
    return _failed(felt)


def _failed(felt: Feelings) -> bool:
    for error in felt.errors:
        print(f"  {error}")
    return bool(felt.errors or felt.mismatches or not felt.trips)


if __name__ == "__main__":
    sys.exit(main())
