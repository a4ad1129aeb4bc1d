"""How an endpoint gets a connection to a node: TCP, HTTP CONNECT, TLS, WebSocket."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import SplitResult, urlsplit

import trio

from edge_tunnel.config.model import HttpProxy, TlsSettings
from edge_tunnel.errors import ConfigError, LinkLost
from edge_tunnel.link.http_connect import connect_through
from edge_tunnel.link.keepalive import keep_alive
from edge_tunnel.link.oserrors import in_words
from edge_tunnel.link.tls import ClientTls
from edge_tunnel.link.transport import PlainTransport, Transport
from edge_tunnel.link.websocket import Beside, Rejected, open_client, open_plain
from edge_tunnel.protocol.hint import with_hint

__all__ = [
    "EITHER",
    "OURS",
    "PLAIN",
    "Address",
    "Dial",
    "dial_websocket",
    "open_connection",
    "parse_url",
]

Dial: TypeAlias = Callable[[str], AbstractAsyncContextManager[Transport]]
"""Opens a transport to a URL; raises LinkLost. Tests bring their own."""

DEFAULT_PATH = "/Thingworx/WS"
"""The resource that EMS asks for, so that a balancer's rules need no change."""


OURS: Final = "edge-tunnel"
PLAIN: Final = "alwayson"
EITHER: Final = "auto"
"""What a server must speak: ours, none that is agreed on in the handshake, or ours if it can."""

_BAD_REQUEST: Final = 400

_LOGIN: Final = re.compile(r"//[^/]*@")
_NAME: Final = re.compile(r"[\w.:%-]+", re.ASCII)
_PATH: Final = re.compile(r"/[!-~]*")


@dataclass(frozen=True)
class Address:
    """A node's URL, taken apart."""

    host: str
    port: int
    path: str
    tls: bool

    @property
    def host_header(self) -> str:
        """For HTTP's Host: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def parse_url(url: str) -> Address:
    """``wss://host[:port][/path]`` or ``ws://...``. Raises ConfigError for anything else."""
    shown = repr(_LOGIN.sub("//***@", url))
    try:
        parts = urlsplit(url)
        host, port = parts.hostname and _ascii(parts.hostname), _port(parts)
    except ValueError as error:  # UnicodeError is one
        raise ConfigError(f"{shown} is not a URL: {error}") from None
    if parts.scheme not in ("ws", "wss") or not host:
        raise ConfigError(
            f"{shown} is not the URL of a node: write ws://host:port or wss://host:port"
        )
    if "@" in parts.netloc:
        raise ConfigError(f"{shown}: a URL with a login: a node asks for a key, given elsewhere")
    tls = parts.scheme == "wss"
    path = parts.path if parts.path not in ("", "/") else DEFAULT_PATH
    path += f"?{parts.query}" if parts.query else ""
    if not _PATH.fullmatch(path):
        raise ConfigError(f"{shown} is not a URL: write what is no ASCII, and blanks, as %20")
    return Address(host, port or (443 if tls else 80), path, tls)


def _port(parts: SplitResult) -> int | None:
    try:
        return parts.port
    except ValueError:
        raise ValueError("its port must be a number up to 65535, as in ws://host:9100") from None


def _ascii(host: str) -> str:
    """A name as it is looked up and as HTTP says it. Raises ValueError if it cannot be one."""
    name = host if ":" in host else host.encode("idna").decode("ascii")
    if not _NAME.fullmatch(name):
        raise ValueError("this is not a host name")
    return name


def dial_websocket(
    timeout: float,
    tls: TlsSettings | None = None,
    proxy: HttpProxy | None = None,
    protocol: str = OURS,
    about: Callable[[], str] = str,
) -> Dial:
    """A `Dial` over the network.

    Args:
      timeout: seconds for TCP, HTTP CONNECT and TLS together, and again for the WebSocket.
      tls: how to verify a node, for ``wss://``.
      proxy: the HTTP proxy to go through.
      protocol: what is asked for. With `EITHER` and `PLAIN` the transport may be, or is, a
        `PlainTransport`.
      about: the thing that the next link is about, for whoever spreads links (`protocol.hint`);
        empty: none that can be named.

    Raises:
      ConfigError: a file that `tls` names cannot be used.
    """
    return _Dialler(timeout, ClientTls(tls), proxy, protocol, about).dial


class _Dialler:
    """Knows the way to one server after another."""

    def __init__(
        self,
        timeout: float,
        tls: ClientTls,
        proxy: HttpProxy | None,
        protocol: str,
        about: Callable[[], str],
    ) -> None:
        self._timeout = timeout
        self._tls = tls
        self._proxy = proxy
        self._protocol = protocol
        self._about = about

    @asynccontextmanager
    async def dial(self, url: str) -> AsyncIterator[Transport]:
        async with AsyncExitStack() as stack:
            yield await self._enter(stack, parse_url(url), url)

    async def _enter(self, stack: AsyncExitStack, address: Address, url: str) -> Transport:
        if self._protocol != PLAIN:
            try:
                return await stack.enter_async_context(self._open(address, url))
            except Rejected as rejected:
                # a server may refuse what offers a subprotocol that it does not know
                if self._protocol != EITHER or rejected.status != _BAD_REQUEST:
                    raise
        return await stack.enter_async_context(self._open_plain(address, address.path, url, {}))

    @asynccontextmanager
    async def _open(self, address: Address, url: str) -> AsyncIterator[Transport]:
        async with open_client(
            await open_connection(address, self._timeout, self._tls, self._proxy),
            host=address.host_header,
            path=address.path,
            peer=url,
            timeout=self._timeout,
            headers=with_hint(self._about()),
            beside=None if self._protocol == OURS else self._beside(address),
        ) as transport:
            yield transport

    @asynccontextmanager
    async def _open_plain(
        self,
        address: Address,
        path: str,
        peer: str,
        headers: Mapping[str, str],
        *,
        pinged: bool = True,
    ) -> AsyncIterator[PlainTransport]:
        stream = await open_connection(address, self._timeout, self._tls, self._proxy)
        if not pinged:
            keep_alive(stream)
        async with open_plain(
            stream,
            host=address.host_header,
            path=path,
            peer=peer,
            timeout=self._timeout,
            headers=headers,
            beside=self._beside(address),
        ) as transport:
            yield transport

    def _beside(self, address: Address) -> Beside:
        def beside(
            path: str, headers: Mapping[str, str]
        ) -> AbstractAsyncContextManager[PlainTransport]:
            peer = f"{address.host_header}{path}"
            return self._open_plain(address, path, peer, headers, pinged=False)

        return beside


async def open_connection(
    address: Address, timeout: float, tls: ClientTls, proxy: HttpProxy | None
) -> trio.abc.Stream:
    """TCP, HTTP CONNECT and TLS, within `timeout` seconds. Raises LinkLost."""
    try:
        with trio.fail_after(timeout):
            try:
                return await _connect_once(address, tls, proxy)
            except LinkLost as error:
                if not tls.tolerates(error):
                    raise
            return await _connect_once(address, tls, proxy, verify=False)
    except trio.TooSlowError:
        through = f" through the HTTP proxy {proxy.host}:{proxy.port}" if proxy else ""
        raise LinkLost(
            f"{address.host}:{address.port} did not answer{through} within {timeout:g} s"
        ) from None


async def _connect_once(
    address: Address, tls: ClientTls, proxy: HttpProxy | None, *, verify: bool = True
) -> trio.abc.Stream:
    host, port = (proxy.host, proxy.port) if proxy else (address.host, address.port)
    what = "the HTTP proxy " if proxy else ""
    try:
        stream: trio.abc.Stream = await trio.open_tcp_stream(host, port)
    except OSError as error:
        raise LinkLost(f"cannot reach {what}{host}:{port}: {in_words(error)}") from None
    except UnicodeError:
        raise LinkLost(f"cannot reach {what}{host}:{port}: this is not a host name") from None
    try:
        if proxy is not None:
            await connect_through(stream, proxy, address.host, address.port)
        if address.tls:
            return await tls.secure(stream, address.host, verify=verify)
        return stream
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
