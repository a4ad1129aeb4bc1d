"""link/dialling.py: real TLS, and a real HTTP proxy (tinyproxy), with and without trouble."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trio
import trustme

from edge_tunnel import HttpProxy, LinkLost, Secret, Service, TlsSettings, open_remote
from edge_tunnel.config.model import CertificateCriteria
from edge_tunnel.edge.services import Refusal, connect_service
from edge_tunnel.errors import ConfigError
from edge_tunnel.link.dialling import dial_websocket, parse_url
from edge_tunnel.link.tls import ClientTls
from edge_tunnel.link.transport import Transport
from edge_tunnel.link.websocket import serve

PASSWORD = "open sesame"


# -- addresses


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://node:9100", ("node", 9100, "/Thingworx/WS", "node:9100")),
        ("wss://node", ("node", 443, "/Thingworx/WS", "node")),
        ("ws://node/", ("node", 80, "/Thingworx/WS", "node")),
        ("wss://[::1]:8443/x/y", ("::1", 8443, "/x/y", "[::1]:8443")),
        (
            "wss://b\u00fccher.example/x?y=z",
            ("xn--bcher-kva.example", 443, "/x?y=z", "xn--bcher-kva.example"),
        ),
    ],
)
def test_url(url: str, expected: tuple[object, ...]) -> None:
    """URLs of nodes, with what is left out filled in."""
    address = parse_url(url)
    assert (address.host, address.port, address.path, address.host_header) == expected


@pytest.mark.parametrize(
    "url",
    [
        "", "node", "http://node", "ws://", "ws://x:port", "ws://[::1",
        "ws://a..b", f"ws://{'x' * 64}.example", "ws://.example", "ws://a b", "ws://x/a b", "ws://x/\u00fc",
        "ws://me:secret@node", "http://me:secret@node",
    ],
)  # fmt: skip
async def test_not_a_url(url: str) -> None:
    """Anything else is one clear line, at once, and with no secret in it."""
    with pytest.raises(ConfigError, match="URL") as error:
        parse_url(url)
    assert "secret" not in str(error.value)
    with pytest.raises(ConfigError):
        async with open_remote([url], "key"):
            await trio.sleep_forever()


async def test_a_proxy_or_a_service_with_no_name() -> None:
    """What only the resolver refuses is an attempt that failed, not the end of the endpoint."""
    with pytest.raises(LinkLost, match="not a host name"):
        await greeted(1, host="127.0.0.1", proxy=HttpProxy(host="a..b"), plain=True)
    with pytest.raises(Refusal, match="not a host name"):
        await connect_service(Service(name="x", host="a..b", port=1), 1)


# -- TLS


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(ca: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return str(path)


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@asynccontextmanager
async def server(context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A node that greets every link with one message, and its port."""

    async def hello(transport: Transport) -> None:
        await transport.send(b"hello")
        await transport.receive()  # until the client leaves; who does not read lets it wait

    async def take(stream: trio.SocketStream) -> None:
        secured: trio.abc.Stream = stream
        if context is not None:
            secured = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        await serve(secured, hello, peer="test", timeout=5)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, take, 0)
            yield listeners[0].socket.getsockname()[1]
            nursery.cancel_scope.cancel()


async def greeted(port: int, *, host: str = "localhost", **options: object) -> None:
    scheme = "ws" if options.pop("plain", False) else "wss"
    dial = dial_websocket(5, **options)  # type: ignore[arg-type]
    async with dial(f"{scheme}://{host}:{port}") as transport:
        assert await transport.receive() == b"hello"


async def test_tls(ca: trustme.CA, ca_file: str) -> None:
    """A node whose certificate is from the given CA and for its name."""
    async with server(server_context(ca.issue_cert("localhost"))) as port:
        await greeted(port, tls=TlsSettings(ca_file=ca_file))


async def test_wrong_name(ca: trustme.CA, ca_file: str) -> None:
    """A certificate for another host is refused, unless names are not to be checked."""
    async with server(server_context(ca.issue_cert("elsewhere.example"))) as port:
        with pytest.raises(LinkLost, match=r"certificate of localhost.*[Hh]ostname mismatch"):
            await greeted(port, tls=TlsSettings(ca_file=ca_file))
        await greeted(port, tls=TlsSettings(ca_file=ca_file, check_hostname=False))


async def test_unknown_ca(ca_file: str) -> None:
    """A certificate of another CA is refused, unless nothing is to be checked."""
    async with server(server_context(trustme.CA().issue_cert("localhost"))) as port:
        with pytest.raises(LinkLost, match="unable to get local issuer certificate"):
            await greeted(port, tls=TlsSettings(ca_file=ca_file))
        with pytest.raises(LinkLost, match="unable to get local issuer certificate"):
            await greeted(port, tls=TlsSettings(ca_file=ca_file, allow_self_signed=True))
        await greeted(port, tls=TlsSettings(validate=False))


async def test_self_signed(ca_file: str, tmp_path: Path) -> None:
    """A self-signed certificate is refused, unless that is allowed."""
    certificate, key = tmp_path / "self.pem", tmp_path / "self.key"
    subprocess.run(  # noqa: ASYNC221 - a moment, before anything else runs
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with server(context) as port:
        with pytest.raises(LinkLost, match="self-signed certificate"):
            await greeted(port, tls=TlsSettings(ca_file=ca_file))
        await greeted(port, tls=TlsSettings(ca_file=ca_file, allow_self_signed=True))


async def test_client_certificate(ca: trustme.CA, ca_file: str, tmp_path: Path) -> None:
    """A node that asks for a client certificate gets ours."""
    ours = tmp_path / "client.pem"
    ca.issue_cert("device-7").private_key_and_cert_chain_pem.write_to_path(str(ours))
    context = server_context(ca.issue_cert("localhost"))
    context.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(context)
    async with server(context) as port:
        await greeted(port, tls=TlsSettings(ca_file=ca_file, client_cert=str(ours)))
        with pytest.raises(LinkLost):
            await greeted(port, tls=TlsSettings(ca_file=ca_file))


@pytest.mark.slow
async def test_files_that_are_replaced(
    ca: trustme.CA, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The next connection trusts what the files say then; a broken one changes nothing."""
    path, other = tmp_path / "ca.pem", trustme.CA()
    other.cert_pem.write_to_path(str(path))
    dial = dial_websocket(5, TlsSettings(ca_file=str(path)))
    async with server(server_context(ca.issue_cert("localhost"))) as port:
        url = f"wss://localhost:{port}"
        with pytest.raises(LinkLost, match="not trusted"):
            async with dial(url):
                raise AssertionError
        ca.cert_pem.write_to_path(str(path))
        async with dial(url) as transport:
            assert await transport.receive() == b"hello"
        path.write_text("half")
        for _ in range(2):
            async with dial(url) as transport:
                assert await transport.receive() == b"hello"
        assert [str(path) in line for line in caplog.messages] == [True]


@pytest.mark.parametrize(
    "settings", [TlsSettings(validate=False), TlsSettings(allow_self_signed=True)]
)
async def test_a_file_that_is_broken_before_it_is_needed(
    ca: trustme.CA, ca_file: str, settings: TlsSettings
) -> None:
    """What was read at the start stays in use, also what is not needed for each connection."""
    tls = ClientTls(replace(settings, ca_file=ca_file))
    Path(ca_file).write_text("half")  # noqa: ASYNC240 - a moment
    async with server(server_context(ca.issue_cert("localhost"))) as port:
        stream = await trio.open_tcp_stream("localhost", port)
        async with await tls.secure(stream, "localhost", verify=False):
            pass


async def test_validation_criteria(ca: trustme.CA, ca_file: str) -> None:
    """What the certificate must say beside being valid."""
    leaf = ca.issue_cert("localhost", common_name="node-1", organization_name="Works")
    good = CertificateCriteria(common_name="node-1", organization="Works")
    bad = CertificateCriteria(common_name="node-2")
    async with server(server_context(leaf)) as port:
        await greeted(port, tls=TlsSettings(ca_file=ca_file, criteria=good))
        with pytest.raises(LinkLost, match="commonName 'node-2'"):
            await greeted(port, tls=TlsSettings(ca_file=ca_file, criteria=bad))


async def test_no_tls_there() -> None:
    """wss to a port that speaks no TLS says so."""
    async with server() as port:
        with pytest.raises(LinkLost, match=r"TLS"):
            await greeted(port)


@pytest.mark.parametrize(
    "settings",
    [
        TlsSettings(ca_file="nowhere/ca.pem"),
        TlsSettings(ca_file=__file__),
        TlsSettings(client_cert="nowhere/client.pem"),
        TlsSettings(ciphers="NONSENSE"),
    ],
)
def test_bad_files(settings: TlsSettings) -> None:
    """A file that is missing or no certificate is a configuration error that names the key."""
    with pytest.raises(ConfigError, match=r"^certificates\."):
        dial_websocket(5, settings)


# -- a real HTTP proxy


@pytest.fixture
def tinyproxy(tmp_path: Path) -> Iterator[HttpProxy]:
    """tinyproxy on a free port, asking for a login, allowing CONNECT to any port but 1."""
    program = shutil.which("tinyproxy")
    if program is None:
        pytest.fail("tinyproxy is not installed: apt-get install tinyproxy")
    port = free_port()
    config = tmp_path / "tinyproxy.conf"
    config.write_text(
        f"Port {port}\nListen 127.0.0.1\nTimeout 20\nMaxClients 20\n"
        f'BasicAuth user {PASSWORD.replace(" ", "_")}\nLogFile "{tmp_path}/log"\n'
        + "".join(f"ConnectPort {other}\n" for other in ALLOWED_PORTS)
    )
    process = subprocess.Popen([program, "-d", "-c", str(config)])
    try:
        wait_until_open(port)
        yield HttpProxy(
            host="127.0.0.1", port=port, user="user", password=Secret(PASSWORD.replace(" ", "_"))
        )
    finally:
        process.terminate()
        process.wait(10)


ALLOWED_PORTS = range(20_000, 20_040)


def free_port(among: range | None = None) -> int:
    for port in among or [0]:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(sock.getsockname()[1])
    raise AssertionError("no free port")


def wait_until_open(port: int) -> None:
    """Connecting again and again is the only sign that a foreign program gives."""
    for _ in range(10_000):
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
    raise AssertionError("the proxy did not start")


@asynccontextmanager
async def plain_server_on_an_allowed_port() -> AsyncIterator[int]:
    async def hello(transport: Transport) -> None:
        await transport.send(b"hello")
        await transport.receive()  # until the client leaves; who does not read lets it wait

    async def take(stream: trio.SocketStream) -> None:
        await serve(stream, hello, peer="test", timeout=5)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            port = free_port(ALLOWED_PORTS)
            await nursery.start(partial(trio.serve_tcp, take, port, host="127.0.0.1"))
            yield port
            nursery.cancel_scope.cancel()


async def test_through_a_proxy_with_login(tinyproxy: HttpProxy) -> None:
    """A link through a real proxy that asks for a password."""
    async with plain_server_on_an_allowed_port() as port:
        await greeted(port, host="127.0.0.1", plain=True, proxy=tinyproxy)


async def test_proxy_wants_a_login(tinyproxy: HttpProxy) -> None:
    """No login, or a wrong one: the line says what to set; no password is in it."""
    nobody = HttpProxy(host=tinyproxy.host, port=tinyproxy.port)
    wrong = HttpProxy(host=tinyproxy.host, port=tinyproxy.port, user="u", password=Secret("pw-x"))
    async with plain_server_on_an_allowed_port() as port:
        with pytest.raises(LinkLost, match="login"):
            await greeted(port, host="127.0.0.1", plain=True, proxy=nobody)
        with pytest.raises(LinkLost, match="login") as caught:
            await greeted(port, host="127.0.0.1", plain=True, proxy=wrong)
        assert "pw-x" not in str(caught.value)


async def test_proxy_refuses_the_target(tinyproxy: HttpProxy) -> None:
    """A port that the proxy's rules forbid."""
    with trio.fail_after(20), pytest.raises(LinkLost, match="does not allow connections"):
        await greeted(1, host="127.0.0.1", plain=True, proxy=tinyproxy)


async def test_target_behind_the_proxy_is_down(tinyproxy: HttpProxy) -> None:
    """The proxy works, the node does not."""
    port = free_port(ALLOWED_PORTS)
    with trio.fail_after(20), pytest.raises(LinkLost, match=r"could not connect|closed"):
        await greeted(port, host="127.0.0.1", plain=True, proxy=tinyproxy)


# -- proxies that misbehave

ANSWERS = {
    "closes": (b"", "closed the connection"),
    "nonsense": (b"SSH-2.0-OpenSSH_9.2\r\n", "does not answer as an HTTP proxy"),
    "ntlm": (
        b"HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n",
        "asks for ntlm",
    ),
    "no scheme": (
        b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
        r"asks for a login: set proxy\.user .* --http-proxy",
    ),
    "gateway": (b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\n\r\n", "504"),
    "chatty": (b"HTTP/1.1 200 OK\r\n\r\nhello there", "nobody asked for"),
    "endless head": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, "does not answer as"),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_proxy_misbehaves(name: str) -> None:
    """Each way in which a proxy can fail has its own line."""
    answer, text = ANSWERS[name]

    async def take(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(answer)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, take, 0)
            port = listeners[0].socket.getsockname()[1]
            with pytest.raises(LinkLost, match=text):
                await greeted(1, plain=True, proxy=HttpProxy(host="127.0.0.1", port=port))
            nursery.cancel_scope.cancel()


async def test_proxy_hangs() -> None:
    """A proxy that takes the connection and says nothing costs the connect timeout."""

    async def hang(_stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, hang, 0)
            port = listeners[0].socket.getsockname()[1]
            proxy = HttpProxy(host="127.0.0.1", port=port)
            dial = dial_websocket(0.2, proxy=proxy)
            with pytest.raises(LinkLost, match="did not answer through the HTTP proxy"):
                async with dial("ws://node:9100"):
                    raise AssertionError
            nursery.cancel_scope.cancel()


async def test_nothing_listens() -> None:
    """The system's words, not a tuple of attempts."""
    with trio.fail_after(20), pytest.raises(LinkLost, match="connection refused"):
        await greeted(free_port(), plain=True)
