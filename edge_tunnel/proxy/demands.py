"""A node's answer to a greeting: the protocol's, and then its own demands on the software.

Only what calls itself edge_tunnel is measured: another implementation of WIRE.md has version
numbers of its own. This keeps old bugs out, not attackers: who lies about its version gets in.
"""

from __future__ import annotations

from typing import Final

from edge_tunnel.config.versions import Demand, Demands, is_older
from edge_tunnel.protocol.frames import Bye, Hello, Join, Welcome
from edge_tunnel.protocol.greeting import agree
from edge_tunnel.reasons import Reason

__all__ = ["answer_greeting", "why_refused"]

_OURS: Final = "edge_tunnel"


def answer_greeting(hello: Hello | Join, node: str, demands: Demands) -> Welcome | Bye:
    """The answer to HELLO or JOIN (the key is checked apart)."""
    answer = agree(hello, node)
    if isinstance(answer, Bye):
        return answer
    role = hello.role if isinstance(hello, Hello) else "node"
    demand = {"edge": demands.edge, "remote": demands.remote}.get(role, demands.node)
    refused = why_refused(role, hello.software, demand)
    if refused is not None:
        return Bye(Reason.VERSION, refused, 0)
    return answer._replace(notice=_notice(role, hello.software, demand))


def why_refused(role: str, software: str, demand: Demand) -> str | None:
    """Why this software is not taken, with the way out; None: it is.

    Args:
      role: ``edge``, ``remote`` or ``node``: what the other end is.
      software: what it calls itself, as ``edge_tunnel/0.1.0``.
      demand: on what has this role.
    """
    if not _is_below(software, demand.minimum):
        return None
    return f"this node needs edge_tunnel {demand.minimum} or newer, {_update(role, software)}"


def _notice(role: str, software: str, demand: Demand) -> str:
    if not demand.recommended or not _is_below(software, demand.recommended):
        return ""
    recommended = f"edge_tunnel {demand.recommended} or newer is recommended by this node"
    return f"{recommended}, {_update(role, software)}"


def _update(role: str, software: str) -> str:
    peer = "the other node" if role == "node" else f"this {role}"
    return f"{peer} is {software}: update it with 'pip install --upgrade edge-tunnel'"


def _is_below(software: str, wanted: str) -> bool:
    name, _, version = software.partition("/")
    return name == _OURS and is_older(version, wanted)
