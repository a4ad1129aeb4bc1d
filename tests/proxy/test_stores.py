"""access/store.py, file_store.py and proxy/access_store.py: one contract, three stores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from edge_tunnel import ConfigError
from edge_tunnel.access.file_store import FileStore
from edge_tunnel.access.store import ANYTHING, Conflict, MemoryStore, Store, StoreAway, Write
from edge_tunnel.proxy.access_store import EtcdStore
from edge_tunnel.proxy.cluster import ClusterRegistry
from edge_tunnel.proxy.directory import NodeInfo
from edge_tunnel.proxy.etcd import EtcdClient
from edge_tunnel.testing.etcd import Etcd, open_etcd


@asynccontextmanager
async def open_etcd_store(etcd: Etcd, prefix: str, node: str = "a") -> AsyncIterator[EtcdStore]:
    """A store on the watch of a registry that runs."""
    store = EtcdStore(EtcdClient(etcd.endpoints, attempt=5.0), prefix=prefix)
    me = NodeInfo(name=node, address="127.0.0.1:1", version="0", started=0.0)
    client = EtcdClient(etcd.endpoints, attempt=5.0)
    registry = ClusterRegistry(me, client, prefix=prefix, ttl=2.0, rows_beside=store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(registry.run)
        await store.until(lambda: store.why_not_ready is None)
        yield store
        nursery.cancel_scope.cancel()
    with trio.CancelScope(shield=True):
        await store.close()


@pytest.fixture(params=["memory", "file", "etcd"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, prefix: str
) -> AsyncIterator[Store]:
    with trio.fail_after(60):
        if request.param == "memory":
            yield MemoryStore()
        elif request.param == "file":
            files = FileStore(tmp_path / "state")
            yield files
            files.close()
        else:
            engine: Etcd = request.getfixturevalue("etcd")
            async with open_etcd_store(engine, prefix) as on_etcd:
                yield on_etcd


async def test_what_is_committed_is_seen(store: Store) -> None:
    """A commit is in `rows` when it returns, and was told; all kinds of text come back."""
    told: list[dict[str, str]] = []
    store.on_change = lambda: told.append(dict(store.rows))
    await store.commit(Write("keys/a", "ä \n\0€"), Write("keys/b", ""))
    assert store.rows == {"keys/a": "ä \n\0€", "keys/b": ""} == told[-1]
    await store.commit(Write("keys/a", "2", "ä \n\0€"), Write("keys/b", None, ""))
    assert store.rows == {"keys/a": "2"} == told[-1]


async def test_a_commit_is_all_or_nothing(store: Store) -> None:
    """One row that is not as expected keeps all others from being written."""
    await store.commit(Write("a", "1"))
    for wrong in (
        Write("a", "2"),
        Write("a", "2", "0"),
        Write("c", None, "1"),
        Write("c", "1", "1"),
    ):
        with pytest.raises(Conflict):
            await store.commit(Write("b", "1"), wrong)
    assert store.rows == {"a": "1"}
    await store.commit(Write("a", "3", ANYTHING), Write("c", None, ANYTHING))
    assert store.rows == {"a": "3"}


async def test_of_many_at_once_one_wins(store: Store) -> None:
    """Compare and set: nobody's write is lost under another's."""
    won: list[int] = []

    async def write(number: int) -> None:
        try:
            await store.commit(Write("head", str(number)), Write(f"version/{number}", "text"))
            won.append(number)
        except Conflict:
            pass

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(write, number)
    assert len(won) == 1
    assert store.rows == {"head": str(won[0]), f"version/{won[0]}": "text"}


async def test_a_ticket_is_used_once(store: Store) -> None:
    """Of many who put another row in its place one does it; it is never in `rows`."""
    await store.commit(Write("tickets/x", "for anna", ttl=30))
    assert await store.read("tickets/x") == "for anna"
    used: list[str] = []

    async def use(who: str) -> None:
        try:
            await store.commit(Write("tickets/x", who, "for anna", ttl=30))
            used.append(who)
        except Conflict:
            pass

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(use, str(number))
    assert len(used) == 1
    assert await store.read("tickets/x") == used[0]
    assert store.rows == {}
    await store.commit(Write("tickets/x", None, used[0]))
    assert await store.read("tickets/x") is None
    assert await store.read("tickets/never") is None


async def test_a_session_is_seen_by_all_and_told_to_none(store: Store) -> None:
    """Its row is in memory, apart from `rows`; and obeys the same comparison."""
    told: list[None] = []
    store.on_change = lambda: told.append(None)
    await store.commit(Write("sessions/aa", "1", ttl=30))
    assert store.session("sessions/aa") == "1" and store.session("sessions/bb") is None
    with pytest.raises(Conflict):
        await store.commit(Write("sessions/aa", "2", ttl=30))
    await store.commit(Write("sessions/aa", "0", "1", ttl=30))
    assert store.session("sessions/aa") == "0"
    assert store.rows == {} and told == []


async def test_a_ticket_that_is_there_is_not_written_again(store: Store) -> None:
    """Rows for a time obey the same comparison."""
    await store.commit(Write("tickets/x", "1", ttl=30))
    with pytest.raises(Conflict):
        await store.commit(Write("tickets/x", "2", ttl=30))
    assert await store.read("tickets/x") == "1"


async def test_rows_for_a_time_are_over(tmp_path: Path) -> None:
    """By the store's own clock."""
    now = [0.0]
    for store in (MemoryStore(lambda: now[0]), FileStore(tmp_path, lambda: now[0])):
        await store.commit(Write("tickets/x", "1", ttl=15), Write("sessions/x", "1", ttl=15))
        assert store.session("sessions/x") == "1"
        now[0] += 15
        assert await store.read("tickets/x") is None and store.session("sessions/x") is None
        await store.commit(Write("sessions/y", "1", ttl=15))
        assert store._passing["tickets/"] == {} and [*store._passing["sessions/"]] == ["sessions/y"]
    assert isinstance(store, FileStore)
    store.close()


# -- files


DEEP = "[" * 100_000


async def test_a_session_that_could_not_be_kept_is_written_later(tmp_path: Path) -> None:
    """What the disk did not take is not taken for written: no session begins anew by a restart."""
    store = FileStore(tmp_path)
    (tmp_path / "sessions.json.new").mkdir()  # the disk refuses
    with pytest.raises(StoreAway):
        await store.commit(Write("sessions/x", "1", ttl=60))
    assert store.session("sessions/x") is None
    (tmp_path / "sessions.json.new").rmdir()
    await store.commit(Write("sessions/x", "1", ttl=60))
    store.close()
    again = FileStore(tmp_path)
    assert again.session("sessions/x") == "1"
    again.close()


@pytest.mark.parametrize(
    "damage",
    [None, "", "[]", '{"a": 1}', '{"sessions/x": [1, "y"]}', DEEP, f'{{"x": ["y", 1{"0" * 400}]}}'],
)
async def test_sessions_outlast_a_restart(tmp_path: Path, damage: str | None) -> None:
    """As long as they live; what a power cut has left of them keeps no node from starting."""
    now = [0.0]
    store = FileStore(tmp_path, lambda: now[0])
    await store.commit(Write("sessions/x", "1", ttl=15))
    store.close()
    path = tmp_path / "sessions.json"
    assert path.stat().st_mode & 0o777 == 0o600
    if damage is not None:
        path.write_text(damage)
    again = FileStore(tmp_path, lambda: now[0])
    assert again.session("sessions/x") == ("1" if damage is None else None)
    now[0] += 15
    assert again.session("sessions/x") is None
    again.close()


async def test_a_file_store_lasts(tmp_path: Path) -> None:
    """What was committed is there after a restart, for its owner alone; tickets are not."""
    folder = tmp_path / "deep" / "state"
    store = FileStore(folder)
    await store.commit(Write("keys/a", "1"), Write("tickets/x", "secret", ttl=60))
    store.close()
    assert FileStore(folder).rows == {"keys/a": "1"}
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()}
    assert modes == {"access.json": "0o600", "lock": "0o600"}
    assert "secret" not in (folder / "access.json").read_text()


async def test_a_file_store_that_cannot_be_written(tmp_path: Path) -> None:
    """Says so, and nothing has changed, in memory neither."""
    store = FileStore(tmp_path)
    (tmp_path / "access.json.new").mkdir()  # also root cannot write a file there
    with pytest.raises(StoreAway, match="cannot be written"):
        await store.commit(Write("a", "1"))
    assert store.rows == {}
    store.close()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "damaged"),
        (DEEP, "damaged"),
        ("[]", "not of this version"),
        ('{"format": 2, "rows": {}}', "not of this version"),
        ('{"format": 1, "rows": {"a": 1}}', "damaged"),
    ],
)
def test_a_file_that_is_not_ours(tmp_path: Path, text: str, words: str) -> None:
    """Is not written over: it may be all keys of a site."""
    (tmp_path / "access.json").write_text(text)
    with pytest.raises(ConfigError, match=words):
        FileStore(tmp_path)
    assert (tmp_path / "access.json").read_text() == text


def test_one_folder_one_node(tmp_path: Path) -> None:
    """Two nodes would write over each other."""
    store = FileStore(tmp_path)
    with pytest.raises(ConfigError, match="another node"):
        FileStore(tmp_path)
    store.close()
    FileStore(tmp_path).close()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be used"):
        FileStore(tmp_path / "file")


# -- etcd


async def test_nodes_of_a_cluster_see_one_thing(etcd: Etcd, prefix: str) -> None:
    """Written on one node, seen on all, also on one that starts later; things stay apart."""
    with trio.fail_after(60):
        async with (
            open_etcd_store(etcd, prefix, "a") as one,
            open_etcd_store(etcd, prefix, "b") as other,
        ):
            await one.commit(Write("keys/a", "1"), Write("keys/b", "2"))
            await other.until(lambda: len(other.rows) == 2)
            await other.commit(Write("keys/a", None, "1"))
            await one.until(lambda: len(one.rows) == 1)
            await one.commit(Write("tickets/x", "1", ttl=30))
            await other.commit(Write("tickets/x", "2", "1", ttl=30))
            assert await one.read("tickets/x") == "2"
            await one.commit(Write("sessions/x", "1", ttl=30), Write("sessions/y", "1", ttl=2))
            await other.until(lambda: other.session("sessions/y") is not None)
            async with open_etcd_store(etcd, prefix, "c") as late:
                assert late.rows == {"keys/b": "2"}
                assert late.session("sessions/x") == "1"
                for each in (one, other, late):  # the lease ends: each node is told
                    await each.until(partial(_is_gone, each, "sessions/y"))
                    assert each.session("sessions/x") == "1"


def _is_gone(store: Store, session: str) -> bool:
    return store.session(session) is None


async def test_a_commit_that_was_made_twice_was_made() -> None:
    """The first answer was lost on the way; a deletion is never taken for ours."""
    store = EtcdStore(EtcdClient(()))
    rows = [("keys/a", "1")]
    here = [type("R", (), {"key": store._place + k, "value": v})() for k, v in rows]
    assert store._was_done([Write("keys/a", "1")], here)
    assert not store._was_done([Write("keys/a", "2")], here)
    assert not store._was_done([Write("keys/a", "1"), Write("keys/b", "1")], here)
    assert not store._was_done([Write("keys/c", None, "x")], [])


@pytest.mark.slow
async def test_while_etcd_is_away() -> None:
    """What is in memory goes on; changes and tickets are refused with words; then all is back."""
    with trio.fail_after(60), open_etcd() as etcd:
        store = EtcdStore(EtcdClient(etcd.endpoints, attempt=0.3))
        me = NodeInfo(name="a", address="127.0.0.1:1", version="0", started=0.0)
        registry = ClusterRegistry(
            me, EtcdClient(etcd.endpoints, attempt=0.3), ttl=2.0, rows_beside=store
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(registry.run)
            await store.until(lambda: store.why_not_ready is None)
            await store.commit(Write("keys/a", "1"))
            etcd.members[0].kill()
            with pytest.raises(StoreAway, match="etcd at 127"):
                await store.commit(Write("keys/b", "1"))
            with pytest.raises(StoreAway, match="etcd at 127"):
                await store.read("tickets/x")
            assert store.rows == {"keys/a": "1"} and store.why_not_ready is None
            etcd.members[0].start_again()
            while True:
                try:
                    await store.commit(Write("keys/b", "1"))
                    break
                except StoreAway:
                    await trio.sleep(0.1)
            await store.until(lambda: "keys/b" in store.rows)
            nursery.cancel_scope.cancel()
        await store.close()
