"""The cluster of processes that tests and tools/cluster use: each part dies and comes back."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import trio

from edge_tunnel.testing.cluster_site import haproxy_config, open_cluster_site

EXAMPLE = Path(__file__).parents[2] / "examples" / "haproxy.cfg"


def test_the_shipped_example_is_adapted() -> None:
    """Ports and nodes are ours; every check is the example's."""
    shipped = EXAMPLE.read_text()
    text = haproxy_config(shipped, 4000, {"x": 4001, "y": 4002}, maxconn=77)
    servers = [line.split() for line in text.splitlines() if line.startswith("    server ")]
    assert servers == [["server", "x", "127.0.0.1:4001"], ["server", "y", "127.0.0.1:4002"]]
    assert "bind 127.0.0.1:4000\n" in text
    assert "maxconn 77" in text
    for line in ("option httpchk", "on-marked-down shutdown-sessions", "disable-on-404"):
        assert line in text
    assert "910" not in text.replace("127.0.0.1:9100", "").partition("frontend")[2]


async def echo(sock: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError):  # at the end everything is killed
        async for data in sock:
            await sock.send_all(data)


@pytest.mark.slow
async def test_each_part_fails_and_comes_back(tmp_path: Path, nursery: trio.Nursery) -> None:
    """A node is killed, one stopped, a member killed, HAProxy killed: one stream sees it all."""
    with trio.fail_after(100):
        listeners = await nursery.start(partial(trio.serve_tcp, echo, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        async with open_cluster_site(tmp_path, haproxy=EXAMPLE) as site:
            await site.start_device("device-7", {"echo": port})
            remote = await site.start_remote("device-7", "echo")
            where = await remote.event("listening")
            async with await trio.open_tcp_stream(where["host"], where["port"]) as sock:

                async def say(text: bytes) -> None:
                    await sock.send_all(text)
                    assert await sock.receive_some() == text

                await say(b"hello")
                await site.nodes["a"].kill()
                site.etcd.members[0].kill()
                await say(b"a node and a member are dead")
                await site.nodes["a"].start()
                site.etcd.members[0].start_again()
                site.nodes["b"].stop()
                await say(b"a node hangs")
                site.nodes["b"].go_on()
                assert site.haproxy is not None
                await site.haproxy.kill()
                await site.haproxy.start()
                await say(b"the balancer was away")
                assert await site.nodes["c"].terminate() == 0
                await say(b"a node has drained")
