"""One attack, as a process: ``python -m attacks.attacker NAME PORT SECONDS``.

The key is in the environment (EDGE_TUNNEL_KEY). Says ``ready``, and at last ``done`` with counts.
"""

from __future__ import annotations

import json
import os
import sys

import trio

from attacks.members import MEMBERS
from attacks.strangers import STRANGERS
from attacks.wire import Target
from edge_tunnel.cli.open_files import allow_open_files

ATTACKS = {attack.__name__: attack for attack in (*STRANGERS, *MEMBERS)}


def main() -> None:
    """Attack until the time is over."""
    name, port, seconds = sys.argv[1:4]
    allow_open_files(2000)
    # each at an address of its own: what one attack has used up is not to spare the node the next
    source = f"127.0.1.{1 + list(ATTACKS).index(name)}"
    target = Target(int(port), os.environ["EDGE_TUNNEL_KEY"], source)
    print(json.dumps({"event": "ready"}), flush=True)
    trio.run(_attack, name, target, float(seconds))
    print(json.dumps({"event": "done", "counts": dict(target.done)}), flush=True)


async def _attack(name: str, target: Target, seconds: float) -> None:
    with trio.move_on_after(seconds):
        await ATTACKS[name](target)


if __name__ == "__main__":
    main()
