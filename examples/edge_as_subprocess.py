"""An edge run by a program that knows nothing of trio, or is not even written in Python.

What it shows: ``edge-tunnel edge --json --exit-with-stdin`` as a subprocess. Its stdout has one
JSON object a line, with `event` and `time` first; its stdin is a pipe that is never written to:
when this program ends, however it ends, the pipe ends, and so does the edge.

What it leaves out: starting the edge again if it should exit (its exit code says why), and what the
program does besides. Only the standard library is used here; do the same in your language.

How to poke it, with a node at 127.0.0.1:9100 (``edge-tunnel proxy --listen 127.0.0.1:9100``)::

    python examples/edge_as_subprocess.py examples/config.json
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def on_event(event: dict[str, Any]) -> None:
    """What the program makes of it. Unknown events are to be ignored: later versions have more."""
    if event["event"] == "bound":
        print(f"{event['thing']} can be reached through {event['url']}", flush=True)
    elif event["event"] == "link_lost":
        print(f"not reachable for the moment: {event['reason']}", flush=True)
    elif event["event"] == "link_refused":
        print(f"somebody must look at this: {event['reason']}", flush=True)
    elif event["event"] == "tunnel_opened":
        print(f"somebody uses {event['service']}", flush=True)


def main(path: str) -> int:
    command = [sys.executable, "-m", "edge_tunnel", "edge", "--config", path]
    with subprocess.Popen(
        [*command, "--json", "--exit-with-stdin"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as edge:
        assert edge.stdout is not None
        for line in edge.stdout:
            on_event(json.loads(line))
    return edge.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
