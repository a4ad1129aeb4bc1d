"""What a node does with each message: binds, attaches, and everything else to its route.

Pure but for the time of day. A message either changes a table here or goes to a port's outlet;
nothing waits, so one link's reader never waits for another link.

An ATTACH goes to where its thing is: to an edge's link, over a hop to the node that has it, or into
the waiting room. One that came over a hop goes over no other: if the thing is not here, the node
that sent it is told, and knows better by then or waits until it does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Final

import trio

from edge_tunnel.access.rights import Authority
from edge_tunnel.audit.records import NO_AUDIT, Audit
from edge_tunnel.errors import LinkLost, RemoteProtocolError
from edge_tunnel.protocol.codec import decode
from edge_tunnel.protocol.frames import (
    Ask,
    Attach,
    Attached,
    Bind,
    Bound,
    Bye,
    Close,
    Detached,
    End,
    Frame,
    Grant,
    Offer,
    Open,
    Page,
    Ping,
    Pong,
    Reset,
    Unbind,
    Unbound,
    clip,
)
from edge_tunnel.protocol.head import Head, check_data, peek
from edge_tunnel.proxy.budget import OBJECT, Budget, whom_to_cut
from edge_tunnel.proxy.guard import Guard
from edge_tunnel.proxy.hop import Hops
from edge_tunnel.proxy.ledger import COUNTED
from edge_tunnel.proxy.lists import Lists
from edge_tunnel.proxy.permit import Permit
from edge_tunnel.proxy.port import Port
from edge_tunnel.proxy.rates import MAX_BINDS, Rates
from edge_tunnel.proxy.recording import Recording
from edge_tunnel.proxy.route import Candidate
from edge_tunnel.proxy.routes import MAX_URGENT, Routes
from edge_tunnel.proxy.waiting import WaitingRoom
from edge_tunnel.proxy.whereabouts import Whereabouts
from edge_tunnel.reasons import Reason

__all__ = ["Traffic"]

_MAX_TUNNELS: Final = 1024
"""Of one remote's link, attaches included that are not answered."""


class Traffic:
    """The tables of a node, and what changes them."""

    def __init__(
        self,
        registry: Whereabouts,
        authority: Authority,
        emit: Callable[..., None],
        audit: Audit = NO_AUDIT,
        memory: int = 0,
    ) -> None:
        """`emit(event, **data)` is told what happens. Set `hops` if there are other nodes.

        `memory`: bytes that may wait here for links; 0: no limit.
        """
        self.registry = registry
        self.recording = Recording(audit)
        self.routes = Routes(emit, self.recording, Budget(memory))
        self.guard = Guard(authority, self.routes, emit)
        self.waiting = WaitingRoom()
        self.lists = Lists(registry, self.routes, authority, self.recording)
        self.hops: Hops | None = None
        self._rates = Rates()
        self._emit = emit
        registry.on_displaced = self._displaced
        registry.on_moved = self._moved
        registry.on_looked = self._looked

    # -- what a port says

    def on_message(self, port: Port, message: bytes) -> None:
        """A message came by this port.

        Raises:
          LinkLost: it says BYE.
          RemoteProtocolError: it is nonsense.
        """
        head = peek(message)
        if head.data is not None:
            self.routes.forward(head, message, port)
        elif head.tunnel is None:
            self._on_link_frame(port, decode(message))
        else:
            check_data(head)
            self._on_tunnel_frame(port, head, message)

    def lost(self, port: Port, reason: str) -> None:
        """The link or hop is gone."""
        self._rates.lost(port)
        for thing in list(port.binds):
            self.lists.ledger.unbound(thing, port)
            if self.registry.unbind(thing, port):
                self._emit("unbound", thing=thing, peer=port.peer, reason=reason)
                self.recording.unbound(port, thing, reason)
                self.waiting.lost(thing, trio.current_time())
        self.waiting.leave_all(port)
        self.routes.lost(port, reason)
        self.lists.lost(port, reason)

    def _on_link_frame(self, port: Port, frame: Frame) -> None:
        if isinstance(frame, Ping):
            port.send(Pong(frame.nonce))
            for attach, refusal in self.waiting.expired(port, trio.current_time()):
                self._refuse(port, attach, refusal)
        elif isinstance(frame, Pong):
            pass  # the link has noted that something came
        elif isinstance(frame, Bye):
            raise LinkLost(frame.text or Reason.of(frame.reason).text)
        elif isinstance(frame, Bind) and port.role == "edge":
            self._bind(port, frame)
        elif isinstance(frame, Unbind) and port.role == "edge":
            self._unbind(port, frame.thing)
        elif isinstance(frame, Offer) and port.role == "edge":
            self.lists.ledger.offered(frame, port)
        elif isinstance(frame, Ask) and port.role != "edge":
            self.lists.asked(port, frame)
        elif isinstance(frame, Page) and port.is_hop:
            self.lists.answered(port, frame)
        else:
            raise RemoteProtocolError(f"{type(frame).__name__} from the {port.role}")

    def _on_tunnel_frame(self, port: Port, head: Head, message: bytes) -> None:
        frame = decode(message, head)
        if head.stream:
            self._on_stream_frame(port, head, frame, message)
        elif isinstance(frame, Attach):
            if port.role == "edge":
                raise RemoteProtocolError("Attach from the edge")
            if port.is_hop:
                self._attach(port, frame, message)
            elif self._has_room(port, frame, len(message)):
                self._ask(port, frame, message)
        elif isinstance(frame, Attached):
            self.routes.attached(frame, message, port)
            self.lists.attached(port, frame)
        elif isinstance(frame, Close):
            self.waiting.leave(port, frame.tunnel, frame.epoch)
            self.routes.close(frame, message, port)
        elif isinstance(frame, Detached):
            self._detached(port, frame, message)
        elif isinstance(frame, Grant):
            raise RemoteProtocolError("only a node sends Grant, and to its remote")
        else:  # PROBE or ECHO
            self.routes.forward(head, message, port)

    def _on_stream_frame(self, port: Port, head: Head, frame: Frame, message: bytes) -> None:
        if head.kind in COUNTED:
            self.lists.passed(port, head)
            self._count(frame, port)
        self.routes.forward(head, message, port)

    def hop_greeted(self, port: Port) -> None:
        """A hop that was dialled has been answered: `port.features` are known."""
        self.routes.greeted(port)
        self.lists.greeted(port)

    def _count(self, frame: Frame, port: Port) -> None:
        """How many streams a tunnel has, where the policy limits them; how fast they are opened."""
        assert isinstance(frame, (Open, End, Reset))
        route = self.routes.get(frame.tunnel)
        if route is None or route.permit is None or frame.epoch != route.epoch:
            return
        if isinstance(frame, Open) and port is route.remote:
            if self._rates.open(port, trio.current_time()):
                self.routes.end(route, Reason.TOO_MANY, "streams are opened too fast")
            elif not route.permit.opened(frame.stream):
                text = f"the policy allows {route.permit.grant.max_streams} streams at once"
                self.routes.end(route, Reason.TOO_MANY_STREAMS, text)
        elif isinstance(frame, End) and port in (route.edge, route.remote):
            route.permit.ended(frame.stream, by_edge=port is route.edge)
        elif isinstance(frame, Reset) and port in (route.edge, route.remote):
            route.permit.reset(frame.stream)

    # -- things

    def _bind(self, port: Port, frame: Bind) -> None:
        if len(port.binds) >= MAX_BINDS and frame.thing not in port.binds:
            text = f"{MAX_BINDS} things are bound"
            self._refuse_bind(port, frame.thing, 0, Reason.TOO_MANY, text)
            return
        now = trio.current_time()
        wait = self._rates.bind(port, now)
        if wait:
            port.end(Reason.TOO_MANY, "too many binds", wait)
            return
        denial = self.guard.refuses_bind(port, frame.thing)
        if denial is not None:
            self._refuse_bind(port, frame.thing, 0, denial.reason, clip(denial.text))
            return
        wait = self._rates.bind_thing(frame.thing, now)
        if wait:
            port.end(Reason.TOO_MANY, f"{frame.thing} is bound again and again", wait)
            return
        holds, epoch, loser = self.registry.bind(frame.thing, frame.epoch, port)
        if not holds:
            text = "another link has a higher epoch"
            self._refuse_bind(port, frame.thing, epoch, Reason.SUPERSEDED, text)
            return
        if loser is not None:
            self._displaced(frame.thing, epoch, loser)
        self.lists.ledger.bound(frame.thing, epoch, port, time.time())
        port.send(Bound(frame.thing, epoch))
        self.guard.offer(port, frame.thing)
        self._emit("bound", thing=frame.thing, peer=port.peer, epoch=epoch)
        self.recording.bound(port, frame.thing, epoch)
        self._moved(frame.thing)

    def _refuse_bind(self, port: Port, thing: str, epoch: int, reason: Reason, text: str) -> None:
        if thing in port.binds:  # UNBOUND says that the link does not hold it: nor by an older bind
            self._unbind(port, thing, text)
            self.routes.displaced(port, thing, text)
        port.send(Unbound(thing, epoch, reason, text))
        self.recording.bind_refused(port, thing, reason, text)

    def _unbind(self, port: Port, thing: str, reason: str = "the edge unbound it") -> None:
        self.lists.ledger.unbound(thing, port)
        if self.registry.unbind(thing, port):
            self._emit("unbound", thing=thing, peer=port.peer, reason=reason)
            self.recording.unbound(port, thing, reason)

    def _displaced(self, thing: str, epoch: int, loser: Port) -> None:
        """A higher epoch took the thing from this port."""
        self.lists.ledger.unbound(thing, loser)
        text = "bound by another link with a higher epoch"
        loser.send(Unbound(thing, epoch, Reason.SUPERSEDED, text))
        self._emit("unbound", thing=thing, peer=loser.peer, reason=text)
        self.recording.unbound(loser, thing, text)
        self.routes.displaced(loser, thing, "the device has a newer link")

    def _moved(self, thing: str) -> None:
        """The thing is somewhere else now, or nowhere: whoever waits for it may go there."""
        where = self.registry.locate(thing)
        if where is None:
            self.waiting.lost(thing, trio.current_time())
            return
        there = self.hops.present(where) if isinstance(where, str) and self.hops else None
        self.routes.moved(thing, there)
        for waiting in self.waiting.bound(thing):
            self._attach(waiting.remote, waiting.frame, waiting.message, again=True)

    def _looked(self, thing: str) -> None:
        """The engine was asked for a thing; if it knows it, `_moved` was called before."""
        for remote, attach, refusal in self.waiting.looked(thing, trio.current_time()):
            self._refuse(remote, attach, refusal)

    def judge_binds(self, port: Port) -> None:
        """Take those things from an edge that it may serve no longer."""
        for thing, denial in self.guard.lost_binds(port):
            epoch = port.binds[thing]
            self._unbind(port, thing, denial.text)
            port.send(Unbound(thing, epoch, denial.reason, clip(denial.text)))
            self.routes.displaced(port, thing, "the device may not serve this thing any more")

    # -- attaching

    def _has_room(self, port: Port, frame: Attach, size: int) -> bool:
        """Whether the remote may attach another tunnel now, by this link.

        A resume that comes too fast is not refused, which would end its tunnel. It gets no answer,
        and is asked again after some seconds, as the wire has it.
        """
        wait = self._rates.attach(port, size, trio.current_time())
        full = len(port.routes) >= _MAX_TUNNELS and self.routes.get(frame.tunnel) not in port.routes
        if (wait or full) and frame.fresh:
            text = f"too many tunnels: a link has {_MAX_TUNNELS}, and one user opens some a second"
            self._refuse(port, frame, Close(frame.tunnel, 0, frame.epoch, Reason.TOO_MANY, text))
        return not wait and not full

    def _ask(self, port: Port, frame: Attach, message: bytes) -> None:
        """From a remote, which takes no answer any more to what it asked before by this link."""
        self.waiting.leave(port, frame.tunnel, frame.epoch)
        older = self.routes.supersede(frame, port)
        self._attach(port, frame, message)
        self.routes.superseded(frame.tunnel, older)

    def _attach(self, port: Port, frame: Attach, message: bytes, *, again: bool = False) -> None:
        """From a remote, or over a hop from a remote's node, which has judged it.

        `again`: it has waited here, or comes back; it is judged by what holds now.
        """
        if frame.fresh and not port.is_hop and self.recording.audit.refuses:
            text = "no new tunnels: this node cannot write its audit log at the moment"
            self._refuse(port, frame, Close(frame.tunnel, 0, frame.epoch, Reason.TOO_MANY, text))
            return
        now = trio.current_time()
        permit = None if port.is_hop else self.guard.permit(port, frame, now, again=again)
        if isinstance(permit, Close):
            self._refuse(port, frame, permit)
        else:
            self._send_on(port, frame, message, permit)

    def _send_on(self, port: Port, frame: Attach, message: bytes, permit: Permit | None) -> None:
        where = self.registry.locate(frame.thing)
        if isinstance(where, Port):
            self.routes.attach(frame, message, port, where, permit)
        elif where is None:
            self._wait(port, frame, message, look=not port.is_hop)
        elif port.is_hop:  # never two hops
            text = f"{frame.thing} is at node {where}"
            port.send(Detached(frame.tunnel, 0, frame.epoch, Reason.NO_SUCH_THING, text[:1024]))
        else:
            assert self.hops is not None
            self.routes.attach(frame, message, port, self.hops.to(where), permit)

    def _wait(self, port: Port, frame: Attach, message: bytes, *, look: bool = False) -> None:
        looking = look and frame.fresh and self.registry.look_up(frame.thing)
        now = trio.current_time()
        refusal = self.waiting.enter(frame, message, port, now, looking=looking)
        if refusal is not None:
            self._refuse(port, frame, refusal)

    def _refuse(self, port: Port, frame: Attach, close: Close) -> None:
        port.send(close)
        self.recording.denied(port, frame, close)
        self.routes.refused(close, port)

    def _detached(self, port: Port, frame: Detached, message: bytes) -> None:
        """The other node says that its end of the tunnel is gone."""
        if not port.is_hop:
            raise RemoteProtocolError("only a node sends Detached")
        self.waiting.leave(port, frame.tunnel, frame.epoch)
        denied = self.routes.detached(frame, message, port)
        if denied is not None:
            self._denied(denied)

    def _denied(self, candidate: Candidate) -> None:
        """The thing is not where our registry says. It lags behind; or it knows better by now.

        The same node is asked again when the registry has changed, or the remote asks again: two
        nodes whose registries disagree would send an ATTACH to and fro as fast as they can.
        """
        frame, remote = candidate.frame, candidate.remote
        if self.registry.locate(frame.thing) != candidate.edge.peer:
            self._attach(remote, frame, candidate.message, again=True)
        else:
            self.waiting.lost(frame.thing, trio.current_time())
            self._wait(remote, frame, candidate.message)

    # -- memory

    def relieve(self, ports: Collection[Port]) -> None:
        """Look at what the streams' queues are not; once a second is enough.

        That is what waits for a port to read, or for the answer to what it asked.

        `ports`: the links. Those that read nothing of what they ask for are ended, and the biggest
        ones if the node holds too much.
        """
        # of 10,000 links that rest none holds anything
        held = {port: size for port in ports if (size := port.outlet.urgent_size)}
        for route in self.routes.asking:
            for each in route.candidates.values():
                if not each.remote.is_hop:
                    size = len(each.message) + OBJECT
                    held[each.remote] = held.get(each.remote, 0) + size
        for port, size in held.items():
            if size > 2 * MAX_URGENT:
                port.end(Reason.FLOW_CONTROL, "the answers are not read", 0.0)
        budget = self.routes.budget
        budget.others = sum(held.values())
        if budget.is_over:
            self.routes.relieve()
        if budget.is_over:
            for port in whom_to_cut({p: {p: size} for p, size in held.items()}, budget.excess):
                port.end(Reason.TOO_MANY, "the node is short of memory", 0.0)
