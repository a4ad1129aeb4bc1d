"""proxy/renewed.py: certificates that are replaced, well and badly, while they are in use."""

from __future__ import annotations

import os
import ssl
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

from edge_tunnel.config import NodeTls
from edge_tunnel.link.signatures import signature_of
from edge_tunnel.proxy.renewed import Renewed, watch
from edge_tunnel.proxy.tls import files_of, server_context

CA = trustme.CA()


class Files:
    """A pair of files, written as different programs do."""

    def __init__(self, folder: Path) -> None:
        self.certificate, self.key = folder / "node.pem", folder / "node.key"

    def replace(self, leaf: trustme.LeafCert, *, key: bool = True) -> None:
        """By renaming, as ACME clients do."""
        parts = [(self.certificate, leaf.cert_chain_pems[0].bytes())]
        if key:
            parts.append((self.key, leaf.private_key_pem.bytes()))
        for path, data in parts:
            new = path.with_suffix(".new")
            new.write_bytes(data)
            new.chmod(0o600)
            new.replace(path)

    def renewed(self) -> Renewed[ssl.SSLContext]:
        settings = NodeTls(certificate=str(self.certificate), key=str(self.key))
        pair = files_of(settings)
        return Renewed("the node", pair, partial(server_context, settings, pair))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    files = Files(tmp_path)
    files.replace(CA.issue_cert("a"))
    return files


def test_nothing_new(files: Files) -> None:
    renewed = files.renewed()
    first = renewed()
    assert renewed.look() is None and renewed() is first


def test_a_new_pair(files: Files) -> None:
    """It is in use from the next look on."""
    renewed = files.renewed()
    first = renewed()
    files.replace(CA.issue_cert("b"))
    assert renewed.look() == "" and renewed() is not first
    assert renewed.look() is None


def test_the_moment_between_two_files(files: Files) -> None:
    """Certificate and key do not fit for a moment: nothing is said, the former one stays."""
    renewed = files.renewed()
    first, leaf = renewed(), CA.issue_cert("b")
    files.replace(leaf, key=False)
    assert renewed.look() is None and renewed() is first
    files.replace(leaf)
    assert renewed.look() == "" and renewed() is not first


def test_a_half_written_file(files: Files) -> None:
    """In place and slowly: what is in use stays; it is said once when nothing moves any more."""
    renewed = files.renewed()
    first, leaf = renewed(), CA.issue_cert("b")
    whole = leaf.cert_chain_pems[0].bytes()
    for cut in (0, 100, 300):
        files.certificate.write_bytes(whole[:cut])
        assert renewed.look() is None
    told = [renewed.look() for _ in range(5)]
    assert told[0] is not None and "tls.certificate" in told[0] and told[1:] == [None] * 4
    files.certificate.write_bytes(whole[:400])
    assert [renewed.look() for _ in range(3)] == [None] * 3  # the same trouble is not new
    assert renewed() is first
    files.replace(leaf)
    assert renewed.look() == "" and renewed() is not first
    files.certificate.unlink()
    assert renewed.look() is None
    assert "no such file" in (renewed.look() or "")  # another trouble


def test_old_times_do_not_hide_a_new_file(tmp_path: Path) -> None:
    """Written in place, of the same size, with the time of the last change put back."""
    path = tmp_path / "file"
    path.write_text("one")
    times, before = path.stat(), signature_of([path])
    while path.stat().st_ctime_ns == times.st_ctime_ns:  # the kernel's clock ticks
        path.write_text("two")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert signature_of([path]) != before


def test_at_once(files: Files) -> None:
    """SIGHUP does not wait for a second look: the answer is there."""
    renewed = files.renewed()
    assert renewed.renew() is None
    files.key.chmod(0o644)
    why = renewed.renew()
    assert why is not None and "every user of this machine can read" in why


async def test_the_watch(files: Files) -> None:
    """It tells what happens; an end that is near is told at once, and once a day."""
    soon = datetime.now(timezone.utc) + timedelta(days=5, hours=1)
    files.replace(CA.issue_cert("a", not_after=soon))
    renewed = files.renewed()
    sender, events = trio.open_memory_channel[tuple[str, dict[str, Any]]](10)

    def emit(event: str, **data: object) -> None:
        sender.send_nowait((event, data))

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, [renewed], emit, 0.01)
            event, data = await events.receive()
            assert (event, data["days"]) == ("certificate_ends", 5)
            files.replace(CA.issue_cert("b"))
            event, data = await events.receive()
            assert (event, data["what"]) == ("certificate_renewed", "the node")
            files.key.unlink()
            event, data = await events.receive()
            assert event == "certificate_refused" and "tls.key" in data["reason"]
            nursery.cancel_scope.cancel()
