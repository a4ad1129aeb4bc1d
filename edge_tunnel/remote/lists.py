"""Asking a node for what its cluster has: things, tunnels, nodes.

No tunnel, and so no `Endpoint`: one connection, one question at a time.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import trio

from edge_tunnel.errors import LinkLost, LinkRefused, RemoteProtocolError
from edge_tunnel.link.dialling import Dial
from edge_tunnel.link.greet import greet
from edge_tunnel.link.transport import Transport
from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import Ask, Bye, Frame, Hello, Page, Welcome
from edge_tunnel.protocol.greeting import NEWEST, OLDEST, SOFTWARE
from edge_tunnel.protocol.listing import (
    LISTS,
    List,
    Missing,
    NodeRow,
    Row,
    ThingRow,
    TunnelRow,
    merge,
)
from edge_tunnel.reasons import Reason

__all__ = ["Lister", "Sample", "open_lister"]

_AHEAD: Final = 8
"""Pages that are asked for at once: 10,000 things come in five round trips."""

_ANSWER_TIMEOUT: Final = 10.0
"""Seconds for a page: a node gives the others 2 for one."""

_MOST_ROWS: Final = 1_000_000
"""Rows that are taken from a node: a hundred times a large cluster."""

_SILENCE: Final = 60_000
"""Milliseconds for which we may be quiet: longer than anybody's interval between two looks."""

_ELSEWHERE: Final = (Reason.SHUTTING_DOWN, Reason.TOO_MANY)
"""Refusals that say nothing against us: the next node may take us, and so may this one, later."""

AnyRow = TypeVar("AnyRow", ThingRow, TunnelRow, NodeRow)


@dataclass(frozen=True)
class Sample(Generic[AnyRow]):
    """A list as it was at one moment."""

    rows: list[AnyRow]
    missing: list[Missing]
    """Nodes whose rows are not, or not all, here."""


class Lister:
    """A connection to a node that lists. Use `open_lister`."""

    def __init__(self, transport: Transport, welcome: Welcome) -> None:
        self.node = welcome.node
        self.notice = welcome.notice
        """What the node has to say to its user; mostly nothing."""

        self._transport = transport
        self._asks = 0

    async def things(self, pattern: str = "") -> Sample[ThingRow]:
        """Things whose name fits the glob; raises as `nodes`."""
        rows, missing = await self._ask(List.THINGS, pattern)
        return Sample(merge([each for each in rows if isinstance(each, ThingRow)]), missing)

    async def tunnels(self, pattern: str = "") -> Sample[TunnelRow]:
        """Tunnels to things whose name fits the glob; raises as `nodes`."""
        rows, missing = await self._ask(List.TUNNELS, pattern)
        return Sample(merge([each for each in rows if isinstance(each, TunnelRow)]), missing)

    async def nodes(self, pattern: str = "") -> Sample[NodeRow]:
        """Nodes whose name fits the glob.

        Raises:
          LinkLost: the connection is gone, or the node does not answer.
        """
        rows, missing = await self._ask(List.NODES, pattern)
        return Sample(merge([each for each in rows if isinstance(each, NodeRow)]), missing)

    async def _ask(self, what: List, pattern: str) -> tuple[list[Row], list[Missing]]:
        self._asks += 1
        first = Ask(self._asks, 0, what, pattern)
        for page in range(_AHEAD):
            await self._send(first._replace(page=page))
        rows: list[Row] = []
        missing: dict[str, Missing] = {}
        asked, more = _AHEAD, True
        while more:
            page_frame = await self._receive(first.ask)
            rows += page_frame.rows
            missing.update((each.node, each) for each in page_frame.missing)
            more = page_frame.more
            if len(rows) > _MOST_ROWS:
                raise LinkLost(f"node {self.node} lists without end")
            if more:
                await self._send(first._replace(page=asked))
                asked += 1
        return rows, list(missing.values())

    async def _send(self, frame: Frame) -> None:
        await self._transport.send(encode(frame))

    async def _receive(self, ask: int) -> Page:
        """The next page of this list."""
        try:
            with trio.fail_after(_ANSWER_TIMEOUT):
                while True:
                    frame = decode(await self._transport.receive())
                    if isinstance(frame, Bye):
                        raise LinkLost(f"the node ended the link: {frame.text}")
                    if isinstance(frame, Page) and frame.ask == ask:
                        return frame
        except trio.TooSlowError:
            text = f"node {self.node} did not answer within {_ANSWER_TIMEOUT:g} s"
            raise LinkLost(text) from None
        except RemoteProtocolError as error:
            raise LinkLost(f"node {self.node} answered with nonsense: {error}") from None


@asynccontextmanager
async def open_lister(
    urls: Sequence[str], key: str, dial: Dial, *, timeout: float = 10.0
) -> AsyncIterator[Lister]:
    """A connection to the first of these nodes that lists, for the length of the block.

    Args:
      urls: nodes, tried in order.
      key: the user's key.
      dial: how to open a connection: `edge_tunnel.link.dialling.dial_websocket`.
      timeout: seconds for a node's greeting.

    Raises:
      LinkRefused: a node does not want us, or is too old to list.
      LinkLost: none can be reached.
    """
    problem: LinkLost | LinkRefused = LinkLost("no node is given")
    for url in urls:
        async with AsyncExitStack() as stack:
            try:
                transport = await _open(stack, dial, url)
                welcome = await _greet(transport, key, timeout)
            except (LinkLost, LinkRefused) as error:
                # a refusal says more than a connection that failed
                problem = problem if isinstance(problem, LinkRefused) else error
                continue
            yield Lister(transport, welcome)
            return
    raise problem


async def _open(stack: AsyncExitStack, dial: Dial, url: str) -> Transport:
    try:
        return await stack.enter_async_context(dial(url))
    except LinkLost as error:
        raise LinkLost(f"{url}: {error}") from error


async def _greet(transport: Transport, key: str, timeout: float) -> Welcome:
    instance = secrets.token_bytes(16)
    hello = Hello(OLDEST, NEWEST, "remote", SOFTWARE, key, instance, _SILENCE, (LISTS,))
    answer = await greet(transport, hello, node=transport.peer, within=timeout)
    if isinstance(answer, Bye):
        reason = Reason.of(answer.reason)
        if reason in _ELSEWHERE:
            raise LinkLost(f"{transport.peer} takes no links now: {answer.text or reason.text}")
        raise LinkRefused(reason, f"{transport.peer} refuses us: {answer.text or reason.text}")
    if LISTS not in answer.features:
        text = f"node {answer.node} does not list; it is {answer.software}: update the node"
        raise LinkRefused(Reason.VERSION, text)
    return answer
