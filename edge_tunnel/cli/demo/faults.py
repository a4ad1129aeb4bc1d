"""What the demo does to the transfer, and when."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from edge_tunnel.cli.demo.telling import Teller
from edge_tunnel.testing.processes import Child
from edge_tunnel.testing.relay import Relay

__all__ = ["Faults"]

_CUT_AT: Final = 0.25
_KILL_AT: Final = 0.6
"""Parts of the file: far enough from both ends that bytes are on their way in every buffer."""


class Faults:
    """Strikes twice while the file is on its way: first the edge's link, then the node."""

    def __init__(
        self, size: int, relay: Relay, restart_proxy: Callable[[], Awaitable[None]], teller: Teller
    ) -> None:
        self.made = 0
        """How many of them struck in the middle of the transfer."""

        self._size = size
        self._relay = relay
        self._restart_proxy = restart_proxy
        self._teller = teller
        self._plan = [(_CUT_AT, self._cut_link), (_KILL_AT, self._kill_proxy)]

    async def strike(self, received: int, remote: Child) -> None:
        """So much has arrived: do what is due. The transfer's reader waits meanwhile."""
        part, act = self._plan[0] if self._plan else (1.0, self._kill_proxy)
        if not part * self._size <= received < self._size or not self._plan:
            return
        del self._plan[0]
        await self.survived(remote)
        await act()
        self.made += 1

    async def survived(self, remote: Child) -> None:
        """Wait until every strike so far was followed by a resume."""
        if self.made:
            await remote.event("resumed", self.made)

    def heard(self, event: Mapping[str, Any]) -> None:
        """An event of the remote."""
        if event["event"] == "resumed":
            seconds = event["seconds"]
            self._teller.say("resumed", f"... resumed after {seconds:.2f} s", seconds=seconds)

    async def _cut_link(self) -> None:
        self._relay.cut()
        self._teller.say("cut", "!!! the edge's link is cut (RST)", what="edge link")

    async def _kill_proxy(self) -> None:
        self._teller.say("cut", "!!! the proxy process is killed (SIGKILL)", what="proxy process")
        await self._restart_proxy()
