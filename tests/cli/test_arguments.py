"""What is said before anything runs: in this process, since it is quick."""

from __future__ import annotations

import subprocess
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path

import pytest

import edge_tunnel.cli
from edge_tunnel.__main__ import main as start
from edge_tunnel.cli.exits import Exit, exit_of_error, exit_of_reason
from edge_tunnel.cli.main import main
from edge_tunnel.errors import ConfigError, LinkLost, LinkRefused, LocalProtocolError
from edge_tunnel.reasons import Reason
from edge_tunnel.testing.processes import our_command

SECRET = "planted-secret"


@pytest.fixture(autouse=True)
def environ(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of our variables is set."""
    for name in ("KEY", "DEV_KEY", "PROXY", "DEBUG"):
        monkeypatch.delenv(f"EDGE_TUNNEL_{name}", raising=False)


CONNECT = ["connect", "device-7", "ssh"]
GOOD = "SHA256:" + "A" * 43
GARBAGE: list[tuple[list[str], Exit, str]] = [
    ([], Exit.USAGE, "COMMAND"),
    (["no-such-command"], Exit.USAGE, "no-such-command"),
    (["connect"], Exit.USAGE, "THING"),
    (CONNECT, Exit.USAGE, "EDGE_TUNNEL_PROXY"),
    ([*CONNECT, "--proxy", "ws://h:1"], Exit.USAGE, "EDGE_TUNNEL_KEY"),
    ([*CONNECT, "--proxy", "http://h", "--key", SECRET], Exit.CONFIGURATION, "ws://host:port"),
    ([*CONNECT, "--proxy", "ws://h:99999", "--key", SECRET], Exit.CONFIGURATION, "ws://h:99999"),
    ([*CONNECT, "--proxy", "ws://h:x", "--key", SECRET], Exit.CONFIGURATION, "its port must be"),
    ([*CONNECT, "--local", "0", "--stdio"], Exit.USAGE, "--stdio"),
    ([*CONNECT, "--local", "here"], Exit.USAGE, "127.0.0.1:2222"),
    ([*CONNECT, "--local", "66000"], Exit.USAGE, "127.0.0.1:2222"),
    ([*CONNECT, "--resume-timeout", "-1"], Exit.USAGE, "seconds"),
    ([*CONNECT, "--resume-timeout", "nan"], Exit.USAGE, "seconds"),
    ([*CONNECT, "--kye", SECRET], Exit.USAGE, "--kye"),
    ([*CONNECT, f"--kye={SECRET}"], Exit.USAGE, "--kye"),
    ([*CONNECT, SECRET], Exit.USAGE, "too many"),
    (["connect", "", "ssh", "--proxy", "ws://h:1", "--key", SECRET], Exit.USAGE, "THING"),
    (["connect", "d", "x" * 257, "--proxy", "ws://h:1", "--key", SECRET], Exit.USAGE, "SERVICE"),
    (["connect", "Pump\udcfc", "ssh", "--proxy", "ws://h:1", "--key", SECRET], Exit.USAGE, "seen"),
    ([*CONNECT, "--stdio", "--exit-with-stdin"], Exit.USAGE, "--exit-with-stdin"),
    ([*CONNECT, "--proxy", "ws://h:1", "--key-file", "/nowhere"], Exit.CONFIGURATION, "/nowhere"),
    ([*CONNECT, "--fingerprint", "SHA256:abc"], Exit.USAGE, "43 characters"),
    ([*CONNECT, "--fingerprint", GOOD, "--no-encryption"], Exit.USAGE, "--no-encryption"),
    (["forget"], Exit.USAGE, "THING"),
    (["proxy"], Exit.USAGE, "--listen"),
    (["proxy", "--listen", "127.0.0.1:0"], Exit.USAGE, "EDGE_TUNNEL_DEV_KEY"),
    (["proxy", "--listen", "9100", "--dev-key", SECRET], Exit.USAGE, "127.0.0.1:9100"),
    (["edge", "--config", "/nowhere/config.json"], Exit.CONFIGURATION, "/nowhere/config.json"),
    (["demo", "--size", "0"], Exit.USAGE, "MiB"),
]


@pytest.mark.parametrize(("words", "code", "hint"), GARBAGE)
def test_garbage(
    words: list[str], code: Exit, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that says what to do, the right code, and no secret."""
    assert main(words) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("edge-tunnel: ") and err.count("\n") == 1
    assert hint in err and SECRET not in err


@pytest.mark.parametrize("words", [CONNECT, ["things"], ["key", "list"]])
def test_another_file_is_no_key(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not shown to a node, whose words about a field of its protocol would help nobody."""
    other = tmp_path / "other"
    other.write_text(SECRET * 100)
    where = ["--proxy", "ws://127.0.0.1:1", "--key-file", str(other)]
    assert main([*words, *where]) == Exit.CONFIGURATION
    err = capsys.readouterr().err
    assert f"{other}: " in err and "1024 characters" in err
    assert err.count("\n") == 1 and SECRET not in err


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0:0", ":0", "*:0", "[::]:0", "192.0.2.1:0", "example.org:0", "127.0.0.1.example.org:0"],
)
def test_development_mode_is_loopback_only(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A node without TLS, and with one key for all, is never offered to a network."""
    assert main(["proxy", "--listen", address, "--dev-key", SECRET]) == Exit.CONFIGURATION
    err = capsys.readouterr().err
    assert "127.0.0.1 only" in err and err.count("\n") == 1 and SECRET not in err


def test_loopback_only_from_a_file_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One bad address of several is enough to refuse all."""
    path = tmp_path / "proxy.toml"
    path.write_text(f'listen = ["127.0.0.1:0", "0.0.0.0:0"]\ndev_key = "{SECRET}"\n')
    path.chmod(0o600)
    assert main(["proxy", "--config", str(path)]) == Exit.CONFIGURATION
    err = capsys.readouterr().err
    assert "0.0.0.0:0" in err and SECRET not in err


def test_a_closed_descriptor_is_taken_by_nothing_else(tmp_path: Path) -> None:
    """What a caller closed is as if it was /dev/null: no file or socket gets our words there, and
    what is said on stderr does not go into the bytes of a service."""
    path = tmp_path / "proxy.toml"
    path.write_text(f'listen = "127.0.0.1:0"\ndev_key = "{SECRET}"\n')
    path.chmod(0o600)
    assert _run(">&-", "check-config", str(path)) == (Exit.DONE, b"")
    words = [*CONNECT, "--stdio", "--proxy", "http://h", "--key", SECRET]
    assert _run("2>&-", *words) == (Exit.CONFIGURATION, b"")


def test_a_full_disk_under_stdout_is_no_bug() -> None:
    """A key, or a list, that went nowhere: one line that says so."""
    code, err = _run(">/dev/full", "key", "generate")
    assert code == Exit.CANNOT_CREATE
    assert err == b"edge-tunnel: stdout cannot be written: no space left on device\n"


def test_a_system_that_is_not_posix_is_told_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sockets are no file descriptors there."""
    monkeypatch.delattr("os.readv")
    assert main(["--version"]) == Exit.CONFIGURATION
    assert capsys.readouterr().err == (
        "edge-tunnel: this system cannot run it: Linux can, or another POSIX system; "
        "on Windows use WSL\n"
    )


def _run(how: str, *words: str) -> tuple[int, bytes]:
    """The end of a command that a shell started so, and what it said on the streams it has."""
    shell = ["sh", "-c", f'exec "$@" {how}', "sh", *our_command(*words)]
    run = subprocess.run(shell, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return run.returncode, run.stdout


@pytest.mark.parametrize("command", ["proxy", "edge", "connect", "demo"])
def test_help_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command shows examples; the long-running ones name their events."""
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert "examples" in out
    assert command == "demo" or "events: " in out


def test_help_lists_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """What a script can act on stands where people look."""
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {code.value:>3}  " in out for code in Exit)


def test_every_reason_has_an_exit_code() -> None:
    """A reason that is new in the protocol is not forgotten here."""
    assert {exit_of_reason(reason) for reason in Reason} <= set(Exit)
    assert [reason for reason in Reason if exit_of_reason(reason) == 0] == [Reason.DONE]


def test_exit_codes_of_errors() -> None:
    """The ones that carry a reason use it."""
    assert exit_of_error(LinkRefused(Reason.NOT_AUTHORISED)) == Exit.NOT_AUTHORISED
    assert exit_of_error(ConfigError("x")) == Exit.CONFIGURATION
    assert exit_of_error(LinkLost("x")) == Exit.COULD_NOT_CONNECT
    assert exit_of_error(LocalProtocolError("x")) == Exit.INTERNAL


def test_a_bug_is_one_line_without_its_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has checked what an unexpected error says; the traceback is for those who ask."""

    def fail(*_args: object) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr("edge_tunnel.cli.edge.load_config", fail)
    assert main(["edge", "--config", "x"]) == Exit.INTERNAL
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "RuntimeError" in err and SECRET not in err
    monkeypatch.setenv("EDGE_TUNNEL_DEBUG", "1")
    main(["edge", "--config", "x"])
    assert "Traceback" in capsys.readouterr().err


def test_the_last_line_is_fit_for_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What went wrong may be a peer's text."""

    def fail(*_args: object) -> None:
        raise LinkLost("gone\x1b[2J")

    monkeypatch.setattr("edge_tunnel.cli.edge.load_config", fail)
    main(["edge", "--config", "x"])
    assert capsys.readouterr().err.rstrip("\n").isprintable()


def test_nobody_reads_the_output() -> None:
    """``edge-tunnel --help | head -0`` is no traceback."""
    command = [sys.executable, "-m", "edge_tunnel", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(20) in (0, 141)


class _Interrupts(MetaPathFinder):
    """Ctrl-C at the moment in which a module is imported."""

    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname == "edge_tunnel.cli.main":
            raise KeyboardInterrupt


def test_interrupted_while_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The imports take a second on a small device; no traceback then either."""
    monkeypatch.delitem(sys.modules, "edge_tunnel.cli.main")
    monkeypatch.delattr(edge_tunnel.cli, "main")
    monkeypatch.setattr(sys, "meta_path", [_Interrupts(), *sys.meta_path])
    assert start() == 130
