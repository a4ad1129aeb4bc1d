"""A client of a node's API: one request over HTTP, through the same proxies and TLS as a link."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple, TypeAlias

import h11
import trio

from edge_tunnel.cli.access import Access
from edge_tunnel.cli.exits import CommandFailed, Exit
from edge_tunnel.cli.patience import open_patience
from edge_tunnel.config.source import printable
from edge_tunnel.errors import LinkLost
from edge_tunnel.link.dialling import Address, open_connection, parse_url
from edge_tunnel.link.tls import ClientTls
from edge_tunnel.proxy.api import PREFIX

__all__ = ["Question", "ask", "exchange"]

Json: TypeAlias = dict[str, Any]

_DIAL: Final = 5.0
"""Seconds to get to one node."""

_ANSWER: Final = 40.0
"""Seconds for an answer: a node gives itself 30."""

_ELSEWHERE: Final = 8.0
"""Seconds for the answer to a question that changes nothing, where another node can be asked: this
one may be hung, or cut off from the cluster's engine."""

_MAX_ANSWER: Final = 16 * 1024 * 1024
"""Bytes: 10,000 keys are listed in 4 MB."""

_EXITS: Final = {
    400: Exit.USAGE,
    401: Exit.NOT_AUTHORISED,
    403: Exit.NOT_AUTHORISED,
    404: Exit.NOT_THERE,
    409: Exit.CONFLICT,
    413: Exit.USAGE,
    422: Exit.CONFIGURATION,
}


class Question(NamedTuple):
    """What is asked of the API."""

    method: str
    path: str
    """Below ``/api/v1/``."""

    body: Json | None = None


class _WebPage(ValueError):
    """A web server's answer, or that of a proxy on the way: no status of it is about the API."""


def ask(access: Access, method: str, path: str, body: Json | None = None) -> Json:
    """Ask the first node that can be reached; if it does not answer a question that changes nothing
    (GET), the next one. Raises CommandFailed."""
    return trio.run(_ask, access, Question(method, path, body))


async def _ask(access: Access, question: Question) -> Json:
    problems: list[str] = []
    tls = ClientTls(access.tls)
    for left, url in zip(range(len(access.urls) - 1, -1, -1), access.urls, strict=True):
        address = parse_url(url)
        try:
            stream = await open_connection(address, _DIAL, tls, access.http_proxy)
        except LinkLost as error:
            problems.append(str(error))
            continue
        # what changes something may have been done, so no other node is asked for it again
        elsewhere = bool(left) and question.method == "GET"
        try:
            seconds = _ELSEWHERE if elsewhere else _ANSWER
            return _checked(url, *await _exchange(stream, address, access, question, seconds))
        except CommandFailed as failed:
            if not elsewhere or failed.code != Exit.COULD_NOT_CONNECT:
                raise
            problems.append(failed.text)
    raise CommandFailed(Exit.COULD_NOT_CONNECT, "; ".join(problems))


async def _exchange(
    stream: trio.abc.Stream, address: Address, access: Access, question: Question, seconds: float
) -> tuple[int, Json]:
    where = f"{address.host}:{address.port}"
    try:
        with trio.fail_after(seconds):
            async with open_patience(lambda: f"waiting for {where}, for up to {seconds:g} s"):
                return await exchange(stream, address.host_header, access.key.reveal(), question)
    except h11.LocalProtocolError:
        text = "the key is not accepted: it has characters that no key has"
        raise CommandFailed(Exit.NOT_AUTHORISED, text) from None
    except trio.TooSlowError:
        problem = f"did not answer within {seconds:g} s"
    except _WebPage as error:
        problem = str(error)
    except (trio.BrokenResourceError, h11.RemoteProtocolError, ValueError):
        problem = "does not answer as a node does (is it TLS? is it a node?)"
    finally:
        await trio.aclose_forcefully(stream)
    raise CommandFailed(Exit.COULD_NOT_CONNECT, f"{where} {problem}")


async def exchange(
    stream: trio.abc.Stream, host: str, key: str, question: Question
) -> tuple[int, Json]:
    """One request of the API on a connected stream: the status and the JSON of the answer.

    Raises:
      h11.LocalProtocolError: the key cannot be one.
      h11.RemoteProtocolError, trio.BrokenResourceError, ValueError: the answer is none.
    """
    http = h11.Connection(h11.CLIENT)
    method, path, body = question
    data = b"" if body is None else json.dumps(body).encode()
    headers = [
        (b"Host", host.encode()),
        (b"User-Agent", b"edge_tunnel"),
        (b"Authorization", f"Bearer {key}".encode(errors="surrogateescape")),
        (b"Content-Type", b"application/json"),
        (b"Content-Length", str(len(data)).encode()),
    ]
    request = h11.Request(method=method, target=PREFIX + path, headers=headers)
    parts = [http.send(each) for each in (request, h11.Data(data), h11.EndOfMessage())]
    await stream.send_all(b"".join(part or b"" for part in parts))
    status, answer = 0, bytearray()
    while not isinstance(event := await _next(stream, http), h11.EndOfMessage):
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            answer += event.data
        if len(answer) > _MAX_ANSWER or isinstance(event, h11.ConnectionClosed):
            raise ValueError("not the answer of a node")
    return status, _json(status, bytes(answer))


async def _next(stream: trio.abc.Stream, http: h11.Connection) -> object:
    while (event := http.next_event()) is h11.NEED_DATA:
        http.receive_data(bytes(await stream.receive_some(65_536)))
    return event


def _json(status: int, answer: bytes) -> Json:
    try:
        said = json.loads(answer)
    except ValueError:
        said = None
    if isinstance(said, dict):
        return said
    words = answer.decode("utf-8", "replace").strip()[:200]
    if words.startswith("<"):
        raise _WebPage(f"answered {status}: a web page; this is no node")
    return {"error": words or str(status)}


def _checked(url: str, status: int, said: Json) -> Json:
    if 200 <= status < 300:
        return said
    text = printable(str(said.get("error", status)))
    code = _EXITS.get(status, Exit.COULD_NOT_CONNECT)
    if status == 404 and "edge_tunnel node" in text:
        text = "this node has no API: it runs with a development key, or is too old"
        code = Exit.REFUSED_BY_DEVICE
    if status == 401:
        text = "the key is not accepted"
    findings = "".join(f"\n{_finding(each)}" for each in said.get("findings", ()))
    raise CommandFailed(code, f"{printable(url)}: {text}{findings}")


def _finding(said: Json) -> str:
    place = f"line {said.get('line')}: " if said.get("line") else ""
    text = f"  {place}{said.get('key')}: {said.get('message')}; {said.get('hint')}"
    return printable(text)
