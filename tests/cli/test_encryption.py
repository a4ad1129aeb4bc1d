"""Fingerprints and ``--no-encryption``, as a technician meets them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge_tunnel import Identity, KnownThings, known_things_path
from edge_tunnel.cli.exits import Exit
from edge_tunnel.cli.main import main

if TYPE_CHECKING:
    from tests.cli.conftest import Bench

WORDS = ("connect", "device-7", "echo", "--stdio")


def test_forget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is known is forgotten; what is not known is said, with the file."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert main(["forget", "pump 7"]) == Exit.NO_SUCH_THING
    assert f"pump 7 is not known in {tmp_path}" in capsys.readouterr().err
    KnownThings(known_things_path()).check("pump 7", Identity().fingerprint)
    assert main(["forget", "pump 7"]) == Exit.DONE
    assert capsys.readouterr().out == "pump 7 is forgotten\n"
    assert known_things_path().read_text() == ""
    known_things_path().unlink()
    known_things_path().mkdir()
    assert main(["forget", "pump 7"]) == Exit.CONFIGURATION
    assert "is a directory" in capsys.readouterr().err


@pytest.mark.slow
async def test_a_device_that_changed(bench: Bench) -> None:
    """Remembered at the first use and over restarts; another one is not talked to, until it is
    forgotten, expected, or nobody wants to know."""
    await bench.site.start_proxy()
    edge = await bench.site.start_edge(bench.services)
    known = bench.site.folder / "edge-tunnel" / "known_things"
    identity = bench.site.folder / "config.identity.pem"
    assert (await bench.run(*WORDS, stdin=b"hello")).out == b"hello"
    first = known.read_text()
    assert first.startswith("SHA256:") and first.endswith(" device-7\n")

    await edge.kill()
    edge = await bench.site.start_edge(bench.services)
    assert (await bench.run(*WORDS, stdin=b"again")).out == b"again"
    assert known.read_text() == first

    await edge.kill()
    identity.unlink()
    edge = await bench.site.start_edge(bench.services)
    now = (await edge.event("identity"))["fingerprint"]
    ended = await bench.run(*WORDS, stdin=b"hello")
    assert ended.code == Exit.OTHER_DEVICE
    assert ended.out == b""
    assert len(ended.err.splitlines()) == 1
    assert first.split()[0] in ended.err and now in ended.err
    assert "edge-tunnel forget device-7" in ended.err

    assert (await bench.run(*WORDS, "--fingerprint", now, stdin=b"1")).out == b"1"
    assert (await bench.run(*WORDS, "--no-encryption", stdin=b"2")).out == b"2"
    wrong = await bench.run(*WORDS, "--fingerprint", first.split()[0])
    assert wrong.code == Exit.OTHER_DEVICE
    assert "not the expected" in wrong.err
    assert known.read_text() == first
    assert (await bench.run("forget", "device-7")).code == Exit.DONE
    assert (await bench.run(*WORDS, stdin=b"3")).out == b"3"
    assert known.read_text() == f"{now} device-7\n"


@pytest.mark.slow
async def test_a_device_that_turned_it_off(bench: Bench) -> None:
    """One line with the way out, and that works."""
    await bench.site.start_proxy()
    config = bench.site.write_config(bench.services)
    text = config.read_text().replace('"services"', '"end_to_end_encryption": "off", "services"')
    config.write_text(text)
    edge = await bench.site.start("edge", "--config", str(config), "--json", "--exit-with-stdin")
    await edge.event("bound")
    ended = await bench.run(*WORDS, stdin=b"hello")
    assert ended.code == Exit.REFUSED_BY_DEVICE
    assert ended.err.strip() == (
        "edge-tunnel: echo of device-7: end-to-end encryption is turned off on the device "
        "(edge_tunnel.end_to_end_encryption); to go without it: --no-encryption"
    )
    assert (await bench.run(*WORDS, "--no-encryption", stdin=b"hello")).out == b"hello"
