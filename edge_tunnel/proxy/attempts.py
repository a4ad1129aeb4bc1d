"""Wrong keys of each source, at links and at the API together: who guesses has to wait.

A source (an address, or an IPv6 /64) may show some wrong keys at once, and then one each few
seconds; until then no key of it is looked at. Many people and devices may share an address, and one
of them must not lock the others out. So a key that was accepted from a source lately is always
looked at again: it is no guess, and only who has it can show it. A right key that is new there gets
its turn when its source has one, seconds after the guessing ends.

What is remembered of an accepted key is a digest with a secret of this process. Pure but for that
secret: times are passed in, in seconds of a monotonic clock.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from typing import Final

from edge_tunnel.proxy.pace import Pace
from edge_tunnel.proxy.sources import source_of

__all__ = ["Attempts"]

_MINUTE: Final = 60.0

_MOST_KNOWN: Final = 20_000
"""Accepted keys, as many as a node takes links: some 4 MB. The oldest is forgotten for a new one,
and waits as a new one does, if its address guesses."""


class Attempts:
    """Those of one node."""

    def __init__(self, most: int, most_known: int = _MOST_KNOWN) -> None:
        """`most`: wrong keys of one source in a minute; 0: no limit."""
        self._pace = Pace(most / _MINUTE, most) if most else None
        self._secret = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._most_known = most_known

    def wait(self, peer: str, shown: str, now: float) -> float:
        """The seconds until a key of this peer is looked at; 0: it is.

        `shown`: the key, or what stands for a certificate.
        """
        if self._pace is None or self._mark(peer, shown) in self._known:
            return 0.0
        return self._pace.wait(source_of(peer), now)

    def failed(self, peer: str, shown: str, now: float) -> None:
        """It was wrong."""
        if self._pace is not None:
            self._known.pop(self._mark(peer, shown), None)
            self._pace.spend(source_of(peer), now)

    def worked(self, peer: str, shown: str) -> None:
        """It was right."""
        if self._pace is None or not shown:
            return
        mark = self._mark(peer, shown)
        self._known[mark] = None
        self._known.move_to_end(mark)
        if len(self._known) > self._most_known:
            self._known.popitem(last=False)

    def _mark(self, peer: str, shown: str) -> bytes:
        text = f"{source_of(peer)} {shown}".encode(errors="surrogatepass")
        return hmac.digest(self._secret, text, hashlib.sha256)
