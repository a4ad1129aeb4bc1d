"""proxy/alwayson/dialogue.py against what real clients said, byte for byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_tunnel.alwayson.codec import decode
from edge_tunnel.alwayson.messages import Auth, Bind, Message, Request, Response, auth
from edge_tunnel.alwayson.multipart import MAX_FRAME, Assembly, encode_parts
from edge_tunnel.alwayson.reading import AlwaysOnError
from edge_tunnel.alwayson.tunnels import StartTunnel, service
from edge_tunnel.alwayson.values import one_row, string
from edge_tunnel.proxy.alwayson.dialogue import (
    Answered,
    AuthAsked,
    BindAsked,
    Commanded,
    Dialogue,
    UnbindAsked,
)

_FILE = Path(__file__).parents[2] / "vectors" / "alwayson.json"
VECTORS: list[dict[str, str]] = json.loads(_FILE.read_text(encoding="utf-8"))
SESSION = 0x1234
"""What the throw-away server said that the clients were captured with."""

BY_DEVICES = [each for each in VECTORS if each["dir"] == "C->S" and int(each["ws_opcode"]) == 2]


def admitted() -> Dialogue:
    dialogue = Dialogue(SESSION)
    dialogue.receive(encode_parts(Message(auth("key"), 1))[0], 0.0)
    assert dialogue.events.popleft() == AuthAsked("key")
    dialogue.admitted()
    assert dialogue.next_message() is not None
    return dialogue


@pytest.mark.parametrize("client", ["C SDK 2.2.1", "Java SDK 6.2.0", "C SDK 1.3.1"])
def test_the_greeting_of_real_clients(client: str) -> None:
    """AUTH is answered as the server that they were recorded with did, to the last byte."""
    named = {each["name"]: each["hex"] for each in VECTORS if each["client"] == client}
    dialogue = Dialogue(SESSION)
    dialogue.receive(bytes.fromhex(named["auth_request"]), 0.0)
    assert isinstance(dialogue.events.popleft(), AuthAsked)
    dialogue.admitted()
    assert dialogue.next_message() == bytes.fromhex(named["auth_ok_response"])
    dialogue.receive(bytes.fromhex(named["bind_request"]), 0.0)
    assert dialogue.events.popleft() == BindAsked(("SteamSensor1",))
    assert dialogue.next_message() is None
    dialogue.bound("SteamSensor1")
    answer = dialogue.next_message()
    assert answer is not None
    assert decode(answer).body == Response()


@pytest.mark.parametrize("vector", BY_DEVICES, ids=lambda each: each["name"])
def test_whatever_a_real_client_says_is_answered(vector: dict[str, str]) -> None:
    """Every request has its answer, or an event that leads to one; nothing ends the socket."""
    said = bytes.fromhex(vector["hex"])
    body = decode(said).body
    dialogue = Dialogue(SESSION) if isinstance(body, Auth) else admitted()
    dialogue.receive(said, 0.0)
    events = list(dialogue.events)
    answered = dialogue.next_message() is not None
    if isinstance(body, (Auth, Bind)):
        assert events
    elif isinstance(body, Request):
        assert answered
    elif isinstance(body, Response):
        assert isinstance(events[0], Answered)


def test_commands_of_real_clients() -> None:
    """CANCEL and DISCONNECT, with C's zeros behind them."""
    found = set()
    for vector in BY_DEVICES:
        dialogue = Dialogue(SESSION) if "auth" in vector["name"] else admitted()
        dialogue.receive(bytes.fromhex(vector["hex"]) + bytes(16), 0.0)
        found |= {each.command for each in dialogue.events if isinstance(each, Commanded)}
        assert not any(isinstance(each, UnbindAsked) and not each.names for each in dialogue.events)
    assert found == {"CANCEL", "DISCONNECT"}


def test_what_is_too_large_for_a_device_goes_in_parts() -> None:
    """8,192 bytes at most: a larger frame makes real devices drop the connection."""
    dialogue = admitted()
    dialogue.ask(service("thing", "Any", one_row({"text": string("x" * 50_000)})))
    dialogue.ask(StartTunnel("t" * 57, "h" * 255, 22).request("n" * 256))
    assembly, whole = Assembly(), []
    while (part := dialogue.next_message()) is not None:
        assert len(part) <= MAX_FRAME
        message = assembly.receive(part, 0.0)
        whole += [] if message is None else [message]
    assert [message.body.name for message in whole] == ["Any", "StartTunnel"]  # type: ignore[union-attr]
    assert dialogue.waiting == 0


def test_two_binds_of_one_name_at_once() -> None:
    """Each has its answer."""
    dialogue = admitted()
    for number in (5, 6):
        dialogue.receive(encode_parts(Message(Bind(("a", "b")), number))[0], 0.0)
    dialogue.bound("a")
    assert dialogue.next_message() is None
    dialogue.bound("b", "no")
    answers = [decode(dialogue.next_message() or b"") for _ in range(2)]
    assert [(each.request_id, each.body.ok) for each in answers] == [(5, True), (6, True)]  # type: ignore[union-attr]


@given(st.lists(st.binary(max_size=80), max_size=5), st.booleans())
def test_any_bytes(messages: list[bytes], after_auth: bool) -> None:
    """An event, an answer, or an AlwaysOnError; never anything else."""
    dialogue = admitted() if after_auth else Dialogue(SESSION)
    for message in messages:
        try:
            dialogue.receive(message, 0.0)
        except AlwaysOnError:
            return
