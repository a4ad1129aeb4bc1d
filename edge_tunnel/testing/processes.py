"""Our commands as real processes, for tests of programs that use them, and for the demo.

::

    async with open_site(folder) as site:
        await site.start_proxy()
        await site.start_edge({"web": 8080})
        remote = await site.start("connect", "device-7", "web", "--json")
        where = await remote.event("listening")

Each process says what happens in JSON lines. They end with the block, whatever ends it, and those
that can also watch their stdin, which is a pipe from us.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from edge_tunnel.errors import EdgeTunnelError
from edge_tunnel.link.groups import open_plain_nursery

__all__ = ["THING", "Child", "ChildFailed", "Site", "open_site", "our_command"]

THING: Final = "device-7"
"""The name under which the edge of a site is bound."""

_PATIENCE: Final = 15.0
"""Seconds for any one thing to happen: a process to start, a tunnel to resume."""


def our_command(*words: str) -> list[str]:
    """``edge-tunnel`` with these words, however it was installed."""
    return [sys.executable, "-m", "edge_tunnel", *words]


class ChildFailed(EdgeTunnelError):
    """A process did not do its part; the text says which, and its last words."""


class Child:
    """A process, what it said so far, and waiting for more."""

    def __init__(self, name: str, process: trio.Process) -> None:
        self.name = name
        self.process = process
        self.events: list[dict[str, Any]] = []
        self.words: list[str] = []
        """Lines that are no events: what went wrong, if something did."""
        self.on_event: Callable[[dict[str, Any]], None] = lambda _event: None
        """Called for each event, when it comes."""
        self._changed = trio.Event()
        self._silent = False

    async def event(self, name: str, number: int = 1) -> dict[str, Any]:
        """Wait until an event has happened for the `number`-th time."""
        with trio.move_on_after(_PATIENCE):
            while True:
                found = [each for each in self.events if each["event"] == name]
                if len(found) >= number:
                    return found[number - 1]
                if self._silent:
                    raise self.failed(f"ended before {name!r}")
                await self._changed.wait()
        raise self.failed(f"did not say {name!r} within {_PATIENCE:g} s")

    async def line(self, part: str) -> str:
        """Wait for a line of words that contains this."""
        with trio.move_on_after(_PATIENCE):
            while True:
                for line in self.words:
                    if part in line:
                        return line
                if self._silent:
                    raise self.failed("ended too early")
                await self._changed.wait()
        raise self.failed(f"did not say {part!r} within {_PATIENCE:g} s")

    def failed(self, what: str) -> ChildFailed:
        """The line for a child that did not do its part."""
        last = f": {self.words[-1]}" if self.words else ""
        return ChildFailed(f"the {self.name} process {what}{last}")

    def seconds_of(self, event: str) -> list[float]:
        """How long each of them took."""
        return [each["seconds"] for each in self.events if each["event"] == event]

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        await self.process.wait()

    async def listen(self, *pipes: trio.abc.ReceiveStream | None) -> None:
        """Read its lines until the end; each is an event or words."""
        async with trio.open_nursery() as nursery:
            for pipe in pipes:
                if pipe is not None:
                    nursery.start_soon(self._listen_to, pipe)
        self._silent = True
        self._changed.set()

    async def _listen_to(self, pipe: trio.abc.ReceiveStream) -> None:
        async for line in _lines(pipe):
            event = None
            with contextlib.suppress(ValueError):
                event = json.loads(line)
            if isinstance(event, dict) and "event" in event:
                self.events.append(event)
                self.on_event(event)
            else:
                self.words.append(line)
            self._changed.set()
            self._changed = trio.Event()


async def _lines(pipe: trio.abc.ReceiveStream) -> AsyncIterator[str]:
    rest = b""
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        async for data in pipe:
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


class Site:
    """A node, an edge and whatever else, with a key of their own. Use `open_site`."""

    def __init__(self, folder: Path, nursery: trio.Nursery, key: str | None = None) -> None:
        self.folder = folder
        self.key = key or secrets.token_urlsafe(24)
        self.port = 0
        """Of the node, from its first start on."""

        # in the environment, because other users see a process's arguments
        keys = {"EDGE_TUNNEL_DEV_KEY": self.key, "EDGE_TUNNEL_KEY": self.key}
        # not the user's own: what is known of their devices
        self.environ = {**os.environ, **keys, "XDG_DATA_HOME": str(folder.absolute())}
        self.children: list[Child] = []
        """All that were ever started."""

        self._nursery = nursery
        self._proxy: Child | None = None

    @property
    def url(self) -> str:
        """Of the node."""
        return f"ws://127.0.0.1:{self.port}"

    async def start_proxy(self) -> Child:
        """A node; on the port that it had before, if it had one."""
        words = ("--listen", f"127.0.0.1:{self.port}", "--json", "--exit-with-stdin")
        self._proxy = await self.start("proxy", *words)
        url: str = (await self._proxy.event("listening"))["url"]
        self.port = int(url.rpartition(":")[2])
        self.environ["EDGE_TUNNEL_PROXY"] = self.url
        return self._proxy

    async def restart_proxy(self) -> Child:
        """Kill it as a power cut would, and start it again."""
        await self.kill_proxy()
        return await self.start_proxy()

    async def kill_proxy(self) -> None:
        """As a power cut would."""
        assert self._proxy is not None
        await self._proxy.kill()

    async def start_edge(self, services: Mapping[str, int], link_port: int | None = None) -> Child:
        """An edge that offers these ports, by name; bound. `link_port`: of a relay in between."""
        config = self.write_config(services, link_port)
        words = ("--config", str(config), "--json", "--exit-with-stdin")
        edge = await self.start("edge", *words)
        await edge.event("bound")
        return edge

    def write_config(self, services: Mapping[str, int], link_port: int | None = None) -> Path:
        """The edge's EMS config.json."""
        path = self.folder / "config.json"
        return self.write_edge(path, THING, [link_port or self.port], services)

    def write_edge(
        self, path: Path, thing: str, ports: Sequence[int], services: Mapping[str, int]
    ) -> Path:
        """An EMS config.json: links go to these ports, in order; services are on those."""
        path.touch(mode=0o600)
        offer = [{"name": k, "host": "127.0.0.1", "port": port} for k, port in services.items()]
        config = {
            "ws_servers": [{"host": "127.0.0.1", "port": port} for port in ports],
            "appKey": self.key,
            "ws_connection": {"encryption": "none"},
            "auto_bind": [{"name": thing}],
            "edge_tunnel": {"services": offer},
        }
        path.write_text(json.dumps(config, indent=2), encoding="utf-8")
        return path

    async def start(self, *words: str) -> Child:
        """``edge-tunnel`` with these words."""
        return await self.start_program(words[0], our_command(*words))

    async def start_program(
        self,
        name: str,
        command: Sequence[str],
        *,
        stdin: int | None = subprocess.PIPE,
        data_on_stdout: bool = False,
    ) -> Child:
        """Any program. With `data_on_stdout` only stderr has lines."""

        async def run(task_status: trio.TaskStatus[trio.Process]) -> None:
            await trio.run_process(
                command,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                check=False,
                env=self.environ,
                start_new_session=True,  # Ctrl-C is for us; we end them in order
                task_status=task_status,
            )

        process: trio.Process = await self._nursery.start(run)
        child = Child(name, process)
        self.children.append(child)
        lines = None if data_on_stdout else process.stdout
        self._nursery.start_soon(child.listen, lines, process.stderr)
        return child


@asynccontextmanager
async def open_site(folder: Path) -> AsyncIterator[Site]:
    """Processes that end with the block. `folder` is for their files."""
    async with open_plain_nursery() as nursery:
        yield Site(folder, nursery)
        nursery.cancel_scope.cancel()
