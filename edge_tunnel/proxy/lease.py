"""How long a node may claim what it holds. No clock: times are passed in."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Lease"]


@dataclass
class Lease:
    """One lease of the engine, as its holder may see it."""

    id: int
    until: float
    """Claims end here, on the holder's clock."""

    def renewed(self, sent: float, ttl: float) -> None:
        """A renewal that was sent at `sent` was answered with `ttl` seconds.

        The engine's seconds began somewhere between the sending and the answer. Counting from the
        answer would go on claiming after the engine gave everything away.
        """
        self.until = max(self.until, sent + ttl)

    def holds(self, now: float) -> bool:
        """Whether the engine has certainly not ended it for lack of a renewal."""
        return now < self.until
