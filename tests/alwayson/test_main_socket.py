"""edge/alwayson/main_socket.py: several things that go wrong at once."""

from __future__ import annotations

from typing import cast

import pytest
import trio
import trio.testing

from edge_tunnel import LinkLost, LinkRefused
from edge_tunnel.alwayson.codec import decode, encode
from edge_tunnel.alwayson.messages import SUCCESS, Response, Status
from edge_tunnel.edge.alwayson.main_socket import MainSocket
from edge_tunnel.edge.alwayson.tunnels import Tunnels
from edge_tunnel.link.transport import PlainTransport
from tests.alwayson.connection_server import ConnectionServer
from tests.alwayson.edge_bench import config_of


class Answering(PlainTransport):
    """A server that answers AUTH; the connection is lost when that was read, and `cut` is set."""

    peer = "server"
    close_code = None

    def __init__(self, answer: Response) -> None:
        self.answer = answer
        self.asked, self.take = trio.open_memory_channel[bytes](1)
        self.answered = False
        self.cut = trio.Event()

    async def send(self, message: bytes) -> None:
        if self.answered:
            await self.cut.wait()
            raise LinkLost("nothing can be sent")
        await self.asked.send(message)

    async def send_text(self, text: str) -> None:
        raise NotImplementedError

    async def receive_any(self) -> bytes | str:
        if self.answered:
            if not self.cut.is_set():
                await self.cut.wait()
            raise LinkLost("the server closed the connection")
        said = decode(await self.take.receive())
        self.answered = True
        return encode(said.answer(self.answer)._replace(session_id=7))

    async def ping(self) -> None:
        raise NotImplementedError

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        raise NotImplementedError


async def test_refused_and_closed(autojump_clock: trio.testing.MockClock) -> None:
    """It is a refusal, and no group of errors, which would end the edge."""
    transport = Answering(Response(Status.UNAUTHORIZED, "unknown key"))
    transport.cut.set()
    main = MainSocket(transport, config_of(ConnectionServer()), cast("Tunnels", None))
    with pytest.raises(LinkRefused, match="unknown key"):
        await main.run(lambda _: None)


async def test_lost_both_ways(autojump_clock: trio.testing.MockClock) -> None:
    """A write and a read fail in the same moment; it is one loss."""
    transport = Answering(SUCCESS)
    main = MainSocket(transport, config_of(ConnectionServer()), cast("Tunnels", None))

    async def cut() -> None:
        await trio.testing.wait_all_tasks_blocked()
        transport.cut.set()

    def serve(nursery: trio.Nursery) -> None:
        nursery.start_soon(main.bind, ("pump-7",))
        nursery.start_soon(cut)

    with pytest.raises(LinkLost, match=r"closed the connection|nothing can be sent"):
        await main.run(serve)
