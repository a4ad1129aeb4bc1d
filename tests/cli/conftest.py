"""Real processes: a site, shared or of its own for a test, and services behind its edge."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import trio

from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.link.splice import reset_socket
from edge_tunnel.testing import Site, open_site
from edge_tunnel.testing.processes import our_command

DEADLINE = 60.0  # for a machine that does much else: it starts a dozen programs at once


@dataclass
class Ended:
    """A process that ran to its end."""

    code: int
    out: bytes
    err: str


class Bench:
    """A site with ports of services, and commands that run to their end."""

    def __init__(self, site: Site, echo: int, reset: int, closed: int) -> None:
        self.site = site
        self.services = {"echo": echo, "reset": reset, "closed": closed}

    async def start(self) -> None:
        """A node and an edge."""
        await self.site.start_proxy()
        await self.site.start_edge(self.services)

    async def run(self, *words: str, stdin: bytes = b"") -> Ended:
        """``edge-tunnel`` with these words, to its end."""
        with trio.fail_after(DEADLINE):
            process = await trio.run_process(
                our_command(*words),
                stdin=stdin,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env=self.site.environ,
            )
        return Ended(process.returncode, process.stdout, process.stderr.decode())


async def _echo(sock: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError):  # reset, as some tests want it
        async for data in sock:
            await sock.send_all(data)
        await sock.send_eof()


async def _reset(sock: trio.SocketStream) -> None:
    await sock.send_all(b"half of")
    await sock.receive_some()
    reset_socket(sock)


@pytest.fixture(scope="session")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Many short processes: without a cache of their bytecode half of the time is compiling."""
    if not sys.dont_write_bytecode:
        return {}  # the one of the tests themselves
    prefix = str(tmp_path_factory.mktemp("bytecode"))
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": prefix}


@asynccontextmanager
async def _open_bench(folder: Path, environ: dict[str, str]) -> AsyncIterator[Bench]:
    """Ports: one that echoes, one that resets, one where nobody listens."""
    async with open_plain_nursery() as nursery:
        echo = (await nursery.start(partial(trio.serve_tcp, _echo, 0, host="127.0.0.1")))[0]
        reset = (await nursery.start(partial(trio.serve_tcp, _reset, 0, host="127.0.0.1")))[0]
        with trio.socket.socket() as closed:  # bound, not listening: nobody else gets the number
            await closed.bind(("127.0.0.1", 0))
            numbers = [each.getsockname()[1] for each in (echo.socket, reset.socket, closed)]
            async with open_site(folder) as site:
                site.environ.update(environ)
                yield Bench(site, *numbers)
        nursery.cancel_scope.cancel()


@pytest.fixture
async def bench(tmp_path: Path, bytecode: dict[str, str]) -> AsyncIterator[Bench]:
    """A site of its own for a test, nothing started."""
    with trio.fail_after(DEADLINE):
        async with _open_bench(tmp_path, bytecode) as bench:
            yield bench


@pytest.fixture
async def long_bench(tmp_path: Path, bytecode: dict[str, str]) -> AsyncIterator[Bench]:
    """The same for a slow test that runs dozens of commands."""
    with trio.fail_after(10 * DEADLINE):
        async with _open_bench(tmp_path, bytecode) as bench:
            yield bench


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory, bytecode: dict[str, str]) -> Iterator[Bench]:
    """A node and an edge for all tests that do them no harm, in a thread of their own."""
    started: queue.Queue[tuple[Bench, trio.lowlevel.TrioToken, trio.Event]] = queue.Queue()

    async def run() -> None:
        stop = trio.Event()
        async with _open_bench(tmp_path_factory.mktemp("site"), bytecode) as bench:
            await bench.start()
            started.put((bench, trio.lowlevel.current_trio_token(), stop))
            await stop.wait()

    thread = threading.Thread(target=trio.run, args=(run,), daemon=True)
    thread.start()
    bench, token, stop = started.get(timeout=DEADLINE)
    yield bench
    token.run_sync_soon(stop.set)
    thread.join(DEADLINE)
