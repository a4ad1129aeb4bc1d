"""cli/node_api.py: which nodes are asked, where one of them has a problem."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from edge_tunnel.cli import node_api
from edge_tunnel.cli.access import Access
from edge_tunnel.cli.exits import CommandFailed, Exit
from edge_tunnel.cli.node_api import Question
from edge_tunnel.config import Secret, TlsSettings
from edge_tunnel.errors import LinkLost
from edge_tunnel.link.dialling import Address
from edge_tunnel.testing.wire import WireStream, wire_pair

READ, WRITE = Question("GET", "policy"), Question("POST", "keys", {})

DEAD = None
HUNG = b""
GARBAGE = b"SSH-2.0-OpenSSH_9.2\r\n"


def answer(status: str, body: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status.encode(), len(body), body)


GOOD = answer("200 OK", b'{"version": 7}')
PAGE = answer("404 Not Found", b"<html><h1>Not Found</h1></html>")
AWAY = answer("503 Service Unavailable", b'{"error": "etcd is away"}')
DENIED = answer("403 Forbidden", b'{"error": "not yours"}')


class Nodes:
    """By their ports, what they say to whatever they are asked."""

    def __init__(self, *says: bytes | None) -> None:
        self.says = says
        self.asked: list[int] = []
        self.urls = tuple(f"ws://node:{port}" for port in range(1, len(says) + 1))
        self.kept: list[WireStream] = []

    async def connect(self, address: Address, *_: object) -> trio.abc.Stream:
        said = self.says[address.port - 1]
        if said is DEAD:
            raise LinkLost(f"cannot reach {address.host}:{address.port}")
        self.asked.append(address.port)
        ours, theirs = wire_pair()
        self.kept.append(theirs)
        if said:
            await theirs.send_all(said)
        return ours


async def ask(nodes: Nodes, question: Question, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(node_api, "open_connection", nodes.connect)
    access = Access(nodes.urls, Secret("key"), TlsSettings(), None)
    return await node_api._ask(access, question)


@pytest.mark.parametrize("problem", [DEAD, HUNG, GARBAGE, AWAY, PAGE])
async def test_the_next_node_is_asked(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, problem: bytes | None
) -> None:
    """For what changes nothing; and before a person gives up."""
    nodes = Nodes(problem, GOOD)
    began = trio.current_time()
    assert await ask(nodes, READ, monkeypatch) == {"version": 7}
    assert trio.current_time() - began < 10


@pytest.mark.parametrize("problem", [HUNG, GARBAGE, AWAY])
async def test_what_may_have_been_done_is_not_asked_for_again(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, problem: bytes
) -> None:
    nodes = Nodes(problem, GOOD)
    with pytest.raises(CommandFailed) as failed:
        await ask(nodes, WRITE, monkeypatch)
    assert failed.value.code == Exit.COULD_NOT_CONNECT
    assert nodes.asked == [1]


async def test_an_answer_is_an_answer(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is not allowed to is not allowed to anywhere."""
    nodes = Nodes(DENIED, GOOD)
    with pytest.raises(CommandFailed, match="not yours") as failed:
        await ask(nodes, READ, monkeypatch)
    assert failed.value.code == Exit.NOT_AUTHORISED


async def test_the_last_node_is_waited_for(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as it gives itself; and what is told is what was last found."""
    nodes = Nodes(HUNG, HUNG)
    with pytest.raises(CommandFailed, match=r"node:2 did not answer within 40 s"):
        await ask(nodes, READ, monkeypatch)
    assert nodes.asked == [1, 2]


async def test_who_did_not_answer_is_told_as_well(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the others cannot be reached: the one that can is what is to be looked at."""
    with pytest.raises(CommandFailed) as failed:
        await ask(Nodes(DEAD, HUNG, DEAD), READ, monkeypatch)
    assert str(failed.value) == (
        "cannot reach node:1; node:2 did not answer within 8 s; cannot reach node:3"
    )


async def test_a_web_server_is_no_node(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its 404 is about a page, and no "no such key"; the page itself says nothing."""
    with pytest.raises(CommandFailed) as caught:
        await ask(Nodes(PAGE), READ, monkeypatch)
    assert caught.value.code == Exit.COULD_NOT_CONNECT
    assert str(caught.value) == "node:1 answered 404: a web page; this is no node"
