"""tools/chaos: its schedule and its verdict are pure; and a small storm is survived."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from edge_tunnel.protocol.codec import encode
from edge_tunnel.protocol.frames import Join
from tools.storm.levels import Level, leaks
from tools.storm.network import _joiner
from tools.storm.schedule import _TROUBLE, KINDS, LONGEST, PEACE, Targets, _touched, schedule
from tools.storm.transfers import End, Transfer
from tools.storm.verdict import ABORTED, EQUAL, LEFT, REFUSED, RESET, judge

ROOT = Path(__file__).parents[2]
TARGETS = Targets(("a", "b", "c"), ("m0", "m1", "m2"), tuple(f"edge-{n}" for n in range(10)))


def test_the_schedule_is_a_function_of_the_seed() -> None:
    """The same arguments, the same faults; another seed, others."""
    assert schedule(7, 600, TARGETS) == schedule(7, 600, TARGETS)
    assert schedule(7, 600, TARGETS) != schedule(8, 600, TARGETS)


@pytest.mark.parametrize("seed", range(20))
def test_every_fault_ends_and_no_target_has_two(seed: int) -> None:
    """In time order, over when the storm is, and with peace for each target in between."""
    faults = schedule(seed, 600, TARGETS)
    assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
    free: dict[str, float] = {}
    for fault in faults:
        assert 0 <= fault.seconds <= LONGEST
        assert fault.at + fault.seconds <= 600.01
        for name in _touched(fault.kind, fault.target, TARGETS):
            assert fault.at >= free.get(name, 0.0)
            free[name] = fault.at + fault.seconds


@pytest.mark.parametrize("seed", range(5))
def test_one_node_is_left(seed: int) -> None:
    """Two nodes at most are in trouble together."""
    faults = [fault for fault in schedule(seed, 600, TARGETS) if fault.kind in _TROUBLE]
    assert faults
    for one in faults:
        at_once = {
            each.target for each in faults if each.at <= one.at < each.at + each.seconds + PEACE
        }
        assert len(at_once) <= 2


def test_ten_minutes_have_every_kind() -> None:
    """None of them is so rare that a run does without."""
    for seed in range(5):
        assert {fault.kind for fault in schedule(seed, 600, TARGETS)} == set(KINDS)


UP, DOWN = b"from the client" * 10, b"from the service" * 20


def ended(outcome: str, data: bytes) -> End:
    end = End(outcome)
    end.take(data)
    return end


def seen(
    client: tuple[str, bytes], service: tuple[str, bytes] | None, aborts: str = ""
) -> Transfer:
    """A transfer that ended so."""
    return Transfer(
        0,
        "remote-1",
        UP,
        DOWN,
        aborts,
        progress=0.0,
        client=ended(*client),
        service=None if service is None else ended(*service),
    )


def test_what_is_fine() -> None:
    """Equal both ways; broken off on purpose; reset or refused, and somebody said why."""
    assert judge(seen(("end", DOWN), ("end", UP)), []) == (EQUAL, "")
    assert judge(seen(("aborted", b""), ("reset", UP[:9]), "client"), []) == (ABORTED, "")
    assert judge(seen(("aborted", b""), None, "client"), []) == (ABORTED, "")
    assert judge(seen(("reset", DOWN[:9]), ("reset", UP)), ["gone"]) == (RESET, "")
    assert judge(seen(("reset", DOWN[:9]), ("end", UP)), ["gone"]) == (LEFT, "")
    assert judge(seen(("reset", b""), None), ["no such thing"]) == (REFUSED, "")


@pytest.mark.parametrize(
    ("transfer", "outcome"),
    [
        (seen(("end", DOWN), ("end", UP[:-1] + b"!")), "wrong bytes"),
        (seen(("end", DOWN + b"!"), ("end", UP)), "wrong bytes"),
        (seen(("reset", DOWN[1:9]), ("reset", UP)), "wrong bytes"),
        (seen(("end", DOWN[:-1]), ("end", UP)), "clean end of a cut stream"),
        (seen(("aborted", DOWN), ("end", UP[:9]), "client"), "clean end of a cut stream"),
        (seen(("reset", DOWN), ("end", UP)), "ends that differ"),
        (seen(("end", DOWN), ("reset", UP)), "ends that differ"),
        (seen(("aborted", DOWN), ("end", UP), "client"), "ends that differ"),
        (seen(("reset", DOWN[:9]), ("reset", UP)), RESET),
        (seen(("reset", b""), None), REFUSED),
    ],
)
def test_what_is_a_failure(transfer: Transfer, outcome: str) -> None:
    """A wrong byte, a clean short end, ends that saw different things, a reset without a reason."""
    found, problem = judge(transfer, [])
    assert found == outcome
    assert problem.startswith("transfer 0 of remote-1")


def test_a_stuck_transfer_is_a_failure() -> None:
    """Whatever its ends look like."""
    transfer = seen(("open", b""), ("end", UP))
    transfer.stuck = True
    assert judge(transfer, ["gone"])[0] == "stuck"


def test_leaks() -> None:
    """Sockets count over all nodes, because links move; memory for each."""
    mib = 1024 * 1024
    before = {"a": Level(20, 30 * mib), "b": Level(20, 30 * mib)}
    assert leaks(before, {"a": Level(40, 30 * mib), "b": Level(4, 60 * mib)}) == []
    assert leaks(before, {"a": Level(20, 30 * mib), "b": Level(20, 80 * mib)}) == [
        "node b holds 80 MiB, 30 before"
    ]
    assert leaks(before, {"a": Level(60, 30 * mib), "b": Level(20, 30 * mib)}) == [
        "the nodes hold 80 files, 40 before"
    ]


def test_who_joins() -> None:
    """A relay knows by the first message which node dialled; not before it is whole."""
    message = encode(Join(1, 1, "b", "test/1", "key", 6000, ()))
    head = len(message).to_bytes(4, "big") + message
    assert _joiner(head) == "b"
    assert _joiner(head + b"more") == "b"
    assert {_joiner(head[:size]) for size in range(len(head))} == {""}


@pytest.mark.slow
async def test_a_storm_is_survived() -> None:
    """A minute with a seed that has most kinds of faults; fewer endpoints than by hand."""
    path = os.environ["PATH"] + ":/usr/sbin"
    programs = ("etcd", "haproxy", "sshd", "rsync")
    missing = [name for name in programs if shutil.which(name, path=path) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    words = ["--seconds", "60", "--seed", "4", "--edges", "6", "--remotes", "12"]
    with trio.fail_after(420):
        done = await trio.run_process(
            [sys.executable, "-m", "tools.storm", *words],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
        )
    assert done.returncode == 0, done.stdout.decode()
    assert b"equal hash, both ways" in done.stdout
