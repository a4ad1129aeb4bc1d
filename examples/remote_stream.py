"""A program that talks to a service of a device, with no local port in between.

What it shows: `open_remote`, one stream, half-close, and what goes wrong in words. The stream is a
`trio.abc.HalfCloseableStream`: whatever speaks to trio streams (TLS, HTTP, ...) can use it. If the
link is lost meanwhile, the stream pauses and goes on; nothing here has to know.

What it leaves out: several streams (open as many as you like, at once or one after another).

How to poke it, beside examples/edge_in_application.py::

    export EDGE_TUNNEL_KEY=secret
    printf '\\n\\n' | python examples/remote_stream.py ws://127.0.0.1:9100 device-7 thermometer
"""

from __future__ import annotations

import os
import sys

import trio

import edge_tunnel


async def talk(remote: edge_tunnel.Remote, thing: str, service: str, question: bytes) -> bytes:
    """Send all, say that this was all, and take all that is answered."""
    async with await remote.open_stream(thing, service) as stream:
        await stream.send_all(question)
        await stream.send_eof()
        return b"".join([bytes(data) async for data in stream])


async def main(url: str, thing: str, service: str) -> int:
    question = sys.stdin.buffer.read()
    try:
        async with edge_tunnel.open_remote([url], os.environ["EDGE_TUNNEL_KEY"]) as remote:
            answer = await talk(remote, thing, service, question)
    except edge_tunnel.EdgeTunnelError as error:  # no such thing, not authorised, refused ...
        print(f"{service} of {thing}: {error}", file=sys.stderr)
        return 1
    except trio.TooSlowError:  # no node, or no answer of the device, in the time that it may take
        print(f"{service} of {thing}: no connection to {url} in time", file=sys.stderr)
        return 1
    except trio.BrokenResourceError as error:  # in the middle; the cause has the reason
        print(f"{service} of {thing}: {error.__cause__ or error}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(answer)
    return 0


if __name__ == "__main__":
    where, what, which = sys.argv[1:4]
    sys.exit(trio.run(main, where, what, which))
