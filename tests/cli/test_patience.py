"""What a person is told who waits."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from edge_tunnel.cli.patience import open_patience


@pytest.mark.parametrize(("seconds", "told"), [(1.9, ""), (9, "edge-tunnel: for a\u00b7b\n")])
async def test_only_what_takes_long_is_told(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str], seconds: float, told: str
) -> None:
    """Once, with what holds at that time, and nothing that a terminal would obey."""
    waited = ["nothing"]
    async with open_patience(lambda: f"for {waited[0]}"):
        waited[0] = "a\x1bb"
        await trio.sleep(seconds)
    await trio.sleep(9)
    assert capsys.readouterr().err == told


async def test_an_error_is_not_wrapped(autojump_clock: MockClock) -> None:
    """It comes out as it was raised inside."""
    with pytest.raises(ZeroDivisionError):
        async with open_patience(lambda: ""):
            raise ZeroDivisionError
