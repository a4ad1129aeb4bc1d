"""The one place where a node asks its authority what an admitted endpoint may do.

Each bind and each attach is judged here, the first as any resume; what was allowed becomes a
`Permit` of the tunnel. When keys or policy change, and as time goes by, all that lives is judged
again, and what has lost its right is ended. Pure: the node's shell calls `check` each second; that
costs as much as there are tunnels which carried something since, or whose time has come.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Final

from edge_tunnel.access.rights import Authority, Denial, Grant, Principal
from edge_tunnel.protocol import frames
from edge_tunnel.protocol.frames import MAX_STREAMS, Attach, Close, Services, clip
from edge_tunnel.protocol.tunnel import RESUME_TIMEOUT
from edge_tunnel.proxy.deadlines import Deadlines
from edge_tunnel.proxy.permit import Permit
from edge_tunnel.proxy.port import Port
from edge_tunnel.proxy.route import Route
from edge_tunnel.proxy.routes import Routes
from edge_tunnel.reasons import Reason

__all__ = ["Guard"]

_MINUTE: Final = 60.0

_COMES_BACK: Final = 2 * RESUME_TIMEOUT
"""Seconds that a tunnel is kept without its remote."""

_LONGEST_MS: Final = 10 * 365 * 86_400_000
"""Milliseconds that a grant names at most: far from where numbers of the wire end."""


class Guard:
    """Judges what the ports of one node ask for."""

    def __init__(
        self,
        authority: Authority,
        routes: Routes,
        emit: Callable[..., None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`emit(event, **data)` is told what is refused; `clock` gives Unix seconds."""
        self.authority = authority
        self._routes = routes
        self._emit = emit
        self._clock = clock
        routes.on_forgotten.append(self._over)
        self._tunnels: dict[str, set[bytes]] = {}  # of each principal; some are over
        self._at_dates: Deadlines[Route] = Deadlines()  # Unix seconds
        self._at_times: Deadlines[Route] = Deadlines()
        self._alone: Deadlines[Route] = Deadlines()
        """When tunnels without a remote are given up."""

        self._opened: dict[str, list[float]] = {}  # when each opened tunnels, this last minute

    # -- binds

    def refuses_bind(self, port: Port, thing: str) -> Denial | None:
        """Why this edge may not serve the thing; None: it may."""
        assert port.principal is not None
        denial = self.authority.may_bind(port.principal, thing)
        if denial is not None:
            self._deny(port, denial, "bind_denied", thing=thing)
        return denial

    def offer(self, port: Port, thing: str) -> None:
        """Tell an edge what the policy names for a thing that it has bound."""
        offers = self.authority.offers(thing)
        if "services" in port.features and offers:
            named = (frames.ServiceOffer(each.name, each.host, each.port) for each in offers[:64])
            port.send(Services(thing, tuple(named)))

    # -- attaches

    def permit(
        self, port: Port, frame: Attach, now: float, *, again: bool = False
    ) -> Permit | Close:
        """Judge an attach, however often its tunnel was attached before.

        `again`: this very attach was allowed before it had to wait, and was counted then.
        """
        assert port.principal is not None
        verdict = self._judge(port.principal, frame, now, again=again)
        if isinstance(verdict, Denial):
            about = {"thing": frame.thing, "service": frame.service, "tunnel": frame.tunnel.hex()}
            self._deny(port, verdict, "tunnel_denied", **about)
            return Close(frame.tunnel, 0, frame.epoch, verdict.reason, clip(verdict.text))
        permit = Permit(port.principal, verdict, self._began(frame), now)
        permit.resumed(frame.positions)
        self._tell(port, frame.tunnel, frame.epoch, permit)
        return permit

    def _judge(self, who: Principal, frame: Attach, now: float, *, again: bool) -> Grant | Denial:
        known = self._permit_of(frame)
        owner = self.authority.opened_by(frame.tunnel) if known is None else known.principal.name
        if owner not in (None, who.name):
            return Denial(reason=Reason.UNKNOWN_TUNNEL, text="")  # as for one that never was
        verdict = self.authority.judge(who, frame.thing, frame.service)
        if isinstance(verdict, Denial):
            return verdict
        permit = Permit(who, verdict, self._began(frame), now)
        over = permit.why_over(self._clock(), now, 0)
        if over is not None:
            return Denial(reason=over[0], text=over[1])
        return self._too_many(who, verdict, frame, now, counted=again) or verdict

    def _began(self, frame: Attach) -> float:
        known = self._permit_of(frame)
        if known is not None:
            return known.began  # `check` has looked for an earlier one
        return self.authority.began(frame.tunnel, self._clock())

    def _permit_of(self, frame: Attach) -> Permit | None:
        route = self._routes.get(frame.tunnel)
        return None if route is None else route.permit

    def _too_many(
        self, who: Principal, grant: Grant, frame: Attach, now: float, *, counted: bool
    ) -> Denial | None:
        tunnels = self._tunnels.setdefault(who.name, set())
        tunnels -= {each for each in tunnels if self._routes.get(each) is None}
        if frame.tunnel in tunnels:
            return None
        if grant.max_tunnels is not None and len(tunnels) >= grant.max_tunnels:
            text = f"the policy allows you {grant.max_tunnels} tunnels at once"
            return Denial(reason=Reason.TOO_MANY, text=text)
        if grant.tunnels_per_minute is not None and frame.fresh and not counted:
            recent = [at for at in self._opened.get(who.name, ()) if at > now - _MINUTE]
            if len(recent) >= grant.tunnels_per_minute:
                text = f"the policy allows you {grant.tunnels_per_minute:g} new tunnels a minute"
                return Denial(reason=Reason.TOO_MANY, text=text)
            self._opened[who.name] = [*recent, now]
        tunnels.add(frame.tunnel)
        return None

    def _tell(self, port: Port, tunnel: bytes, epoch: int, permit: Permit) -> None:
        """Tell a remote how far its tunnel may go, if it goes not all the way."""
        most = permit.grant.max_streams
        streams = 0 if most is None or most > MAX_STREAMS else most
        left = permit.ends - self._clock()
        ends = 0 if left == math.inf else min(max(int(left * 1000), 1), _LONGEST_MS)
        token = permit.principal.session
        shown = permit.grant.fingerprint
        if "grants" in port.features and (streams or ends or token or shown):
            port.send(frames.Grant(tunnel, 0, epoch, streams, ends, token, shown))

    def _deny(self, port: Port, denial: Denial, event: str, **about: object) -> None:
        assert port.principal is not None
        reason = denial.text or denial.reason.text
        who = port.principal.name
        self._emit(event, peer=port.peer, who=who, reason=reason, code=int(denial.reason), **about)

    # -- as time goes by, and rights change

    def check(self, now: float) -> None:
        """End the tunnels whose time is over; judge again whose rule has ended; give up those whose
        remote does not come back.

        A tunnel is looked at when it was attached or has carried something since the last time,
        or when that which it was told last is due. Of all others nothing can have changed.
        """
        wall = self._clock()
        stirred = self._routes.take_stirred()
        due = {*self._at_dates.take(wall), *self._at_times.take(now), *stirred}
        for route in due:
            if route.permit is not None and self._routes.get(route.tunnel) is route:
                self._look_at(route, route.permit, wall, now)
        self._give_up(stirred, now)
        self._forget(now)

    def _give_up(self, stirred: Iterable[Route], now: float) -> None:
        late = self._alone.take(now)
        for route in late:
            if route.remote is None and not route.candidates:
                text = f"its remote did not come back within {_COMES_BACK:g} s"
                self._routes.give_up(route, text)
        for route in (*late, *stirred):
            alone = route.remote is None and self._routes.get(route.tunnel) is route
            self._alone.put(route, now + _COMES_BACK if alone else math.inf)

    def _look_at(self, route: Route, permit: Permit, wall: float, now: float) -> None:
        self._agree_on_start(route, permit)
        if permit.grant.review is not None and wall >= permit.grant.review:
            self._judge_again(route, permit)
        over = permit.why_over(wall, now, route.from_edge + route.from_remote)
        if over is not None:
            self._routes.end(route, *over)
        if self._routes.get(route.tunnel) is route:
            self._look_later(route, permit, now)

    def _look_later(self, route: Route, permit: Permit, now: float) -> None:
        date, moment = permit.next_look(now)
        self._at_dates.put(route, date)
        self._at_times.put(route, moment)

    def _over(self, route: Route) -> None:
        self._at_dates.drop(route)
        self._at_times.drop(route)
        self._alone.drop(route)

    def _agree_on_start(self, route: Route, permit: Permit) -> None:
        """Tell the other nodes when a session began; the earliest that one of them knows counts.

        Only of a tunnel that its edge has accepted: an ATTACH alone proves nothing.
        """
        length = permit.grant.session
        if length is None:
            return
        began = self.authority.began(route.tunnel, permit.began)
        if began < permit.began:
            permit.began = began
            if route.remote is not None:
                self._tell(route.remote, route.tunnel, route.epoch, permit)
        self.authority.remember(route.tunnel, began, permit.principal.name, length)

    def _forget(self, now: float) -> None:
        """What nobody asks for any more: a principal that left holds no memory."""
        for who, opened in list(self._opened.items()):
            if opened[-1] <= now - _MINUTE:
                del self._opened[who]
        for who, tunnels in list(self._tunnels.items()):
            if not any(self._routes.get(each) for each in tunnels):
                del self._tunnels[who]

    def judge_tunnels(self) -> None:
        """Judge all tunnels again: rights have changed."""
        for route in self._routes:
            asked = [each.permit for each in route.candidates.values()]
            for permit in (route.permit, *asked):
                if permit is not None:
                    self._judge_again(route, permit)

    def _judge_again(self, route: Route, permit: Permit) -> None:
        who = permit.principal
        over = self.authority.still(who)
        if over is None and self.authority.why_not_ready() is not None:
            return  # a policy that is not understood here ends nothing that lives
        verdict = over or self.authority.judge(who, route.thing, route.service)
        if isinstance(verdict, Denial):
            self._routes.end(route, verdict.reason, verdict.text)
        elif verdict != permit.grant:
            permit.grant = verdict
            self._routes.stir(route)
            if route.remote is not None:
                self._tell(route.remote, route.tunnel, route.epoch, permit)

    def lost_binds(self, port: Port) -> Iterable[tuple[str, Denial]]:
        """The things that this edge may serve no longer, and why."""
        assert port.principal is not None
        for thing in list(port.binds):
            denial = self.authority.may_bind(port.principal, thing)
            if denial is not None:
                yield thing, denial
            else:
                self.offer(port, thing)
