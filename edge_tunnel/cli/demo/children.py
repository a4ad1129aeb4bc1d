"""The processes that the demo starts: each says what happens in JSON lines.

They end with us, whatever ends us: a cancelled nursery terminates them, and those that can watch
their stdin, which is a pipe from us.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import trio

from edge_tunnel.cli.exits import CommandFailed, Exit

__all__ = ["Child", "our_command", "start"]

_PATIENCE: Final = 15.0
"""Seconds for any one thing to happen: a process to start, a tunnel to resume."""


def our_command(*words: str) -> list[str]:
    """``edge-tunnel`` with these words, however it was installed."""
    return [sys.executable, "-m", "edge_tunnel", *words]


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

    def failed(self, what: str) -> CommandFailed:
        """The line for a child that did not do its part."""
        last = f": {self.words[-1]}" if self.words else ""
        return CommandFailed(Exit.INTERNAL, f"demo: the {self.name} process {what}{last}")

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


async def start(
    nursery: trio.Nursery,
    name: str,
    command: Sequence[str],
    environ: Mapping[str, str],
    folder: Path | None = None,
    *,
    data_on_stdout: bool = False,
) -> Child:
    """Start a process that ends with the nursery. With `data_on_stdout` only stderr has lines."""

    async def run(task_status: trio.TaskStatus[trio.Process]) -> None:
        await trio.run_process(
            command,
            stdin=subprocess.DEVNULL if data_on_stdout else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            check=False,
            env=environ,
            cwd=folder,
            start_new_session=True,  # Ctrl-C is for us; we end them in order
            task_status=task_status,
        )

    process: trio.Process = await nursery.start(run)
    child = Child(name, process)
    nursery.start_soon(child.listen, None if data_on_stdout else process.stdout, process.stderr)
    return child
