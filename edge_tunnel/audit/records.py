"""What is recorded: one event, as one JSON object on one line.

Names and texts come from peers, and some day from attackers: whatever a terminal or a reader of
lines would obey is replaced, each text is cut at a bound, and the line is ASCII. There is no field
for a key, a ticket or a payload. Pure but for the time of day.
"""

from __future__ import annotations

import dataclasses
import enum
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Final

from edge_tunnel.config.source import printable

__all__ = ["NO_AUDIT", "Audit", "Event", "Kind", "clean", "fields_of", "iso"]

MAX_TEXT: Final = 256
"""Characters of one text: a name on the wire has no more, and a reason says it in fewer."""


class Kind(str, enum.Enum):
    """What happened."""

    STARTED = "started"
    """The node begins; without a `stopped` before it, it was killed, or the end was cut off."""
    STOPPED = "stopped"

    LINK_OPENED = "link_opened"
    LINK_REFUSED = "link_refused"
    LINK_CLOSED = "link_closed"
    API_REFUSED = "api_refused"
    """Somebody showed the API a key that is not accepted."""
    BOUND = "bound"
    BIND_REFUSED = "bind_refused"
    UNBOUND = "unbound"

    LISTED = "listed"
    """An administrator looked at things, tunnels or nodes; once for a link and what it asks for."""

    TUNNEL_OPENED = "tunnel_opened"
    TUNNEL_RESUMED = "tunnel_resumed"
    TUNNEL_DETACHED = "tunnel_detached"
    TUNNEL_LEFT = "tunnel_left"
    """The tunnel has no end at this node any more; it may go on at another."""
    TUNNEL_CLOSED = "tunnel_closed"
    TUNNEL_DENIED = "tunnel_denied"

    TICKET_MINTED = "ticket_minted"
    TICKET_USED = "ticket_used"
    """Once for each ticket: its process may show it again until it ends."""
    TICKET_REFUSED = "ticket_refused"
    POLICY_CHANGED = "policy_changed"
    KEY_CHANGED = "key_changed"

    GAP = "gap"
    """`lost` records are missing here: the disk was slower than what happened, or full."""
    RECOVERED = "recovered"
    """A crash had left `lost_bytes` of a line that was never whole; `cut` is their SHA-256."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happened. What is not known stays empty, and is left out of the line."""

    kind: Kind
    time: float = field(default_factory=time.time)
    """Seconds since 1970."""

    who: str = ""
    """The principal's name: a user, a device; for a change the one who made it."""
    via: str = ""
    """What proved it: ``key 1f3a9c20``, ``certificate``. Never the secret itself."""
    role: str = ""
    address: str = ""
    """Where it came from, ``host:port``."""

    thing: str = ""
    service: str = ""
    tunnel: str = ""
    """The tunnel's id, hex."""
    side: str = ""
    """Which end was lost: ``edge`` or ``remote``."""
    epoch: int | None = None

    code: int | None = None
    """A number of `edge_tunnel.reasons.Reason`."""
    reason: str = ""
    detail: str = ""
    """What was changed, minted or set, in words."""
    version: int | None = None
    """Of a policy, after the change."""

    from_edge: int | None = None
    """Bytes of frames that this node passed on, since it has this tunnel."""
    from_remote: int | None = None
    seconds: float | None = None
    """How long it lasted, here."""

    repeated: int | None = None
    """This happened so many times more, without a record each."""
    lost: int | None = None
    lost_bytes: int | None = None
    cut: str = ""


class Audit(ABC):
    """What a node tells of. Both are called from its tasks and may not wait or raise."""

    @property
    @abstractmethod
    def refuses(self) -> bool:
        """What happens cannot be recorded at the moment, and new tunnels are to be refused."""

    @abstractmethod
    def record(self, event: Event) -> None:
        """This happened."""


class _NoAudit(Audit):
    @property
    def refuses(self) -> bool:
        return False

    def record(self, event: Event) -> None:
        pass


NO_AUDIT: Final[Audit] = _NoAudit()
"""For a node without an audit log."""

_MORE: Final = tuple(
    each.name for each in dataclasses.fields(Event) if each.name not in ("kind", "time")
)


def fields_of(event: Event, node: str) -> dict[str, object]:
    """What stands in the event's line, beside what the chain adds."""
    line: dict[str, object] = {"time": iso(event.time), "node": clean(node), "kind": event.kind}
    for name in _MORE:
        value = getattr(event, name)
        if isinstance(value, str):
            if value:
                line[name] = clean(value)
        elif isinstance(value, float):
            line[name] = round(value, 3)
        elif value is not None:
            line[name] = value
    return line


def clean(text: str) -> str:
    """`text` without what a terminal would obey, and never long."""
    if len(text) > MAX_TEXT:
        text = text[: MAX_TEXT - 1] + "…"
    return printable(text)


def iso(seconds: float) -> str:
    """UTC, with milliseconds."""
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
