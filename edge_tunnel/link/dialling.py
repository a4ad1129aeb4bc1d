"""How an endpoint gets a connection to a node: address, TCP, TLS, WebSocket."""

from __future__ import annotations

import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

import trio

from edge_tunnel.errors import ConfigError, LinkLost
from edge_tunnel.link.transport import Transport
from edge_tunnel.link.websocket import open_client

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup

__all__ = ["Address", "Dial", "dial_websocket", "parse_url"]

Dial: TypeAlias = Callable[[str], AbstractAsyncContextManager[Transport]]
"""Opens a transport to a URL; raises LinkLost. Tests bring their own."""

DEFAULT_PATH = "/Thingworx/WS"
"""The resource that EMS asks for, so that a balancer's rules need no change."""


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
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{url!r} is not a URL: {error}") from None
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise ConfigError(
            f"{url!r} is not the URL of a node: write ws://host:port or wss://host:port"
        )
    tls = parts.scheme == "wss"
    path = parts.path if parts.path not in ("", "/") else DEFAULT_PATH
    return Address(parts.hostname, port or (443 if tls else 80), path, tls)


def dial_websocket(timeout: float, tls: ssl.SSLContext | None = None) -> Dial:
    """A `Dial` over the network. `timeout`: seconds for TCP, TLS and the handshake, each."""

    @asynccontextmanager
    async def dial(url: str) -> AsyncIterator[Transport]:
        address = parse_url(url)
        stream = await _connect(address, timeout, tls)
        async with open_client(
            stream, host=address.host_header, path=address.path, peer=url, timeout=timeout
        ) as transport:
            yield transport

    return dial


async def _connect(address: Address, timeout: float, tls: ssl.SSLContext | None) -> trio.abc.Stream:
    where = f"{address.host}:{address.port}"
    stream: trio.abc.Stream | None = None
    try:
        with trio.fail_after(timeout):
            stream = await trio.open_tcp_stream(address.host, address.port)
            if address.tls:
                stream = await _secure(stream, address.host, tls)
            return stream
    except trio.TooSlowError:
        problem = f"{where} did not answer within {timeout:g} s"
    except ssl.SSLError as error:
        problem = f"TLS with {where} failed: {error.reason or error}"
    except OSError as error:
        problem = f"cannot reach {where}: {_plain(error)}"
    except trio.BrokenResourceError as error:
        problem = f"TLS with {where} failed: {error.__cause__ or 'the connection was closed'}"
    if stream is not None:
        await trio.aclose_forcefully(stream)
    raise LinkLost(problem)


async def _secure(
    stream: trio.abc.Stream, host: str, tls: ssl.SSLContext | None
) -> trio.abc.Stream:
    context = tls or ssl.create_default_context()
    secured: trio.SSLStream[trio.abc.Stream] = trio.SSLStream(
        stream, context, server_hostname=host, https_compatible=True
    )
    try:
        await secured.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return secured


def _plain(error: OSError) -> str:
    """The system's words, without the tuple that trio wraps around several attempts."""
    cause = error.__cause__
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    known = cause if isinstance(cause, OSError) else error
    return (known.strerror or str(known)).lower()
