"""A node's own TLS, over loopback: who gets in, and what both ends hear if somebody does not."""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TypeAlias

import pytest
import trio
import trustme

from edge_tunnel import LinkLost, Node, NodeSettings, TlsSettings
from edge_tunnel.access.rights import Credentials, Denial, DevelopmentKey, Principal
from edge_tunnel.config import NodeTls
from edge_tunnel.errors import LinkHopeless
from edge_tunnel.link.dialling import dial_websocket
from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import Hello, Welcome
from edge_tunnel.proxy.seldom import Seldom
from edge_tunnel.proxy.tls import files_of, server_context
from tests.proxy.certificates import self_signed

HELLO = Hello(1, 1, "edge", "test/1", "k", bytes(16), 10_000, ())
NOW = datetime.now(timezone.utc)


class Site:
    """A CA, another one, and files of both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca, self.other = trustme.CA(), trustme.CA()
        self.ca.cert_pem.write_to_path(str(folder / "ca.pem"))
        self.other.cert_pem.write_to_path(str(folder / "other.pem"))

    def file(self, leaf: trustme.LeafCert) -> str:
        path = self.folder / f"{id(leaf)}.pem"
        leaf.private_key_and_cert_chain_pem.write_to_path(str(path))
        path.chmod(0o600)
        return str(path)

    def settings(self, asked: str = "off", minimum: str = "1.2") -> NodeTls:
        path = self.file(self.ca.issue_cert("localhost", "127.0.0.1"))
        ca = str(self.folder / "ca.pem")
        return NodeTls(
            certificate=path, key=path, client_ca=ca, client_certificates=asked, minimum=minimum
        )

    def context(self, asked: str = "off", minimum: str = "1.2") -> ssl.SSLContext:
        settings = self.settings(asked, minimum)
        return server_context(settings, files_of(settings))

    def showing(self, leaf: trustme.LeafCert) -> ssl.SSLContext:
        """What a node has whose certificate went bad while it ran."""
        context = self.context()
        leaf.configure_cert(context)
        return context

    def trusting(self, client: trustme.LeafCert | None = None) -> TlsSettings:
        cert = None if client is None else self.file(client)
        return TlsSettings(ca_file=str(self.folder / "ca.pem"), client_cert=cert)


Lines: TypeAlias = "trio.MemoryReceiveChannel[str]"


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What the nodes log."""
    sender, receiver = trio.open_memory_channel[str](100)

    class Catch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            sender.send_nowait(record.getMessage())

    catch = Catch(logging.WARNING)
    logging.getLogger("edge_tunnel.proxy").addHandler(catch)
    yield receiver
    logging.getLogger("edge_tunnel.proxy").removeHandler(catch)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("tls"))


class Noting(DevelopmentKey):
    """Lets in who has the key, and keeps what was shown."""

    def __init__(self, shown: list[Credentials]) -> None:
        super().__init__(HELLO.key)
        self.shown = shown

    async def admit(self, credentials: Credentials) -> Principal | Denial:
        self.shown.append(credentials)
        return await super().admit(credentials)


class Seen:
    """A node that lets everybody in, and what it was shown."""

    def __init__(self, port: int, shown: list[Credentials]) -> None:
        self.port = port
        self.shown = shown

    async def greet(
        self, tls: TlsSettings | None, *, scheme: str = "wss", host: str = "127.0.0.1"
    ) -> Credentials:
        dial = dial_websocket(5, tls)
        async with dial(f"{scheme}://{host}:{self.port}") as transport:
            await transport.send(encode(HELLO))
            assert isinstance(decode(await transport.receive()), Welcome)
        return self.shown[-1]


@asynccontextmanager
async def node(context: ssl.SSLContext | None, **settings: float) -> AsyncIterator[Seen]:
    shown: list[Credentials] = []

    ours = Node(NodeSettings(**settings), Noting(shown))  # type: ignore[arg-type]
    tls = None if context is None else (lambda: context)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(ours.serve, "127.0.0.1", 0, tls)
            yield Seen(listeners[0].socket.getsockname()[1], shown)
            nursery.cancel_scope.cancel()


# -- who gets in


@pytest.mark.parametrize("minimum", ["1.2", "1.3"])
async def test_a_link_over_tls(site: Site, minimum: str) -> None:
    """A node with a certificate takes wss://, and nobody has to show one."""
    async with node(site.context(minimum=minimum)) as seen:
        assert (await seen.greet(site.trusting())).certificate is None


@pytest.mark.parametrize("asked", ["optional", "required"])
async def test_the_client_s_certificate_is_known(site: Site, asked: str) -> None:
    """Names, fingerprint and end of a verified certificate are among the credentials."""
    leaf = site.ca.issue_cert("Device-7.example", common_name="not this")
    async with node(site.context(asked)) as seen:
        certificate = (await seen.greet(site.trusting(leaf))).certificate
        assert certificate is not None
        assert certificate.names == ("device-7.example",)
        assert len(certificate.fingerprint) == 64
        assert certificate.not_after > NOW.timestamp()


async def test_who_has_none_where_it_is_optional(site: Site) -> None:
    async with node(site.context("optional")) as seen:
        assert (await seen.greet(site.trusting())).certificate is None


async def test_the_common_name_where_there_is_no_other(site: Site) -> None:
    """A factory's certificate often has nothing else."""
    leaf = site.ca.issue_cert(common_name="serial 4711")
    async with node(site.context("required")) as seen:
        certificate = (await seen.greet(site.trusting(leaf))).certificate
        assert certificate is not None and certificate.names == ("serial 4711",)


@pytest.mark.parametrize(
    ("version", "minimum", "taken"),
    [("TLSv1_1", "1.2", False), ("TLSv1_2", "1.2", True), ("TLSv1_2", "1.3", False)],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
async def test_old_versions(site: Site, version: str, minimum: str, taken: bool) -> None:
    """1.2 is the floor, and can be raised; HTTP/1.1 is what is spoken inside."""
    client = ssl.create_default_context()
    site.ca.configure_trust(client)
    client.set_ciphers("DEFAULT@SECLEVEL=0")
    client.minimum_version = client.maximum_version = ssl.TLSVersion[version]
    client.set_alpn_protocols(["h2", "http/1.1"])
    async with node(site.context(minimum=minimum)) as seen:
        tcp = await trio.open_tcp_stream("127.0.0.1", seen.port)
        stream = trio.SSLStream(tcp, client, server_hostname="127.0.0.1")
        async with tcp:
            if not taken:
                with pytest.raises(trio.BrokenResourceError):
                    await stream.do_handshake()
                return
            await stream.do_handshake()
            assert stream.selected_alpn_protocol() == "http/1.1"
            assert stream.compression() is None


# -- who does not, and what is said


def expired(site: Site) -> trustme.LeafCert:
    old = NOW - timedelta(days=30)
    return site.ca.issue_cert("127.0.0.1", not_before=old, not_after=NOW - timedelta(days=1))


def future(site: Site) -> trustme.LeafCert:
    new = NOW + timedelta(days=30)
    return site.ca.issue_cert("127.0.0.1", not_before=NOW + timedelta(days=1), not_after=new)


class Bare:
    """A certificate that signed itself, as `trustme.LeafCert` puts it to use."""

    def __init__(self, folder: Path) -> None:
        self.path = self_signed(folder, "127.0.0.1")

    def configure_cert(self, context: ssl.SSLContext) -> None:
        context.load_cert_chain(self.path)


SERVERS: dict[str, tuple[Callable[[Site], object], str, str]] = {
    "another CA": (
        lambda site: site.other.issue_cert("127.0.0.1"),
        "is of a CA that is not trusted here (unable to get local issuer certificate); give the CA",
        "does not trust the CA of our certificate",
    ),
    "expired": (expired, "has expired", "our certificate has expired"),
    "not yet valid": (future, "is not valid yet", "refuses our certificate"),
    "another name": (
        lambda site: site.ca.issue_cert("elsewhere.example", "192.0.2.1"),
        "is for another address (IP address mismatch",
        "not for the name",
    ),
    "self-signed": (lambda site: Bare(site.folder), "is self-signed", "does not trust the CA"),
}


@pytest.mark.parametrize("case", SERVERS)
async def test_a_node_s_certificate_that_is_not_good(site: Site, case: str, lines: Lines) -> None:
    """One line at the endpoint that says which, and one at the node."""
    make, client_says, node_says = SERVERS[case]
    async with node(site.showing(make(site))) as seen:  # type: ignore[arg-type]
        with pytest.raises(LinkLost) as caught:
            await seen.greet(site.trusting())
        assert client_says in str(caught.value)
        assert "\n" not in str(caught.value)
        assert isinstance(caught.value, LinkHopeless)
        await told(lines, node_says)


CLIENTS: dict[str, tuple[Callable[[Site], trustme.LeafCert | None], str, str]] = {
    "none": (lambda _site: None, "--cert and --cert-key", "it has no client certificate"),
    "another CA": (
        lambda site: site.other.issue_cert("device-7"),
        "the node does not trust the CA of our client certificate",
        "is of a CA that is not trusted here",
    ),
    "expired": (expired, "our client certificate has expired", "its certificate has expired"),
    "not yet valid": (future, "our client certificate", "its certificate is not valid yet"),
}


@pytest.mark.parametrize("case", CLIENTS)
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_a_client_s_certificate_that_is_not_good(
    site: Site, case: str, version: str, lines: Lines
) -> None:
    """In TLS 1.3 the client hears of it only after its handshake, and says the same."""
    make, client_says, node_says = CLIENTS[case]
    context = site.context("required")
    context.maximum_version = ssl.TLSVersion[version]
    async with node(context) as seen:
        with pytest.raises(LinkLost) as caught:
            await seen.greet(site.trusting(make(site)))
        assert client_says in str(caught.value)
        assert isinstance(caught.value, LinkHopeless)
        assert seen.shown == []
        await told(lines, node_says)


async def test_a_bad_certificate_is_worse_than_none(site: Site) -> None:
    """Where one is optional, one of another CA is refused all the same."""
    async with node(site.context("optional")) as seen:
        with pytest.raises(LinkLost, match="does not trust"):
            await seen.greet(site.trusting(site.other.issue_cert("device-7")))
        assert seen.shown == []


async def test_no_tls_where_it_is_spoken(site: Site, lines: Lines) -> None:
    """ws:// to a TLS port: the answer says what to write instead."""
    async with node(site.context()) as seen:
        with pytest.raises(LinkHopeless, match=r"400 .*this port speaks TLS: write wss://"):
            await seen.greet(None, scheme="ws")
        await told(lines, "it speaks plain HTTP (ws://) where TLS is spoken")


async def test_tls_where_none_is_spoken(site: Site, lines: Lines) -> None:
    """wss:// to a plain port."""
    async with node(None) as seen:
        with pytest.raises(LinkLost, match="no TLS is spoken at this port; write ws://"):
            await seen.greet(site.trusting())
        await told(lines, "it speaks TLS (wss://) where none is spoken")


async def told(lines: Lines, words: str) -> None:
    """Wait for the node's line; there is only this one."""
    line = await lines.receive()
    assert "was not taken" in line
    assert words in line
    with pytest.raises(trio.WouldBlock):
        lines.receive_nowait()


# -- strangers


async def test_a_health_check_is_no_news(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever connects and leaves without a word is a balancer."""
    caplog.set_level(logging.INFO)
    async with node(site.context()) as seen:
        for _ in range(3):
            await (await trio.open_tcp_stream("127.0.0.1", seen.port)).aclose()
        await seen.greet(site.trusting())
    assert caplog.messages == []


async def test_a_silent_stranger_is_shown_out(site: Site) -> None:
    """The handshake has a deadline, and its place is free again afterwards."""
    async with node(site.context(), handshake_timeout=0.2, max_unauthenticated=1) as seen:
        async with await trio.open_tcp_stream("127.0.0.1", seen.port) as silent:
            assert await silent.receive_some() == b""
        await seen.greet(site.trusting())


def test_a_flood_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """One line of a kind each ten seconds, with how many there were."""
    now = [0.0]
    seldom = Seldom(logging.getLogger("edge_tunnel.proxy"), lambda: now[0])
    for each in range(1000):
        seldom("it speaks no TLS", f"192.0.2.1:{each}")
    seldom("it has no client certificate", "192.0.2.2:1")
    assert len(caplog.messages) == 2
    now[0] = 11.0
    seldom("it speaks no TLS", "192.0.2.3:1")
    assert "999 more" in caplog.messages[-1]


# -- replaced while it runs


async def test_links_stay_and_new_ones_see_the_new_certificate(site: Site) -> None:
    """The context is asked for at each connection; a live link goes on with its own."""
    contexts = [site.context()]
    node_ = Node(NodeSettings(), DevelopmentKey(HELLO.key))
    tls = site.trusting()
    dial = dial_websocket(5, tls)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(node_.serve, "127.0.0.1", 0, lambda: contexts[-1])
            port = listeners[0].socket.getsockname()[1]
            url = f"wss://127.0.0.1:{port}"
            async with dial(url) as old:
                contexts.append(site.showing(site.other.issue_cert("127.0.0.1")))
                with pytest.raises(LinkLost, match="not trusted"):
                    async with dial(url):
                        raise AssertionError
                await old.send(encode(HELLO))
                assert isinstance(decode(await old.receive()), Welcome)
            nursery.cancel_scope.cancel()
