"""Sockets that are called while trio waits, and what trio must not notice of it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import pytest
import trio
import trio.lowlevel
import trio.testing

from edge_tunnel.link.batch import batch, soon
from edge_tunnel.link.reactor import Reactor, Watch, closing


@pytest.fixture(params=["reactor", "trio alone"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both do the same; `trio alone` is where the reactor does not know trio."""
    monkeypatch.setenv("EDGE_TUNNEL_REACTOR", "1" if request.param == "reactor" else "0")
    return str(request.param)


async def call_while_readable(fd: int, call: Callable[[], bool | None]) -> None:
    await Watch(fd, call).run()


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:
        yield near, far


def reading(sock: socket.socket, into: list[bytes], until: bytes) -> Callable[[], bool]:
    def call() -> bool:
        try:
            into.append(sock.recv(100))
        except BlockingIOError:
            return True
        return into[-1] != until

    return call


async def test_it_is_called_until_it_has_enough(way: str) -> None:
    got: list[bytes] = []
    with pair() as (near, far), trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call_while_readable, near.fileno(), reading(near, got, b"stop"))
            for word in (b"one", b"two", b"stop"):
                far.send(word)
                while not got or got[-1] != word:
                    await trio.lowlevel.checkpoint()
        far.send(b"more")
        await trio.testing.wait_all_tasks_blocked(0.01)
    assert got == [b"one", b"two", b"stop"]
    installed = isinstance(_epoll(), Reactor)
    assert installed == (way == "reactor")


async def test_it_is_called_without_a_turn_of_the_scheduler(way: str) -> None:
    turns: list[str] = []
    got: list[bytes] = []

    class Turns(trio.abc.Instrument):
        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            turns.append(task.name)

    with pair() as (near, far), trio.fail_after(10):

        def answer() -> None:
            for _ in range(20):
                far.send(b"x")
                while far.recv(1) != b"y":
                    pass
            far.send(b"stop")

        def call() -> bool:
            got.append(near.recv(100))
            if got[-1] != b"stop":
                near.send(b"y")
            return got[-1] != b"stop"

        thread = threading.Thread(target=answer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call_while_readable, near.fileno(), call)
            await trio.testing.wait_all_tasks_blocked()
            trio.lowlevel.add_instrument(Turns())
            thread.start()
        thread.join()
    assert len(got) == 21
    assert (len(turns) < 10) == (way == "reactor")


async def test_what_it_raises_is_raised() -> None:
    def call() -> bool:
        raise LookupError("nothing here")

    with pair() as (near, far), trio.fail_after(10):
        far.send(b"x")
        with pytest.raises(LookupError, match="nothing here"):
            await call_while_readable(near.fileno(), call)


async def test_a_bug_at_the_end_of_a_batch_is_the_error_of_the_task() -> None:
    """The run and all other sockets go on: a node has thousands of them."""
    got: list[bytes] = []

    def raising() -> None:
        raise LookupError("a bug")

    def call() -> bool:
        near.recv(100)
        with batch():  # with the reactor it is a part of the round's
            return soon(raising)

    with pair() as (near, far), pair() as (other, other_far), trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call_while_readable, other.fileno(), reading(other, got, b"stop"))
            await trio.testing.wait_all_tasks_blocked()
            far.send(b"x")
            with pytest.raises(LookupError, match="a bug"):
                await call_while_readable(near.fileno(), call)
            other_far.send(b"stop")
    assert got == [b"stop"]


async def test_cancelled_it_is_not_called_any_more() -> None:
    got: list[bytes] = []
    with pair() as (near, far), trio.fail_after(10):
        with trio.move_on_after(0.01):
            await call_while_readable(near.fileno(), reading(near, got, b""))
        far.send(b"late")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert got == []
        await call_while_readable(near.fileno(), reading(near, got, b"late"))
    assert got == [b"late"]


async def test_a_pause() -> None:
    """What comes meanwhile waits in the socket, and an end as well."""
    got: list[bytes] = []

    def call() -> bool | None:
        got.append(near.recv(100))
        return None if got[-1] else False

    with pair() as (near, far), trio.fail_after(10):
        watch = Watch(near.fileno(), call)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.run)
            watch.resume()  # it has not paused: nothing happens
            for word in (b"one", b"two"):
                far.send(word)
                await trio.testing.wait_all_tasks_blocked(0.01)
                assert got[-1:] == [word]
                far.send(b"more")
                far.send(b" of it")
                await trio.testing.wait_all_tasks_blocked(0.01)
                assert got[-1] == word
                watch.resume()
                await trio.testing.wait_all_tasks_blocked(0.01)
                assert got[-1] == b"more of it"
                watch.resume()
            far.close()
    assert got == [b"one", b"more of it", b"two", b"more of it", b""]


async def test_a_pause_that_is_cancelled() -> None:
    """Whoever resumes it then is late, and no other with this number is called for it."""
    with pair() as (near, far), trio.fail_after(10):
        watch = Watch(near.fileno(), lambda: None)
        far.send(b"x")
        with trio.move_on_after(0.05) as scope:
            await watch.run()
        assert scope.cancelled_caught
        assert watch.paused
        watch.resume()
        got: list[bytes] = []
        await call_while_readable(near.fileno(), reading(near, got, b"x"))
    assert got == [b"x"]


async def test_a_pause_that_ends_with_its_socket(way: str) -> None:
    with pair() as (near, far), trio.fail_after(10):
        watch = Watch(near.fileno(), lambda: None)
        far.send(b"x")

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await watch.run()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked(0.01)
            closing(near.fileno())
            if way != "reactor":
                near.close()
                watch.resume()


async def test_a_socket_has_one_reader() -> None:
    with pair() as (near, _far), trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call_while_readable, near.fileno(), lambda: True)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await call_while_readable(near.fileno(), lambda: True)
            nursery.cancel_scope.cancel()


async def test_whoever_waits_is_told_that_the_socket_is_closed(way: str) -> None:
    with pair() as (near, _far), trio.fail_after(10):

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await call_while_readable(near.fileno(), lambda: True)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            closing(near.fileno())
            if way != "reactor":
                trio.lowlevel.notify_closing(near)


async def test_a_call_that_closes_its_own_socket_is_nobody_elses_loss(way: str) -> None:
    """It cannot be paused any more; the others of its round go on."""
    got: list[bytes] = []

    with pair() as (near, far), pair() as (other, its_far), trio.fail_after(10):

        def close_it() -> None:
            closing(near.fileno())
            near.close()

        watch = Watch(near.fileno(), close_it)

        async def run_it() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await watch.run()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_it)
            nursery.start_soon(call_while_readable, other.fileno(), reading(other, got, b"stop"))
            await trio.testing.wait_all_tasks_blocked(0.01)
            far.send(b"x")
            its_far.send(b"one")
            while not (got and watch.paused):
                await trio.lowlevel.checkpoint()
            its_far.send(b"stop")
            if way != "reactor":
                watch.resume()  # nobody tells it
    assert got == [b"one", b"stop"]


async def test_a_number_that_is_used_again() -> None:
    """A socket closed unheard, and another with its number: nobody waits for ever."""
    got: list[bytes] = []
    with trio.fail_after(10):
        near, far = socket.socketpair()
        near.setblocking(False)
        number = near.fileno()
        async with trio.open_nursery() as nursery:

            async def first() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await call_while_readable(number, lambda: True)

            nursery.start_soon(first)
            await trio.testing.wait_all_tasks_blocked()
            other, end = socket.socketpair()
            with far, end:
                near.close()
                with socket.socket(fileno=_put_at(other, number)) as again:
                    if not isinstance(_epoll(), Reactor):
                        trio.lowlevel.notify_closing(number)
                    end.send(b"stop")
                    again.setblocking(False)
                    await call_while_readable(number, reading(again, got, b"stop"))
    assert got == [b"stop"]


def _put_at(sock: socket.socket, number: int) -> int:
    os.dup2(sock.fileno(), number)
    sock.close()
    return number


async def test_a_task_that_is_woken_by_a_call_runs_at_once() -> None:
    """Else it would run when trio's own wait is over, a minute later."""
    woken = trio.Event()
    with pair() as (near, far), trio.fail_after(10):

        async def sleeper() -> None:
            await trio.sleep(60)

        def call() -> bool:
            near.recv(10)
            woken.set()
            return True

        async with trio.open_nursery() as nursery:
            nursery.start_soon(sleeper)
            nursery.start_soon(call_while_readable, near.fileno(), call)
            await trio.testing.wait_all_tasks_blocked()
            far.send(b"x")
            await woken.wait()
            nursery.cancel_scope.cancel()


async def test_a_deadline_that_a_call_sets_is_kept() -> None:
    with pair() as (near, far), trio.fail_after(10):
        with trio.CancelScope(deadline=trio.current_time() + 60) as scope:

            def call() -> bool:
                near.recv(10)
                scope.deadline = trio.current_time() + 0.01
                return True

            far.send(b"x")
            await call_while_readable(near.fileno(), call)
        assert scope.cancelled_caught


async def test_nobody_wakes_at_a_deadline_that_a_call_has_postponed() -> None:
    """A link that is only pinged wakes its device once for it."""
    looked: list[float] = []
    with pair() as (near, far), trio.fail_after(20):
        old = trio.current_time() + 5
        with trio.CancelScope(deadline=old) as scope:

            class Waits(trio.abc.Instrument):
                def before_io_wait(self, timeout: float) -> None:
                    if timeout > 10 and not looked:
                        looked.append(trio.current_time())
                        far.send(b"stop")

            def call() -> bool:
                scope.deadline = old + 100
                return near.recv(10) != b"stop"

            with trio.CancelScope(deadline=trio.current_time() + 15) as outer:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(call_while_readable, near.fileno(), call)
                    await trio.testing.wait_all_tasks_blocked()
                    outer.deadline = old + 100
                    scope.deadline = old
                    waits = Waits()
                    trio.lowlevel.add_instrument(waits)
                    far.send(b"x")
            trio.lowlevel.remove_instrument(waits)
    assert looked[0] < old


async def test_a_flood_holds_up_no_deadline() -> None:
    """A socket that is readable all the time, and tasks that want to sleep and to run."""
    with pair() as (near, far), trio.fail_after(10):
        far.send(b"never read")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call_while_readable, near.fileno(), lambda: True)
            for _ in range(5):
                await trio.sleep(0.001)
            await trio.to_thread.run_sync(lambda: None)
            nursery.cancel_scope.cancel()


async def test_it_runs_in_the_context_of_its_task() -> None:
    who: ContextVar[str] = ContextVar("who", default="nobody")
    seen: list[str] = []

    async def wait(name: str, sock: socket.socket) -> None:
        def call() -> bool:
            seen.append(who.get())
            return False

        who.set(name)
        await call_while_readable(sock.fileno(), call)

    with pair() as (near, far), trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, "alice", near)
            await trio.testing.wait_all_tasks_blocked()
            far.send(b"x")
    assert seen == ["alice"]


def test_a_guest_run_is_left_alone() -> None:
    """Its epoll is polled in another thread."""
    import queue

    todo: queue.Queue[Callable[[], object]] = queue.Queue()
    results: list[object] = []
    got: list[bytes] = []

    async def main() -> None:
        with pair() as (near, far), trio.fail_after(10):
            far.send(b"stop")
            await call_while_readable(near.fileno(), reading(near, got, b"stop"))
            assert not isinstance(_epoll(), Reactor)

    trio.lowlevel.start_guest_run(
        main, run_sync_soon_threadsafe=todo.put, done_callback=results.append
    )
    while not results:
        todo.get(timeout=10)()
    results[0].unwrap()  # type: ignore[attr-defined]
    assert got == [b"stop"]


def _epoll() -> object:
    runner = trio._core._run.GLOBAL_RUN_CONTEXT.runner
    return runner.io_manager._epoll
