"""The node never waits for the disk, and nothing is lost in silence."""

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import trio

from edge_tunnel.audit import damper, writer
from edge_tunnel.audit.chain import Seal
from edge_tunnel.audit.damper import Damper
from edge_tunnel.audit.file import LogFile
from edge_tunnel.audit.log import AuditLog
from edge_tunnel.audit.records import NO_AUDIT, Event, Kind
from edge_tunnel.audit.writer import open_audit
from tests.audit.logs import verified

EVENT = Event(kind=Kind.BOUND, thing="pump")


class Disk(LogFile):
    """May be stuck, or full."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.stuck = threading.Event()
        self.is_full = False
        self.synced = 0

    def append(self, data: bytes) -> None:
        if not self.goes_on.is_set():
            self.stuck.set()
            assert self.goes_on.wait(30)
        if self.is_full:
            super().append(data[:7])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().append(data)

    def sync(self) -> None:
        super().sync()
        self.synced += 1


class Told:
    """The events that a writer emits, and waiting for one."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._changed = trio.Event()

    def __call__(self, event: str, **data: object) -> None:
        self.events.append((event, data))
        self._changed.set()
        self._changed = trio.Event()

    async def until(self, name: str) -> dict[str, Any]:
        while True:
            for event, data in self.events:
                if event == name:
                    return data
            await self._changed.wait()


def on(disk: Disk) -> AuditLog:
    log = AuditLog("a", Seal(), file=disk)
    log.open()
    return log


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines() if line.endswith(b"}")]


async def test_what_was_told_is_written(tmp_path: Path) -> None:
    """Started, what happened, stopped; on the disk; and the head is told at the end."""
    disk, told = Disk(tmp_path / "log"), Told()
    with trio.fail_after(20):
        async with open_audit(on(disk), told) as audit:
            audit.record(EVENT)
            assert not audit.refuses
    kinds = [each["kind"] for each in records(disk.path)]
    assert kinds == ["started", "bound", "stopped"]
    assert disk.synced >= 1
    assert told.events == [("audit_head", {"seq": 3, "head": records(disk.path)[-1]["sha256"]})]
    assert not verified(disk.path.read_bytes()).problems


@pytest.mark.parametrize("refuse", [True, False])
async def test_stuck_disk(tmp_path: Path, refuse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node goes on; beyond the queue's bound events are lost, counted, and a record says so."""
    monkeypatch.setattr(writer, "_QUEUE", 10)
    disk, told = Disk(tmp_path / "log"), Told()
    disk.goes_on.clear()
    with trio.fail_after(20):
        async with open_audit(on(disk), told, refuse=refuse) as audit:
            await trio.to_thread.run_sync(disk.stuck.wait, 10)
            for _ in range(10):
                audit.record(EVENT)
            assert told.events == []
            for _ in range(3):
                audit.record(EVENT)
            assert audit.refuses is refuse
            assert [event for event, _ in told.events] == ["audit_failed"]
            disk.goes_on.set()
            assert await told.until("audit_recovered") == {"lost": 3}
            assert not audit.refuses
            audit.record(EVENT)
    found = records(disk.path)
    kinds = [each["kind"] for each in found]
    assert kinds == ["started", *["bound"] * 10, "gap", "bound", "stopped"]
    assert found[11]["lost"] == 3
    report = verified(disk.path.read_bytes())
    assert report.problems == []
    assert "3 records were lost" in report.notes[0].what


@pytest.mark.parametrize("refuse", [True, False])
async def test_full_disk(tmp_path: Path, refuse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said once, tried again, and all that was kept in memory is written when there is room."""
    monkeypatch.setattr(writer, "_RETRY", 0.01)
    disk, told = Disk(tmp_path / "log"), Told()
    disk.is_full = True
    with trio.fail_after(20):
        async with open_audit(on(disk), told, refuse=refuse) as audit:
            failed = await told.until("audit_failed")
            assert "No space left" in failed["reason"] and str(disk.path) in failed["reason"]
            assert audit.refuses is refuse
            audit.record(EVENT)
            disk.is_full = False
            assert await told.until("audit_recovered") == {"lost": 0}
            assert not audit.refuses
    kinds = [each["kind"] for each in records(disk.path)]
    assert kinds == ["recovered", "started", "bound", "stopped"]
    assert verified(disk.path.read_bytes()).problems == []
    assert [event for event, _ in told.events] == ["audit_failed", "audit_recovered", "audit_head"]


async def test_disk_that_never_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node ends all the same, and says that the last records are missing."""
    monkeypatch.setattr(writer, "_LAST_WORDS", 0.1)
    disk, told = Disk(tmp_path / "log"), Told()
    disk.goes_on.clear()
    with trio.fail_after(20):
        async with open_audit(on(disk), told):
            await trio.to_thread.run_sync(disk.stuck.wait, 10)
    disk.goes_on.set()
    assert told.events[0][0] == "audit_failed"


async def test_a_journal_that_nobody_reads_is_named(tmp_path: Path) -> None:
    """The file beside it is well, and whoever looks after it looks in vain."""
    path, told = tmp_path / "audit.log", Told()
    source, sink = os.pipe()
    os.close(source)
    log = AuditLog("a", Seal(), file=LogFile(path), journal=sink)
    log.open()
    with trio.fail_after(20):
        async with open_audit(log, told):
            failed = await told.until("audit_failed")
    os.close(sink)
    assert failed["reason"] == "the journal: Broken pipe"
    assert verified(path.read_bytes()).problems == []


async def test_head_is_told_now_and_then(tmp_path: Path) -> None:
    """While the node runs: who cuts the end off later can be found out."""
    disk, told = Disk(tmp_path / "log"), Told()
    with trio.fail_after(20):
        async with open_audit(on(disk), told, head_interval=0.01, sync_interval=0) as audit:
            head = (await told.until("audit_head"))["head"]
            audit.record(EVENT)
    assert verified(disk.path.read_bytes(), expect_head=head).after_expected is not None
    assert disk.synced > 1


async def test_nothing_is_recorded_after_the_end(tmp_path: Path) -> None:
    """A task that ends late changes nothing."""
    disk, told = Disk(tmp_path / "log"), Told()
    with trio.fail_after(20):
        async with open_audit(on(disk), told) as audit:
            pass
        audit.record(EVENT)
    assert records(disk.path)[-1]["kind"] == "stopped"
    NO_AUDIT.record(EVENT)
    assert not NO_AUDIT.refuses


# -- floods


def refused(when: float, address: str = "192.0.2.1:1") -> Event:
    return Event(kind=Kind.LINK_REFUSED, time=when, address=address)


def test_flood_of_refusals_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of a source each, then a number; another source and other kinds as before."""
    monkeypatch.setattr(damper, "_EACH", 3)
    flood = Damper()
    taken = [flood.take(refused(1000.0 + n / 1000, f"192.0.2.1:{n}")) for n in range(100)]
    assert [len(each) for each in taken] == [1, 1, 1] + [0] * 97
    assert flood.take(refused(1001.0, "192.0.2.2:1")) != []
    assert flood.take(Event(kind=Kind.BOUND, time=1002.0))[0].kind == "bound"
    flood = Damper()
    for n in range(100):
        flood.take(refused(1000.0, f"192.0.2.1:{n}"))
    count, event = flood.take(refused(1061.0))
    assert (count.repeated, event.repeated) == (97, None)
    assert flood.rest() == []


def test_flood_from_everywhere_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source per refusal: neither records nor memory grow with them."""
    monkeypatch.setattr(damper, "_EACH", 1)
    monkeypatch.setattr(damper, "_MOST_SOURCES", 50)
    flood = Damper()
    taken = [flood.take(refused(1000.0, f"[2001:db8::{n:x}]:1")) for n in range(1000)]
    assert sum(len(each) for each in taken) == 51
    assert [each.repeated for each in flood.rest()] == [949]
