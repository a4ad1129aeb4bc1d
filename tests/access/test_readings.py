"""access/readings.py: a large policy is read in a thread, and counts once it is understood."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from edge_tunnel.access import policy_reader
from edge_tunnel.access.policy_reader import PolicyInspection, read_policy
from edge_tunnel.access.rights import Grant, Principal
from edge_tunnel.access.state import HEAD, PushedPolicy, version_row
from edge_tunnel.access.store import Write
from tests.access.house import ROOT, House

ANNA = Principal(role="remote", name="anna", via="a test")
RULE = '[[allow]]\nusers = ["{}"]\nthings = ["pump-1"]\nservices = ["ssh"]\n'


def large(user: str, salt: str = "") -> str:
    """Above what is read at once."""
    return "format = 1\n" + RULE.format(user) + f"# {salt}" + "x" * 5000


class Gate:
    """Holds the reader up, until the event loop says go on: only another thread can wait so."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.reading = threading.Event()
        self.blocked_the_loop = False
        self._honest = policy_reader._read
        self._main = threading.get_ident()

    def read(self, text: str, name: str) -> PolicyInspection:
        self.reading.set()
        if threading.get_ident() == self._main:
            self.blocked_the_loop = True
        else:
            assert self.opened.wait(20)
        return self._honest(text, name)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    policy_reader._LAST.clear()
    gate = Gate()
    monkeypatch.setattr(policy_reader, "_read", gate.read)
    yield gate
    gate.opened.set()
    policy_reader._LAST.clear()


def may(house: House, user: Principal = ANNA) -> bool:
    return isinstance(house.authority.judge(user, "pump-1", "ssh"), Grant)


async def put(house: House, version: int, text: str) -> None:
    """As if it came from another node."""
    pushed = PushedPolicy(version=version, text=text, by="root", at=0.0)
    before = str(version - 1) if version > 1 else None
    head = Write(HEAD, str(version), before)
    await house.store.commit(Write(version_row(version), pushed.row()), head)


async def test_the_event_loop_goes_on_while_a_push_is_checked(gate: Gate) -> None:
    """The push waits for its thread; everything else has its turn, and the old policy holds."""
    house = House()
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.authority.run)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(house.admin.push, large("anna"), 0, "", ROOT)
            await trio.to_thread.run_sync(gate.reading.wait, 20)
            assert not gate.blocked_the_loop
            assert not may(house)
            gate.opened.set()
            while not may(house):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()


async def test_another_nodes_push_is_read_aside_too(gate: Gate) -> None:
    """It comes over the store, with nobody who waits for it: judged anew when it is understood."""
    house = House()
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.authority.run)
            await trio.testing.wait_all_tasks_blocked()
            await put(house, 1, large("anna"))
            await trio.to_thread.run_sync(gate.reading.wait, 20)
            assert (gate.blocked_the_loop, may(house), house.changes) == (False, False, 1)
            await put(house, 2, large("ben"))  # meanwhile somebody pushes the next one
            assert not may(house)
            gate.opened.set()
            ben = Principal(role="remote", name="ben", via="a test")
            while not may(house, ben):
                await trio.lowlevel.checkpoint()
            assert not may(house)
            assert (house.authority.state.version, house.changes) == (2, 3)
            assert not gate.blocked_the_loop
            nursery.cancel_scope.cancel()


async def test_before_the_node_runs_it_is_read_at_once(gate: Gate) -> None:
    """At its start nobody could be held up, and nothing is decided without it."""
    house = House()
    await put(house, 1, large("anna"))
    assert gate.blocked_the_loop
    assert may(house)


def test_the_last_texts_are_known() -> None:
    """Read once; a file's own name in findings is not mixed up with another's."""
    policy_reader._LAST.clear()
    text = "format = 1\n" + RULE.format("anna")
    assert read_policy(text) is read_policy(text)
    for number in range(10):
        read_policy(f"{text}# {number}")
    assert len(policy_reader._LAST) == 4
    assert policy_reader.read_already(text) is None
    wrong = read_policy("format = 1\nx = 1", "mine.toml").findings[0]
    assert wrong.file == "mine.toml"
    assert read_policy("format = 1\nx = 1").findings[0].file == "policy.toml"
