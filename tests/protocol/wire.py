"""A wire for two real tunnels: paths that delay, die, and deliver late. No clock, no socket.

A `Path` stands for a remote's link, the nodes, and an edge's link. It keeps order each way,
as links do; when it dies, what was under way is lost, or still arrives at any later time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from edge_tunnel.protocol.attach import EdgeTunnel, RemoteTunnel
from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import Attach, Close, Detached, StreamFrame, TunnelFrame
from edge_tunnel.protocol.head import peek
from edge_tunnel.protocol.identity import Identity
from edge_tunnel.protocol.outlet import Outlet
from edge_tunnel.protocol.tunnel import Event, Tunnel
from edge_tunnel.reasons import Reason

__all__ = ["IDENTITY", "TO_EDGE", "TO_REMOTE", "Pair", "Path", "fetch", "tunnel_frame"]

TO_EDGE, TO_REMOTE = 0, 1
WINDOW = 1000
IDENTITY = Identity()


def tunnel_frame(message: bytes) -> TunnelFrame | StreamFrame:
    """The frame in a message that belongs to a tunnel."""
    frame = decode(message)
    assert peek(message).tunnel == frame[0]
    return frame


def fetch(outlet: Outlet) -> list[TunnelFrame | StreamFrame]:
    """All that an outlet has to send."""
    return [tunnel_frame(message) for message in iter(outlet.next_message, None)]


class Path:
    """One way for frames between remote and edge, both directions."""

    def __init__(self) -> None:
        self.outlets = (Outlet(), Outlet())  # the remote's, the edge's
        self.queues: tuple[deque[bytes], deque[bytes]] = (deque(), deque())
        self.dead = [False, False]

    @property
    def alive(self) -> bool:
        return not any(self.dead)

    def pump(self, way: int, most: int) -> int:
        """Up to `most` messages leave an outlet for the wire."""
        for count in range(most):
            message = self.outlets[way].next_message()
            if message is None:
                return count
            if not self.dead[way]:
                self.queues[way].append(message)
        return most

    def die(self, way: int, keep: int) -> None:
        """Nothing more gets through; of what is under way, the first `keep` may still arrive."""
        self.dead[way] = True
        while len(self.queues[way]) > keep:
            self.queues[way].pop()


class Pair:
    """A remote tunnel, the edge tunnel that its first ATTACH makes, and the paths between."""

    def __init__(
        self, *, window: int = WINDOW, max_streams: int = 4096, sealed: bool = False
    ) -> None:
        self.now = 100.0
        self.window = window
        self.max_streams = max_streams
        self.remote = RemoteTunnel("pump-7", "ssh", now=self.now, window=window, sealed=sealed)
        self.edge: EdgeTunnel | None = None
        self.paths: list[Path] = []
        self.at: list[Path | None] = [None, None]  # the path that the remote, the edge uses
        self.on_event: Callable[[int, Event], None] = lambda _side, _event: None

    def __repr__(self) -> str:
        return f"<Pair {self.remote!r} {self.edge!r}>"

    @property
    def both(self) -> tuple[RemoteTunnel, EdgeTunnel]:
        assert self.edge is not None
        return self.remote, self.edge

    def tunnel(self, side: int) -> Tunnel:
        return self.both[side]

    # -- what a shell does

    def attach(self, path: Path | None = None) -> Path:
        """The remote asks for an attach, by a new path or by one that exists."""
        if path is None:
            path = Path()
            self.paths.append(path)
        self.at[0] = path
        self.remote.attach(path.outlets[0], self.now)
        self.tell(0)
        return path

    def notice(self, side: int) -> None:
        """One end learns that its link is gone."""
        path, self.at[side] = self.at[side], None
        if path is None:
            return
        tunnel = self.tunnel(side)
        tunnel.detach(self.now, Reason.SILENT)
        self.tell(side)
        way = TO_REMOTE if side else TO_EDGE
        if not path.dead[way]:  # the node tells the other end
            frame = Detached(tunnel.id, 0, tunnel.epoch, Reason.PEER_LEFT, "")
            path.queues[way].append(encode(frame))

    def arrive(self, way: int, message: bytes, path: Path) -> None:
        """A message comes out of the wire."""
        frame = tunnel_frame(message)
        if way == TO_REMOTE:
            self.remote.receive(frame, self.now)
        elif isinstance(frame, Attach):
            self._on_attach(frame, path)
        elif self.edge is not None:
            self.edge.receive(frame, self.now)
        self.tell(1 - way)

    def _on_attach(self, frame: Attach, path: Path) -> None:
        if self.edge is None:
            self.edge = EdgeTunnel(
                frame,
                now=self.now,
                window=self.window,
                max_streams=self.max_streams,
                identity=IDENTITY,
            )
        refused = self.edge.accept(frame, path.outlets[1], self.now)
        if refused is None:
            self.at[1] = path
        else:
            close = Close(frame.tunnel, 0, frame.epoch, refused, "")
            path.outlets[1].push(encode(close))

    def tell(self, side: int) -> None:
        """Hand out what happened."""
        if side == 0 or self.edge is not None:
            for event in self.tunnel(side).events() if self.edge else self.remote.events():
                self.on_event(side, event)

    def tick(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds
        for side in (0, 1) if self.edge else ():
            self.tunnel(side).tick(self.now)
            self.tell(side)

    # -- what the wire does

    def deliver(self, path: Path, way: int, most: int) -> int:
        """Up to `most` messages arrive, in their order."""
        queue = path.queues[way]
        for count in range(most):
            if not queue:
                return count
            self.arrive(way, queue.popleft(), path)
        return most

    def drive(self) -> None:
        """Move everything until nothing moves."""
        moved = True
        while moved:
            moved = False
            for path in self.paths:
                for way in (TO_EDGE, TO_REMOTE):
                    moved |= path.pump(way, 10_000) > 0
                    moved |= self.deliver(path, way, 10_000) > 0

    def connect(self) -> Pair:
        """Attach and drive; for tests that begin with a tunnel that stands."""
        self.attach()
        self.drive()
        return self
