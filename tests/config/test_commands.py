"""check-config and convert-config, as a user sees them."""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import stat
from pathlib import Path

import pytest

from edge_tunnel.cli.main import main
from edge_tunnel.config import load_config

PERFECT = """{
  "ws_servers": [{"host": "h", "port": 443}],
  "appKey": "k",
  "auto_bind": [{"name": "n"}],
  "edge_tunnel": {"services": [{"name": "ssh", "port": 22}]}
}
"""


def run(*arguments: str) -> int:
    return main(arguments)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return saved(tmp_path / "config.json", PERFECT)


def saved(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_a_perfect_file(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check-config", "--strict", str(config)) == 0
    shown = capsys.readouterr().out
    assert "Nothing to remark." in shown
    assert "config.json:4" in next(line for line in shown.splitlines() if "auto_bind[0]" in line)
    assert "\x1b" not in shown


def test_the_report_shows_line_and_caret(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(config, PERFECT.replace('"h", "port": 443', '"h", "port": 99999'))
    assert run("check-config", str(config)) == 78
    shown = capsys.readouterr().out.splitlines()
    at = shown.index("error ws_servers[0].port  line 2, column 40")
    assert shown[at + 1] == '  2 | "ws_servers": [{"host": "h", "port": 99999}],'
    assert shown[at + 2].index("^") == shown[at + 1].index("99999")
    assert shown[at + 3] == "  99999 is out of range: 1 to 65535"
    assert shown[at + 4] == "  -> correct the number"
    assert shown[-1] == "1 error: this file cannot be used."


@pytest.mark.parametrize(
    ("text", "strict", "code"),
    [
        (PERFECT, False, 0),
        (PERFECT, True, 0),
        ("// c\n" + PERFECT, False, 0),
        ("// c\n" + PERFECT, True, 78),
        (PERFECT.replace("443", "0"), False, 78),
        (PERFECT.replace(": 443", ""), False, 65),
        ("", False, 65),
    ],
)
def test_exit_codes(config: Path, text: str, strict: bool, code: int) -> None:
    saved(config, text)
    assert run("check-config", *(["--strict"] if strict else []), str(config)) == code


def test_the_worst_of_several_files_counts(config: Path, tmp_path: Path) -> None:
    wrong = saved(tmp_path / "wrong.json", "{}")
    broken = saved(tmp_path / "broken.json", "{")
    assert run("check-config", str(config), str(wrong)) == 78
    assert run("check-config", str(broken), str(wrong), str(config)) == 65
    assert run("check-config", str(tmp_path / "absent.json")) == 65


def test_json_for_programs(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(config, "// c\n" + PERFECT)
    assert run("check-config", "--json", str(config)) == 0
    document = json.loads(capsys.readouterr().out)
    (file,) = document["files"]
    assert document["exit_code"] == 0 and file["file"] == str(config)
    assert file["findings"][0]["severity"] == "warning" and file["findings"][0]["line"] == 1
    settings = {one["key"]: one for one in file["settings"]}
    assert settings["appKey"]["value"] == "***"
    assert settings["ws_servers[0]"]["origin"] == "config.json:3"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_on_a_terminal_unless_refused(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for refusal, coloured in (("", True), ("1", False)):
        terminal = _Terminal()
        monkeypatch.setattr("sys.stdout", terminal)
        monkeypatch.setenv("NO_COLOR", refusal)
        run("check-config", str(config))
        assert ("\x1b[" in terminal.getvalue()) is coloured


def test_a_terminal_without_unicode(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its encoding lacks becomes a question mark, not a traceback."""
    saved(config, PERFECT.replace('"n"', '"\u00fc\u2603"').replace('"k"', "x" * 200))
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert run("check-config", str(config)) == 65


# -- directories and booted copies ---------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["_booted", ".booted"])
def test_a_copy_that_says_the_same(
    config: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(config, config.with_name(config.name + suffix))
    assert run("check-config", "--strict", str(config.parent)) == 0
    assert f"config.json{suffix} says the same" in capsys.readouterr().out


def test_a_copy_that_differs(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says in what, and that it is never used."""
    booted = PERFECT.replace("443", "8443").replace('"n"', '"m"')
    saved(config.with_name("config.json_booted"), booted)
    assert run("check-config", str(config.parent)) == 0
    shown = capsys.readouterr().out
    assert "config.json_booted differs in servers, things" in shown
    assert "never uses this copy" in shown


def test_a_broken_file_is_never_replaced_by_its_copy(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """EMS would run on with the copy, and its owner would wonder."""
    shutil.copy(config, config.with_name("config.json.booted"))
    saved(config, PERFECT[:-10])
    assert run("check-config", str(config.parent)) == 65
    shown = capsys.readouterr().out
    assert "config.json.booted can be used, while this file cannot" in shown
    assert "Effective settings" not in shown


def test_a_broken_copy(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(config.with_name("config.json_booted"), "{")
    assert run("check-config", str(config.parent)) == 0
    assert "cannot be used" in capsys.readouterr().out


def test_a_directory_with_a_node_file_and_one_without_any(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("check-config", str(tmp_path)) == 65
    assert "there is no config.json" in capsys.readouterr().out
    saved(tmp_path / "proxy.toml", "dev_key = 'k'\nlisten = 'x'")
    assert run("check-config", str(tmp_path)) == 78
    assert "must be an address with a port" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "text", "code", "shown"),
    [
        ("node-a.toml", "dev_key = 'k'\nlisten = 'x'", 78, "must be an address with a port"),
        ("node.json", '{\n"dev_key": "k",\n"listen": "x"}', 78, "must be an address with a port"),
        ("broken.toml", "listen = '127.0.0.1:1\n", 65, "correct the TOML here"),
        ("rights.toml", "format = 1\n[[allow]]\nusres = ['a']", 78, "allow[0].usres"),
        ("proxy-of-7.toml", "[[auto_bind]]\nname = 'd'", 78, "no server to connect to"),
        ("x.json", '{"listen": 1}', 78, "must be"),
        ("bom.toml", "\ufefflisten = 'x'\ndev_key = 'k'", 78, "must be an address with a port"),
    ],
)
def test_a_file_is_known_by_what_it_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, code: int, shown: str
) -> None:
    """A node's and a policy's file may have any name; neither is taken for a device's."""
    assert run("check-config", str(saved(tmp_path / name, text))) == code
    assert shown in capsys.readouterr().out


def test_a_file_is_read_once() -> None:
    """A pipe, as the shell's <(...) is one, has no second time."""
    taken, given = os.pipe()
    with os.fdopen(taken), os.fdopen(given, "w") as end:
        end.write(PERFECT)
        end.close()
        assert run("check-config", "--strict", f"/dev/fd/{taken}") == 0


def test_what_has_no_end_and_what_is_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither takes all memory, or is a bug of ours."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, limits[1]))
    try:
        assert run("check-config", "/dev/zero") == 65
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert "is larger than" in capsys.readouterr().out
    assert run("check-config", "n" * 300) == 65
    assert "cannot be read: File name too long" in capsys.readouterr().out


# -- convert-config ------------------------------------------------------------------------------


def test_converted_it_means_the_same(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ems-5.3.json", "ems-5.4.0.json", "ems-5.4.9.json"):
        assert run("convert-config", "--with-secrets", str(files / name)) == 0
        toml = saved(tmp_path / "config.toml", capsys.readouterr().out)
        assert load_config(toml).config == load_config(files / name).config


def test_the_output_is_for_its_owner_alone(config: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.toml"
    assert run("convert-config", str(config), "-o", str(output)) == 0
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert "appKey" in output.read_text()


def test_nothing_is_overwritten(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("convert-config", str(config), "-o", str(config)) == 73
    assert "choose another name" in capsys.readouterr().err
    assert config.read_text() == PERFECT


def test_half_a_configuration_is_not_left_behind(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.toml"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # as a disk that becomes full
    try:
        assert run("convert-config", str(config), "-o", str(output)) == 73
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert capsys.readouterr().err.startswith(f"edge-tunnel: {output}: cannot be written: ")
    assert not output.exists()


def test_a_rewritten_file_converts_without_its_key(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fleets convert on one machine what other machines run with their own keys."""
    path = str(files / "ems-5.4.10-rewritten.json")
    assert run("convert-config", path) == 0
    assert 'name = "pump-7"' in capsys.readouterr().out
    assert run("convert-config", "--with-secrets", path) == 78


def test_a_broken_file_is_not_converted(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(config, PERFECT.replace(": 443", ""))
    assert run("convert-config", str(config)) == 65
    shown = capsys.readouterr()
    assert shown.out == "" and "this file cannot be used" in shown.err
