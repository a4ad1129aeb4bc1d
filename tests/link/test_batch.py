"""link/batch.py: done once, at the end, whatever happens."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from edge_tunnel.link.batch import batch, now, soon


def test_without_a_batch_nobody_promises() -> None:
    """The caller has to see to it himself."""
    assert not soon(lambda: pytest.fail("called"))
    with batch():
        pass


def test_once_at_the_end() -> None:
    """However often it was asked for, and not before."""
    done: list[str] = []

    def call() -> None:
        done.append("call")

    with batch():
        assert soon(call) and soon(call)
        with batch():
            assert soon(call)
        assert done == []
    assert done == ["call"]
    assert not soon(call)


def test_what_a_call_makes_ready_is_done_too() -> None:
    """In the same batch, also the call that is being done just now."""
    done: list[int] = []

    def call() -> None:
        done.append(len(done))
        if len(done) < 3:
            assert soon(call)

    with batch():
        soon(call)
    assert done == [0, 1, 2]


def test_an_error_of_one_is_not_the_others_loss() -> None:
    """A peer's nonsense ends its link; what it brought before is passed on."""
    done: list[str] = []
    with pytest.raises(ValueError, match="nonsense"), batch():
        soon(lambda: done.append("passed on"))
        raise ValueError("nonsense")
    assert done == ["passed on"]
    assert not soon(lambda: None)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyboardInterrupt("Ctrl-C")])
def test_a_bug_in_one_call_is_not_the_end_of_batches(error: BaseException) -> None:
    """It is seen where it happened; the others' bytes do not wait for somebody's next batch.

    Nor does Ctrl-C take them along: an application may catch that, and go on.
    """
    done: list[str] = []

    def fail() -> None:
        raise error

    with pytest.raises(type(error)), batch():
        soon(fail)
        soon(lambda: done.append("other"))
    assert done == ["other"]
    assert not soon(fail)
    with batch():
        pass  # nothing is left over


async def test_the_time_of_a_batch(autojump_clock: trio.testing.MockClock) -> None:
    """It stands still inside, and only there."""
    del autojump_clock
    before = now()
    await trio.sleep(1)
    with batch():
        assert now() == before + 1 == trio.current_time()
    await trio.sleep(1)
    assert now() == before + 2
    with batch():
        assert now() == before + 2
