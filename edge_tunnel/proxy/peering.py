"""How one node reaches another: TCP, and in it TLS with a certificate at each end.

A certificate names its node, as a DNS name. The node that connects demands the name that it
dialled; the one that accepts hands the names to the greeting, which compares them with JOIN's.
Without certificates nodes talk on one machine's loopback address only, and show each other a key.
"""

from __future__ import annotations

import ipaddress
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

import trio

from edge_tunnel.errors import ConfigError, LinkLost
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.link.handshake import part, shake_hands
from edge_tunnel.link.oserrors import in_words
from edge_tunnel.link.pem import Pair
from edge_tunnel.link.secured import Secured
from edge_tunnel.link.tls_words import server_words
from edge_tunnel.proxy.framed import FramedTransport
from edge_tunnel.proxy.hop import HopDial, Hops
from edge_tunnel.proxy.seldom import Seldom

__all__ = ["HopTls", "HopTlsSource", "dial_hops", "hop_files", "load_hop_tls", "serve_hops"]

_log = logging.getLogger("edge_tunnel.proxy")

Address: TypeAlias = Callable[[str], tuple[str, int] | None]
"""The host and port at which the node of this name takes hops."""

_MAX_STRANGERS: Final = 64
"""Connections that have not shown a certificate yet: more than a cluster has nodes."""


@dataclass(frozen=True)
class HopTls:
    """Both sides of mutual TLS. Raises ConfigError for a context that would let strangers in."""

    server: ssl.SSLContext
    client: ssl.SSLContext

    def __post_init__(self) -> None:
        if self.server.verify_mode != ssl.CERT_REQUIRED:
            raise ConfigError("hops: the TLS server context must demand a certificate")
        if self.client.verify_mode != ssl.CERT_REQUIRED or not self.client.check_hostname:
            raise ConfigError("hops: the TLS client context must verify certificate and name")


HopTlsSource: TypeAlias = Callable[[], HopTls]
"""What counts for the next hop."""


def load_hop_tls(certificate: str, key: str, ca: str) -> HopTls:
    """From PEM files: this node's certificate (with its chain), its key, and the cluster's CA.

    The certificate's DNS names contain the node's name; it is for clients and servers.

    Raises:
      ConfigError: a file cannot be used.
    """
    hop_files(certificate, key, ca).check()
    try:
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca)
        server.verify_mode = ssl.CERT_REQUIRED
        client = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca)
        for context in (server, client):
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.load_cert_chain(certificate, key, password="")
    except OSError as error:  # ssl.SSLError is one
        files = f"{certificate}, {key}, {ca}"
        raise ConfigError(f"hops: the TLS files ({files}) cannot be used: {error}") from None
    return HopTls(server, client)


def hop_files(certificate: str, key: str, ca: str) -> Pair:
    """The same files, to look at."""
    called = ("cluster.node_cert", "cluster.node_key", "cluster.node_ca")
    return Pair(certificate=certificate, key=key, ca=ca, called=called)


def dial_hops(address: Address, tls: HopTlsSource | None) -> HopDial:
    """The way to other nodes, over the network; without `tls` over loopback only."""

    @asynccontextmanager
    async def dial(node: str) -> AsyncIterator[FramedTransport]:
        where = address(node)
        if where is None:
            raise LinkLost("it is not in the cluster")
        if tls is None and not _is_loopback(where[0]):
            raise LinkLost(f"{where[0]} is another machine: that needs certificates")
        try:
            stream: trio.abc.Stream = await trio.open_tcp_stream(*where)
        except OSError as error:
            raise LinkLost(f"cannot reach {where[0]}:{where[1]}: {in_words(error)}") from None
        try:
            if tls is not None:
                stream = await _secure(stream, tls().client, node)
            yield FramedTransport(stream, node)
        finally:
            await trio.aclose_forcefully(stream)

    return dial


async def serve_hops(
    hops: Hops,
    host: str,
    port: int,
    tls: HopTlsSource | None,
    *,
    task_status: trio.TaskStatus[Sequence[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a node's hops, and take those of other nodes, until cancelled.

    Raises:
      ConfigError: without `tls`: the address is not loopback, or `hops` has no key.
      OSError: the address cannot be used.
    """
    if tls is None and not (_is_loopback(host) and hops.settings.key):
        raise ConfigError(f"hops on {host}: without certificates only 127.0.0.1, and with a key")
    listeners = await trio.open_tcp_listeners(port, host=host)
    strangers = trio.CapacityLimiter(_MAX_STRANGERS)
    async with open_plain_nursery() as nursery:
        await nursery.start(hops.run)
        task_status.started(listeners)
        take = partial(_take, hops, tls, strangers, Seldom(_log))
        await trio.serve_listeners(take, listeners)


async def _take(
    hops: Hops,
    tls: HopTlsSource | None,
    strangers: trio.CapacityLimiter,
    tell: Seldom,
    sock: trio.SocketStream,
) -> None:
    stream: trio.abc.Stream = sock
    names: Collection[str] | None = None
    try:
        if tls is not None:
            with trio.fail_after(hops.settings.connect_timeout):
                async with strangers:
                    secure = await _secure(sock, tls().server, None)
            stream, names = secure, _dns_names(secure)
        await hops.take(FramedTransport(stream, "a node"), names)
    except _NoTls as error:
        tell(str(error), "a node, or a stranger")
        await part(stream)
    except (LinkLost, trio.TooSlowError) as error:
        _log.debug("a hop was not taken: %s", error)
    except Exception:  # noqa: BLE001 - a bug met by one hop is logged, not the node's end
        _log.exception("a hop: internal error")
    finally:
        await trio.aclose_forcefully(stream)


class _NoTls(LinkLost):
    """The handshake failed, and the other end has something to mend."""


async def _secure(stream: trio.abc.Stream, context: ssl.SSLContext, node: str | None) -> Secured:
    """TLS in `stream`: as the client of the node of this name, or as a server. Raises LinkLost."""
    try:
        return await shake_hands(stream, context, host=node)
    except trio.BrokenResourceError as error:
        why = server_words(error.__cause__)
        if why is None:
            raise LinkLost("no TLS: the connection was closed in the handshake") from None
        raise _NoTls(f"no TLS: {why}") from None
    except ValueError as error:  # not a DNS name
        raise LinkLost(f"no TLS: {error}") from None


def _dns_names(stream: Secured) -> frozenset[str]:
    names = stream.peer_fields().get("subjectAltName", ())
    return frozenset(name for kind, name in names if kind == "DNS")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
