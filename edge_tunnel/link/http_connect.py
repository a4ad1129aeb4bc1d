"""Through a corporate proxy: HTTP CONNECT (RFC 9110 section 9.3.6), with h11.

The proxy is asked for a plain connection to the node; TLS and the WebSocket run inside it. Whatever
goes wrong is said in one line, with what to do, because the person who reads it rarely runs the
proxy.
"""

from __future__ import annotations

import base64
from typing import Final

import h11
import trio

from edge_tunnel.config.model import HttpProxy
from edge_tunnel.config.source import printable
from edge_tunnel.errors import LinkHopeless, LinkLost

__all__ = ["connect_through"]

_MAX_ANSWER: Final = 64 * 1024
"""Bytes of an answer's head. Error pages of proxies are long, but their heads are not."""


_LOGIN: Final = "proxy.user and proxy.password (or --http-proxy USER:PASSWORD@HOST:PORT)"


async def connect_through(stream: trio.abc.Stream, proxy: HttpProxy, host: str, port: int) -> None:
    """Make `stream`, connected to the proxy, a connection to `host`:`port`.

    Raises:
      LinkHopeless: the proxy refuses, or wants another login.
      LinkLost: it could not connect, or answers with something else.
    """
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_ANSWER)
    try:
        await stream.send_all(connection.send(_request(where, proxy)) or b"")
        await stream.send_all(connection.send(h11.EndOfMessage()) or b"")
        answer = await _answer(stream, connection)
    except h11.RemoteProtocolError as error:
        raise LinkLost(f"{_name(proxy)} does not answer as an HTTP proxy does: {error}") from None
    except trio.BrokenResourceError:
        raise LinkLost(f"{_name(proxy)} closed the connection") from None
    if answer is None:
        raise LinkLost(f"{_name(proxy)} closed the connection without an answer")
    if not 200 <= answer.status_code < 300:
        raise _problem(answer, proxy, where)
    if connection.trailing_data[0]:
        raise LinkLost(f"{_name(proxy)} sent something that nobody asked for")


def _request(where: str, proxy: HttpProxy) -> h11.Request:
    headers = [("Host", where), ("User-Agent", "edge_tunnel")]
    if proxy.user is not None:
        # sent at once, as the original does: a proxy that asks for Basic answers 407 otherwise,
        # and many of them close the connection with it
        password = proxy.password.reveal() if proxy.password is not None else ""
        login = base64.b64encode(f"{proxy.user}:{password}".encode()).decode()
        headers.append(("Proxy-Authorization", f"Basic {login}"))
    return h11.Request(method="CONNECT", target=where, headers=headers)


async def _answer(stream: trio.abc.Stream, connection: h11.Connection) -> h11.Response | None:
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            data = await stream.receive_some()
            if not data and not connection.trailing_data[0]:
                return None
            connection.receive_data(bytes(data))
        elif isinstance(event, h11.Response):
            return event
        elif not isinstance(event, h11.InformationalResponse):
            return None


def _problem(answer: h11.Response, proxy: HttpProxy, where: str) -> LinkLost:
    status = answer.status_code
    reason = printable(bytes(answer.reason).decode("latin-1"))
    if status in (401, 407):  # 401: tinyproxy, for a wrong login
        return LinkHopeless(_login_problem(answer, proxy))
    if status in (403, 405):
        return LinkHopeless(
            f"{_name(proxy)} does not allow connections to {where} ({status} {reason}): "
            "ask its administrator to allow CONNECT to this host and port"
        )
    return LinkLost(f"{_name(proxy)} could not connect to {where}: {status} {reason}")


def _login_problem(answer: h11.Response, proxy: HttpProxy) -> str:
    offers = [bytes(value) for name, value in answer.headers if name == b"proxy-authenticate"]
    schemes = {offer.split(b" ")[0].decode("latin-1").lower() for offer in offers}
    if schemes and "basic" not in schemes:
        names = printable(", ".join(sorted(schemes)))
        return (
            f"{_name(proxy)} asks for {names}; edge_tunnel can log in with Basic only: "
            "ask for a rule without login, or put a local proxy such as cntlm in between"
        )
    if proxy.user is None:
        return f"{_name(proxy)} asks for a login: set {_LOGIN}"
    return f"{_name(proxy)} does not accept the login: check {_LOGIN}"


def _name(proxy: HttpProxy) -> str:
    return f"the HTTP proxy {proxy.host}:{proxy.port}"
