"""At which of several workers links meet that belong together. Pure.

Where the thing is bound, its remotes go. Where it is not - an edge comes, or both come back after a
worker's death - all workers put themselves in the same order for this thing, and the first that
takes links has it: what one of them decides, the others would decide, too. The orders of other
things are different, so that a worker's things are spread over all others when it is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

__all__ = ["better_places"]


def better_places(thing: str, bound_at: str | None, me: str, workers: Sequence[str]) -> list[str]:
    """The workers that should have a link about this thing rather than `me`, the best one first.

    Args:
      thing: what the link is about; empty: nobody knows.
      bound_at: the node where the thing is bound; None: it is not, as far as is known.
      me: the worker that has the link now.
      workers: all of them, `me` included.
    """
    if not thing or bound_at == me:
        return []
    if bound_at is not None and bound_at not in workers:
        return []  # at another machine: it takes a hop from any of us
    ranked = sorted(workers, key=lambda each: _rank(thing, each))
    first = [] if bound_at is None else [bound_at]
    others = ranked[: ranked.index(me)]
    return first + [each for each in others if each != bound_at]


def _rank(thing: str, worker: str) -> bytes:
    """Rendezvous hashing (Thaler and Ravishankar, 1998)."""
    return sha256(f"{worker}\0{thing}".encode()).digest()
