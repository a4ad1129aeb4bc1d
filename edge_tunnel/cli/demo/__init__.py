"""``edge-tunnel demo``: the whole path in real processes, with its link cut and its node killed.

`story` tells it from beginning to end; `services` is what stands behind the edge and how it is
fetched, `faults` what is done to the transfer, `telling` what is printed.
"""

from __future__ import annotations

from edge_tunnel.cli.demo.story import add_parser, run

__all__ = ["add_parser", "run"]
