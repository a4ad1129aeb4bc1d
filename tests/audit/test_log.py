"""The log on disk: it goes on after crashes, full disks, rotation, and says what happened."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_tunnel.audit.chain import Seal
from edge_tunnel.audit.file import LogFile
from edge_tunnel.audit.log import AuditLog
from edge_tunnel.audit.reading import in_order, lines_of
from edge_tunnel.audit.records import Event, Kind
from edge_tunnel.audit.verify import Report, Verifier
from tests.audit.logs import KEY

EVENT = Event(kind=Kind.BOUND, thing="pump", reason="x" * 40)


class FullDisk(LogFile):
    """Takes so many bytes more; then it is full."""

    room = 10**9

    def append(self, data: bytes) -> None:
        part, self.room = data[: self.room], max(0, self.room - len(data))
        super().append(part)
        if len(part) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def opened(path: Path, seal: Seal | None = None, file: LogFile | None = None) -> AuditLog:
    log = AuditLog("a", seal or Seal(), file=file or LogFile(path))
    log.open()
    return log


def verified(path: Path, seal: Seal | None = None) -> Report:
    """All files of the log, in whatever order the directory has them."""
    verifier = Verifier(seal or Seal())
    for name in in_order([str(each) for each in path.parent.iterdir()]):
        verifier.file(Path(name).name, lines_of(name))
    return verifier.end()


def test_file_is_private_and_goes_on(tmp_path: Path) -> None:
    """Mode 0600; a second run continues the chain of the first."""
    path = tmp_path / "audit.log"
    for expected in (2, 4):
        log = opened(path)
        log.write([EVENT, EVENT])
        log.close()
        assert log.head[0] == expected
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    report = verified(path)
    assert (report.problems, report.records) == ([], 4)


@given(st.integers(0, 800), st.binary(max_size=30))
@settings(max_examples=25, deadline=None)
def test_crash_at_any_byte(
    tmp_path_factory: pytest.TempPathFactory, left: int, junk: bytes
) -> None:
    """Whatever a crash leaves behind the last whole record, verify knows it by its hash."""
    path = tmp_path_factory.mktemp("log") / "audit.log"
    log = opened(path)
    log.write([EVENT] * 3)
    log.close()
    whole = path.read_bytes()
    first_end = whole.index(b"\n") + 1
    path.write_bytes(whole[: first_end + left] + junk)
    log = opened(path)
    log.write([EVENT])
    log.close()
    report = verified(path)
    assert report.problems == []
    after = (whole[: first_end + left] + junk).split(b"\n")
    cut = any(part not in whole.split(b"\n") for part in after)
    assert cut is any("was cut by a crash" in note.what for note in report.notes)


def test_changed_remains_of_a_crash_are_found(tmp_path: Path) -> None:
    """What the crash had left is part of what is checked: nobody changes or removes it later."""
    path = tmp_path / "audit.log"
    path.write_bytes(b"")
    log = opened(path)
    log.write([EVENT, EVENT])
    log.close()
    path.write_bytes(path.read_bytes()[:-20])
    log = opened(path)
    log.write([EVENT])
    log.close()
    lines = path.read_bytes().splitlines(keepends=True)
    assert not verified(path).problems
    path.write_bytes(b"".join([lines[0], lines[1].replace(b"pump", b"pomp"), *lines[2:]]))
    assert {place.line for place in verified(path).problems} == {2, 3}
    path.write_bytes(b"".join([lines[0], *lines[2:]]))
    assert "is not here" in verified(path).problems[0].what


@given(st.integers(0, 1500), st.integers(0, 400))
@settings(max_examples=25, deadline=None)
def test_full_disk_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory, room: int, again: int
) -> None:
    """Full at any byte, and once more while it recovers: every event is there, once, in order."""
    path = tmp_path_factory.mktemp("log") / "audit.log"
    disk = FullDisk(path)
    log = opened(path, file=disk)
    disk.room = room
    events = [Event(kind=Kind.BOUND, thing=f"t{n}") for n in range(5)]
    failures = 0
    for more, new_room in ((events, again), ([], 10**9), ([EVENT], 10**9)):
        try:
            log.write(more)
        except OSError:
            failures += 1
        disk.room = new_room
    log.close()
    report = verified(path)
    assert report.problems == []
    bound = [line for line in path.read_bytes().splitlines() if b'"kind":"bound"' in line]
    whole = [line for line in bound if line.endswith(b'"}')]
    things = [line.split(b'"thing":"')[1].split(b'"')[0] for line in whole]
    assert things == [b"t0", b"t1", b"t2", b"t3", b"t4", b"pump"]
    assert failures > 0 or room >= 5 * 200


def test_rotation_by_size(tmp_path: Path) -> None:
    """Full files are renamed, the chain goes through all of them, and old ones go."""
    path = tmp_path / "audit.log"
    log = opened(path, file=LogFile(path, rotate_size=2000))
    for _ in range(40):
        log.write([EVENT])
    log.close()
    report = verified(path)
    assert (report.problems, report.records) == ([], 40)
    files = sorted(each.name for each in tmp_path.iterdir())
    assert len(files) > 3
    assert all(each.stat().st_size < 3000 for each in tmp_path.iterdir())
    log = opened(path, file=LogFile(path, rotate_size=2000, keep=2))
    for _ in range(20):
        log.write([EVENT])
    log.close()
    assert len(list(tmp_path.iterdir())) == 3
    report = verified(path)
    assert report.problems == []
    assert report.first is not None and report.first.seq > 30
    assert "begins here" in report.notes[0].what


def test_as_many_old_files_stay_as_are_to_be_kept(tmp_path: Path) -> None:
    """None goes before there are more than `keep`, and then one for each new one."""
    path = tmp_path / "audit.log"
    log = opened(path, file=LogFile(path, rotate_size=1, keep=6))
    for count in range(1, 10):
        log.write([EVENT])
        assert len(list(tmp_path.iterdir())) == min(count, 7)
    log.close()
    assert verified(path).problems == []


def test_rotation_by_age(tmp_path: Path) -> None:
    """The age is that of the first record, over restarts too."""
    path = tmp_path / "audit.log"
    log = opened(path)
    log.write([Event(kind=Kind.BOUND, time=1e9)])
    log.close()
    log = opened(path, file=LogFile(path, rotate_age=86_400))
    log.write([EVENT])
    log.write([EVENT])
    log.close()
    assert len(list(tmp_path.iterdir())) == 2
    assert (verified(path).problems, verified(path).records) == ([], 3)


@pytest.mark.parametrize("hangup", [True, False])
def test_logrotate_moves_the_file(tmp_path: Path, hangup: bool) -> None:
    """Moved by somebody else, with a signal and without: a new file, the same chain."""
    path = tmp_path / "audit.log"
    log = opened(path)
    log.write([EVENT, EVENT])
    path.rename(tmp_path / "audit.log.1")
    if hangup:
        log.reopen()
        assert path.exists()
    log.write([EVENT])
    log.close()
    assert path.read_bytes().count(b"\n") == 1
    assert (verified(path).problems, verified(path).records) == ([], 3)


def test_restart_after_logrotate(tmp_path: Path) -> None:
    """Moved while no node ran: the chain goes on after the newest file beside it."""
    path = tmp_path / "audit.log"
    log = opened(path)
    log.write([EVENT, EVENT])
    log.close()
    path.rename(tmp_path / "audit.log-20261122")
    log = opened(path)
    log.write([EVENT])
    log.close()
    report = verified(path)
    assert (report.problems, report.records) == ([], 3)


def test_removed_rotated_file_is_found(tmp_path: Path) -> None:
    """A file that is missing in between."""
    path = tmp_path / "audit.log"
    log = opened(path, file=LogFile(path, rotate_size=2000))
    for _ in range(30):
        log.write([EVENT])
    log.close()
    names = in_order([str(each) for each in tmp_path.iterdir()])
    Path(names[1]).unlink()
    assert "records are missing" in verified(path).problems[0].what


def test_another_key_begins_another_file(tmp_path: Path) -> None:
    """A log under another seal is left whole; the new file goes on after its last hash."""
    path = tmp_path / "audit.log"
    log = opened(path)
    log.write([EVENT, EVENT])
    head = log.head
    log.close()
    log = opened(path, Seal(KEY))
    log.write([EVENT])
    log.close()
    verifier = Verifier(Seal(KEY))
    verifier.file("audit.log", lines_of(str(path)))
    report = verifier.end()
    assert report.problems == []
    assert report.first is not None
    assert (report.first.seq, report.first.previous) == (head[0] + 1, head[1])
    assert len(verified(path, Seal(KEY)).problems) == 2  # two lines that have no key


def test_file_that_is_no_log_is_left_whole(tmp_path: Path) -> None:
    """What stands there by mistake is moved aside, not written into."""
    path = tmp_path / "audit.log"
    path.write_bytes(b"dear diary\n")
    log = opened(path)
    log.write([EVENT])
    log.close()
    kept = [each for each in tmp_path.iterdir() if each != path]
    assert [each.read_bytes() for each in kept] == [b"dear diary\n"]
    assert path.read_bytes().startswith(b'{"seq":1,')


def test_cut_under_a_running_node_is_found(tmp_path: Path) -> None:
    """The node knows its chain: what somebody cuts off meanwhile is missing, not forgotten."""
    path = tmp_path / "audit.log"
    disk = FullDisk(path)
    log = opened(path, file=disk)
    log.write([EVENT] * 3)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:1]))
    disk.room = 5
    with pytest.raises(OSError, match="No space"):
        log.write([EVENT])
    disk.room = 10**9
    log.write([])
    log.close()
    assert "2 records are missing" in verified(path).problems[0].what


def test_two_nodes_cannot_share_a_file(tmp_path: Path) -> None:
    """The second is told so."""
    path = tmp_path / "audit.log"
    first = opened(path)
    with pytest.raises(OSError, match="another node writes it"):
        opened(path)
    first.close()
    opened(path).close()


def test_not_a_file(tmp_path: Path) -> None:
    """A directory, a FIFO, a directory that is not there: OSError, at once."""
    os.mkfifo(tmp_path / "fifo")
    for place in (tmp_path, tmp_path / "fifo", tmp_path / "no" / "audit.log"):
        with pytest.raises(OSError, match=r"directory|regular"):
            opened(place)


def test_journal_lines(tmp_path: Path) -> None:
    """The same lines, with the priority in front, and verify takes them."""
    path = tmp_path / "audit.log"
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as lines:
        log = AuditLog("a", Seal(), file=LogFile(path), journal=writer)
        log.open()
        log.write([EVENT, EVENT])
        log.close()
        os.close(writer)
        said = lines.read()
    assert said.replace(b"<5>", b"") == path.read_bytes()
    (tmp_path / "journal").write_bytes(said)
    path.unlink()
    assert (verified(path).problems, verified(path).records) == ([], 2)
