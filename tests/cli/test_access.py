"""``edge-tunnel key|ticket|policy`` and a node with identities, as processes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge_tunnel.access.keys import generate
from edge_tunnel.cli.exits import Exit
from edge_tunnel.testing.etcd import free_port, open_etcd
from edge_tunnel.testing.processes import Child

if TYPE_CHECKING:
    from tests.cli.conftest import Bench, Ended

EXAMPLE = Path(__file__).parents[2] / "examples" / "policy.toml"


class Desk:
    """An administrator's desk: commands, and all that was ever printed."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.admin = generate()
        self.nodes: list[Child] = []
        self.printed = ""
        environ = bench.site.environ
        environ.pop("EDGE_TUNNEL_DEV_KEY")
        environ.update(EDGE_TUNNEL_ADMIN_KEY=self.admin, EDGE_TUNNEL_KEY=self.admin)

    async def node(self, *words: str) -> str:
        """Start one; its URL, which is the desk's from now on."""
        common = ("--listen", "127.0.0.1:0", "--json", "--exit-with-stdin")
        node = await self.bench.site.start("proxy", *common, *words)
        self.nodes.append(node)
        url = str((await node.event("listening"))["url"])
        self.bench.site.environ["EDGE_TUNNEL_PROXY"] = url.replace("ws:", "http:")
        return url

    async def run(self, *words: str, stdin: bytes = b"", key: str | None = None) -> Ended:
        self.bench.site.environ["EDGE_TUNNEL_KEY"] = key or self.admin
        ended = await self.bench.run(*words, stdin=stdin)
        self.printed += ended.err
        return ended

    async def line(self, *words: str, stdin: bytes = b"", key: str | None = None) -> str:
        """What it prints, one line, after it went well."""
        ended = await self.run(*words, stdin=stdin, key=key)
        assert (ended.code, ended.out.count(b"\n")) == (Exit.DONE, 1), ended
        return ended.out.decode().strip()

    async def said(self, *words: str) -> dict[str, object]:
        ended = await self.run(*words, "--json")
        assert ended.code == Exit.DONE, ended
        return dict(json.loads(ended.out))


@pytest.fixture
async def desk(long_bench: Bench) -> Desk:
    return Desk(long_bench)


async def test_generate_asks_nobody(bench: Bench) -> None:
    """A key, alone on stdout."""
    ended = await bench.run("key", "generate")
    assert re.fullmatch(rb"etk_[\w-]{43}\n", ended.out) and (ended.code, ended.err) == (0, "")


@pytest.mark.parametrize(
    ("environ", "words", "code", "said"),
    [
        ({}, (), Exit.USAGE, "no key: set EDGE_TUNNEL_ADMIN_KEY"),
        ({"EDGE_TUNNEL_ADMIN_KEY": "short"}, (), Exit.CONFIGURATION, "16 to 1024"),
        ({}, ("--state", "STATE"), Exit.CONFIGURATION, "no administrator"),
        ({"EDGE_TUNNEL_DEV_KEY": "k"}, ("--state", "STATE"), Exit.USAGE, "lets everybody in"),
        (
            {"EDGE_TUNNEL_DEV_KEY": "k", "EDGE_TUNNEL_ADMIN_KEY": "k" * 20},
            (),
            Exit.USAGE,
            "lets everybody in",
        ),
        ({}, ("--admin-key-file", "none"), Exit.CONFIGURATION, "cannot be read"),
    ],
)
async def test_cve_2024_43798_no_node_starts_open(
    bench: Bench, environ: dict[str, str], words: tuple[str, ...], code: int, said: str
) -> None:
    """Without a key, with a bad one, or with two ways in at once: one line and no node."""
    bench.site.environ.pop("EDGE_TUNNEL_DEV_KEY")
    bench.site.environ.update(environ)
    words = tuple(str(bench.site.folder / word) if word == "STATE" else word for word in words)
    ended = await bench.run("proxy", "--listen", "127.0.0.1:0", *words)
    assert ended.code == code and said in ended.err and ended.err.count("\n") == 1


@pytest.mark.slow
async def test_an_administrators_day(desk: Desk) -> None:
    """Keys, a policy, a ticket, rotation, revocation; all of it lasts; no secret is ever shown."""
    state = str(desk.bench.site.folder / "state")
    await desk.node("--state", state)
    device = await desk.line("key", "new", "--edge", "device-7")
    uuid = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
    old = ("key", "new", "--edge", "device-8", "--import")
    imported = await desk.run(*old, stdin=uuid.encode())
    assert (imported.code, imported.out) == (Exit.DONE, b"")
    assert (await desk.run(*old, stdin=b"too short")).code == Exit.USAGE
    assert (await desk.run(*old, stdin=uuid.encode())).code == Exit.CONFLICT
    anna = await desk.line("key", "new", "--remote", "anna", "--expires", "90d")
    pushed = await desk.run("policy", "push", str(EXAMPLE), "--comment", "first")
    assert pushed.code == Exit.DONE and b"version 1 is in force" in pushed.out
    stale = await desk.run("policy", "push", str(EXAMPLE), "--expected", "0")
    assert stale.code == Exit.CONFLICT and "somebody pushed meanwhile" in stale.err
    ticket = await desk.line("ticket", "device-7", "ssh", key=anna)
    denied = await desk.run("ticket", "device-7", "ssh", "--user", "zoe")
    assert denied.code == Exit.NOT_AUTHORISED and denied.out == b""
    assert (await desk.run("key", "list", key=anna)).code == Exit.NOT_AUTHORISED
    shown = await desk.run("policy", "show")
    assert shown.out == EXAMPLE.read_bytes()
    table = (await desk.run("key", "list")).out.decode()
    assert [line.split()[1:3] for line in table.splitlines()[1:]] == [
        ["edge", "device-7"],
        ["edge", "device-8"],
        ["remote", "anna"],
    ]
    first = table.split("\n")[1].split()[0]
    newer = await desk.line("key", "new", "--replaces", first[:8], "--overlap", "1s")
    assert (await desk.run("key", "revoke", first)).code == Exit.DONE
    assert (await desk.run("key", "revoke", first)).code == Exit.NOT_THERE
    await desk.nodes[0].kill()
    await desk.node("--state", state)
    assert [one["version"] for one in (await desk.said("policy", "history"))["versions"]] == [1]  # type: ignore[attr-defined]
    assert len((await desk.said("key", "list"))["keys"]) == 3  # type: ignore[arg-type]
    told = desk.printed + table + str([(node.events, node.words) for node in desk.nodes])
    told += (desk.bench.site.folder / "state" / "access.json").read_text()
    for secret in (desk.admin, device, uuid, anna, ticket, newer):
        assert secret not in told
    assert len({device, anna, newer}) == 3


@pytest.mark.slow
async def test_errors_are_one_line_and_a_code(desk: Desk) -> None:
    """What is wrong, and what to do."""
    url = await desk.node()
    assert await desk.nodes[0].event("state_in_memory")
    bad = desk.bench.site.folder / "policy.toml"
    bad.write_text("format = 2\n")
    folder = desk.bench.site.folder
    odd = folder / "odd.key"
    odd.write_text("no\tkey")
    cases = [
        (("policy", "push", str(bad)), Exit.CONFIGURATION, "too old for format 2"),
        (("policy", "check", str(bad)), Exit.CONFIGURATION, ""),
        (("policy", "push", str(folder / "none")), Exit.CONFIGURATION, "cannot be read"),
        (("policy", "rollback", "3"), Exit.NOT_THERE, "no version 3"),
        (("policy", "show", "--version", "0"), Exit.USAGE, "begin with 1"),
        (("key", "revoke", "../policy"), Exit.USAGE, "key list"),
        (("key", "new", "--edge", "a", "--overlap", "1d"), Exit.USAGE, "--replaces"),
        (("key", "new", "--edge", "a", "--expires", "soon"), Exit.USAGE, "90d"),
        (("key", "list", "--key-file", str(odd)), Exit.NOT_AUTHORISED, "not accepted"),
        (
            ("key", "list", "--proxy", f"ws://127.0.0.1:{free_port()}"),
            Exit.COULD_NOT_CONNECT,
            "cannot reach",
        ),
        (("key", "list", "--proxy", url.replace("ws:", "wss:")), Exit.COULD_NOT_CONNECT, "TLS"),
        (
            ("key", "list", "--http-proxy", f"127.0.0.1:{free_port()}"),
            Exit.COULD_NOT_CONNECT,
            "HTTP proxy",
        ),
    ]
    for words, code, said in cases:
        ended = await desk.run(*words)
        assert (ended.code, said in ended.err) == (code, True), (words, ended)
        assert ended.err.count("\n") == bool(said), (words, ended)
    empty = await desk.run("policy", "show")
    assert (empty.code, empty.out) == (Exit.DONE, b"") and "everything is denied" in empty.err


@pytest.mark.slow
async def test_a_node_in_development_mode_has_no_api(running: Bench) -> None:
    """And its client says why."""
    ended = await running.run("key", "list")
    assert ended.code == Exit.REFUSED_BY_DEVICE and "development key" in ended.err


@pytest.mark.slow
async def test_pushed_once_to_any_node(desk: Desk) -> None:
    """In force on all nodes, also on one that starts later; keys and tickets as well."""
    with open_etcd() as etcd:

        def cluster(name: str) -> tuple[str, ...]:
            where = ("--cluster", etcd.url, "--node-name", name)
            return (*where, "--advertise", f"127.0.0.1:{free_port()}")

        one = await desk.node(*cluster("a"))
        two = await desk.node(*cluster("b"))
        await desk.run("policy", "push", str(EXAMPLE), "--proxy", one)
        assert (await desk.said("policy", "show", "--proxy", two))["version"] == 1
        anna = await desk.line("key", "new", "--remote", "anna", "--proxy", two)
        three = await desk.node(*cluster("c"))
        assert (await desk.said("policy", "show", "--proxy", three))["version"] == 1
        assert await desk.line("ticket", "device-7", "ssh", "--proxy", three, key=anna)
        etcd.members[0].kill()
        away = await desk.run("key", "new", "--remote", "ben", "--proxy", one)
        assert away.code == Exit.COULD_NOT_CONNECT and "etcd at" in away.err
        assert away.err.count("\n") == 1
        assert (await desk.said("policy", "show", "--proxy", one))["version"] == 1


@pytest.mark.slow
async def test_keys_and_tickets_let_in_as_far_as_the_policy_says(desk: Desk) -> None:
    """A device by its key, a user by his key or by a ticket, once; revoked means over."""
    site, folder = desk.bench.site, desk.bench.site.folder
    await desk.node()
    site.port = int(site.environ["EDGE_TUNNEL_PROXY"].rpartition(":")[2])
    site.environ["EDGE_TUNNEL_PROXY"] = site.url
    policy = folder / "policy.toml"
    rule = '[[allow]]\nusers = ["anna"]\nthings = ["device-*"]\nservices = ["echo"]\n'
    policy.write_text(f"format = 1\n{rule}")
    assert (await desk.run("policy", "push", str(policy))).code == Exit.DONE
    site.key = await desk.line("key", "new", "--edge", "device-7")
    anna = await desk.line("key", "new", "--remote", "anna")
    zoe = await desk.line("key", "new", "--remote", "zoe")
    edge = await site.start_edge(desk.bench.services)
    connect = ("connect", "device-7", "echo", "--stdio")
    for key, code in (
        (anna, Exit.DONE),
        (zoe, Exit.NOT_AUTHORISED),
        (desk.admin, Exit.NOT_AUTHORISED),
    ):
        ended = await desk.run(*connect, stdin=b"hello", key=key)
        assert (ended.code, ended.out) == (code, b"hello" if code == Exit.DONE else b""), ended
    refused = await desk.run("connect", "device-7", "reset", "--stdio", key=anna)
    assert refused.code == Exit.SERVICE_NOT_ALLOWED
    ticket = await desk.line("ticket", "device-7", "echo", "--user", "anna", "--lifetime", "5m")
    used = await desk.run(*connect, "--ticket", ticket, stdin=b"hello")
    assert (used.code, used.out) == (Exit.DONE, b"hello")
    again = await desk.run(*connect, "--ticket", ticket, stdin=b"hello")
    assert (again.code, again.out) == (Exit.NOT_AUTHORISED, b"")
    device = (await desk.said("key", "list"))["keys"][0]["id"]  # type: ignore[index]
    assert (await desk.run("key", "revoke", device)).code == Exit.DONE
    await desk.nodes[0].event("unbound")
    await edge.event("link_refused")
    told = desk.printed + str([(one.events, one.words) for one in (*desk.nodes, edge)])
    assert not any(secret in told for secret in (site.key, anna, zoe, ticket, desk.admin))
