"""Something made of files that is made anew when they change, and stays when they are broken.

Certificates are replaced while a node runs: by ACME clients every sixty days, by others every few
hours. Two files cannot be replaced at once, so there is always a moment when they do not fit, and
whoever writes them in place leaves half a file for another. What is in use stays in use until the
files are good again; it is said once, and only when they stay as they are from one look to the
next. Live links have made their handshake; nothing of this touches them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

import trio

from edge_tunnel.errors import ConfigError
from edge_tunnel.link.pem import Pair
from edge_tunnel.link.signatures import Signature, signature_of

__all__ = ["Renewed", "watch"]

_log = logging.getLogger("edge_tunnel.proxy")
T = TypeVar("T")

_LOOK: Final = 2.0
"""Seconds between two looks at the files. It is three `stat` calls."""

_WARN: Final = 14 * 86_400
"""Seconds before its end from which on a certificate is warned of: ACME clients renew at 30 days,
so at 14 something is wrong, and there is time."""

_AGAIN: Final = 86_400
"""Seconds between two warnings of one certificate."""


class Renewed(Generic[T]):
    """Call it for what the files make now."""

    def __init__(self, what: str, pair: Pair, make: Callable[[], T]) -> None:
        """`what`: in words for people. `make` raises ConfigError, as this does."""
        self.what = what
        self.pair = pair
        self._make = make
        self._seen: Signature = signature_of(pair.files)
        self._current = make()
        self.ends = pair.ends()
        """When the certificate in use does, in seconds since 1970."""

        self._bad: Signature | None = None
        self._told = False

    def __call__(self) -> T:
        return self._current

    def look(self) -> str | None:
        """Take what is new in the files. Returns what to tell: ``""`` for "renewed", a text for
        "cannot be used", None for nothing."""
        seen = signature_of(self.pair.files)
        if seen == self._seen:
            return None
        why = self.renew()
        if why is None:
            return ""
        settled, self._bad = seen == self._bad, seen
        if not settled or self._told:
            return None
        self._told = True
        return why

    def renew(self) -> str | None:
        """Make it anew at once. Returns why that is impossible; the former one stays then."""
        seen = signature_of(self.pair.files)
        try:
            made, ends = self._make(), self.pair.ends()
        except ConfigError as error:
            return str(error)
        self._current, self.ends = made, ends
        self._seen, self._bad, self._told = seen, None, False
        return None


async def watch(
    all_of_them: Sequence[Renewed[Any]], emit: Callable[..., None], pause: float = _LOOK
) -> None:
    """Look at the files every `pause` seconds, for ever.

    `emit` gets the events ``certificate_renewed``, ``certificate_refused`` (reason) and
    ``certificate_ends`` (days).
    """
    warned: dict[tuple[str, float], float] = {}
    while True:
        for one in all_of_them:
            _tell(one, await trio.to_thread.run_sync(one.look), emit)
            _warn(one, warned, emit)
        await trio.sleep(pause)


def _tell(one: Renewed[Any], news: str | None, emit: Callable[..., None]) -> None:
    if news == "":
        emit("certificate_renewed", what=one.what, file=one.pair.certificate)
    elif news is not None:
        _log.warning("%s; the former certificate of %s stays in use", news, one.what)
        emit("certificate_refused", what=one.what, reason=news)


def _warn(
    one: Renewed[Any], warned: dict[tuple[str, float], float], emit: Callable[..., None]
) -> None:
    now, which = time.time(), (one.what, one.ends)
    if one.ends - now >= _WARN or now < warned.get(which, 0.0):
        return
    warned[which] = now + _AGAIN
    days = max(int((one.ends - now) // 86_400), 0)
    _log.warning("%s: the certificate ends in %d days; renew it", one.pair.certificate, days)
    emit("certificate_ends", what=one.what, file=one.pair.certificate, days=days)
