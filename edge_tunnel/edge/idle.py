"""Which tunnels have been idle for too long."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["IdleWatch"]


class IdleWatch:
    """Looks at byte counts now and then; no byte is looked at for it."""

    def __init__(self, timeout: float) -> None:
        """`timeout`: seconds without a byte, either way."""
        self.timeout = timeout
        self._seen: dict[bytes, tuple[int, float]] = {}

    def check(self, now: float, totals: Mapping[bytes, int]) -> list[bytes]:
        """The tunnels whose total has not changed for `timeout` seconds."""
        idle = []
        for tunnel in self._seen.keys() - totals.keys():
            del self._seen[tunnel]
        for tunnel, total in totals.items():
            last, since = self._seen.get(tunnel, (-1, now))
            if total != last:
                self._seen[tunnel] = (total, now)
            elif now - since >= self.timeout:
                idle.append(tunnel)
        return idle
