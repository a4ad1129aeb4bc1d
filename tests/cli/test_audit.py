"""``edge-tunnel audit``: what it prints, and how it ends."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path

import pytest

from edge_tunnel.audit.chain import Seal
from edge_tunnel.audit.records import Event, Kind
from edge_tunnel.cli.main import main
from tests.audit.logs import KEY, head_of, lines_of

HOUR_AGO = time.time() - 3600


def a_log(seal: Seal | None = None) -> list[bytes]:
    return lines_of(
        [
            Event(kind=Kind.STARTED, time=HOUR_AGO),
            Event(kind=Kind.BOUND, thing="pump-1", address="192.0.2.7:4711", time=HOUR_AGO),
            Event(
                kind=Kind.TUNNEL_OPENED, thing="pump-1", service="ssh", who="alice", address="x:1"
            ),
            Event(kind=Kind.TUNNEL_DENIED, thing="valve", who="bob", reason="not yours\n\x1b[2J"),
            Event(kind=Kind.STOPPED),
        ],
        seal,
    )


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "audit.log"
    path.write_bytes(b"".join(a_log()))
    return path


def test_verify_clean(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line that says ok, and the head; exit code 0."""
    head = head_of(log.read_bytes().splitlines()[2])
    assert main(["audit", "verify", str(log), "--expect-head", head.upper()]) == 0
    out = capsys.readouterr().out
    assert out.startswith("ok: 5 records in 1 file, 1 to 5, the last stopped at 2")
    assert "the expected head is there, 2 records follow it" in out


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda lines: [lines[0], lines[1].replace(b"pump", b"pomp"), *lines[2:]], 2),
        (lambda lines: [*lines[:2], *lines[3:]], 3),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], 2),
        (lambda lines: [*lines[:4], lines[4][:-9]], 5),
        (lambda _: [], 0),
    ],
)
def test_verify_changed(
    log: Path, change: object, line: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line per problem: file, line, what; exit code 65."""
    log.write_bytes(b"".join(change(a_log())))  # type: ignore[operator]
    assert main(["audit", "verify", str(log)]) == 65
    where = f"{log}:{line}: " if line else f"{log}: "
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith(where)
    assert any("problem" in each for each in out)


def test_verify_tail_that_is_missing(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whole lines cut off: the chain is sound, but the head that was told is not there."""
    head = head_of(a_log()[-1])
    log.write_bytes(log.read_bytes().rpartition(b'{"seq":5')[0])
    assert main(["audit", "verify", str(log)]) == 0
    assert main(["audit", "verify", str(log), "--expect-head", head]) == 65
    assert "the end was cut off" in capsys.readouterr().out


def test_verify_with_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the key it says so; a key that others can read, or a short one, is none."""
    log, key = tmp_path / "audit.log", tmp_path / "key"
    log.write_bytes(b"".join(a_log(Seal(KEY))))
    key.write_bytes(KEY + b"\n")
    key.chmod(0o644)
    assert main(["audit", "verify", str(log), "--key-file", str(key)]) == 78
    assert "chmod 600" in capsys.readouterr().err
    key.chmod(0o600)
    assert main(["audit", "verify", str(log), "--key-file", str(key)]) == 0
    assert main(["audit", "verify", str(log)]) == 65
    assert "only who has the key" in capsys.readouterr().out
    key.write_bytes(b"short")
    assert main(["audit", "verify", str(log), "--key-file", str(key)]) == 78
    assert "too short" in capsys.readouterr().err
    assert KEY.decode() not in capsys.readouterr().out


def test_packed_file_and_any_order(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What logrotate has packed, given in a shell's order."""
    lines = a_log()
    with gzip.open(log.with_name("audit.log.2.gz"), "wb") as packed:
        packed.writelines(lines[:2])
    log.with_name("audit.log.1").write_bytes(b"".join(lines[2:4]))
    log.write_bytes(lines[4])
    assert main(["audit", "verify", *sorted(map(str, log.parent.iterdir()))]) == 0
    assert "5 records in 3 files" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "kinds"),
    [
        ([], ["started", "bound", "tunnel_opened", "tunnel_denied", "stopped"]),
        (["--thing", "pump-*"], ["bound", "tunnel_opened"]),
        (["--who", "alice"], ["tunnel_opened"]),
        (["--who", "192.0.2.*"], ["bound"]),
        (["--since", "10m"], ["tunnel_opened", "tunnel_denied", "stopped"]),
        (["--since", "2001-01-01", "--kind", "bound", "--kind", "stopped"], ["bound", "stopped"]),
        (["--since", "2999-01-01T00:00:00+02:00"], []),
    ],
)
def test_show(
    log: Path, words: list[str], kinds: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A row for each record that is wanted; with --json the line itself."""
    assert main(["audit", "show", str(log), *words]) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == kinds
    assert main(["audit", "show", str(log), *words, "--json"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["kind"] for line in out] == kinds


def test_show_of_hostile_lines(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines that somebody else wrote into it do nothing to a terminal."""
    body = '{"seq":1,"kind":"\x1b[2J","time":"\x1b]0;x","previous":""'
    line = f'{body},"sha256":"{"0" * 64}"}}\n'
    escaped = json.dumps("\x1b[2J")
    hostile = f'{{"seq":1,"kind":{escaped},"previous":"","sha256":"{"0" * 64}"}}\n'
    log.write_bytes(line.encode() + hostile.encode() + b"\x1b[31mred\n")
    assert main(["audit", "show", str(log)]) == 0
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    assert "2 lines are no records" in said.err
    assert main(["audit", "verify", str(log)]) == 65
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["audit"], 64),
        (["audit", "verify"], 64),
        (["audit", "verify", "nowhere.log"], 78),
        (["audit", "verify", "x", "--expect-head", "abc"], 64),
        (["audit", "show", "x", "--since", "yesterday"], 64),
        (["audit", "show", "x", "--kind", "nonsense"], 64),
        (["audit", "show", "/"], 78),
    ],
)
def test_mistakes(words: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """One clear line."""
    assert main(words) == code
    assert len(capsys.readouterr().err.splitlines()) == 1
