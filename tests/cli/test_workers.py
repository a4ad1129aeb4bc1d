"""``proxy --workers``: what each is told, and the parent with tiny children instead of nodes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from edge_tunnel.cli.exits import CommandFailed, Exit
from edge_tunnel.cli.main import main
from edge_tunnel.cli.workers import _reserved, as_worker
from edge_tunnel.config import (
    AuditSettings,
    ClusterSettings,
    ListenAddress,
    ProxyConfig,
    inspect_proxy_config,
    load_proxy_config,
)
from edge_tunnel.proxy.shared_port import bind_shared
from edge_tunnel.testing.etcd import free_port

LOOPBACK = "127.0.0.1"


def address(port: int) -> ListenAddress:
    return ListenAddress(host=LOOPBACK, port=port)


def config(port: int = 0, hops: int = 9200, **more: Any) -> ProxyConfig:
    cluster = ClusterSettings(engine=(address(1),), node_name="a", advertise=address(hops))
    return ProxyConfig(listen=(address(port),), cluster=cluster, workers=2, **more)


def test_each_has_its_own_name_hops_and_log() -> None:
    told = config(audit=AuditSettings(file="logs/audit.log"))
    for number in (1, 2):
        own = as_worker(told, number)
        assert own.cluster is not None and own.audit is not None
        assert own.cluster.node_name == f"a-{number}"
        assert own.cluster.advertise == address(9199 + number)
        assert own.cluster.hop_listen is None
        assert own.audit.file == f"logs/audit-{number}.log"
        assert own.listen == told.listen


def test_the_file_says_it(tmp_path: Path) -> None:
    path = tmp_path / "proxy.toml"
    path.write_text('dev_key = "k"\nworkers = 4\n')
    path.chmod(0o600)
    assert load_proxy_config(path).workers == 4
    found = inspect_proxy_config(path)
    assert any("need a cluster" in each.message for each in found.findings)


def test_port_0_is_one_port_and_stays_theirs() -> None:
    with ExitStack() as held:
        port = _reserved(config(0, free_port()), held).listen[0].port
        assert port
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((LOOPBACK, port))
        shared = [bind_shared(LOOPBACK, port)[0] for _ in range(2)]
        for sock in shared:
            sock.listen()
        with socket.create_connection((LOOPBACK, port)):  # the parent's does not listen: not there
            assert _accepted(shared)
        for sock in shared:
            sock.close()


def _accepted(shared: list[socket.socket]) -> bool:
    for sock in shared:
        sock.setblocking(False)
        with suppress(BlockingIOError):
            sock.accept()[0].close()
            return True
    return False


def test_a_port_that_somebody_has_is_told_before_anybody_starts() -> None:
    port = free_port()
    with bind_shared(LOOPBACK, port)[0] as taken, ExitStack() as held:
        taken.listen()
        for told in (config(port, free_port()), config(0, port), config(0, port - 1)):
            with pytest.raises(CommandFailed, match=f"cannot listen on {LOOPBACK}:{port}") as why:
                _reserved(told, held)
            assert why.value.code == Exit.CONFIGURATION


def test_alone_they_would_not_find_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["proxy", "--workers", "2", "--listen", "127.0.0.1:0", "--dev-key", "k"]
    assert main(words) == Exit.USAGE
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("edge-tunnel: 2 workers") and "give --cluster" in said


def test_hops_need_ports_that_follow_each_other() -> None:
    for hops in (0, 65_535):
        with pytest.raises(CommandFailed, match="N-th port"):
            _reserved(config(0, hops), ExitStack())


# -- the parent, as a process ---------------------------------------------------------------------

PARENT = """
import json, os, signal, sys, time
from edge_tunnel.cli.forking import Workers
from edge_tunnel.cli.supervision import Supervision

def say(event, **data):
    os.write(1, (json.dumps({"event": event, **data}) + "\\n").encode())

options = json.loads(sys.argv[1])
outcome = Workers(Supervision(2), say, **options).run()
if outcome.worker is None:
    sys.exit(outcome.code)
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
signal.signal(signal.SIGHUP, lambda *_: say("hung_up", worker=outcome.worker))
say("ready", worker=outcome.worker, pid=os.getpid())
while True:
    signal.pause()
"""


class Parent:
    """With two workers that only wait."""

    def __init__(self, **options: bool) -> None:
        self.too_late = False
        self.popen = subprocess.Popen(
            [sys.executable, "-c", PARENT, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that all can be ended at once
        )

    def give_up(self) -> None:
        self.too_late = True
        self.kill_all()

    def kill_all(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)

    def event(self, name: str) -> dict[str, Any]:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            said: dict[str, Any] = json.loads(line)
            if said["event"] == name:
                return said
        raise AssertionError(f"ended before {name}")

    def both(self) -> dict[int, int]:
        """The processes of the two workers, which have set themselves up."""
        assert self.popen.stdout is not None
        said = [json.loads(self.popen.stdout.readline()) for _ in range(4)]
        assert [each["event"] for each in said].count("worker_started") == 2
        return {each["worker"]: each["pid"] for each in said if each["event"] == "ready"}

    def ends(self) -> int:
        """Once no worker holds our pipe any more."""
        assert self.popen.stdout is not None
        self.popen.stdout.read()
        assert not self.too_late, "they did not end"
        return self.popen.wait(10)


@contextmanager
def parent(**options: bool) -> Iterator[Parent]:
    started = Parent(**options)
    deadline = threading.Timer(20.0, started.give_up)
    deadline.start()
    try:
        yield started
    finally:
        deadline.cancel()
        started.kill_all()
        started.popen.communicate(timeout=10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all(number: signal.Signals) -> None:
    with parent() as group:
        group.both()
        group.popen.send_signal(number)
        assert group.ends() == 0


def test_one_that_is_killed_comes_back() -> None:
    with parent() as group:
        pids = group.both()
        os.kill(pids[2], signal.SIGKILL)
        ended = group.event("worker_ended")
        assert (ended["worker"], ended["how"], ended["again"]) == (2, "killed by SIGKILL", 0.5)
        again = group.event("ready")
        assert again["worker"] == 2 and again["pid"] != pids[2]
        os.kill(pids[1], 0)  # the other one is still there
        group.popen.terminate()
        assert group.ends() == 0


def test_a_hangup_is_passed_on() -> None:
    with parent() as group:
        group.both()
        group.popen.send_signal(signal.SIGHUP)
        assert {group.event("hung_up")["worker"] for _ in range(2)} == {1, 2}
        group.popen.terminate()
        assert group.ends() == 0


def test_a_hangup_ends_those_that_have_nothing_to_read_again() -> None:
    with parent(hangup_ends=True) as group:
        group.both()
        group.popen.send_signal(signal.SIGHUP)
        assert group.ends() == 0


def test_they_end_with_stdin() -> None:
    with parent(with_stdin=True) as group:
        group.both()
        assert group.popen.stdin is not None
        group.popen.stdin.close()
        assert group.ends() == 0
        group.popen.stdin = None


def test_they_do_not_outlive_a_parent_that_was_killed() -> None:
    with parent() as group:
        group.both()
        group.popen.kill()
        assert group.ends() == -signal.SIGKILL


def test_nobody_reads_what_the_parent_says() -> None:
    """Then whoever started us has gone, and so do all."""
    with parent() as group:
        pids = group.both()
        assert group.popen.stdout is not None
        group.popen.stdout.close()
        group.popen.stdout = None
        os.kill(pids[1], signal.SIGKILL)
        assert group.popen.wait(10) == 0
