"""What went wrong in systems like this one, one lesson each: none of it happens here.

Lessons whose test stands with the part that it is about, and is not written twice:

=============================== ==================================================================
CVE-2023-0754, CVE-2023-0755    lengths and indexes: tests/protocol/test_codec.py, tests/fuzz
CVE-2020-27265                  nested and variable fields: test_codec.py, test_deep_nesting...
CVE-2023-51837                  certificates are checked: tests/link/test_dialling.py
CVE-2025-49825                  a device has the last word: tests/edge/test_edge.py, test_guard.py
websockets #1715                limit, limit + 1, limit + 2: tests/link/test_hazards.py
CVE-2024-37890                  many headers, long ones: tests/proxy/test_http.py
CVE-2023-47090                  no key, no account: tests/proxy/test_node.py
CVE-2023-44981, CVE-2023-32082  the engine over TLS: proxy/test_etcd.py; nodes: test_hop_tls.py
CVE-2023-48795                  what is proved is the whole transcript: tests/protocol/test_proof.py
CVE-2023-44487                  churn: tests/proxy/test_limits.py, test_pace.py, test_rates.py
=============================== ==================================================================

CVE-2024-6387 (work in a signal's context) and CVE-2025-30215 (an API that we do not have) cannot
strike here; CVE-2022-41924 (a local API) cannot because the device has none (CVE-2022-25247,
CVE-2022-25251: below).
"""

from __future__ import annotations

import ast
import os
import re
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import pytest
import tomli
import trio
import trio.testing

import edge_tunnel
from edge_tunnel import DevelopmentKey, NodeSettings, Reason
from edge_tunnel.access.rights import Denial, Grant, Principal
from edge_tunnel.config import TlsSettings
from edge_tunnel.link.websocket import open_client
from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import Bind, Bound, Bye, Close, Frame, Welcome
from edge_tunnel.testing.processes import Child, Site, open_site
from edge_tunnel.testing.wire import WireStream
from tests.proxy.peers import attach, hello, join, running
from tests.proxy.test_http import KEYS, UPGRADE, ask, everything, get, make_node, visiting

PACKAGE = Path(edge_tunnel.__file__).parent


# -- keys


async def greet(port: int, key: str) -> Frame:
    """What a node process answers to an edge with this key."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with open_client(stream, host="n", path="/", peer="n", timeout=10) as transport:
        await transport.send(encode(hello("edge", key=key)))
        return decode(await transport.receive())


def ways(folder: Path) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Each documented place of the key: arguments and environment."""
    listen = 'listen = "127.0.0.1:0"\n'
    for name, line in {
        "inline.toml": 'dev_key = "right"\n',
        "file.toml": 'dev_key_file = "the-key"\n',
        "none.toml": "",
    }.items():
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(line + listen)
    secret = folder / "the-key"
    secret.touch(mode=0o600)
    secret.write_text("right\n")
    credentials = folder / "credentials"
    credentials.mkdir()
    (credentials / "dev_key").touch(mode=0o600)
    (credentials / "dev_key").write_text("right")
    config = ["--config", str(folder / "none.toml")]
    return {
        "variable": (["--listen", "127.0.0.1:0"], {"EDGE_TUNNEL_DEV_KEY": "right"}),
        "argument": (["--listen", "127.0.0.1:0", "--dev-key", "right"], {}),
        "file": (["--config", str(folder / "inline.toml")], {}),
        "file of its own": (["--config", str(folder / "file.toml")], {}),
        "variable beside a file": (config, {"EDGE_TUNNEL_DEV_KEY": "right"}),
        "systemd": (config, {"CREDENTIALS_DIRECTORY": str(credentials)}),
    }


@asynccontextmanager
async def proxy(words: list[str], environ: dict[str, str]) -> AsyncIterator[tuple[Site, Child]]:
    async with open_site(Path()) as site:
        site.environ = {k: v for k, v in os.environ.items() if not k.startswith("EDGE_TUNNEL")}
        site.environ |= environ
        yield site, await site.start("proxy", *words, "--json", "--exit-with-stdin")


@pytest.mark.slow
async def test_cve_2024_43798_the_key_is_in_force_wherever_it_is_written(tmp_path: Path) -> None:
    """A documented variable that nobody read made an open server. Here each place is read."""
    for name, (words, environ) in ways(tmp_path).items():
        with trio.fail_after(60):
            async with proxy(words, environ) as (_, child):
                url: str = (await child.event("listening"))["url"]
                port = int(url.rpartition(":")[2])
                assert isinstance(await greet(port, "right"), Welcome), name
                for wrong in ("", "wrong", "right ", "RIGHT"):
                    answer = await greet(port, wrong)
                    assert isinstance(answer, Bye), (name, wrong)
                    assert answer.reason == Reason.NOT_AUTHORISED


@pytest.mark.slow
async def test_cve_2022_25246_there_is_no_key_that_works_by_itself(tmp_path: Path) -> None:
    """A node that was given no key, or an empty one, does not start: no default secret, ever."""
    for words, environ in (
        (["--listen", "127.0.0.1:0"], {}),
        (["--listen", "127.0.0.1:0", "--dev-key", ""], {}),
        (["--listen", "127.0.0.1:0"], {"EDGE_TUNNEL_DEV_KEY": ""}),
        (ways(tmp_path)["systemd"][0], {}),
    ):
        with trio.fail_after(60):
            async with proxy(words, environ) as (_, child):
                await child.process.wait()
                await child.line("key")
                assert child.process.returncode not in (0, None)
                assert [each["event"] for each in child.events] in ([], ["failed"])


SECRET_WORD = re.compile(r"(^|_)(keys?|secrets?|proofs?|tokens?|passwords?|digest|h?mac)$")
PUBLIC = {  # each was looked at: keys of tables, and a fingerprint's form
    ("access/state.py", "key == SECRET"),
    ("config/walk.py", "member.key != member.key.strip()"),
    ("link/tls.py", "key == name"),
    ("protocol/identity.py", "digest == text"),
    ("proxy/access_store.py", "name == key"),
    ("proxy/access_store.py", "row.key == self._place + key"),
    ("proxy/http.py", "key == name"),
    ("proxy/tls.py", "key == 'commonName'"),
}


def compared() -> Iterator[tuple[str, str]]:
    """Each == or != whose side is named after something secret."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                sides = [node.left, *node.comparators]
                named = any(SECRET_WORD.search(_name(side)) for side in sides)
                empty = any(isinstance(side, ast.Constant) and not side.value for side in sides)
                equal = any(isinstance(op, (ast.Eq, ast.NotEq)) for op in node.ops)
                if named and equal and not empty:
                    yield path.relative_to(PACKAGE).as_posix(), ast.unparse(node)


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        return _name(node.func)
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


def test_cve_2021_33880_secrets_are_compared_in_constant_time() -> None:
    """`==` on a secret tells how much of a guess was right; hmac.compare_digest does not."""
    assert [each for each in compared() if each not in PUBLIC] == []
    used = [p for p in PACKAGE.rglob("*.py") if "hmac.compare_digest(" in p.read_text("utf-8")]
    assert len(used) >= 4


# -- what is decided is what is done


class OnlyOne(DevelopmentKey):
    """The remote may reach thing ``t`` alone."""

    def judge(self, principal: Principal, thing: str, service: str) -> Grant | Denial:  # noqa: ARG002
        if thing == "t":
            return Grant()
        return Denial(reason=Reason.SERVICE_NOT_ALLOWED, text="not yours")


async def test_cve_2026_40910_what_is_routed_on_is_what_was_asked_about(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Routing by one value and access by another let people in. Here a tunnel goes where its
    judged thing is, also a tunnel id that stands for another one."""
    async with running() as (node, nursery):
        node.authority = node.traffic.guard.authority = OnlyOne("k")
        mine, theirs = await join(node, nursery, "edge"), await join(node, nursery, "edge")
        for edge, thing in ((mine, "t"), (theirs, "other")):
            await edge.say(Bind(thing, 1))
            assert isinstance(await edge.hear(), Bound)
        remote = await join(node, nursery, "remote")
        await remote.say(attach(thing="other"))
        refused = await remote.hear()
        assert isinstance(refused, Close) and refused.reason == Reason.SERVICE_NOT_ALLOWED
        await remote.say(attach(1))
        assert await mine.hear() == attach(1)
        await remote.say(attach(2, fresh=False, thing="other"))
        assert isinstance(await remote.hear(), Close)
        assert await theirs.silent()


async def test_cve_2024_1709_no_way_around_by_another_spelling(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A path that is nearly right is wrong: a trailing part once opened a server's setup."""
    node = make_node()
    paths = [
        "/health/",
        "//health",
        "/HEALTH",
        "/%68ealth",
        "/health;x",
        "/x/../health",
        "/ready/..",
    ]
    for path in (*paths, "/health%00", "/health/setup", "http://n/health", "/setup"):
        assert (await ask(node, get(path)))[0] == 404, path


@pytest.mark.parametrize("path", ["/", "/health", "/ready", "/Thingworx/WS", "/api/v1/keys"])
async def test_cve_2024_1709_every_websocket_has_to_greet(
    autojump_clock: trio.testing.MockClock, path: str
) -> None:
    """There is one door: a WebSocket on any path says HELLO with a key, or is shown out."""
    async with (
        visiting(make_node()) as stream,
        open_client(stream, host="n", path=path, peer="n", timeout=5) as transport,
    ):
        await transport.send(encode(Bind("device-7", 1)))
        answer = decode(await transport.receive())
        assert isinstance(answer, Bye)
        assert answer.reason == Reason.PROTOCOL_ERROR


# -- browsers


async def test_cve_2024_26135_nothing_of_a_browser_gives_rights(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Cookies and logins that a browser adds by itself are not looked at: the key is in HELLO."""
    headers = b"Cookie: key=k; session=k\r\nAuthorization: Bearer k\r\nappKey: k\r\n"
    async with visiting(make_node()) as stream:
        await stream.send_all(UPGRADE + headers + KEYS + b"\r\n")
        answer = await _upgraded(stream)
        message = encode(hello("remote", key=""))
        await stream.send_all(struct.pack(">BB", 0x82, 0x80 | len(message)) + bytes(4) + message)
        rest = answer.partition(b"\r\n\r\n")[2] or await stream.receive_some()
        bye = decode(bytes(rest[2 : 2 + rest[1]]))
        assert isinstance(bye, Bye) and bye.reason == Reason.NOT_AUTHORISED


@pytest.mark.skipif(
    not hasattr(NodeSettings(), "origins"), reason="this node has no list of web pages that may ask"
)
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://n.evil.example"])
async def test_cve_2024_26135_pages_of_others_get_no_websocket(
    autojump_clock: trio.testing.MockClock, origin: str
) -> None:
    """A page that its visitor opened must not open a WebSocket with what the visitor may do."""
    request = UPGRADE + f"Origin: {origin}\r\n".encode() + KEYS + b"\r\n"
    assert (await ask(make_node(), request))[0] == 403


async def _upgraded(stream: WireStream) -> bytes:
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += await stream.receive_some()
    assert answer.startswith(b"HTTP/1.1 101 ")
    return answer


# -- WebSockets and HTTP


async def test_cve_2018_1000518_nothing_is_ever_unpacked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Compression that is offered is not agreed on, and a compressed frame ends the connection."""
    offer = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    async with visiting(make_node()) as stream:
        await stream.send_all(UPGRADE + offer + KEYS + b"\r\n")
        answer = await _upgraded(stream)
        assert b"extensions" not in answer.lower()
        await stream.send_all(b"\xc2\x85" + bytes(4) + b"xxxxx")  # RSV1: compressed
        assert (await everything(stream))[:1] in (b"\x88", b"")  # CLOSE, or nothing at all


@pytest.mark.parametrize("size", [2**63 - 1, 2**63, 2**64 - 1, 2**32])
async def test_cve_2020_27813_a_length_is_not_believed(
    autojump_clock: trio.testing.MockClock, size: int
) -> None:
    """A frame that announces more than a message may have ends the connection; nothing is kept."""
    async with visiting(make_node()) as stream:
        await stream.send_all(UPGRADE + KEYS + b"\r\n")
        await _upgraded(stream)
        await stream.send_all(b"\x82\xff" + struct.pack(">Q", size) + bytes(4) + bytes(1000))
        assert (await everything(stream))[:1] in (b"\x88", b"")


def test_cve_2025_43859_h11_is_new_enough() -> None:
    """Before 0.16 it took chunks with a wrong end for good ones: two requests where we see one."""
    assert tuple(map(int, version("h11").split(".")[:2])) >= (0, 16)
    project = tomli.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    assert "h11>=0.16" in project["project"]["dependencies"]


async def test_cve_2025_43859_one_connection_is_one_request(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What stands behind a request is never a second one: there is nothing to smuggle."""
    async with visiting(make_node()) as stream:
        await stream.send_all(get("/health") + get("/ready"))
        assert (await everything(stream)).count(b"HTTP/1.1 ") == 1


def test_cve_2023_51837_certificates_are_checked_unless_somebody_says_no() -> None:
    """The settings that nobody wrote are the safe ones."""
    settings = TlsSettings()
    assert settings.validate
    assert not settings.allow_self_signed
    assert settings.check_hostname


# -- the device


@pytest.mark.slow
async def test_cve_2022_25251_no_listening_port_on_the_device(tmp_path: Path) -> None:
    """An agent's open control port was everybody's. An edge at work listens nowhere at all."""
    with trio.fail_after(60):
        async with open_site(tmp_path) as site, trio.open_nursery() as nursery:
            proxy_child = await site.start_proxy()
            listeners = await nursery.start(
                trio.serve_tcp,
                _echo,
                0,
            )
            edge = await site.start_edge({"web": listeners[0].socket.getsockname()[1]})
            remote = await site.start("connect", "device-7", "web", "--json", "--exit-with-stdin")
            port = (await remote.event("listening"))["port"]
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(b"hello")
                assert await stream.receive_some() == b"hello"
                assert listening(edge.process.pid) == []
            assert listening(proxy_child.process.pid) != []  # this look can see something
            nursery.cancel_scope.cancel()


async def _echo(stream: trio.SocketStream) -> None:
    async for data in stream:
        await stream.send_all(data)


def listening(pid: int) -> list[str]:
    """Sockets of a process that others may connect or send to: TCP, UDP and Unix."""
    folder = Path(f"/proc/{pid}")
    links = [str(each.readlink()) for each in (folder / "fd").iterdir()]
    own = {link[8:-1] for link in links if link.startswith("socket:[")}
    found = []
    for name in ("tcp", "tcp6", "udp", "udp6"):
        for line in (folder / "net" / name).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in own and fields[3] in ("0A", "07"):  # LISTEN; a UDP socket's only state
                found.append(f"{name} {fields[1]}")
    for line in (folder / "net" / "unix").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[6] in own and int(fields[3], 16) & 0x10000:  # __SO_ACCEPTCON
            found.append(f"unix {fields[7:]}")
    return found


LESSONS = """
2023-0754 2023-0755 2020-27265 2022-25246 2022-25247 2022-25251 2024-43798 2026-40910 2024-26135
2023-51837 2025-49825 2024-1709 2022-41924 2025-43859 2018-1000518 2021-33880 2020-27813 2024-37890
2023-47090 2025-30215 2023-44981 2023-32082 2023-48795 2024-6387 2023-44487
"""


def test_each_lesson_is_here_and_each_place_exists() -> None:
    """By its number; and the files that the table names hold tests."""
    here = Path(__file__).read_text(encoding="utf-8").partition("LESSONS = ")[0]
    numbers = here.upper().replace("_", "-")
    assert [each for each in LESSONS.split() if f"CVE-{each}" not in numbers] == []
    tests = Path(__file__).parents[1]
    for name in set(re.findall(r"test_\w+\.py", here)):
        found = [each.read_text(encoding="utf-8") for each in tests.rglob(name)]
        assert any("def test_" in text for text in found), name


def test_the_list_is_whole() -> None:
    """Each lesson of docs/security.md is named in this file."""
    text = (PACKAGE.parent / "docs" / "security.md").read_text(encoding="utf-8")
    named = set(re.findall(r"CVE-\d{4}-\d+", text))
    here = Path(__file__).read_text(encoding="utf-8").upper().replace("_", "-")
    assert named
    assert [each for each in sorted(named) if each not in here] == []
