"""Sockets that are called when they are readable, before trio's scheduler would wake their task.

What a link does with what it reads waits for nothing: it is a plain function. To get to it, trio
would arm the socket in its epoll (a system call), collect the event, put the task into its queue,
go through its loop and resume a dozen nested coroutines; this is as much as all the rest of a small
message. So such sockets stay in an epoll of our own, and when trio waits, it waits for both.

The seam is one object: the `select.epoll` of a run's I/O manager is replaced by a `Reactor`, which
does what a `select.epoll` does, and calls our sockets in the meantime. It returns to trio as soon
as a task can run or a deadline has moved, so that nothing is late. Where trio is not what we
know (another system, another version, a guest of another loop) it is left alone, and a task waits
for each socket as it would anywhere; ``EDGE_TUNNEL_REACTOR=0`` in the environment asks for that.
"""

from __future__ import annotations

import logging
import os
import select
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeAlias

import outcome
import trio

from edge_tunnel.link.batch import batch

__all__ = ["Watch", "closing"]

_log = logging.getLogger("edge_tunnel.link")

Call: TypeAlias = Callable[[], bool | None]

_ROUND: Final = 8
"""Sockets that are called before what they brought is written, and before it is looked whether a
task can run: new connections have company in it, and of bulk it is not too much for the caches."""


class Watch:
    """A socket that is called."""

    __slots__ = ("_resumed", "call", "fd", "paused", "task")

    def __init__(self, fd: int, call: Call) -> None:
        """`call` says whether it wants to be called again; None: not before `resume`.

        It is called in a batch, and must not wait. What it raises is raised by `run`.
        """
        self.fd = fd
        self.call = call
        self.paused = False
        self.task: trio.lowlevel.Task | None = None  # the one that runs it, if the reactor does
        self._resumed: trio.lowlevel.ParkingLot | None = None  # if it does not

    async def run(self) -> None:
        """Call whenever `fd` can be read, until it is enough.

        Raises trio.ClosedResourceError if `fd` is closed meanwhile (and `closing` was told), and
        trio.BusyResourceError if there is such a call. Who pauses closes `fd` after `run`: without
        the reactor nobody is told in a pause.
        """
        reactor = _of_this_run()
        if reactor is not None:
            await reactor.watch(self)
            return
        again: bool | None = True
        self._resumed = trio.lowlevel.ParkingLot()
        while again is not False:
            try:
                await trio.lowlevel.wait_readable(self.fd)
            except OSError:
                raise trio.ClosedResourceError("it was closed in a pause") from None
            with batch():
                again = self.call()
            self.paused = again is None
            if self.paused:
                await self._resumed.park()

    def resume(self) -> None:
        """Call again, if it paused."""
        if self.paused:
            self.paused = False
            if self._resumed is not None:
                self._resumed.unpark_all()
            reactor = _of_this_run()
            if reactor is not None:
                reactor.resume(self)


def closing(fd: int) -> None:
    """To be told before `fd` is closed."""
    reactor = _of_this_run()
    if reactor is not None:
        reactor.closing(fd)


class Reactor:
    """In the place of the `select.epoll` of a run of trio."""

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self._theirs: select.epoll = runner.io_manager._epoll  # noqa: SLF001
        self._batch = batch()  # of this thread
        self._time: Callable[[], float] = runner.clock.current_time
        self._ours = select.epoll()
        self._ours.register(self._theirs.fileno(), select.EPOLLIN)
        self._watches: dict[int, Watch] = {}
        self.register = self._theirs.register
        self.modify = self._theirs.modify
        self.unregister = self._theirs.unregister
        runner.io_manager._epoll = self  # noqa: SLF001

    # -- what trio asks of a select.epoll

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        """trio's events. Empty only if nothing at all happened for `timeout` seconds."""
        if not self._watches:
            return self._theirs.poll(timeout, most)
        monotonic, next_deadline = time.monotonic, self._runner.deadlines.next_deadline
        end, due, called = monotonic() + timeout, next_deadline(), False
        while ready := self._ours.poll(timeout, _ROUND):
            if self._call(ready):
                return self._theirs.poll(0, most) or _Nothing()
            timeout = end - monotonic()
            if timeout <= 0 or self._runner.runq or next_deadline() != due:
                return _Nothing()
            called = True
        return _Nothing() if called else []

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()

    # -- what we ask

    async def watch(self, watch: Watch) -> None:
        """See `Watch.run`."""
        fd = watch.fd
        try:
            self._ours.register(fd, select.EPOLLIN)
        except FileExistsError:
            raise trio.BusyResourceError("another task reads this socket") from None
        self.closing(fd, registered=False)  # one before it with this number was closed unheard
        watch.task = trio.lowlevel.current_task()
        self._watches[fd] = watch

        def abort(_: object) -> trio.lowlevel.Abort:
            self._forget(fd)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def resume(self, watch: Watch) -> None:
        """See `Watch.resume`."""
        if self._watches.get(watch.fd) is watch:
            self._ours.register(watch.fd, select.EPOLLIN)

    def closing(self, fd: int, *, registered: bool = True) -> None:
        """Whoever waits for `fd` is told that it is closed."""
        watch = self._watches.get(fd)
        if watch is not None:
            self._forget(fd, registered=registered)
            error = trio.ClosedResourceError("another task closed this socket")
            _wake(watch, outcome.Error(error))

    def _call(self, ready: list[tuple[int, int]]) -> bool:
        """Call those that are ready. Returns whether trio has an event of its own."""
        theirs, here = False, self._batch
        try:
            with here:  # what several sockets bring for one link is one write
                here.now = self._time()
                for fd, _ in ready:
                    watch = self._watches.get(fd)
                    if watch is None:
                        theirs = theirs or fd == self._theirs.fileno()
                        continue
                    try:
                        assert watch.task is not None
                        again = watch.task.context.run(watch.call)
                        if not again:
                            self._rest(fd, watch, over=again is False)
                    except BaseException as error:  # noqa: BLE001 - it is the waiting task's
                        self._end(fd, watch, outcome.Error(error))
        except Exception as error:  # noqa: BLE001 - it may end links, but not trio and all of them
            self._blame([fd for fd, _ in ready], error)
        return theirs

    def _rest(self, fd: int, watch: Watch, *, over: bool) -> None:
        """It was called enough, or for now."""
        if over:
            self._end(fd, watch, outcome.Value(None))
        else:
            watch.paused = True
            self._ours.unregister(fd)

    def _blame(self, fds: list[int], error: Exception) -> None:
        """What one of these sockets brought could not be passed on: it is the error of its task.

        Which of them is not known, so it is that of each. A call at the end of a batch must not
        raise: this is a bug.
        """
        _log.error("a bug: what a socket brought could not be passed on", exc_info=error)
        for fd in fds:
            watch = self._watches.get(fd)
            if watch is not None:
                self._end(fd, watch, outcome.Error(error))

    def _end(self, fd: int, watch: Watch, result: outcome.Outcome[None]) -> None:
        if self._watches.get(fd) is watch:
            self._forget(fd)
            _wake(watch, result)

    def _forget(self, fd: int, *, registered: bool = True) -> None:
        del self._watches[fd]
        if registered:
            with suppress(OSError):  # it was closed unheard
                self._ours.unregister(fd)


def _wake(watch: Watch, result: outcome.Outcome[None]) -> None:
    assert watch.task is not None
    trio.lowlevel.reschedule(watch.task, result)


class _Nothing(list[tuple[int, int]]):
    """No event for trio; but it was no time without events, which is what trio takes `[]` for."""

    def __bool__(self) -> bool:
        return True


_reactors: trio.lowlevel.RunVar[Reactor | None] = trio.lowlevel.RunVar("edge_tunnel.reactor")


def _of_this_run() -> Reactor | None:
    try:
        return _reactors.get()
    except LookupError:
        reactor = _install()
        _reactors.set(reactor)
        return reactor


def _install() -> Reactor | None:
    if os.environ.get("EDGE_TUNNEL_REACTOR") == "0":
        return None
    try:
        runner = trio._core._run.GLOBAL_RUN_CONTEXT.runner  # noqa: SLF001
        known = (
            type(runner.io_manager._epoll) is select.epoll  # noqa: SLF001
            and not runner.is_guest  # its epoll is polled in another thread
            and runner.runq is not None
            and isinstance(runner.deadlines.next_deadline(), float)
        )
    except AttributeError:
        return None
    return Reactor(runner) if known else None
