"""proxy/etcd.py and rows.py against a real etcd: every call, failover, deadlines, TLS."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trustme

from edge_tunnel import ConfigError
from edge_tunnel.proxy.directory import Announcement, Claim, NodeInfo, Withdrawal
from edge_tunnel.proxy.etcd import (
    Change,
    Compacted,
    Endpoint,
    EngineAway,
    EngineError,
    EtcdClient,
    LeaseGone,
    endpoints_of,
)
from edge_tunnel.proxy.etcd_tls import engine_context, engine_files
from edge_tunnel.proxy.renewed import Renewed
from edge_tunnel.proxy.rows import (
    Keys,
    guarded,
    guess,
    node_of,
    node_value,
    thing_claim,
    thing_value,
)
from edge_tunnel.testing.etcd import Etcd, free_port, open_etcd


@asynccontextmanager
async def open_client(etcd: Etcd, *before: Endpoint) -> AsyncIterator[EtcdClient]:
    """A client of these endpoints, then the engine's; with the deadline of the test."""
    with trio.fail_after(30):
        client = EtcdClient([*before, *etcd.endpoints], attempt=0.3 if before else 5.0)
        try:
            yield client
        finally:
            await client.close()


# -- rows


async def test_rows_come_back_in_pages(etcd: Etcd, prefix: str) -> None:
    """A range has the rows of its prefix, in order, page by page, as of one revision."""
    async with open_client(etcd) as client:
        for number in range(5):
            await client.put(f"{prefix}k{number}", f"wert {number} ä")
        first = await client.range(prefix, most=3)
        await client.put(f"{prefix}k4", "later")
        rest = await client.range(prefix, after=first.rows[-1].key, most=3, revision=first.revision)
        assert first.more
        assert not rest.more
        assert [tuple(row) for row in first.rows + rest.rows] == [
            (f"{prefix}k{number}", f"wert {number} ä") for number in range(5)
        ]


async def test_lower_claim_never_overwrites(etcd: Etcd, prefix: str) -> None:
    """The engine itself compares: epoch first, then the node's name; equal is written again."""
    async with open_client(etcd) as client:
        keys = Keys(prefix)

        async def write(node: str, wish: Announcement | Withdrawal) -> Claim | None:
            await client.transact([guarded(keys, node, wish, 0)])
            rows = (await client.range(keys.things)).rows
            return thing_claim(rows[0].value) if rows else None

        assert await write("b", Announcement("t", 9)) == (9, "b")
        assert await write("a", Announcement("t", 8)) == (9, "b")
        assert await write("a", Announcement("t", 9)) == (9, "b")
        assert await write("c", Announcement("t", 9)) == (9, "c")
        assert await write("a", Announcement("t", 10)) == (10, "a")
        assert await write("a", Announcement("t", 2**63 - 1)) == (2**63 - 1, "a")
        assert await write("b", Withdrawal("t", 2**63 - 1)) == (2**63 - 1, "a")
        assert await write("a", Withdrawal("t", 7)) == (2**63 - 1, "a")
        assert await write("a", Withdrawal("t", 2**63 - 1)) is None


@pytest.mark.parametrize("row", [None, Claim(7, "b"), Claim(9, "a")])
async def test_a_wrong_guess_writes_nothing(etcd: Etcd, prefix: str, row: Claim | None) -> None:
    """Each row must be what was said, also absent; else none of the group is written."""
    async with open_client(etcd) as client:
        keys = Keys(prefix)
        if row is not None:
            await client.put(keys.things + "t", thing_value(row))
        before = (await client.range(keys.all)).rows
        for belief in {None, Claim(7, "b"), Claim(9, "a")} - {row}:
            wishes = [(Announcement("u", 1), None), (Announcement("t", 9), belief)]
            assert await client.transact([guess(keys, "b", wishes, 0)]) == [False]
            assert (await client.range(keys.all)).rows == before
        right = [(Announcement("u", 1), None), (Announcement("t", 9), row)]
        wrong = [(Announcement("v", 1), Claim(1, "a"))]
        both = [guess(keys, "b", right, 0), guess(keys, "b", wrong, 0)]
        assert await client.transact(both) == [True, False]
        written = {each.key: thing_claim(each.value) for each in (await client.range(prefix)).rows}
        assert written == {keys.things + "t": (9, "b"), keys.things + "u": (1, "b")}
        gone = [(Withdrawal("t", 9), Claim(9, "b")), (Withdrawal("u", 1), Claim(1, "b"))]
        assert await client.transact([guess(keys, "b", gone, 0)]) == [True]
        assert (await client.range(keys.all)).rows == []


def test_values_have_the_order_of_claims() -> None:
    """What etcd compares as bytes has the order that the directory compares as tuples."""
    claims = [Claim(epoch, node) for epoch in (0, 9, 10, 2**63 - 1) for node in ("a", "a b", "ä")]
    assert sorted(claims) == claims
    assert sorted(thing_value(claim).encode() for claim in claims) == [
        thing_value(claim).encode() for claim in claims
    ]
    assert [thing_claim(thing_value(claim)) for claim in claims] == claims


@pytest.mark.parametrize("value", ["", "7 a", "x" * 19 + " a", "0" * 19, "0" * 19 + " ", "٣" * 19])
def test_foreign_things_are_left_out(value: str) -> None:
    """A value that no node of ours wrote is not a claim."""
    assert thing_claim(value) is None


def test_nodes_of_other_versions() -> None:
    """An unknown field is left out, a missing one has its default, nonsense is no node."""
    info = NodeInfo("n", "h:1", "0.2.0", 5.5, draining=True, links=3, tunnels=4)
    assert node_of("n", node_value(info)) == info
    assert node_of("n", '{"name": "n", "address": "h:1", "colour": 1}') == NodeInfo("n", "h:1")
    assert node_of("other", node_value(info)) == info._replace(name="other")
    for nonsense in ("", "1", "[]", '{"links": "many"}', '{"draining": 1}', '{"address": null}'):
        assert node_of("n", nonsense) is None


# -- leases


async def test_lease_carries_rows(etcd: Etcd, prefix: str) -> None:
    """A revoked lease takes its rows along; then it can be neither renewed nor written under."""
    async with open_client(etcd) as client:
        lease, ttl = await client.grant(30)
        assert ttl == 30
        await client.put(f"{prefix}k", "v", lease)
        assert await client.keep_alive(lease) == 30
        await client.revoke(lease)
        assert (await client.range(prefix)).rows == []
        wish = guarded(Keys(prefix), "n", Announcement("t", 1), lease)
        for use in (
            client.keep_alive(lease),
            client.put(f"{prefix}k", "v", lease),
            client.transact([wish]),
        ):
            with pytest.raises(LeaseGone):
                await use


# -- watch


async def test_watch_tells_each_change_in_order(etcd: Etcd, prefix: str) -> None:
    """From the given revision on, with what a deleted row was, and nothing of other prefixes."""
    async with open_client(etcd) as client:
        start = (await client.range(prefix)).revision
        await client.put(f"{prefix}k", "1")
        await client.put("/elsewhere", "x")
        async with client.open_watch(prefix, start + 1) as watch:
            assert (await watch.receive()).changes == [Change(f"{prefix}k", "1", None)]
            lease, _ = await client.grant(30)
            await client.put(f"{prefix}k", "2", lease)
            assert (await watch.receive()).changes == [Change(f"{prefix}k", "2", "1")]
            await client.revoke(lease)
            gone = await watch.receive()
            assert gone.changes == [Change(f"{prefix}k", None, "2")]
        await client.put(f"{prefix}k", "3")
        async with client.open_watch(prefix, gone.revision + 1) as watch:
            assert (await watch.receive()).changes == [Change(f"{prefix}k", "3", None)]


async def test_watch_of_compacted_history(etcd: Etcd, prefix: str) -> None:
    """A watch whose history is gone says so, instead of beginning later."""
    async with open_client(etcd) as client:
        start = (await client.range(prefix)).revision
        await client.put(f"{prefix}k", "1")
        await client.put(f"{prefix}k", "2")
        revision = (await client.range(prefix)).revision
        await client.call("/v3/kv/compaction", {"revision": str(revision)})
        async with client.open_watch(prefix, start + 1) as watch:
            with pytest.raises(Compacted):
                await watch.receive()


async def test_watch_survives_cancelled_receives(etcd: Etcd, prefix: str) -> None:
    """A receive that was given up loses nothing."""
    async with open_client(etcd) as client:
        start = (await client.range(prefix)).revision
        async with client.open_watch(prefix, start + 1) as watch:
            with trio.move_on_after(0.01):
                await watch.receive()
            await client.put(f"{prefix}k", "1")
            assert (await watch.receive()).changes == [Change(f"{prefix}k", "1", None)]


# -- what goes wrong


async def test_refusals_are_in_the_words_of_the_engine(etcd: Etcd, prefix: str) -> None:
    """More operations than the engine takes is an error that says so, and no failover."""
    async with open_client(etcd) as client:
        wishes = [guarded(Keys(prefix), "n", Announcement(f"t{i}", 1), 0) for i in range(128)]
        with pytest.raises(EngineError, match="too many operations") as info:
            await client.transact(wishes)
        assert not isinstance(info.value, EngineAway)
        await client.transact(wishes[:127])


async def refuse(stream: trio.SocketStream) -> None:
    await stream.aclose()


async def stay_silent(_: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def speak_ssh(stream: trio.SocketStream) -> None:
    await stream.send_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    await trio.sleep_forever()


async def speak_html(stream: trio.SocketStream) -> None:
    await stream.receive_some()
    await stream.send_all(b"HTTP/1.1 502 Bad\r\nContent-Length: 6\r\n\r\n<html>")
    await trio.sleep_forever()


async def speak_json(stream: trio.SocketStream) -> None:
    while await stream.receive_some():
        await stream.send_all(
            b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n" + b'{"status":"ok"}\n'
        )


async def break_off(stream: trio.SocketStream) -> None:
    await stream.receive_some()
    await stream.send_all(b'HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n{"header"')
    await stream.aclose()


@pytest.mark.parametrize(
    ("serve", "text"),
    [
        (refuse, "the connection was closed"),
        (stay_silent, "no answer within 0.3 s"),
        (speak_ssh, "not HTTP"),
        (speak_html, "status 502 and no JSON"),
        (speak_json, "it does not answer as etcd does"),
        (break_off, "the connection was closed"),
    ],
)
async def test_bad_member_is_left(
    etcd: Etcd, prefix: str, serve: Callable[[trio.SocketStream], Awaitable[None]], text: str
) -> None:
    """One that does not answer as etcd does is left for the next; alone, its fault is named."""
    async with trio.open_nursery() as nursery, open_client(etcd) as good:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        bad = Endpoint("127.0.0.1", listeners[0].socket.getsockname()[1])
        with pytest.raises(EngineAway, match=text) as info:
            await EtcdClient([bad], attempt=0.3).range(prefix)
        assert str(bad) in str(info.value)
        async with open_client(etcd, bad) as client:
            await client.put(f"{prefix}k", "v")
        async with open_client(etcd, bad) as client:
            with pytest.raises(EngineAway, match=text):
                async with client.open_watch(prefix, 1):
                    pass
            async with client.open_watch(prefix, 1):
                pass
        assert [row.value for row in (await good.range(prefix)).rows] == ["v"]
        nursery.cancel_scope.cancel()


async def test_nobody_listens(etcd: Etcd, prefix: str) -> None:
    """A dead endpoint costs one refused connection; all dead: the last one is named."""
    dead = Endpoint("127.0.0.1", free_port())
    async with open_client(etcd, dead) as client:
        await client.put(f"{prefix}k", "v")
        with pytest.raises(EngineAway, match=f"{dead}: connection refused"):
            await EtcdClient([dead]).put(f"{prefix}k", "v")


async def test_cancelled_call_harms_no_later_one(etcd: Etcd, prefix: str) -> None:
    """A call that was given up half-way does not leave its answer to the next."""
    async with open_client(etcd) as client:
        await client.put(f"{prefix}a", "1")
        for pause in range(20):
            with trio.move_on_after(pause / 10_000):
                await client.put(f"{prefix}b", "2")
            assert [row.value for row in (await client.range(f"{prefix}a")).rows] == ["1"]


CA, OTHER = trustme.CA(), trustme.CA()


@pytest.fixture(scope="module")
def guarded_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    """One that wants certificates of CA."""
    folder = tmp_path_factory.mktemp("etcd")
    member = CA.issue_cert("127.0.0.1")
    member.private_key_pem.write_to_path(folder / "key")
    member.cert_chain_pems[0].write_to_path(folder / "cert")
    CA.cert_pem.write_to_path(folder / "ca")
    files = ["--cert-file", f"{folder}/cert", "--key-file", f"{folder}/key"]
    files += ["--client-cert-auth", "--trusted-ca-file", f"{folder}/ca"]
    with open_etcd(options=files) as engine:
        yield engine


async def test_client_certificates(guarded_etcd: Etcd, prefix: str) -> None:
    """With mutual TLS, our certificate lets us in; without one there is a clear refusal."""
    members = guarded_etcd.endpoints
    known = _context(CA)
    CA.issue_cert("node-a.example").configure_cert(known)
    with trio.fail_after(30):
        client = EtcdClient(members, tls=lambda: known)
        await client.put(f"{prefix}k", "v")
        async with client.open_watch(prefix, 1) as watch:
            assert (await watch.receive()).changes == [Change(f"{prefix}k", "v", None)]
        await client.close()
        with pytest.raises(EngineAway, match=r"(?i)certificate|lost|closed"):
            await EtcdClient(members, tls=lambda: _context(CA)).put("/k", "v")
        with pytest.raises(EngineAway, match=r"(?i)certificate verify failed"):
            await EtcdClient(members, tls=lambda: _context(OTHER)).put("/k", "v")


def put_pair(folder: Path, ca: trustme.CA) -> None:
    """A client's certificate and key, each by renaming."""
    leaf = ca.issue_cert("node-a.example")
    for file, data in (
        ("cert.pem", leaf.cert_chain_pems[0].bytes()),
        ("key.pem", leaf.private_key_pem.bytes()),
    ):
        new = folder / "new"
        new.touch(mode=0o600)
        new.write_bytes(data)
        new.replace(folder / file)


async def test_certificates_that_are_replaced(
    guarded_etcd: Etcd, prefix: str, tmp_path: Path
) -> None:
    """New connections show the new one; a watch that lives goes on; broken files change nothing."""
    CA.cert_pem.write_to_path(tmp_path / "ca.pem")
    put_pair(tmp_path, CA)
    pair = engine_files(*(str(tmp_path / each) for each in ("cert.pem", "key.pem", "ca.pem")))
    tls = Renewed("etcd's client", pair, partial(engine_context, pair))

    anew = EtcdClient(guarded_etcd.endpoints, tls=tls)

    async def put(value: str) -> None:
        try:
            await anew.put(f"{prefix}k", value)
        finally:
            await anew.close()  # the connection, that is

    with trio.fail_after(30):
        client = EtcdClient(guarded_etcd.endpoints, tls=tls)
        await put("1")
        async with client.open_watch(prefix, 1) as watch:
            assert (await watch.receive()).changes[-1].value == "1"
            await client.put(f"{prefix}k", "2")
            put_pair(tmp_path, OTHER)  # which etcd does not trust: it shows who uses it
            assert tls.look() == ""
            with pytest.raises(EngineAway, match=r"(?i)certificate|lost|closed"):
                await put("new connections only")
            await client.put(f"{prefix}k", "3")  # its connection stayed
            (tmp_path / "cert.pem").write_bytes(b"half a file")
            assert tls.look() is None
            put_pair(tmp_path, CA)
            assert tls.look() == ""
            await put("4")
            values: list[str | None] = []
            while "4" not in values:
                values += [each.value for each in (await watch.receive()).changes]
            assert values == ["2", "3", "4"]
        await client.close()


def _context(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


@pytest.mark.parametrize(
    ("url", "endpoints"),
    [
        ("etcd://127.0.0.1:2379", [("127.0.0.1", 2379)]),
        ("etcd://a,b:1,[::1]:2/", [("a", 2379), ("b", 1), ("::1", 2)]),
    ],
)
def test_cluster_url(url: str, endpoints: list[tuple[str, int]]) -> None:
    """Several members behind commas; etcd's port may be left out."""
    assert endpoints_of(url) == endpoints


@pytest.mark.parametrize(
    "url", ["", "etcd://", "http://a:1", "a:1", "etcd://a:x", "etcd://a:0", "etcd://a:65536,b"]
)
def test_bad_cluster_url(url: str) -> None:
    """One clear line, with the form that is wanted."""
    with pytest.raises(ConfigError, match=r"is not etcd://host:port"):
        endpoints_of(url)
