"""Logs for tests: lines in memory, and what a verifier says of them."""

from __future__ import annotations

from collections.abc import Sequence

from edge_tunnel.audit.chain import Chain, Seal
from edge_tunnel.audit.records import Event, Kind, fields_of
from edge_tunnel.audit.verify import Report, Verifier

KEY = b"sixteen bytes and more"


def lines_of(
    events: Sequence[Event], seal: Seal | None = None, chain: Chain | None = None
) -> list[bytes]:
    """The lines of a log with these events."""
    chain = chain or Chain()
    return [chain.add(fields_of(each, "a"), seal or Seal()) for each in events]


def some_lines(count: int, seal: Seal | None = None) -> list[bytes]:
    return lines_of([Event(kind=Kind.BOUND, thing=f"t{n}") for n in range(count)], seal)


def verified(*files: bytes, seal: Seal | None = None, expect_head: str = "") -> Report:
    """What is found in these files, in this order."""
    verifier = Verifier(seal or Seal(), expect_head=expect_head)
    for number, data in enumerate(files):
        verifier.file(f"log{number}", data.splitlines(keepends=True))
    return verifier.end()


def head_of(line: bytes, seal: Seal | None = None) -> str:
    return (seal or Seal()).check(line.rstrip(b"\n")).hash
