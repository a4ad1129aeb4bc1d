"""The frames of the wire. WIRE.md is the specification; codec.py puts them into messages.

Kinds below 16 belong to the link; all others belong to a tunnel and go on with tunnel id, stream id
(0 where the frame is about the tunnel as a whole) and epoch. Sizes are in bytes, offsets are
absolute in their stream, reasons are numbers of `edge_tunnel.reasons`. A `tag` is empty unless the
tunnel is sealed (sealing.py); a field that may be empty like this is then not in the message.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple, TypeAlias

from edge_tunnel.protocol.listing import Missing, Row

__all__ = [
    "FIRST_TUNNEL_KIND",
    "MAX_DATA",
    "MAX_MESSAGE",
    "MAX_STREAMS",
    "MAX_TEXT",
    "TAG",
    "Accept",
    "Ask",
    "Attach",
    "Attached",
    "Bind",
    "Bound",
    "Bye",
    "Close",
    "Credit",
    "Data",
    "Detached",
    "Drain",
    "Echo",
    "End",
    "Frame",
    "Grant",
    "Hello",
    "Join",
    "Kind",
    "LinkFrame",
    "Offer",
    "Open",
    "Page",
    "Ping",
    "Pong",
    "Position",
    "Probe",
    "Reset",
    "ServiceOffer",
    "Services",
    "Stop",
    "StreamFrame",
    "TunnelFrame",
    "Unbind",
    "Unbound",
    "Welcome",
    "clip",
]

MAX_DATA: Final = 64 * 1024
"""Bytes of a stream that one DATA frame may carry; how many it does says pacing.py."""

TAG: Final = 16
"""Bytes that sealing adds to a frame: the tag of AES-GCM (see sealing.py)."""

MAX_STREAMS: Final = 4096
"""Streams of one tunnel: their positions fit one ATTACH (at most 38 bytes each, 152 KiB)."""

MAX_MESSAGE: Final = 256 * 1024
"""Bytes of one message: room for the largest ATTACH and for a DATA frame with its head."""

MAX_TEXT: Final = 1024
"""Characters of a text for people."""

FIRST_TUNNEL_KIND: Final = 16


def clip(text: str) -> str:
    """As much of a text for people as a frame carries."""
    return text[:MAX_TEXT]


class Kind(enum.IntEnum):
    """The first element of each frame. Numbers are never used again for anything else."""

    HELLO = 1
    WELCOME = 2
    BYE = 3
    PING = 4
    PONG = 5
    BIND = 6
    BOUND = 7
    UNBOUND = 8
    UNBIND = 9
    DRAIN = 10
    JOIN = 11
    OFFER = 12
    ASK = 13
    PAGE = 14
    SERVICES = 15
    ATTACH = 16
    ATTACHED = 17
    DETACHED = 18
    CLOSE = 19
    PROBE = 20
    ECHO = 21
    GRANT = 22
    DATA = 32
    CREDIT = 33
    END = 34
    STOP = 35
    RESET = 36
    OPEN = 37
    ACCEPT = 38


# -- frames of the link ----------------------------------------------------------------------------


class Hello(NamedTuple):
    """Endpoint -> node, first on each link: who I am and what I speak."""

    oldest: int
    newest: int
    role: str
    software: str
    key: str
    instance: bytes
    silence_ms: int
    features: tuple[str, ...]
    ping_ms: int = 0
    """Quiet for so long, the node shall ping while a tunnel is attached; 0: it shall not ping."""

    idle_ms: int = 0
    """The same while none is."""

    def __repr__(self) -> str:
        return f"Hello({self.role} {self.software}, {self.oldest}..{self.newest}, key hidden)"


class Welcome(NamedTuple):
    """Node -> endpoint: the greeting is accepted; `notice` is for the user to read."""

    version: int
    node: str
    software: str
    features: tuple[str, ...]
    notice: str


class Bye(NamedTuple):
    """Either way, last on a link: why it ends, and when to come back (0: as you like)."""

    reason: int
    text: str
    retry_after_ms: int


class Ping(NamedTuple):
    """Are you there? WebSocket pings are not used: see DESIGN.md section 4, rule 3."""

    nonce: int


class Pong(NamedTuple):
    """Answer to PING, with its nonce."""

    nonce: int


class Bind(NamedTuple):
    """Edge -> node: this link serves that thing. The higher epoch wins, everywhere."""

    thing: str
    epoch: int


class Bound(NamedTuple):
    """Node -> edge: the bind holds."""

    thing: str
    epoch: int


class Unbound(NamedTuple):
    """Node -> edge: the bind does not hold (any more); `epoch` is the one that won, or 0."""

    thing: str
    epoch: int
    reason: int
    text: str


class Unbind(NamedTuple):
    """Edge -> node: the link serves that thing no longer."""

    thing: str
    epoch: int


class Drain(NamedTuple):
    """Node -> endpoint: go to another node; this one ends in so many milliseconds.

    Only to an endpoint whose HELLO named the feature ``drain``.
    """

    within_ms: int
    text: str


class ServiceOffer(NamedTuple):
    """A service that the policy names for a thing."""

    name: str
    host: str
    port: int


class Services(NamedTuple):
    """Node -> edge: what the policy names for this thing; for devices without a list of their own.

    Only to an edge whose HELLO named the feature ``services``. The device decides.
    """

    thing: str
    services: tuple[ServiceOffer, ...]


class Join(NamedTuple):
    """Node -> node, first on each hop: who I am and what I speak. Answered as HELLO is."""

    oldest: int
    newest: int
    node: str
    software: str
    key: str
    silence_ms: int
    features: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Join({self.node} {self.software}, {self.oldest}..{self.newest}, key hidden)"


class Offer(NamedTuple):
    """Edge -> node: the services of a thing that is bound by this link, for people to read.

    What may be reached is decided by the edge alone. Only to a node whose WELCOME named ``lists``.
    """

    thing: str
    services: tuple[str, ...]
    fingerprint: str = ""
    """Of the device's identity; empty: it has none."""


class Ask(NamedTuple):
    """Remote -> node, or node -> node: one page of a list, please. Page 0 begins the list.

    Only to a node whose WELCOME named ``lists``.
    """

    ask: int
    page: int
    list: int
    pattern: str


class Page(NamedTuple):
    """The answer to ASK: rows of the list, in no order."""

    ask: int
    page: int
    list: int
    rows: tuple[Row, ...]
    missing: tuple[Missing, ...]
    more: bool


# -- frames of a tunnel ----------------------------------------------------------------------------


class Position(NamedTuple):
    """Where the receiving half of one stream stands; how ATTACH and ATTACHED say "go on from"."""

    stream: int
    received: int
    delivered: int
    limit: int
    accepted: bool


class Attach(NamedTuple):
    """Remote -> edge: attach this tunnel to the link that this came by."""

    tunnel: bytes
    stream: int
    epoch: int
    thing: str
    service: str
    fresh: bool
    secret: bytes
    window: int
    positions: tuple[Position, ...]
    proof: bytes
    offer: bytes = b""
    """Empty: not sealed. Else the remote's share of the agreement; see agreement.py."""

    def __repr__(self) -> str:
        what = f"{self.thing}/{self.service} epoch={self.epoch} fresh={self.fresh}"
        return f"Attach({self.tunnel.hex()[:8]} {what}, secret hidden)"


class Attached(NamedTuple):
    """Edge -> remote: attached; `highest` is the last stream id that was ever opened."""

    tunnel: bytes
    stream: int
    epoch: int
    highest: int
    window: int
    positions: tuple[Position, ...]
    proof: bytes
    answer: bytes = b""
    """Empty if nothing was offered. Else the edge's share, its identity and its signature."""


class Detached(NamedTuple):
    """Node -> endpoint: the other end's link is gone; the tunnel waits for its return."""

    tunnel: bytes
    stream: int
    epoch: int
    reason: int
    text: str


class Close(NamedTuple):
    """Either end or a node: the tunnel is over. Also the refusal of an ATTACH."""

    tunnel: bytes
    stream: int
    epoch: int
    reason: int
    text: str


class Grant(NamedTuple):
    """Node -> remote: how far the policy lets this tunnel go. 0 and "": no limit, no token.

    Only to a remote whose HELLO named the feature ``grants``.
    """

    tunnel: bytes
    stream: int
    epoch: int
    max_streams: int
    ends_ms: int
    """Milliseconds from now until the tunnel is ended."""

    token: str
    """To be shown as the key from now on: a ticket is good for one greeting."""

    fingerprint: str = ""
    """Of the device, by the policy: for a remote that does not know the device yet."""

    def __repr__(self) -> str:
        what = f"max_streams={self.max_streams} ends_ms={self.ends_ms}"
        return f"Grant({self.tunnel.hex()[:8]} {what}, token hidden)"


class Probe(NamedTuple):
    """Measures the round trip between the two ends."""

    tunnel: bytes
    stream: int
    epoch: int
    nonce: int
    tag: bytes = b""


class Echo(NamedTuple):
    """Answer to PROBE, with its nonce."""

    tunnel: bytes
    stream: int
    epoch: int
    nonce: int
    tag: bytes = b""


# -- frames of a stream ----------------------------------------------------------------------------


class Data(NamedTuple):
    """Bytes of a stream, the first of them at `offset`."""

    tunnel: bytes
    stream: int
    epoch: int
    offset: int
    data: bytes | memoryview


class Credit(NamedTuple):
    """Receiver -> sender: delivered so far, and how far you may send. Both absolute."""

    tunnel: bytes
    stream: int
    epoch: int
    delivered: int
    limit: int
    tag: bytes = b""


class End(NamedTuple):
    """No byte at or after `offset`. It takes up that offset itself, as TCP's FIN does."""

    tunnel: bytes
    stream: int
    epoch: int
    offset: int
    tag: bytes = b""


class Stop(NamedTuple):
    """Receiver -> sender: send me no more; answer with END."""

    tunnel: bytes
    stream: int
    epoch: int
    tag: bytes = b""


class Reset(NamedTuple):
    """The stream is over, both ways; answered by RESET, so that both sides know."""

    tunnel: bytes
    stream: int
    epoch: int
    reason: int
    text: str
    tag: bytes = b""


class Open(NamedTuple):
    """Remote -> edge: a new stream; `limit` is how far the edge may send."""

    tunnel: bytes
    stream: int
    epoch: int
    limit: int
    tag: bytes = b""


class Accept(NamedTuple):
    """Edge -> remote: the service answered; the stream is connected to it."""

    tunnel: bytes
    stream: int
    epoch: int
    tag: bytes = b""


LinkFrame: TypeAlias = (
    Hello
    | Welcome
    | Bye
    | Ping
    | Pong
    | Bind
    | Bound
    | Unbound
    | Unbind
    | Drain
    | Join
    | Offer
    | Ask
    | Page
    | Services
)
TunnelFrame: TypeAlias = Attach | Attached | Detached | Close | Probe | Echo | Grant
StreamFrame: TypeAlias = Data | Credit | End | Stop | Reset | Open | Accept
Frame: TypeAlias = LinkFrame | TunnelFrame | StreamFrame
