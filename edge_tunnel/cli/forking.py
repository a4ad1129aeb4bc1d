"""A parent and its workers: forks them, passes on signals, and starts again those that die.

The parent does nothing else: no trio, no thread, no socket of a user, so that nothing in it can
hang or die. A worker is a fork of it and goes on where a single process would: it has read its
configuration, and shares the memory of all modules with the others.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from edge_tunnel.cli.supervision import Supervision

__all__ = ["Outcome", "Workers"]

_ENDING: Final = (signal.SIGTERM, signal.SIGINT)
_PR_SET_PDEATHSIG: Final = 1  # <sys/prctl.h>


@dataclass(frozen=True)
class Outcome:
    """What `Workers.run` returns, like fork itself, in every process."""

    worker: int | None = None
    """This process is the worker of this number; None: it is the parent, and all is over."""

    code: int = 0
    """What the parent is to end with."""


@dataclass
class Workers:
    """The shell around `Supervision`. Call `run`."""

    supervision: Supervision
    say: Callable[..., None]
    """Called with each event and its data: worker_started, worker_ended. Raises OSError if nobody
    listens any more."""

    with_stdin: bool = False
    """Whether the end of stdin ends all."""

    hangup_ends: bool = False
    """Whether SIGHUP ends the workers; else it is only passed on."""

    def run(self) -> Outcome:
        """Until all is over. Returns in each worker, too, at once."""
        with _wakened(self._signals()) as waker:
            while not self.supervision.is_over:
                for worker in self.supervision.due(time.monotonic()):
                    if self._is_worker(worker):
                        return Outcome(worker=worker)
                self._wait(waker)
                self._reap()
        return Outcome(code=self.supervision.code)

    def _signals(self) -> list[signal.Signals]:
        """Those that our own parent does not ignore for us (nohup)."""
        wanted = (*_ENDING, signal.SIGHUP)
        heard = [each for each in wanted if signal.getsignal(each) is not signal.SIG_IGN]
        return [*heard, signal.SIGCHLD]

    def _is_worker(self, worker: int) -> bool:
        """Fork. Signals wait until it is clear whose they are; `_wakened` lets a worker's in."""
        parent = os.getpid()
        sys.stdout.flush()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._signals())
        pid = os.fork()
        if pid == 0:
            _end_with(parent)
            return True
        self.supervision.started(worker, pid, time.monotonic())
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._tell("worker_started", worker=worker, pid=pid)
        return False

    def _wait(self, waker: socket.socket) -> None:
        """Until a signal has come, stdin has ended, or a worker is due."""
        poll = select.poll()
        poll.register(waker, select.POLLIN)
        if self.with_stdin:
            poll.register(0, select.POLLIN)
        pause = self.supervision.pause(time.monotonic())
        for number, _ in poll.poll(None if pause is None else 1000 * pause + 1):
            if number == waker.fileno():
                for each in set(waker.recv(4096)):
                    self._on_signal(signal.Signals(each))
            elif not _read_on():
                self.with_stdin = False
                self._stop()

    def _on_signal(self, number: signal.Signals) -> None:
        if number in _ENDING or (number == signal.SIGHUP and self.hangup_ends):
            self._stop()
        elif number == signal.SIGHUP:
            self._pass_on(number)

    def _stop(self) -> None:
        self.supervision.stop()
        self._pass_on(signal.SIGTERM)

    def _pass_on(self, number: signal.Signals) -> None:
        for pid in self.supervision.pids:
            os.kill(pid, number)  # ours until we have waited for it: the pid is nobody else's

    def _reap(self) -> None:
        for pid in list(self.supervision.pids):
            done, status = os.waitpid(pid, os.WNOHANG)
            if not done:
                continue
            was_over = self.supervision.stopping
            code = os.waitstatus_to_exitcode(status)
            end = self.supervision.ended(pid, code, time.monotonic())
            if self.supervision.stopping and not was_over:
                self._stop()
            if not was_over:
                self._tell("worker_ended", worker=end.worker, how=end.how, again=end.again)

    def _tell(self, event: str, **data: object) -> None:
        try:
            self.say(event, **data)
        except OSError:  # nobody reads what we say: what started us has gone
            self._stop()


@contextmanager
def _wakened(signals: list[signal.Signals]) -> Iterator[socket.socket]:
    """A socket from which one byte comes for each signal, its number."""
    ours, theirs = socket.socketpair()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        before = {each: signal.signal(each, lambda *_: None) for each in signals}
        old = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        try:
            yield ours
        finally:
            signal.set_wakeup_fd(old)
            for each, meant in before.items():
                signal.signal(each, meant)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _end_with(parent: int) -> None:
    """In a worker: SIGTERM when the parent dies, however it does (Linux; elsewhere it lives on)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != parent:  # it has died already
        os.kill(os.getpid(), signal.SIGTERM)


def _read_on() -> bool:
    """Whether stdin goes on; what comes is not looked at."""
    try:
        return bool(os.read(0, 65536))
    except OSError:
        return False
