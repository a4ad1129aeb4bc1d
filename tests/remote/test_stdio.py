"""remote/stdio.py on pipes, with the far end in our hands; tests/cli has it as a process."""

from __future__ import annotations

import os

import trio
import trio.testing

from edge_tunnel import TunnelStream
from edge_tunnel.protocol.sending import SendState
from edge_tunnel.remote.stdio import carry_stdio
from tests.conftest import OpenBench


async def test_a_service_that_did_not_want_everything(open_bench: OpenBench) -> None:
    """It stops reading and ends much later: then not all was delivered, whatever is acked."""
    settled = trio.Event()

    async def picky(stream: TunnelStream) -> None:
        await stream.receive_some()
        stream.stop_receiving()
        await settled.wait()
        await stream.send_eof()

    (stdin, ours), (answers, stdout) = os.pipe(), os.pipe()
    with trio.fail_after(20):
        async with open_bench(services={"picky": picky}) as bench:
            stream = await bench.remote.open_stream("device", "picky")
            async with trio.open_nursery() as nursery:
                os.write(ours, b"one")
                nursery.start_soon(_settle, stream, ours, settled)
                assert not await carry_stdio(stream, stdin, stdout)
    for fd in (stdin, ours, answers, stdout):
        os.close(fd)


async def _settle(stream: TunnelStream, stdin: int, settled: trio.Event) -> None:
    while stream.core.outgoing.state is not SendState.DONE:
        await trio.lowlevel.checkpoint()
    os.write(stdin, b"two")
    settled.set()
