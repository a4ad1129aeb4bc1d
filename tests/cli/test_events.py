"""What a command prints, and that nobody who does not read it can hold it up."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from pathlib import Path

import pytest
import trio

import edge_tunnel
from edge_tunnel.cli.events import (
    _WORDS,
    Reporter,
    json_line,
    open_reporter,
    set_up_logging,
    words_of,
)
from edge_tunnel.cli.live import human_bytes
from edge_tunnel.link.notices import Notice


async def _read_all(fd: int) -> list[str]:
    data = b""
    while part := await trio.to_thread.run_sync(os.read, fd, 65536):
        data += part
    return data.decode().splitlines()


async def test_json_lines_begin_with_event_and_time() -> None:
    """One object a line, in order; what was emitted just before the end is there."""
    source, sink = os.pipe()
    async with open_reporter(as_json=True, on_broken=lambda: None, fd=sink) as report:
        for number in range(300):
            report(Notice("happened", time.time(), {"number": number}))
    os.close(sink)
    events = [json.loads(line) for line in await _read_all(source)]
    assert [event["number"] for event in events] == list(range(300))
    assert list(events[0]) == ["event", "time", "number"]
    os.close(source)


async def test_a_reader_that_does_not_read_holds_nothing_up() -> None:
    """Events that find no place are counted, the tunnel goes on, and so does the end."""
    source, sink = os.pipe()
    with trio.fail_after(5):
        async with open_reporter(as_json=True, on_broken=lambda: None, fd=sink) as report:
            for _ in range(5000):
                report.emit("happened", text="x" * 100)
                await trio.lowlevel.checkpoint()
            assert report.dropped > 1000
    os.set_blocking(source, False)
    os.read(source, 1 << 20)
    os.close(source)
    os.close(sink)


async def test_a_reader_that_left_ends_the_command() -> None:
    """As SIGPIPE would, but in order."""
    source, sink = os.pipe()
    os.close(source)
    left = trio.Event()
    with trio.fail_after(5):
        async with open_reporter(as_json=True, on_broken=left.set, fd=sink) as report:
            report.emit("happened")
            await left.wait()
            report.emit("nobody cares")
    os.close(sink)


async def test_a_full_disk_ends_nothing() -> None:
    """A log that has no room costs its lines, not the device's tunnels; when there is room again it
    goes on, on a line of its own, and in the end says how many are missing."""
    source, sink = os.pipe()
    log = os.open("/dev/full", os.O_WRONLY)
    left = trio.Event()
    with trio.fail_after(5):
        async with open_reporter(as_json=True, on_broken=left.set, fd=log) as report:
            report.emit("lost")
            while not (report.dropped or left.is_set()):
                await trio.lowlevel.checkpoint()
            os.dup2(sink, log)
            os.close(sink)
            report.emit("kept")
        os.close(log)
        cut, *lines = await _read_all(source)
    os.close(source)
    assert (left.is_set(), cut) == (False, "")
    assert [json.loads(line)["event"] for line in lines] == ["kept", "dropped"]
    assert json.loads(lines[1])["count"] == 1


def test_words_for_people() -> None:
    """An event without words of its own shows its data."""
    assert words_of(Notice("bound", 0, {"thing": "device-7"})).endswith(" bound device-7")
    assert words_of(Notice("new", 0, {"a": 1})).endswith(" new a=1")
    assert words_of(Notice("listening", 0, {"host": "::1", "port": 5})).endswith("on ::1:5")


def test_lists_and_limits_in_words() -> None:
    """Not as Python writes them."""
    joined = Notice("joined", 0, {"node": "a-1", "nodes": ["a-1", "b"]})
    assert words_of(joined).endswith(" joined the cluster as a-1: a-1, b")
    for data, shown in (
        ({"seconds": None, "max_streams": None}, "none"),
        ({"seconds": None, "max_streams": 5}, "5 streams at once"),
        ({"seconds": 60.0, "max_streams": None}, "it ends at 1970-01-01 00:01"),
    ):
        said = words_of(Notice("granted", time.timezone, {"tunnel": "ab", **data}))
        assert said.endswith(f" the policy's limits of this tunnel: {shown}")


def _emitted() -> set[str]:
    """The names of all events that some room tells a command, read from the source."""
    package = Path(edge_tunnel.__file__).parent
    files = (each for each in package.rglob("*.py") if "demo" not in each.parts)  # has its own
    text = "\n".join(each.read_text() for each in files)
    named = re.findall(r"""\b_?(?:emit|say|deny)\(\s*(?:[a-z]+, )*"([a-z_]+)\"""", text)
    return {*named, *re.findall(r"""\bevent = "([a-z_]+)" if .* else "[a-z_]+\"""", text)}


def test_each_event_has_words() -> None:
    """A person is never shown data as a program has it."""
    emitted = _emitted()
    assert {"granted", "tunnel_denied", "bind_denied", "link_lost", "bound"} <= emitted
    assert emitted <= _WORDS.keys()


EVIL = "a\x1b[31m\x9b2J\u202eb"


def test_nothing_that_a_terminal_obeys(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names and reasons come from peers: in words, in JSON, in logs and in the last line."""
    lines = words_of(Notice("closed", 0, {"reason": EVIL})), json_line("closed", reason=EVIL)
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    set_up_logging("WARNING")
    logging.getLogger("edge_tunnel").warning("%s\n%s", "two lines", EVIL)
    assert json.loads(lines[1])["reason"] == EVIL
    shown = [*lines, *capsys.readouterr().err.splitlines()]
    assert len(shown) == 4
    assert all(line.isprintable() for line in shown)


async def test_dropped_events_are_told() -> None:
    """The last line says how many are missing."""
    reporter = Reporter(1, as_json=True, on_broken=lambda: None)
    reporter.dropped = 7
    reporter.close()
    lines = [line async for line in reporter._lines]
    assert json.loads(lines[-1])["count"] == 7


def test_human_bytes() -> None:
    """Three digits are enough."""
    shown = [human_bytes(each) for each in (0, 999, 1000, 99_400, 99_600, 999_600, 2.5e9)]
    assert shown == ["0 B", "999 B", "1.0 KB", "99.4 KB", "100 KB", "1.0 MB", "2.5 GB"]
