"""Hops: the connections between the nodes of a cluster.

A hop is dialled by the node that has a remote, to the node that has its thing, when the first
tunnel needs it; it carries all such tunnels and is left when none has used it for a while. So
between two nodes there are at most two hops, one for each direction of asking, and nobody has to
agree on whose connection to keep when both dial at once.

To the routing tables a hop is a `Port`. It is one from the moment of dialling: what is sent waits
in its outlet. If the other node cannot be reached, the hop is lost as a link is lost: its tunnels
are detached, their remotes ask again, and the next hop waits a little before it is dialled.
"""

from __future__ import annotations

import hmac
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeAlias

import trio

from edge_tunnel.config.versions import Demands
from edge_tunnel.errors import LinkLost, RemoteProtocolError
from edge_tunnel.link.backoff import Backoff
from edge_tunnel.link.greet import greet
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.link.link import Link
from edge_tunnel.link.transport import Transport
from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import Bye, Frame, Join, Welcome
from edge_tunnel.protocol.greeting import (
    FEATURES,
    NEWEST,
    OLDEST,
    PASSES,
    PASSING,
    SOFTWARE,
    common_features,
)
from edge_tunnel.protocol.outlet import Outlet
from edge_tunnel.proxy.demands import answer_greeting, why_refused
from edge_tunnel.proxy.port import Port
from edge_tunnel.reasons import Reason

__all__ = ["HopDial", "HopSettings", "Hops"]

_log = logging.getLogger("edge_tunnel.proxy")

HopDial: TypeAlias = Callable[[str], AbstractAsyncContextManager[Transport]]
"""Opens a transport to the node of this name, and makes sure that it is that node as far as
certificates can tell; raises LinkLost."""

_SILENCE: Final = (1.0, 60.0)
"""Seconds of silence that another node may ask for."""


async def _nobody(_transport: Transport) -> None:
    """This node takes no passages: the connection ends."""


@dataclass(frozen=True, kw_only=True)
class HopSettings:
    """How nodes talk to each other. Seconds."""

    key: str = field(default="", repr=False)
    """What nodes show each other where there are no certificates; see `peering`."""

    connect_timeout: float = 3.0
    """To TCP, TLS and the greeting together: nodes are near each other."""

    ping_interval: float = 2.0
    ping_timeout: float = 4.0
    """A node that hangs is noticed after both. Shorter than a link's: no radio lies between."""

    idle: float = 60.0
    """A hop that no tunnel used for so long is left."""

    longest_wait: float = 1.0
    """Between two attempts to reach a node while tunnels need it."""


class _Hop:
    """One that we dialled."""

    def __init__(self, node: str, delay: float) -> None:
        """`delay`: seconds to wait before dialling."""
        self.node = node
        self.delay = delay
        self.port = Port("node", node, Outlet(), features=FEATURES)
        self.link: Link | None = None  # once it is greeted
        self.scope = trio.CancelScope()


class Hops:
    """All hops of a node: those that it dials (`to`) and those that it is given (`take`)."""

    def __init__(
        self,
        node: str,
        settings: HopSettings,
        dial: HopDial,
        *,
        demands: Demands,
        on_message: Callable[[Port, bytes], None],
        on_greeted: Callable[[Port], None] = lambda _port: None,
        on_lost: Callable[[Port, str], None],
        on_notice: Callable[[str, str], None],
    ) -> None:
        """`node` is our own name. A lost port is in no table here when `on_lost` is called.

        `on_greeted` is told of a hop that we dialled when its `features` are known, and before it
        sends what waits; `on_notice`: ``(node, text)``, what a node has to say to our operator,
        once each.
        """
        self.node = node
        self.settings = settings
        self._dial = dial
        self._demands = demands
        self._on_message = on_message
        self._on_greeted = on_greeted
        self._on_lost = on_lost
        self._on_notice = on_notice
        self._notices: dict[str, str] = {}  # node -> what it said last
        self._nursery: trio.Nursery | None = None
        self._dialled: dict[str, _Hop] = {}
        self._backoffs: dict[str, Backoff] = {}  # of nodes that were lost or not reached
        self.taken: dict[Port, Link] = {}
        """Those that other nodes dialled."""

        self.on_passage: Callable[[Transport], Awaitable[None]] = _nobody
        """Serves a connection that another node opened by `open_passage`, to its end."""

    def __len__(self) -> int:
        return len(self._dialled) + len(self.taken)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Where dialled hops live. Runs until cancelled; before `to` is used."""
        async with open_plain_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

    def start_soon(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run something of the node in the background; it must not raise."""
        assert self._nursery is not None, "Hops.run is not running"
        self._nursery.start_soon(task)

    # -- hops that we dial

    def to(self, node: str) -> Port:
        """The port that leads to a node; it is dialled if there is none."""
        hop = self._dialled.get(node)
        if hop is None:
            assert self._nursery is not None, "Hops.run is not running"
            backoff = self._backoffs.get(node)
            hop = _Hop(node, 0.0 if backoff is None else backoff.next_delay())
            self._dialled[node] = hop
            self._nursery.start_soon(self._keep, hop)
        return hop.port

    def present(self, node: str) -> Port | None:
        """The port that leads to a node, if there is one."""
        hop = self._dialled.get(node)
        return None if hop is None else hop.port

    def gone(self, node: str) -> None:
        """The registry believes that the node is dead. One that still talks to us is not."""
        self._backoffs.pop(node, None)
        hop = self._dialled.get(node)
        if hop is None:
            return
        quiet = math.inf if hop.link is None else trio.current_time() - hop.link.last_received
        if quiet > 1.5 * self.settings.ping_interval:
            hop.scope.cancel()

    async def _keep(self, hop: _Hop) -> None:
        """One dialled hop, to its end."""
        problem = "the node is gone"
        try:
            with hop.scope:
                await self._connect(hop)
        except LinkLost as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - a bug met by one hop is not the node's end
            _log.exception("a hop to %s: internal error", hop.node)
            problem = f"internal error ({type(error).__name__})"
        finally:
            if self._forget(hop):  # else it was left because nobody used it
                self._backoffs.setdefault(hop.node, Backoff(self.settings.longest_wait))
            self._on_lost(hop.port, f"node {hop.node}: {problem}")

    async def _connect(self, hop: _Hop) -> None:
        """Dial, greet and run. Raises LinkLost."""
        await trio.sleep(hop.delay)
        with trio.CancelScope() as patience:
            patience.deadline = trio.current_time() + self.settings.connect_timeout
            async with self._dial(hop.node) as transport:
                welcome = await self._join(transport, hop.node)
                hop.port.features, hop.port.software = common_features(welcome), welcome.software
                self._on_greeted(hop.port)
                patience.deadline = math.inf
                self._backoffs.pop(hop.node, None)
                await self._run(hop, transport)
        raise LinkLost(f"no answer within {self.settings.connect_timeout:g} s")

    async def _join(
        self, transport: Transport, node: str, features: tuple[str, ...] = FEATURES
    ) -> Welcome:
        settings = self.settings
        silence = settings.ping_interval + settings.ping_timeout
        ours = (OLDEST, NEWEST, self.node, SOFTWARE, settings.key, int(silence * 1000), features)
        answer = await greet(transport, Join(*ours), node="it")
        if isinstance(answer, Bye):
            raise LinkLost(answer.text or Reason.of(answer.reason).text)
        if answer.node != node:
            raise LinkLost(f"it says that it is {answer.node!r}")
        refused = why_refused("node", answer.software, self._demands.node)
        if refused is not None:
            await transport.send(encode(Bye(Reason.VERSION, refused, 0)))
            raise LinkLost(refused)
        self._note(node, answer.notice)
        return answer

    def _note(self, node: str, text: str) -> None:
        if text and self._notices.get(node) != text:
            self._on_notice(node, text)
        self._notices[node] = text

    async def _run(self, hop: _Hop, transport: Transport) -> None:
        settings = self.settings
        hop.link = Link(
            transport,
            silence=settings.ping_interval + settings.ping_timeout,
            ping_interval=settings.ping_interval,
            outlet=hop.port.outlet,
        )
        async with open_plain_nursery() as nursery:
            nursery.start_soon(self._leave_unused, hop, hop.link)
            await hop.link.run(partial(self._on_message, hop.port))

    async def _leave_unused(self, hop: _Hop, link: Link) -> None:
        used = True
        while used or hop.port.in_use:
            used = hop.port.in_use
            await trio.sleep(self.settings.idle / 2)
        self._forget(hop)  # first: whoever needs one now dials another
        link.end(Reason.DONE, "no tunnel uses the hop")

    def _forget(self, hop: _Hop) -> bool:
        known = self._dialled.get(hop.node) is hop
        if known:
            del self._dialled[hop.node]
        return known

    @asynccontextmanager
    async def open_passage(self, node: str) -> AsyncIterator[Transport]:
        """A connection of its own to a node, for what is no hop; its messages are the user's.

        Raises:
          LinkLost: it cannot be reached, does not let us in, or takes no such connections.
        """
        async with self._dial(node) as transport:
            welcome = await self._join(transport, node, (*FEATURES, PASSING))
            if PASSES not in common_features(welcome):
                raise LinkLost(f"node {node} is too old to take what belongs to it")
            yield transport

    # -- hops that are dialled to us

    async def take(self, transport: Transport, names: Collection[str] | None) -> None:
        """Greet and serve a hop that another node dialled, to its end.

        `names`: those that the other node's certificate proves; None: there is no certificate,
        and it has to show the key.
        """
        join = await self._greet(transport, names)
        if join is None:
            return
        if PASSING in join.features:
            await self.on_passage(transport)
            return
        low, high = _SILENCE
        link = Link(transport, silence=min(max(join.silence_ms / 1000, low), high))
        port = Port("node", join.node, link.outlet)
        port.features = common_features(join)
        self.taken[port] = link
        reason = "this node was stopped"
        try:
            await link.run(partial(self._on_message, port))
        except LinkLost as error:
            reason = f"node {join.node}: {error}"
        finally:
            del self.taken[port]
            self._on_lost(port, reason)

    async def _greet(self, transport: Transport, names: Collection[str] | None) -> Join | None:
        """The accepted JOIN; None if the hop was refused, or lost."""
        with trio.move_on_after(self.settings.connect_timeout), suppress(LinkLost):
            try:
                join = decode(await transport.receive())
                answer = self._answer(join, names)
                await transport.send(encode(answer))
            except RemoteProtocolError as error:
                await transport.send(encode(Bye(Reason.PROTOCOL_ERROR, str(error), 0)))
                return None
            if isinstance(join, Join) and isinstance(answer, Welcome):
                return join
        return None

    def _answer(self, join: Frame, names: Collection[str] | None) -> Welcome | Bye:
        if not isinstance(join, Join):
            return Bye(Reason.PROTOCOL_ERROR, "a hop begins with JOIN", 0)
        if join.node == self.node:
            text = f"two nodes are called {self.node!r}; each needs a name of its own"
            return Bye(Reason.NOT_AUTHORISED, text, 0)
        if names is None and not hmac.compare_digest(join.key.encode(), self.settings.key.encode()):
            return Bye(Reason.NOT_AUTHORISED, "the cluster's key is another one", 0)
        if names is not None and join.node not in names:
            shown = ", ".join(sorted(names)) or "nobody"
            text = f"the certificate is for {shown}, not for {join.node}"
            return Bye(Reason.NOT_AUTHORISED, text[:1024], 0)
        return answer_greeting(join, self.node, self._demands)
