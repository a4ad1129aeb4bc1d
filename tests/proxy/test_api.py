"""proxy/api.py and http.py: a node's API, over a wire with h11 at both ends, and hostile requests.

Lessons of others that can strike here, by name: CVE-2024-1709 (another path around the login),
CVE-2024-26135 (a web page that asks with its visitor's rights), CVE-2026-40910 (checked one value
and used another), CVE-2024-43798 (a login that was never asked for).
"""

from __future__ import annotations

import json

import pytest
import trio
import trio.testing

from edge_tunnel.access.administration import Administration
from edge_tunnel.access.keys import generate
from edge_tunnel.proxy.api import Api, ApiAnswer, ApiRequest
from edge_tunnel.proxy.http import MAX_BODY
from tests.proxy.api_house import ADMIN, PAGE, House, http

POLICY = """format = 1
[[allow]]
users = ["anna"]
things = ["*"]
services = ["ssh"]
"""


@pytest.fixture
def house() -> House:
    return House()


# -- what it does


async def test_from_the_first_key_to_a_ticket(house: House) -> None:
    """An administrator makes keys and pushes a policy; a user makes a ticket for himself."""
    status, said = await house.ask("POST", "keys", {"role": "edge", "name": "pump-1"})
    assert status == 201 and said["record"]["things"] == ["pump-1"] and said["key"][:4] == "etk_"
    anna, ben = await house.key("remote", "anna"), await house.key("remote", "ben")
    assert (await house.ask("GET", "policy"))[1] == {"version": 0, "text": ""}
    wish = {"text": POLICY, "expected": 0, "comment": "first"}
    assert await house.ask("PUT", "policy", wish) == (
        200,
        {"version": 1, "changes": ["+ allow anna to use ssh of *"]},
    )
    ticket = {"thing": "pump-1", "service": "ssh"}
    status, said = await house.ask("POST", "tickets", ticket, anna)
    assert status == 201 and said["ticket"][:4] == "ett_"
    assert (await house.ask("POST", "tickets", ticket, ben))[0] == 403
    assert (await house.ask("POST", "tickets", {**ticket, "user": "anna"}, ben))[0] == 403
    assert (await house.ask("POST", "tickets", {**ticket, "user": "anna"}))[0] == 201
    _, said = await house.ask("GET", "whoami", key=anna)
    assert (said["role"], said["name"]) == ("remote", "anna") and "hash" not in said


async def test_any_string_can_be_a_key(house: House) -> None:
    """Also one that is no ASCII."""
    odd = "schlüssel-größe-äöü"
    wish = {"role": "remote", "name": "anna", "key": odd}
    assert (await house.ask("POST", "keys", wish))[0] == 201
    assert (await house.ask("GET", "whoami", key=odd))[1]["name"] == "anna"


async def test_keys_are_listed_and_revoked(house: House) -> None:
    """Without salt, hash or key; a revoked key is out at once."""
    anna = await house.key("remote", "anna")
    uuid = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
    status, said = await house.ask("POST", "keys", {"role": "edge", "name": "e", "key": uuid})
    assert status == 201 and "key" not in said
    _, said = await house.ask("GET", "keys")
    assert [one["name"] for one in said["keys"]] == ["e", "anna"]
    assert not {"salt", "hash"} & said["keys"][0].keys()
    key_id = said["keys"][1]["id"]
    assert (await house.ask("DELETE", f"keys/{key_id}"))[0] == 200
    assert (await house.ask("DELETE", f"keys/{key_id}"))[0] == 404
    assert (await house.ask("GET", "whoami", key=anna))[0] == 401
    again = {"role": "edge", "name": "e", "key": uuid}
    assert (await house.ask("POST", "keys", again))[0] == 409


async def test_policies_have_versions(house: House) -> None:
    """Two who push at once: one is told. Old ones come back as new ones."""
    first = {"text": POLICY, "expected": 0}
    assert (await house.ask("PUT", "policy", first))[0] == 200
    status, said = await house.ask("PUT", "policy", first)
    assert status == 409 and "version 1, not 0" in said["error"]
    assert (await house.ask("PUT", "policy", {"text": "format = 1", "expected": 1}))[0] == 200
    _, said = await house.ask("GET", "policy/history")
    assert [(one["version"], "text" in one) for one in said["versions"]] == [(2, False), (1, False)]
    assert (await house.ask("GET", "policy/versions/1"))[1]["text"] == POLICY
    assert (await house.ask("GET", "policy/versions/3"))[0] == 404
    assert (await house.ask("POST", "policy/rollback", {"version": 1, "expected": 2}))[0] == 200
    assert (await house.ask("GET", "policy"))[1]["text"] == POLICY


async def test_a_bad_policy_comes_back_with_its_findings(house: House) -> None:
    """Line, key and hint of each."""
    status, said = await house.ask("PUT", "policy", {"text": "format = 1\nalow = 1", "expected": 0})
    assert status == 422
    assert [(one["line"], one["key"], one["hint"]) for one in said["findings"]] == [
        (2, "alow", "did you mean allow?")
    ]


async def test_while_the_store_is_away(house: House) -> None:
    """Reading goes on; changes are refused with the reason."""
    house.store.away = True
    status, said = await house.ask("POST", "keys", {"role": "remote", "name": "anna"})
    assert status == 503 and "etcd at" in said["error"]
    assert (await house.ask("GET", "keys"))[0] == 200


ROUTES = [
    ("GET", "whoami"),
    ("POST", "tickets"),
    ("GET", "keys"),
    ("POST", "keys"),
    ("DELETE", "keys/abc"),
    ("GET", "policy"),
    ("PUT", "policy"),
    ("GET", "policy/history"),
    ("GET", "policy/versions/1"),
    ("POST", "policy/rollback"),
]


OPEN_TO = {"whoami": {"edge", "remote"}, "tickets": {"remote"}}


# -- who may


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_cve_2024_43798_every_path_asks_for_a_key(
    house: House, method: str, path: str
) -> None:
    """Without a key, or with a wrong one, nothing is answered; other roles get what is theirs."""
    for key in (None, "wrong", generate(), "ö" * 20):
        status, answer = await house.raw(http(f"/api/v1/{path}", method, key=key))
        assert status == 401 and b'{"error": "show a key' in answer
    for role in ("edge", "remote"):
        status, _ = await house.ask(method, path, key=await house.key(role, role))
        assert (status != 403) == (role in OPEN_TO.get(path, ()))


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/keys/",
        "/api/v1//keys",
        "/api/v1/keys?x=1",
        "/api/v1/KEYS",
        "/api/v1/./keys",
        "/api/v1/whoami/../keys",
        "/api/v1/%6beys",
        "/api/v1/keys/*",
        "/api/v1/keys/a/b",
        "/api/v1/*",
        "/api/v1/",
        "/api/v1/policy/versions/",
        "/api/v1/policy/versions/1/",
        "/api/v1/policy/versions/%31",
        "/api/v1/policy/versions/\xb2",
    ],
)
async def test_cve_2024_1709_a_path_is_itself_or_nothing(house: House, path: str) -> None:
    """No other spelling leads anywhere, with a key; and without one nobody learns which exist."""
    status, _ = await house.raw(http(path).replace(b"\xc2\xb2", b"\xb2"))
    assert status in (400, 404, 405)
    status, _ = await house.raw(http(path, key=None).replace(b"\xc2\xb2", b"\xb2"))
    assert status in (400, 401)
    assert (await house.raw(http("/api/keys")))[0] == 404
    assert (await house.raw(http("/API/v1/keys")))[0] == 404


async def test_cve_2026_40910_two_logins_are_none(house: House) -> None:
    """Nobody can say which of them was meant; another header's login is none either."""
    anna = await house.key("remote", "anna")
    for request in (
        http("/api/v1/keys", "GET", f"Authorization: Bearer {anna}"),
        http("/api/v1/keys", "GET", f"Authorization: Bearer {ADMIN}", key=anna),
        http("/api/v1/keys", "GET", f"Proxy-Authorization: Bearer {ADMIN}", key=None),
        http("/api/v1/keys", "GET", f"Cookie: key={ADMIN}", key=None),
        http("/api/v1/keys", "GET", f"Authorization: Basic {ADMIN}", key=None),
        http(f"/api/v1/keys?key={ADMIN}", key=None),
    ):
        assert (await house.raw(request))[0] == 401


UPGRADE = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13")
KEYS = ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: edge-tunnel.1")


@pytest.mark.parametrize(
    ("origins", "upgrade", "api"),
    [
        ((), 101, 200),
        ((PAGE,), 101, 200),
        (("http://node",), 101, 403),  # as ThingWorx's Java SDK: the node itself
        (("https://evil.example",), 403, 403),
        (("https://portal.example.evil",), 403, 403),
        (("null",), 403, 403),
        (("",), 403, 403),
        ((PAGE, "https://evil.example"), 403, 403),
    ],
)
async def test_cve_2024_26135_pages_of_others_are_refused(
    house: House, origins: tuple[str, ...], upgrade: int, api: int
) -> None:
    """A browser names the page; only listed ones may ask. Who is no browser names none."""
    lines = [f"Origin: {origin}" for origin in origins]
    async with house.visit() as stream:
        await stream.send_all(http("/Thingworx/WS", "GET", *UPGRADE, *KEYS, *lines, key=None))
        assert int((await stream.receive_some()).split()[1]) == upgrade
    status, answer = await house.raw(http("/api/v1/keys", "GET", *lines))
    assert status == api
    assert (b"Access-Control-Allow-Origin: " + PAGE.encode() in answer) == (origins == (PAGE,))


async def test_a_listed_page_may_ask_from_a_browser(house: House) -> None:
    """Which asks before it asks, without a key; others are not told anything."""
    asks = ("Access-Control-Request-Method: POST",)
    request = http("/api/v1/tickets", "OPTIONS", f"Origin: {PAGE}", *asks, key=None)
    status, answer = await house.raw(request)
    assert status == 200 and b"Access-Control-Allow-Headers: authorization" in answer
    assert (await house.raw(request.replace(b"portal", b"evil")))[0] == 403


# -- what hostile requests get


@pytest.mark.parametrize(
    ("method", "path", "body", "words"),
    [
        ("POST", "keys", b"{", "not JSON"),
        ("POST", "keys", b"[]", "not a JSON object"),
        ("POST", "keys", b"[" * 100_000, "not JSON"),
        ("POST", "keys", b'{"role": "edge", "name": "a", "thing": "x"}', "unknown"),
        ("POST", "keys", b'{"role": "edge", "name": 7}', "must be a string"),
        ("POST", "keys", b'{"role": "edge", "name": "a", "things": "x"}', "list of strings"),
        ("POST", "keys", b'{"role": "edge", "name": "a", "lifetime": true}', "seconds"),
        ("POST", "keys", b'{"role": "edge", "name": "a", "lifetime": 1e99}', "seconds"),
        ("POST", "keys", b'{"role": "edge", "name": "a", "lifetime": NaN}', "seconds"),
        ("POST", "keys", b'{"role": "root", "name": "a"}', "role"),
        ("POST", "keys", b'{"role": "remote", "name": "a", "key": "short"}', "16 to 1024"),
        ("POST", "tickets", b'{"service": "s"}', "thing is missing"),
        ("POST", "tickets", b'{"thing": "t", "service": "s"}', "whose ticket"),
        ("PUT", "policy", b'{"text": "", "expected": -1}', "whole number"),
        ("PUT", "policy", b'{"text": "", "expected": "0"}', "whole number"),
        ("PUT", "policy", b'{"text": "", "expected": true}', "whole number"),
        ("GET", "keys", b'{"x": 1}', "unknown"),
    ],
)
async def test_bodies_are_read_strictly(
    house: House, method: str, path: str, body: bytes, words: str
) -> None:
    """What is not understood is refused, never guessed."""
    status, answer = await house.raw(http(f"/api/v1/{path}", method, body=body))
    assert status == 400
    assert words in json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


@pytest.mark.parametrize("size", [MAX_BODY - 2, MAX_BODY, MAX_BODY + 1, 3 * MAX_BODY])
@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies_are_bounded(house: House, size: int, chunked: bool) -> None:
    """At the bound, and just above it, whether the length is said before or not."""
    body = b"{}" + b" " * (size - 2)
    if chunked:
        data = f"{size:x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
        request = http("/api/v1/whoami", "GET", "Transfer-Encoding: chunked") + data
    else:
        request = http("/api/v1/whoami", body=body)
    status, answer = await house.raw(request)
    assert status == (413 if size > MAX_BODY else 200)
    assert ("error" in json.loads(answer.partition(b"\r\n\r\n")[2])) is (status == 413)


async def test_whoever_is_slow_is_shown_out(
    house: House, autojump_clock: trio.testing.MockClock
) -> None:
    """A body that never comes has the deadline of the head; who leaves leaves nothing behind."""
    request = http("/api/v1/whoami", "GET", "Content-Length: 10")
    status, answer = await house.raw(request)
    assert status == 408 and "error" in json.loads(answer.partition(b"\r\n\r\n")[2])
    async with house.visit() as stream:
        await stream.send_all(request)
        await trio.testing.wait_all_tasks_blocked()
        stream.cut()
        await trio.testing.wait_all_tasks_blocked()
    assert house.node.strangers.count == 0


async def test_curl_waits_for_a_word_before_it_sends_much(house: House) -> None:
    """100 Continue."""
    async with house.visit() as stream:
        await stream.send_all(
            http("/api/v1/whoami", "GET", "Content-Length: 2", "Expect: 100-continue")
        )
        assert await stream.receive_some() == b"HTTP/1.1 100 Continue\r\n\r\n"
        await stream.send_all(b"{}")
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")


async def test_an_api_that_hangs_is_answered_for(
    house: House, autojump_clock: trio.testing.MockClock
) -> None:
    """Whatever the store does, the asker hears something."""

    class Hanging(Api):
        async def answer(self, _request: ApiRequest) -> ApiAnswer:
            await trio.sleep_forever()
            raise AssertionError

    house.node.api = Hanging(Administration(house.authority))
    status, said = await house.ask("GET", "whoami")
    assert status == 503 and "not done within" in said["error"]


async def test_a_node_without_identities_has_no_api(house: House) -> None:
    """In development mode there is nothing to ask."""
    house.node.api = None
    assert (await house.raw(http("/api/v1/whoami")))[0] == 404
    assert (await house.ask("GET", "whoami"))[0] == 404


async def test_what_goes_in_and_out_hides_itself(
    house: House, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """No repr and no log has a key or a ticket in it."""
    caplog.set_level("DEBUG")
    key = await house.key("remote", "anna")
    await house.raw(http("/api/v1/keys", "POST", body=f'{{"key": "{key}"'.encode()))
    request = ApiRequest("POST", "/api/v1/keys", ADMIN, f'{{"key": "{key}"}}'.encode())
    answer = ApiAnswer(201, {"key": key})
    told = (
        repr((request, answer, house.authority.state.keys)) + caplog.text + str(capsys.readouterr())
    )
    assert key not in told and ADMIN not in told
