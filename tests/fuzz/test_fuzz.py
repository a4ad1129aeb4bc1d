"""The fuzz targets: on their seeds, on planted mistakes, and a seeded run of each."""

from __future__ import annotations

import importlib.util
from concurrent.futures import ThreadPoolExecutor

import pytest

from edge_tunnel.alwayson.codec import encode
from edge_tunnel.errors import RemoteProtocolError
from edge_tunnel.protocol.codec import decode
from edge_tunnel.protocol.frames import Kind
from edge_tunnel.protocol.head import peek
from tests.fuzz import targets
from tests.fuzz.__main__ import fuzz
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS

_SECONDS = 60


_LONG = ("greeting", "mainsocket")


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in _LONG])
def test_the_seeds_pass(name: str) -> None:
    """What the fuzzer starts from is fine: golden messages, sample files, hostile requests."""
    found = list(seeds(name))
    assert found
    for seed in found:
        TARGETS[name](seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", _LONG)
def test_the_conversations_pass(name: str) -> None:
    """Every golden frame or message behind a greeting leaves nothing in a node."""
    for seed in seeds(name):
        TARGETS[name](seed)


def test_a_target_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that passes on every DATA, whatever is in it, does not agree with the endpoint."""
    malformed = [seed for seed in seeds("frames") if _is_bad_data(seed)]
    assert malformed
    monkeypatch.setattr(targets, "check_data", lambda *_: None)
    with pytest.raises(AssertionError, match="do not agree"):
        for seed in malformed:
            TARGETS["frames"](seed)


def test_the_target_of_alwayson_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder that loses the session of a message is noticed."""
    seen = iter(range(1000))
    monkeypatch.setattr(
        targets,
        "alwayson_encode",
        lambda message: encode(message._replace(session_id=next(seen))),
    )
    with pytest.raises(AssertionError):
        TARGETS["alwayson"](next(iter(seeds("alwayson"))))


def _is_bad_data(message: bytes) -> bool:
    try:
        head = peek(message)
    except RemoteProtocolError:
        return False
    try:
        decode(message)
    except RemoteProtocolError:
        return head.kind == Kind.DATA
    return False


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="atheris is not installed: pip install 'edge-tunnel[fuzz]' (wheels: CPython 3.10-3.13)",
)
def test_a_seeded_run_of_each() -> None:
    """A minute of new inputs for each target, two side by side: none fails."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        outcomes = list(pool.map(lambda name: fuzz(name, _SECONDS, seed=1), TARGETS))
    for outcome in outcomes:
        print(outcome)
        assert outcome.code == 0, outcome.last_words
        assert outcome.runs > 100, outcome.last_words
