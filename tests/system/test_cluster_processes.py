"""A cluster of real processes on a real etcd: nodes are killed, and no byte notices."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from edge_tunnel.testing.etcd import Etcd, free_port, open_etcd
from edge_tunnel.testing.processes import Child, our_command
from tests.system.processes import KEY, started
from tests.system.test_processes import hash_of, swap

MIB = 1024 * 1024
NODES = ("a", "b", "c")


@pytest.fixture(scope="module")
def etcd() -> Iterator[Etcd]:
    with open_etcd() as engine:
        yield engine


class Cluster:
    """Three nodes, by name; an edge that prefers a, a remote that prefers b."""

    def __init__(self, nodes: dict[str, Child], edge: Child, remote: Child) -> None:
        self.nodes = nodes
        self.edge = edge
        self.remote = remote
        self.port = 0


def node_command(name: str, engine: str, *more: str) -> list[str]:
    hops = f"127.0.0.1:{free_port()}"
    options = ["--cluster", engine, "--node-name", name, "--advertise", hops, *more]
    return ["proxy", "--listen", "127.0.0.1:0", "--dev-key", KEY, *options]


@asynccontextmanager
async def open_nodes(etcd: Etcd, prefix: str) -> AsyncIterator[dict[str, Child]]:
    member = etcd.members[0].endpoint
    async with contextlib.AsyncExitStack() as stack:
        nodes = {}
        for name in NODES:
            nodes[name] = await stack.enter_async_context(
                started(*node_command(name, f"etcd://{member}", "--cluster-prefix", prefix))
            )
        yield nodes


@asynccontextmanager
async def open_all(etcd: Etcd, folder: Path, service_port: int) -> AsyncIterator[Cluster]:
    async with open_nodes(etcd, f"/{folder.name}") as nodes:
        urls = {name: str((await node.event("listening"))["url"]) for name, node in nodes.items()}
        config = write_config(folder, [urls[name] for name in NODES], service_port)
        async with started("edge", "--config", str(config)) as edge:
            await edge.event("bound")
            proxies = [word for name in "bca" for word in ("--proxy", urls[name])]
            async with started("connect", "device", "service", *proxies, "--key", KEY) as remote:
                cluster = Cluster(nodes, edge, remote)
                cluster.port = int((await remote.event("listening"))["port"])
                yield cluster


def write_config(folder: Path, urls: list[str], service_port: int) -> Path:
    path = folder / "config.json"
    service = {"name": "service", "host": "127.0.0.1", "port": service_port}
    servers = [{"host": "127.0.0.1", "port": int(url.rpartition(":")[2])} for url in urls]
    config = {
        "ws_servers": servers,
        "appKey": KEY,
        "ws_connection": {"encryption": "none"},
        "auto_bind": [{"name": "device"}],
        "edge_tunnel": {"services": [service]},
    }
    path.write_text(json.dumps(config))
    path.chmod(0o600)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "terminated"])
async def test_both_nodes_go(etcd: Etcd, tmp_path: Path, how: str) -> None:
    """The edge's node goes, then the remote's, in the middle of transfers: every hash agrees.

    A user's last part waits until both are gone, so that no transfer is over too soon.
    """
    size, streams = 8 * MIB, 6
    hashes: list[tuple[str, str]] = []
    received: list[str] = []
    gone, done, served = trio.Event(), trio.Event(), trio.Event()

    async def service(sock: trio.SocketStream) -> None:
        received.append((await swap(sock, size, 1000))[1])
        if len(received) == streams:
            served.set()

    with trio.fail_after(110):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, service, 0)
            port = listeners[0].socket.getsockname()[1]
            async with open_all(etcd, tmp_path, port) as cluster:

                async def user(seed: int) -> None:
                    async with await trio.open_tcp_stream("127.0.0.1", cluster.port) as sock:
                        hashes.append(await swap(sock, size, seed, gone))

                async def users() -> None:
                    async with trio.open_nursery() as all_users:
                        for seed in range(streams):
                            all_users.start_soon(user, seed)
                    done.set()

                async with trio.open_nursery() as transfers:
                    transfers.start_soon(users)
                    await cluster.edge.event("stream_opened", streams)
                    for number, name in enumerate("ab", start=1):
                        assert not done.is_set(), "the transfers were over too soon"
                        await take_away(cluster.nodes[name], how)
                        await cluster.remote.event("resumed", number)
                    gone.set()
                    await done.wait()
                    await served.wait()  # a user is done before its service has heard the end
            nursery.cancel_scope.cancel()
    assert sorted(sent for sent, _ in hashes) == sorted(received)
    assert {got for _, got in hashes} == {hash_of(size, 1000)}


async def take_away(node: Child, how: str) -> None:
    if how == "killed":
        await node.kill()
    else:
        node.process.terminate()
    await node.process.wait()
    if how == "terminated":
        assert node.process.returncode == 0


@pytest.mark.slow
async def test_lists_from_any_node(etcd: Etcd, tmp_path: Path) -> None:
    """Real nodes, real hops: the same answer from each; one that is stopped is named."""
    with trio.fail_after(110):
        async with open_all(etcd, tmp_path, free_port()) as cluster:
            # nobody serves the port, so the stream is refused; the tunnel stays open
            with contextlib.suppress(OSError):  # the refusal may be there before we are connected
                await (await trio.open_tcp_stream("127.0.0.1", cluster.port)).aclose()
            await cluster.remote.event("attached")
            for node in cluster.nodes.values():
                [thing] = await listed(node, "things")
                assert (thing["thing"], thing["node"]) == ("device", "a")
                assert (thing["services"], thing["tunnels"]) == (["service"], 1)
                [tunnel] = await listed(node, "tunnels")
                assert (tunnel["edge_node"], tunnel["remote_node"]) == ("a", "b")
                assert tunnel["edge_address"] and tunnel["remote_address"]
                assert [each["node"] for each in await listed(node, "nodes")] == list(NODES)
            await nobody_answers_for(cluster.nodes, "c")


async def nobody_answers_for(nodes: dict[str, Child], stopped: str) -> None:
    """Watched from another node: it is named, and shown as it was told last."""
    url = str((await nodes["a"].event("listening"))["url"])
    words = ("nodes", "--watch", "--interval", "0.2", "--proxy", url, "--key", KEY)
    async with started(*words) as watch:
        await watch.event("sample")
        nodes[stopped].process.send_signal(signal.SIGSTOP)
        try:
            missing = await watch.event("missing")
        finally:
            nodes[stopped].process.send_signal(signal.SIGCONT)
        assert (missing["node"], missing["reason"]) == (stopped, "did not answer within 2 s")
        rows = watch.events[: watch.events.index(missing)][-3:]
        assert [(each["node"], each["answered"]) for each in rows] == [
            ("a", True),
            ("b", True),
            ("c", False),
        ]


async def listed(node: Child, command: str) -> list[dict[str, Any]]:
    """Its JSON lines, asked of this node."""
    url = str((await node.event("listening"))["url"])
    words = our_command(command, "--json", "--proxy", url, "--key", KEY)
    ended = await trio.run_process(words, capture_stdout=True)
    return [json.loads(line) for line in ended.stdout.splitlines()]


async def test_a_node_that_starts_without_etcd_waits(tmp_path: Path) -> None:
    """It says what it waits for, and SIGTERM ends it."""
    with trio.fail_after(30):
        async with started(*node_command("a", f"etcd://127.0.0.1:{free_port()}")) as node:
            lost = await node.event("engine_lost")
            assert "etcd" in lost["reason"]
            assert not any(each["event"] == "listening" for each in node.events)
            node.process.terminate()
            await node.process.wait()
            assert node.process.returncode == 0
