"""The routing table of a node: which two ports a tunnel's frames go between.

A node keeps no byte state. Of a frame it reads kind, tunnel id and stream id, and passes the
message on as it came. What it holds for a tunnel is a queue for each stream and direction, bounded
by the window that the receiving *endpoint* gave; a peer that sends more loses the tunnel.

An ATTACH makes its port a *candidate*. Only when the edge answers ATTACHED - that is, when the
proof was good - does the candidate become the tunnel's remote end. So a stolen tunnel id takes
nothing from the tunnel's owner, and bytes flow on the old path until the new one stands.

In a cluster one of the two ports may be a hop, the connection to the node where the other end is.
It is a port as any other, but for one rule: a tunnel has at least one end on this node. One whose
ends are both behind hops would take two of them; it is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Final

from edge_tunnel.protocol.frames import Attach, Attached, Close, Detached, Kind, clip
from edge_tunnel.protocol.greeting import SEALED
from edge_tunnel.protocol.head import Head
from edge_tunnel.protocol.window import MAX_WINDOW
from edge_tunnel.proxy.budget import Budget, whom_to_cut
from edge_tunnel.proxy.permit import Permit
from edge_tunnel.proxy.port import Port
from edge_tunnel.proxy.recording import Recording
from edge_tunnel.proxy.route import Candidate, Route
from edge_tunnel.proxy.stream_queue import StreamQueue
from edge_tunnel.reasons import Reason

__all__ = ["Routes"]

MAX_QUEUE: Final = MAX_WINDOW + 1024 * 1024
"""Bytes of one stream, one way. No endpoint gives more credit than MAX_WINDOW; the rest: heads,
and 16 bytes of each DATA in a sealed tunnel."""

MAX_URGENT: Final = 4 * 1024 * 1024
"""Bytes of control frames that may wait for a port. Honest tunnels keep a handful of frames of 50
bytes each; only a flood gets here, and the tunnel that it comes from is closed."""

MAX_CANDIDATES: Final = 8
"""Attaches of one tunnel that may be under way: an owner has one; strangers get the rest."""

HOP_SHARE: Final = 16
"""A hop carries the control frames of many links' tunnels; it may hold those of this many links."""

_IN_ORDER: Final = (Kind.DATA, Kind.END)
"""Frames that keep their place in their stream; all others are urgent."""


class Routes:
    """All tunnels of a node."""

    def __init__(
        self,
        emit: Callable[..., None],
        recording: Recording | None = None,
        budget: Budget | None = None,
    ) -> None:
        """`emit(event, **data)` is told what happens to tunnels; `recording` is for the audit."""
        self.budget = Budget(0) if budget is None else budget
        self._recording = recording or Recording()
        self._routes: dict[bytes, Route] = {}
        self._by_thing: dict[str, set[Route]] = {}
        self._stirred: list[Route] = []
        self.asking: set[Route] = set()
        """Those with candidates."""

        self._emit = emit
        self.on_forgotten: list[Callable[[Route], None]] = []
        """Told of a tunnel that leaves the table."""

    def __len__(self) -> int:
        return len(self._routes)

    def __iter__(self) -> Iterator[Route]:
        return iter(list(self._routes.values()))

    def get(self, tunnel: bytes) -> Route | None:
        """The tunnel with this id, if it is here."""
        return self._routes.get(tunnel)

    def of_thing(self, thing: str) -> Collection[Route]:
        """Tunnels to this thing."""
        return self._by_thing.get(thing, ())

    def take_stirred(self) -> list[Route]:
        """Those that were attached or detached, or passed something on, since the last call."""
        stirred, self._stirred = self._stirred, []
        for route in stirred:
            route.stirred = False
        return stirred

    def stir(self, route: Route) -> None:
        """Something about it is new."""
        if not route.stirred:
            route.stirred = True
            self._stirred.append(route)

    # -- attaching

    def attach(
        self,
        frame: Attach,
        message: bytes,
        remote: Port,
        edge: Port,
        permit: Permit | None = None,
    ) -> None:
        """A remote asks: make it the candidate, and let the edge decide."""
        route = self._routes.get(frame.tunnel)
        if route is None:
            route = Route(frame)  # in the table when it has a candidate: what has none never leaves
        if (frame.thing, frame.service) != (route.thing, route.service):
            return  # somebody else's, whose own device would accept it
        if frame.epoch <= route.epoch:
            return  # late
        if len(route.candidates) >= MAX_CANDIDATES or _is_flooded(edge):
            return
        if frame.offer and SEALED not in edge.features:
            self._cannot_seal(frame, remote, edge)
            return
        if frame.epoch in route.candidates or not edge.ask(frame.tunnel, frame.epoch, message):
            text = "another attach of this epoch is under way"  # the owner's next has a higher one
            remote.send(Detached(frame.tunnel, 0, frame.epoch, Reason.PEER_LEFT, text))
            return
        self._routes[frame.tunnel] = route
        self._by_thing.setdefault(route.thing, set()).add(route)
        route.candidates[frame.epoch] = Candidate(frame, message, remote, edge, permit)
        self.asking.add(route)
        remote.routes.add(route)
        if not edge.routes:
            edge.wanted()
        edge.routes.add(route)

    def supersede(self, frame: Attach, remote: Port) -> list[Candidate]:
        """A remote asks anew: drop what it asked by the same link. Goes on with `superseded`.

        Else it would have them all under way, and one of them stand when it wants none any more.
        """
        route = self._routes.get(frame.tunnel)
        asked = () if route is None else tuple(route.candidates.values())
        older = [each for each in asked if each.remote is remote and each.frame.epoch < frame.epoch]
        for each in older:
            assert route is not None
            self._drop_candidate(route, each.frame.epoch)
        return older

    def superseded(self, tunnel: bytes, older: list[Candidate]) -> None:
        """Tell their edges, behind the new attach: one that has it takes this for late."""
        text = "it asks anew"
        for each in older:
            each.edge.send(Detached(tunnel, 0, each.frame.epoch, Reason.PEER_LEFT, text))
        route = self._routes.get(tunnel)
        if route is not None:
            self._tidy(route, text)

    def greeted(self, hop: Port) -> None:
        """A hop that was dialled knows its peer: what that would not understand is taken back."""
        if SEALED in hop.features:
            return
        for route in list(hop.routes):
            for epoch, each in list(route.candidates.items()):
                if each.edge is hop and each.frame.offer:
                    hop.outlet.take_back(each.message)
                    hop.answered(route.tunnel, epoch)
                    self._cannot_seal(each.frame, each.remote, hop)
                    self._drop_candidate(route, epoch)
            self._tidy(route, "too old for end-to-end encryption")

    def _cannot_seal(self, frame: Attach, remote: Port, edge: Port) -> None:
        """It would take the frame for nonsense, and its whole link would end."""
        whose = f"node {edge.peer}" if edge.is_hop else f"the edge_tunnel of {frame.thing}"
        text = f"{whose} is too old for end-to-end encryption"
        close = Close(frame.tunnel, 0, frame.epoch, Reason.ENCRYPTION, clip(text))
        remote.send(close)
        self._recording.denied(remote, frame, close)

    def attached(self, frame: Attached, message: bytes, edge: Port) -> None:
        """The edge agrees: the candidate is the tunnel's remote end from here on."""
        taken_back = edge.answered(frame.tunnel, frame.epoch)
        route = self._routes.get(frame.tunnel)
        candidate = None if route is None else route.candidates.get(frame.epoch)
        if route is None or candidate is None or candidate.edge is not edge:
            self._attached_to_nobody(route, frame, edge, taken_back)
            return
        old = (route.edge, route.remote)
        self._drop_queues(route)  # of the older epoch: they would be thrown away over there
        route.epoch, route.edge, route.remote = frame.epoch, edge, candidate.remote
        route.permit = candidate.permit
        self.stir(route)
        for epoch in [each for each in route.candidates if each <= frame.epoch]:
            self._drop_candidate(route, epoch)
        for port in old:
            self._unhook(route, port)
        route.remote.outlet.push(message)
        again = route.opened or not candidate.frame.fresh
        route.opened = True
        event = "tunnel_attached" if again else "tunnel_opened"
        self._emit(event, remote=route.remote.peer, edge=edge.peer, **route.about())
        self._recording.attached(route, again=again)

    def _attached_to_nobody(
        self, route: Route | None, frame: Attached, edge: Port, taken_back: Close | None
    ) -> None:
        """The remote left before the edge answered: an edge that is not told waits for ever."""
        if route is None or route.edge is not edge or route.epoch != frame.epoch:
            edge.send(taken_back or Detached(frame.tunnel, 0, frame.epoch, Reason.PEER_LEFT, ""))

    # -- forwarding

    def forward(self, head: Head, message: bytes, source: Port) -> None:
        """Pass a message on; one that is not from an attached port is dropped."""
        route = self._routes.get(head.tunnel or b"")
        if route is None:
            return
        if source is route.remote:
            towards_edge, target = True, route.edge
            route.from_remote += len(message)
        elif source is route.edge:
            towards_edge, target = False, route.remote
            route.from_edge += len(message)
        else:
            return
        if not route.stirred:
            self.stir(route)
        if target is None:
            return  # the far end is away; a resume sends it again
        if head.kind in _IN_ORDER:
            self._enqueue(route, (towards_edge, head.stream), message, target)
        elif _is_flooded(target):
            self._overrun(route, "a flood of control frames")
        else:
            target.outlet.push(message)

    def _enqueue(self, route: Route, key: tuple[bool, int], message: bytes, target: Port) -> None:
        queue = route.queues.get(key)
        if queue is None:
            if target.outlet.pass_on(message):
                return
            queue = route.queues[key] = StreamQueue(route, key, self.budget)
        queue.append(message)
        if queue.size > MAX_QUEUE:
            self._overrun(route, f"stream {key[1]} sent past its credit")
        else:
            target.outlet.ready(queue)
            if self.budget.is_over:
                self.relieve()

    def relieve(self) -> None:
        """The node holds too much: end the tunnels that hold the most of it."""
        held: dict[Port, dict[Route, int]] = {}
        for route in self:
            for (towards_edge, _), queue in route.queues.items():
                port = route.edge if towards_edge else route.remote
                if port is not None:
                    tunnels = held.setdefault(port, {})
                    tunnels[route] = tunnels.get(route, 0) + queue.held
        for route in whom_to_cut(held, self.budget.excess):
            text = "the node is short of memory, and most of it waits for this tunnel's reader"
            self._overrun(route, text)

    def _overrun(self, route: Route, text: str) -> None:
        self.end(route, Reason.FLOW_CONTROL, text)

    # -- ending

    def close(self, frame: Close, message: bytes, source: Port) -> None:
        """CLOSE from an end: the tunnel is over, or an attach is refused or taken back."""
        source.answered(frame.tunnel, frame.epoch)
        route = self._routes.get(frame.tunnel)
        if route is None:
            return
        candidate = route.candidates.get(frame.epoch)
        if candidate is not None:
            self._close_candidate(route, candidate, frame, message, source)
        if _ends(route, frame, source):
            far = route.edge if source is route.remote else route.remote
            if far is not None:
                far.send(frame._replace(epoch=route.epoch))
            self._end_candidates(route, frame)
            self._remove(route, frame.reason, frame.text)

    def _close_candidate(
        self, route: Route, candidate: Candidate, frame: Close, message: bytes, source: Port
    ) -> None:
        if source is candidate.edge:  # refused
            candidate.remote.outlet.push(message)
            self._recording.denied(candidate.remote, candidate.frame, frame)
        elif source is candidate.remote:
            candidate.edge.take_back(frame)
        else:
            return
        self._drop_candidate(route, frame.epoch)
        if route.remote is None and not route.candidates and route.is_owner(candidate):
            self._remove(route, frame.reason, frame.text)
        else:
            self.refused(frame, candidate.remote)

    def refused(self, frame: Close, remote: Port) -> None:
        """A remote is told no, or takes its attach back: its tunnel is over, and so is the route,
        if the edge has left it."""
        route = self._routes.get(frame.tunnel)
        if route is None or route.candidates:
            return
        if route.edge is None and route.remote is remote:
            self._remove(route, frame.reason, frame.text)
        else:
            self._tidy(route, frame.text)

    def give_up(self, route: Route, text: str) -> None:
        """Its remote does not come back. An edge that has ended it for that cannot say so: a tunnel
        that is detached has no link. One that keeps it longer loses nothing: an attach of it is as
        good as one of a tunnel that is new here."""
        self._remove(route, Reason.RESUME_TIMEOUT, text)

    def end(self, route: Route, reason: Reason, text: str) -> None:
        """The node ends a tunnel: both ends are told, and those of attaches under way."""
        close = Close(route.tunnel, 0, route.epoch, reason, clip(text))
        for port in (route.edge, route.remote):
            if port is not None:
                port.send(close)
        self._end_candidates(route, close)
        self._remove(route, reason, text)

    def _end_candidates(self, route: Route, close: Close) -> None:
        """Who asks anew takes nothing of the older epoch; an edge that has ended a tunnel would
        take one that is still fresh for a new one."""
        for epoch, candidate in route.candidates.items():
            for port in (candidate.edge, candidate.remote):
                port.send(close._replace(epoch=epoch))

    def lost(self, port: Port, text: str) -> None:
        """A link is gone: detach its tunnels, and tell the other ends to wait."""
        for route in list(port.routes):
            self._leave(route, port, text)

    def displaced(self, port: Port, thing: str, text: str) -> None:
        """The port has lost a thing: as `lost`, for the tunnels to that thing."""
        for route in list(port.routes):
            if route.thing == thing:
                self._leave(route, port, text)

    def moved(self, thing: str, where: Port | None) -> None:
        """The thing is bound at another place: its tunnels leave the hop that leads elsewhere.

        The node there says so too, if it is alive. `where`: the hop to the new place, if there is
        one; None also if the place is here.
        """
        text = "the device moved to another node"
        for route in list(self._by_thing.get(thing, ())):
            attaches = {epoch: each.edge for epoch, each in route.candidates.items()}
            if route.edge is not None:
                attaches[route.epoch] = route.edge
            for epoch, edge in attaches.items():
                if edge.is_hop and edge is not where:
                    edge.send(Detached(route.tunnel, 0, epoch, Reason.PEER_LEFT, text))
                    self._leave(route, edge, text)

    def detached(self, frame: Detached, message: bytes, hop: Port) -> Candidate | None:
        """The node at the other end of a hop lost its end of the tunnel.

        Returns the candidate that never reached an edge, because the thing is not there: its very
        ATTACH may be sent elsewhere.
        """
        hop.answered(frame.tunnel, frame.epoch)
        route = self._routes.get(frame.tunnel)
        candidate = None if route is None else route.candidates.get(frame.epoch)
        if route is not None and candidate is not None:
            return self._candidate_detached(route, candidate, frame, message, hop)
        if route is not None and frame.epoch == route.epoch and hop in (route.edge, route.remote):
            self._detach(route, hop, frame.text)
            self._unhook(route, hop)
            self._tidy(route, frame.text)
        return None

    def _candidate_detached(
        self, route: Route, candidate: Candidate, frame: Detached, message: bytes, hop: Port
    ) -> Candidate | None:
        if hop not in (candidate.edge, candidate.remote):
            return None
        denied = hop is candidate.edge and frame.reason == Reason.NO_SUCH_THING
        if not denied:
            far = candidate.remote if hop is candidate.edge else candidate.edge
            far.outlet.push(message)
        self._drop_candidate(route, frame.epoch)
        self._tidy(route, frame.text)
        return candidate if denied else None

    def _leave(self, route: Route, port: Port, text: str) -> None:
        """The port is no longer an end of the route."""
        for epoch, candidate in list(route.candidates.items()):
            if port in (candidate.edge, candidate.remote):
                # The edge may have accepted, and the answer been lost. An ATTACH is never said
                # twice, so the remote is told to ask again, with a higher epoch; and the edge that
                # the remote is gone.
                far = candidate.remote if port is candidate.edge else candidate.edge
                far.send(Detached(route.tunnel, 0, epoch, Reason.PEER_LEFT, clip(text)))
                self._drop_candidate(route, epoch)
        if port in (route.edge, route.remote):
            self._detach(route, port, text)
        port.routes.discard(route)
        self._tidy(route, text)

    def _detach(self, route: Route, port: Port, text: str) -> None:
        self._drop_queues(route)
        far = route.remote if port is route.edge else route.edge
        if port is route.edge:
            route.edge = None
        else:
            route.remote = None
        if far is not None:
            far.send(Detached(route.tunnel, 0, route.epoch, Reason.PEER_LEFT, clip(text)))
        self.stir(route)
        side = "remote" if far is route.edge else "edge"
        self._emit("tunnel_detached", side=side, reason=text, **route.about())
        self._recording.detached(route, side, text)

    # -- inside

    def _tidy(self, route: Route, text: str) -> None:
        """Forget a route with no end on this node; whoever counts tunnels is told."""
        ends = (route.edge, route.remote)
        if route.candidates or not all(end is None or end.is_hop for end in ends):
            return
        self._recording.left(route, "no end of it is at this node any more")
        if route.opened:
            self._remove(route, Reason.PEER_LEFT, f"no end is left at this node: {text}")
        else:
            self._forget(route)

    def _unhook(self, route: Route, port: Port | None) -> None:
        """Take the route off a port that is not one of its ends (any more)."""
        ends = {route.edge, route.remote}
        for candidate in route.candidates.values():
            ends |= {candidate.edge, candidate.remote}
        if port is not None and port not in ends:
            port.routes.discard(route)

    def _drop_candidate(self, route: Route, epoch: int) -> None:
        candidate = route.candidates.pop(epoch)
        if not route.candidates:
            self.asking.discard(route)
        self._unhook(route, candidate.remote)
        self._unhook(route, candidate.edge)

    def _drop_queues(self, route: Route) -> None:
        for (towards_edge, _), queue in route.queues.items():
            port = route.edge if towards_edge else route.remote
            if port is not None:
                port.outlet.discard(queue)
            queue.clear()
        route.queues.clear()

    def _remove(self, route: Route, reason: int, text: str) -> None:
        self._forget(route)
        text = text or Reason.of(reason).text
        self._recording.closed(route, reason, text)
        self._emit(
            "tunnel_closed",
            reason=text,
            from_edge=route.from_edge,
            from_remote=route.from_remote,
            **route.about(),
        )

    def _forget(self, route: Route) -> None:
        for tell in self.on_forgotten:
            tell(route)
        self._drop_queues(route)
        for epoch in list(route.candidates):
            self._drop_candidate(route, epoch)
        for port in (route.edge, route.remote):
            if port is not None:
                port.routes.discard(route)
        route.edge = route.remote = None
        if self._routes.pop(route.tunnel, None) is not None:
            namesakes = self._by_thing[route.thing]
            namesakes.discard(route)
            if not namesakes:
                del self._by_thing[route.thing]


def _ends(route: Route, frame: Close, source: Port) -> bool:
    """Whether CLOSE ends what stands.

    The edge's of another epoch does not: it refuses an attach, which may be a stranger's, and may
    have left meanwhile. The remote's of a higher one does, by its own link: its attach is under
    way, or did not get to an edge. By a hop it may be a stranger's, too.
    """
    if frame.epoch == route.epoch:
        return source in (route.edge, route.remote)
    return frame.epoch > route.epoch and source is route.remote and not source.is_hop


def _is_flooded(port: Port) -> bool:
    """Whether no more control frames may be put there."""
    return port.outlet.urgent_size >= MAX_URGENT * (HOP_SHARE if port.is_hop else 1)
