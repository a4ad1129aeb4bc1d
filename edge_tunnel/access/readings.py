"""Reading a policy's text while links go on.

Text, places and rules of a policy with a thousand rules take some tenths of a second, in which a
node would pass on no frame. So a large one is read in a thread: the interpreter gives both their
turns, some milliseconds each. The text in force goes on until the new one is understood.
"""

from __future__ import annotations

from typing import Final

import trio

from edge_tunnel.access.policy_reader import PolicyInspection, read_already, read_policy

__all__ = ["is_read", "read_aside"]

_SMALL: Final = 4096
"""Characters: some forty rules, and less time than a thread is worth."""


def is_read(text: str) -> bool:
    """Whether `read_policy` answers at once, or nearly."""
    return len(text) <= _SMALL or read_already(text) is not None


async def read_aside(text: str) -> PolicyInspection:
    """As `read_policy`; what else there is to do goes on meanwhile."""
    return read_policy(text) if is_read(text) else await trio.to_thread.run_sync(read_policy, text)
