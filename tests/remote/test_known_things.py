"""What a remote remembers of devices, in memory and in a file that several processes use."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_tunnel import Identity, KnownThings, Reason, TunnelEnded, known_things_path

ONE, TWO = Identity().fingerprint, Identity().fingerprint


def refusal(known: KnownThings, thing: str, fingerprint: str) -> str:
    with pytest.raises(TunnelEnded) as caught:
        known.check(thing, fingerprint)
    assert caught.value.reason is Reason.IDENTITY
    return str(caught.value)


@pytest.mark.parametrize("in_file", [True, False])
def test_first_use(tmp_path: Path, in_file: bool) -> None:
    """The first is remembered, the same is fine, another one is refused; each thing by itself."""
    known = KnownThings(tmp_path / "a" / "known_things" if in_file else None)
    assert known.check("pump 7", ONE)
    assert not known.check("pump 7", ONE)
    assert known.check("pump", TWO)
    text = refusal(known, "pump 7", TWO)
    assert ONE in text
    assert TWO in text
    assert "edge-tunnel forget 'pump 7'" in text
    assert not known.check("pump 7", ONE)
    assert known.forget("pump 7")
    assert not known.forget("pump 7")
    assert known.check("pump 7", TWO)
    assert not known.check("pump", TWO)


def test_the_file(tmp_path: Path) -> None:
    """Its form, its mode, and that the next process knows what this one learnt."""
    path = tmp_path / "known_things"
    KnownThings(path).check("pump 7", ONE)
    assert path.read_text() == f"{ONE} pump 7\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert f"{path}, line 1" in refusal(KnownThings(path), "pump 7", TWO)


def test_what_others_wrote(tmp_path: Path) -> None:
    """Comments and cut lines are left alone; a line without an end swallows nothing."""
    path = tmp_path / "known_things"
    path.write_text(f"# mine\n{ONE}\nSHA256:x pump\n\n{ONE} first\n{TWO[:20]}")
    known = KnownThings(path)
    assert not known.check("first", ONE)
    assert known.check("pump", TWO)
    assert path.read_text().endswith(f"\n{TWO[:20]}\n{TWO} pump\n")
    assert known.forget("first")
    assert path.read_text() == f"# mine\n{ONE}\nSHA256:x pump\n\n{TWO[:20]}\n{TWO} pump\n"


def test_the_first_line_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes at their first use: whoever was second learns it, and refuses."""
    path = tmp_path / "known_things"
    slow = KnownThings(path)
    real = slow._remember

    def remember(thing: str, fingerprint: str) -> None:
        KnownThings(path).check(thing, TWO)
        real(thing, fingerprint)

    monkeypatch.setattr(slow, "_remember", remember)
    refusal(slow, "pump", ONE)
    assert not KnownThings(path).check("pump", TWO)


def test_expected(tmp_path: Path) -> None:
    """What is known from elsewhere goes before the file, and is not written into it."""
    path = tmp_path / "known_things"
    KnownThings(path).check("pump", TWO)
    known = KnownThings(path, expected={"pump": ONE, "fan": ONE})
    assert not known.check("pump", ONE)
    assert not known.check("fan", ONE)
    assert "not the expected" in refusal(known, "pump", TWO)
    assert "fan" not in path.read_text()


def test_a_place_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Known for this run, with a warning; a user must not be locked out by a full disk."""
    (tmp_path / "file").write_text("")
    known = KnownThings(tmp_path / "file" / "known_things")
    # reading says the same: no file can be there
    assert "known_things" in refusal(known, "pump", ONE)
    known = KnownThings(Path("/proc/known_things"))
    assert known.check("pump", ONE)
    assert "for this run only" in caplog.text
    assert {each.levelname for each in caplog.records} == {"ERROR"}, "connect shows no less"
    refusal(known, "pump", TWO)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """No guess: the tunnel ends with its name."""
    assert "is a directory" in refusal(KnownThings(tmp_path), "pump", ONE)


def test_where_it_is() -> None:
    """As the XDG specification says; a relative value is ignored."""
    home = {"HOME": "/home/ada"}
    default = Path("/home/ada/.local/share/edge-tunnel/known_things")
    assert known_things_path(home) == default
    assert known_things_path({**home, "XDG_DATA_HOME": "data"}) == default
    xdg = known_things_path({**home, "XDG_DATA_HOME": "/data"})
    assert xdg == Path("/data/edge-tunnel/known_things")
