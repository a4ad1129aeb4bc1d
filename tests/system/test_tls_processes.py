"""TLS as a user has it: certificates by ``tls init``, a node, an edge and a remote as processes."""

from __future__ import annotations

import hashlib
import json
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import trio
import trustme

from edge_tunnel.cli.main import main
from edge_tunnel.testing import Child, Site, open_site
from edge_tunnel.testing.etcd import free_port, open_etcd

pytestmark = pytest.mark.slow

ALLOWED = 60.0
SAY = ("--json", "--log-level", "DEBUG")


@dataclass
class Pilot:
    """Running; what the remote listens on, and where the node does."""

    site: Site
    node: Child
    edge: Child
    node_port: int
    port: int

    @property
    def folder(self) -> Path:
        return self.site.folder / "tls"

    async def fingerprint(self) -> str:
        """Of what the node shows to whoever connects now."""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        ours = self.folder / "remote-anna.pem"
        context.load_cert_chain(ours, ours.with_suffix(".key"))
        async with await trio.open_tcp_stream("127.0.0.1", self.node_port) as tcp:
            stream = trio.SSLStream(tcp, context, server_hostname="localhost")
            await stream.do_handshake()
            raw = stream.getpeercert(binary_form=True)
        assert raw is not None
        return hashlib.sha256(raw).hexdigest()


async def echo(stream: trio.SocketStream) -> None:
    async for data in stream:
        await stream.send_all(data)


def client_options(folder: Path, owner: str) -> list[str]:
    cert = folder / f"{owner}.pem"
    words = ["--ca-file", folder / "ca.pem", "--cert", cert, "--cert-key", cert.with_suffix(".key")]
    return [str(word) for word in words]


def write_files(site: Site, port: int, service: int) -> tuple[Path, Path]:
    folder = site.folder / "tls"
    edge, proxy = site.folder / "config.json", site.folder / "proxy.toml"
    proxy.write_text(
        f'listen = "127.0.0.1:{port}"\n[tls]\nclient_ca = "tls/ca.pem"\n'
        'certificate = "tls/node.pem"\nkey = "tls/node.key"\n'
    )
    config = {
        "ws_servers": [{"host": "localhost", "port": port}],
        "appKey": site.key,
        "auto_bind": [{"name": "device-7"}],
        "certificates": {
            "cert_chain": str(folder / "ca.pem"),
            "client_cert": str(folder / "edge-device-7.pem"),
            "key_file": str(folder / "edge-device-7.key"),
        },
        "edge_tunnel": {"services": [{"name": "echo", "port": service}]},
    }
    edge.touch(mode=0o600)
    edge.write_text(json.dumps(config))
    return proxy, edge


@asynccontextmanager
async def pilot(folder: Path) -> AsyncIterator[Pilot]:
    words = ["--dir", str(folder / "tls"), "--edge", "device-7", "--remote", "anna"]
    assert main(["tls", "init", *words]) == 0
    with trio.fail_after(ALLOWED):
        async with trio.open_nursery() as nursery, open_site(folder) as site:
            served = await nursery.start(partial(trio.serve_tcp, echo, 0, host="127.0.0.1"))
            service = served[0].socket.getsockname()[1]
            proxy, _ = write_files(site, 0, service)
            node = await site.start("proxy", "--config", str(proxy), *SAY)
            url = (await node.event("listening"))["url"]
            assert url.startswith("wss://")
            port = int(url.rpartition(":")[2])
            _, config = write_files(site, port, service)
            edge = await site.start("edge", "--config", str(config), *SAY)
            await edge.event("bound")
            where = ("--proxy", f"wss://localhost:{port}", *SAY)
            options = client_options(folder / "tls", "remote-anna")
            remote = await site.start("connect", "device-7", "echo", *where, *options)
            local = (await remote.event("listening"))["port"]
            yield Pilot(site, node, edge, port, local)
            said_by_all = [each for child in (node, edge, remote) for each in child.words]
            events = [each for child in (node, edge, remote) for each in child.events]
            assert site.key not in f"{said_by_all} {events}"
            nursery.cancel_scope.cancel()


async def said(stream: trio.SocketStream, text: bytes) -> bytes:
    await stream.send_all(text)
    heard = b""
    while len(heard) < len(text):
        heard += await stream.receive_some()
    return heard


@pytest.mark.parametrize("how", ["by itself", "SIGHUP"])
async def test_certificates_renewed_under_a_live_stream(tmp_path: Path, how: str) -> None:
    """The stream does not notice; who connects afterwards sees the new certificate; broken files
    change nothing."""
    async with pilot(tmp_path) as running:
        async with await trio.open_tcp_stream("127.0.0.1", running.port) as stream:
            assert await said(stream, b"before") == b"before"
            old = await running.fingerprint()
            key = running.folder / "node.key"
            good = key.read_bytes()
            key.write_bytes(good[:40])
            if how == "SIGHUP":
                running.node.process.send_signal(signal.SIGHUP)
            refused = await running.node.event("certificate_refused")
            assert "tls.key" in refused["reason"] and str(key) in refused["reason"]
            assert await running.fingerprint() == old
            assert main(["tls", "renew", "--dir", str(running.folder), "node"]) == 0
            if how == "SIGHUP":
                running.node.process.send_signal(signal.SIGHUP)
                await running.node.event("reloaded")
            else:
                await running.node.event("certificate_renewed")
            assert await running.fingerprint() != old
            assert await said(stream, b"after") == b"after"
        assert [e for e in running.edge.events if e["event"] == "link_lost"] == []


async def test_who_has_no_certificate(tmp_path: Path) -> None:
    """The command says what to give, in one line, with its exit code."""
    async with pilot(tmp_path) as running:
        environ = running.site.environ
        running.site.environ = {**environ, "EDGE_TUNNEL_PROXY": ""}
        url = f"wss://localhost:{running.node_port}"
        ca = ("--ca-file", str(running.folder / "ca.pem"))
        times = ("--connect-timeout", "2")
        child = await running.site.start("connect", "device-7", "echo", "--proxy", url, *ca, *times)
        line = await child.line("edge-tunnel: could not connect")
        assert "demands a client certificate; give --cert and --cert-key" in line
        assert await child.process.wait() == 75
        await running.node.line("it has no client certificate")


def put_pair(folder: Path, ca: trustme.CA) -> None:
    leaf = ca.issue_cert("127.0.0.1")
    for file, data in (
        ("etcd.key", leaf.private_key_pem.bytes()),
        ("etcd.pem", leaf.cert_chain_pems[0].bytes()),
    ):
        (folder / file).touch(mode=0o600)
        (folder / file).write_bytes(data)


@pytest.mark.parametrize("how", ["by itself", "SIGHUP"])
async def test_certificates_towards_etcd_are_renewed(tmp_path: Path, how: str) -> None:
    """The node says that it took new files up, and loses etcd by neither good nor broken ones."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    put_pair(tmp_path, ca)
    pair = ["--cert-file", f"{tmp_path}/etcd.pem", "--key-file", f"{tmp_path}/etcd.key"]
    guarded = [*pair, "--client-cert-auth", "--trusted-ca-file", f"{tmp_path}/ca.pem"]
    with open_etcd(options=guarded) as etcd, trio.fail_after(ALLOWED):
        config = tmp_path / "proxy.toml"
        config.write_text(
            f'listen = "127.0.0.1:0"\n[cluster]\nengine = "{etcd.members[0].endpoint}"\n'
            f'node_name = "a"\nadvertise = "127.0.0.1:{free_port()}"\n'
            f'engine_ca = "{tmp_path}/ca.pem"\nengine_cert = "{tmp_path}/etcd.pem"\n'
            f'engine_key = "{tmp_path}/etcd.key"\n'
        )
        async with open_site(tmp_path) as site:
            site.environ = {**site.environ, "EDGE_TUNNEL_DEV_KEY": site.key}
            node = await site.start("proxy", "--config", str(config), *SAY)
            await node.event("joined")
            (tmp_path / "etcd.key").write_text("half a file")
            if how == "SIGHUP":
                node.process.send_signal(signal.SIGHUP)
            refused = await node.event("certificate_refused")
            assert (refused["what"], "engine_key" in refused["reason"]) == ("etcd's client", True)
            put_pair(tmp_path, ca)
            if how == "SIGHUP":
                node.process.send_signal(signal.SIGHUP)
                assert (await node.event("reloaded"))["changed"] == ["etcd's client"]
            else:
                assert (await node.event("certificate_renewed"))["what"] == "etcd's client"
            assert [each for each in node.events if each["event"] == "engine_lost"] == []
