"""Hops over TLS on both sides, over real sockets."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing
import trustme

from edge_tunnel import (
    ConfigError,
    DevelopmentKey,
    LinkLost,
    Node,
    NodeSettings,
)
from edge_tunnel.proxy.hop import HopSettings
from edge_tunnel.proxy.peering import HopTls, dial_hops, load_hop_tls, serve_hops


class Certificates:
    """A CA, and what it signed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ca = trustme.CA()

    def tls(self, name: str) -> Callable[[], HopTls]:
        folder = self._folder / name
        folder.mkdir()
        certificate = self.ca.issue_cert(name)
        certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "cert.pem"))
        self.ca.cert_pem.write_to_path(str(folder / "ca.pem"))
        (folder / "cert.pem").chmod(0o600)
        path = str(folder / "cert.pem")
        loaded = load_hop_tls(path, path, str(folder / "ca.pem"))
        return lambda: loaded


def make_node(
    name: str, ports: dict[str, int], tls: Callable[[], HopTls] | None, key: str = ""
) -> Node:
    def address(node: str) -> tuple[str, int] | None:
        return ("127.0.0.1", ports[node]) if node in ports else None

    settings = NodeSettings(name=name, hops=HopSettings(key=key))
    return Node(settings, DevelopmentKey("k"), None, dial_hops(address, tls))


async def joined(ports: dict[str, int], dialler: Node, target: str) -> str:
    """Dial from one node to the other; "" if the hop stands, or why it was lost."""
    lost: list[str] = []
    hops = dialler.hops
    assert hops is not None
    dialler.notices.call(lambda notice: lost.append(str(notice["reason"])))
    hops.to(target)
    while not lost:
        hop = hops._dialled[target]
        if hop.link is not None:
            return ""
        await trio.sleep(0.005)
    return lost[0]


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("a", "b", "a"), ""),
        (("a", "b", "x"), "certificate is for x, not for a"),
        (("a", "x", "a"), "Hostname mismatch"),
        (("x", "b", "a"), "not in the cluster"),
    ],
)
async def test_certificates_speak_for_nodes(
    tmp_path: Path, names: tuple[str, str, str], problem: str
) -> None:
    """The certificate of either side must name the node that it says it is."""
    known, served, shown = names
    ca = Certificates(tmp_path)
    ports: dict[str, int] = {}
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            target = make_node("b", ports, None)
            assert target.hops is not None
            tls = ca.tls(served)
            listeners = await nursery.start(serve_hops, target.hops, "127.0.0.1", 0, tls)
            if known == "a":
                ports["b"] = listeners[0].socket.getsockname()[1]
            dialler = make_node("a", ports, ca.tls(f"{shown}") if shown != served else tls)
            assert dialler.hops is not None
            await nursery.start(dialler.hops.run)
            assert problem in await joined(ports, dialler, "b")
            nursery.cancel_scope.cancel()


async def test_a_stranger_gets_no_hop(tmp_path: Path) -> None:
    """Neither a certificate of another CA, nor none, nor no TLS at all, gets as far as JOIN."""
    (tmp_path / "ours").mkdir()
    (tmp_path / "theirs").mkdir()
    ours, theirs = Certificates(tmp_path / "ours"), Certificates(tmp_path / "theirs")
    bare = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)  # it has no certificate
    ours.ca.configure_trust(bare)
    ports: dict[str, int] = {}
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            target = make_node("b", ports, None)
            assert target.hops is not None
            tls = ours.tls("b")
            listeners = await nursery.start(serve_hops, target.hops, "127.0.0.1", 0, tls)
            ports["b"] = listeners[0].socket.getsockname()[1]
            other = theirs.tls("a")
            for chosen in (other, lambda: HopTls(tls().server, bare), None):
                dialler = make_node("a", ports, chosen)
                assert dialler.hops is not None
                await nursery.start(dialler.hops.run)
                assert await joined(ports, dialler, "b")
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert target.hops.taken == {}
            nursery.cancel_scope.cancel()


async def test_plain_hops_stay_at_home() -> None:
    """Without certificates: loopback only, and only with a key."""
    node = make_node("a", {}, None, key="k")
    assert node.hops is not None
    with pytest.raises(ConfigError, match="without certificates"):
        await serve_hops(node.hops, "0.0.0.0", 0, None)
    keyless = make_node("a", {}, None)
    assert keyless.hops is not None
    with pytest.raises(ConfigError, match="with a key"):
        await serve_hops(keyless.hops, "127.0.0.1", 0, None)
    with pytest.raises(LinkLost, match="certificates"):
        async with dial_hops(lambda _node: ("192.0.2.1", 1), None)("b"):
            raise AssertionError


def test_contexts_that_let_strangers_in() -> None:
    """A context that does not verify is refused when the node is made, not found out later."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    client = ssl.create_default_context()
    with pytest.raises(ConfigError, match="demand"):
        HopTls(server, client)
    server.verify_mode = ssl.CERT_REQUIRED
    client.check_hostname = False
    with pytest.raises(ConfigError, match="verify"):
        HopTls(server, client)
    with pytest.raises(ConfigError, match=r"^cluster.node_cert: .* cannot be read: no such file"):
        load_hop_tls("/nowhere.pem", "/nowhere.pem", "/nowhere.pem")
