"""Lists of the whole cluster, for whoever asks: a remote asks its node, and that one the others.

Never over two hops: what a hop asks for is answered from this node alone. An older node is not
asked, because a frame that it does not know would end the hop, and so all tunnels that use it.

A remote is shown the things that it may know of, and their tunnels, by the node that it asks: that
one knows who it is. Rows that come over hops pass the same sieve as the node's own. Nodes are shown
to all: who may have a link may know where to get one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Final

import trio

from edge_tunnel.access.rights import Authority
from edge_tunnel.protocol.codec import encode
from edge_tunnel.protocol.frames import Ask, Attached, Page
from edge_tunnel.protocol.head import Head
from edge_tunnel.protocol.listing import LISTS, List, Missing, Row, TunnelRow
from edge_tunnel.proxy.directory import NodeInfo
from edge_tunnel.proxy.gather import PATIENCE, Gather
from edge_tunnel.proxy.hop import Hops
from edge_tunnel.proxy.ledger import Ledger
from edge_tunnel.proxy.own_rows import Fits, OwnRows, fits
from edge_tunnel.proxy.port import Port
from edge_tunnel.proxy.recording import Recording
from edge_tunnel.proxy.route import Route
from edge_tunnel.proxy.routes import Routes
from edge_tunnel.proxy.whereabouts import Whereabouts

__all__ = ["Lists"]

_log = logging.getLogger("edge_tunnel.proxy")

_MAX_OPEN: Final = {"remote": 1, "node": 64}
"""Lists at once. A new one takes the place of the oldest, which may be one that nobody reads."""


def _is_shown(wanted: Fits, row: Row) -> object:
    return wanted(row.thing if isinstance(row, TunnelRow) else row[0])


class _Pages:
    """The pages of one list at one port's outlet."""

    def __init__(self, port: Port, gather: Gather) -> None:
        self.port = port
        self.gather = gather
        self._rests = False

    @property
    def pending(self) -> bool:
        """Whether it is worth to ask for a page."""
        return not self._rests

    def next_message(self) -> bytes | None:
        """One page for each turn of the event loop: making it is work, also where it is empty and
        costs the link nothing to send."""
        page = None if self._rests else self.gather.next_page(trio.current_time())
        if page is None:
            return None
        self._rests = True
        trio.lowlevel.current_trio_token().run_sync_soon(self._go_on)
        return encode(page)

    def _go_on(self) -> None:
        self._rests = False
        self.ready()

    def ready(self) -> None:
        self.port.outlet.ready(self)


class _Question:
    """A list that another node owes us."""

    def __init__(self, pages: _Pages, node: str, port: Port, ask: Ask) -> None:
        self.pages = pages
        self.node = node
        self.port = port
        self.ask = ask  # for its first page
        self.sent = False

    def send(self, page: int) -> None:
        self.sent = True
        self.port.send(self.ask._replace(page=page))

    def missed(self, why: str) -> None:
        self.pages.gather.missed(self.node, why)
        self.pages.ready()


class Lists:
    """What a node was asked for, and what it asks the others."""

    def __init__(
        self,
        registry: Whereabouts,
        routes: Routes,
        authority: Authority,
        recording: Recording,
    ) -> None:
        """Set `hops` if there are other nodes."""
        self._authority = authority
        self.ledger = Ledger()
        self.me: Callable[[], NodeInfo] = lambda: registry.me
        """What there is to say of this node at the moment."""

        self._registry = registry
        self._routes = routes
        self._own = OwnRows(registry, routes, self.ledger)
        self.hops: Hops | None = None
        self._open: dict[Port, dict[int, _Pages]] = {}
        self._questions: dict[int, _Question] = {}  # by the number of our ASK
        self._last_ask = 0
        self._recording = recording
        self._recorded: dict[Port, str] = {}  # the last list of each administrator's link
        routes.on_forgotten.append(self._forgotten)

    # -- counting

    def passed(self, port: Port, head: Head) -> None:
        """A frame of `COUNTED` comes by this port."""
        route = self._routes.get(head.tunnel or b"")
        if route is not None and port in (route.edge, route.remote):
            towards_edge = port is route.remote
            route.streams.passed(head.kind, head.stream, towards_edge=towards_edge)

    def attached(self, port: Port, frame: Attached) -> None:
        """The edge answered an attach; did it become the route?"""
        route = self._routes.get(frame.tunnel)
        if route is not None and (route.edge, route.epoch) == (port, frame.epoch):
            route.streams.attached(each.stream for each in frame.positions)

    def _forgotten(self, route: Route) -> None:
        self.ledger.ended(route.thing, route.from_edge, route.from_remote)

    # -- answering

    def asked(self, port: Port, ask: Ask) -> None:
        """A remote, or another node, wants a page.

        Raises:
          RemoteProtocolError: not in order, or too many at once.
        """
        pages = self._open.get(port, {}).get(ask.ask)
        if pages is None:
            if ask.page:
                missing = (Missing(self._registry.me.name, "gave the list up"),)
                port.send(Page(ask.ask, ask.page, ask.list, (), missing, more=False))
                return
            pages = self._begin(port, ask)
        pages.gather.want(ask)
        pages.ready()

    def _begin(self, port: Port, ask: Ask) -> _Pages:
        self._record(port, ask)
        mine = self._open.setdefault(port, {})
        if len(mine) >= _MAX_OPEN[port.role]:
            self._drop(mine.pop(next(iter(mine))))
        wanted = self._wanted(port, ask)
        others = {} if port.is_hop or self.hops is None else dict(self._registry.nodes)
        others.pop(self._registry.me.name, None)
        gather = Gather(
            ask,
            self._own.rows(ask.list, wanted, self.me),
            others,
            now=trio.current_time(),
            pull=lambda node, page: self._pull(pages, ask, node, page),
            about=partial(self._own.rows_about, ask.list, wanted, others),
            shown=partial(_is_shown, wanted),
        )
        pages = mine[ask.ask] = _Pages(port, gather)
        gather.start()
        if self.hops is not None and others:
            self.hops.start_soon(partial(self._keep_time, pages))
        return pages

    def _record(self, port: Port, ask: Ask) -> None:
        """What an administrator looks at; not each look of ``--watch``."""
        who, what = port.principal, f"{List(ask.list).name.lower()} {ask.pattern}".rstrip()
        if who is not None and who.role == "admin" and self._recorded.get(port) != what:
            self._recorded[port] = what
            self._recording.listed(port, what)

    def _wanted(self, port: Port, ask: Ask) -> Fits:
        """What is asked for and may be told. The answer to a hop is sieved by the one who asks."""
        asked_for, who = fits(ask.pattern), port.principal
        if port.is_hop or ask.list == List.NODES:
            return asked_for
        assert who is not None
        return lambda thing: asked_for(thing) and self._authority.may_see(who, thing)

    async def _keep_time(self, pages: _Pages) -> None:
        """Name the nodes that do not answer, until the list is made or given up."""
        try:
            while not pages.gather.finished:
                now = trio.current_time()
                await trio.sleep_until(min(pages.gather.deadline, now + PATIENCE))
                pages.gather.expire(trio.current_time())
                pages.ready()
        except Exception:  # noqa: BLE001 - a bug met by one list is logged, not the node's end
            _log.exception("a list: internal error")
        finally:
            self._settle_all(pages)

    def lost(self, port: Port, reason: str) -> None:
        """The link or hop is gone."""
        self._recorded.pop(port, None)
        for pages in self._open.pop(port, {}).values():
            self._drop(pages)
        for number, question in list(self._questions.items()):
            if question.port is port:
                self._settle(number)
                question.missed(reason.removeprefix(f"node {port.peer}: "))

    def _drop(self, pages: _Pages) -> None:
        pages.gather.drop()
        self._settle_all(pages)

    # -- asking other nodes

    def _pull(self, pages: _Pages, first: Ask, node: str, page: int) -> None:
        if page:
            for question in self._questions.values():
                if question.pages is pages and question.node == node:
                    question.send(page)
            return
        assert self.hops is not None
        port = self.hops.to(node)
        self._last_ask += 1
        ask = first._replace(ask=self._last_ask)
        self._questions[self._last_ask] = _Question(pages, node, port, ask)
        port.asks += 1
        if port.software:
            self.greeted(port)

    def greeted(self, port: Port) -> None:
        """The node at the other end of a hop that we dialled has said what it is."""
        for number, question in list(self._questions.items()):
            if question.port is not port or question.sent:
                continue
            if LISTS in port.features:
                question.send(0)
            else:
                self._settle(number)
                question.missed(f"does not list; it is {port.software}")

    def answered(self, port: Port, page: Page) -> None:
        """A page of another node."""
        question = self._questions.get(page.ask)
        if question is None or question.port is not port or page.list != question.ask.list:
            return  # late
        question.pages.gather.answered(question.node, page)
        if not page.more:
            self._settle(page.ask)
        question.pages.ready()

    def _settle(self, number: int) -> None:
        self._questions.pop(number).port.asks -= 1

    def _settle_all(self, pages: _Pages) -> None:
        for number, question in list(self._questions.items()):
            if question.pages is pages:
                self._settle(number)
