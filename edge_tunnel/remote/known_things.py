"""The devices that a remote knows, by the fingerprints of their identities.

As ssh does it: what a device shows at the first use is remembered, and one that shows something
else later is not talked to. A remote without a file remembers for as long as it runs.

The file has one line for each thing, ``SHA256:... NAME``. Several processes may use it at once,
without a lock that one of them could keep: a line is added in one piece, the first one for a thing
counts, and whoever has added a line looks which one that is.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from edge_tunnel.errors import TunnelEnded
from edge_tunnel.link.oserrors import in_words
from edge_tunnel.protocol.identity import is_fingerprint
from edge_tunnel.reasons import Reason

__all__ = ["KnownThings", "known_things_path"]

_POLICY: Final = "the policy"
_COMPARE: Final = "compare it with what its edge prints at its start"

_log = logging.getLogger("edge_tunnel.remote")


def known_things_path(environ: Mapping[str, str] = os.environ) -> Path:
    """The user's file: ``~/.local/share/edge-tunnel/known_things``, or below XDG_DATA_HOME."""
    base = Path(environ.get("XDG_DATA_HOME", ""))
    if not base.is_absolute():  # such a value is to be ignored, says the XDG specification
        base = Path(environ.get("HOME", "/")) / ".local" / "share"
    return base / "edge-tunnel" / "known_things"


class KnownThings:
    """What is known of each thing. `path` None: in memory."""

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        expected: Mapping[str, str] | None = None,
    ) -> None:
        """`expected`: fingerprints by thing, that are known from elsewhere and go before all."""
        self.path = None if path is None else Path(path)
        self._expected = dict(expected or {})
        self._seen: dict[str, str] = {}
        self._named: dict[str, str] = {}  # by the policy

    def by_policy(self, thing: str, fingerprint: str) -> None:
        """A node says that the policy names this: it counts until the thing was seen.

        Only until then: a node that was broken into must not be able to replace what is known.
        """
        self._named[thing] = fingerprint

    def check(self, thing: str, fingerprint: str) -> bool:
        """A thing showed this. Returns whether it was not known before, and is now.

        Raises:
          TunnelEnded: another fingerprint is known; or the file cannot be read.
        """
        known = self._known(thing)
        if known is None and self._named.get(thing, fingerprint) != fingerprint:
            known = self._named[thing], _POLICY
        if known is None:
            self._remember(thing, fingerprint)
            known = self._known(thing)  # somebody else may have been faster
            fresh = True
        else:
            fresh = False
        if known is not None and known[0] != fingerprint:
            raise TunnelEnded(Reason.IDENTITY, _changed(thing, fingerprint, *known))
        return fresh

    def _known(self, thing: str) -> tuple[str, str] | None:
        """The fingerprint that is known, and where it stands."""
        if thing in self._expected:
            return self._expected[thing], ""
        try:
            for number, name, fingerprint in self._lines():
                if name == thing:
                    return fingerprint, f"{self.path}, line {number}"
        except OSError as error:
            text = f"{self.path}, the fingerprints that are known: {in_words(error)}"
            raise TunnelEnded(Reason.IDENTITY, text) from None
        return (self._seen[thing], "seen earlier") if thing in self._seen else None

    def _remember(self, thing: str, fingerprint: str) -> None:
        try:
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                _append(self.path, f"{fingerprint} {thing}\n".encode())
                return
        except OSError as error:
            text = "%s: %s is known for this run only: %s"  # each use is a first use: to be seen
            _log.error(text, self.path, thing, in_words(error))
        self._seen[thing] = fingerprint

    def forget(self, thing: str) -> bool:
        """Whether something was known. The next device of this name is trusted at first use.

        Raises:
          OSError: the file cannot be read or written.
        """
        found = self._seen.pop(thing, None) is not None
        numbers = {number for number, name, _ in self._lines() if name == thing}
        if numbers and self.path is not None:
            lines = self.path.read_bytes().splitlines(keepends=True)
            kept = [line for number, line in enumerate(lines, 1) if number not in numbers]
            _replace(self.path, b"".join(kept))
        return found or bool(numbers)

    def _lines(self) -> Iterator[tuple[int, str, str]]:
        """Number, thing and fingerprint of each line; lines that are none are left out."""
        if self.path is None:
            return
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return
        for number, line in enumerate(text.splitlines(), 1):
            fingerprint, _, thing = line.decode("utf-8", "replace").partition(" ")
            if thing and is_fingerprint(fingerprint):
                yield number, thing, fingerprint


def _changed(thing: str, shown: str, known: str, where: str) -> str:
    if where == _POLICY:
        return (
            f"{thing} shows the fingerprint {shown}, and the policy names {known}: if the device "
            "was replaced, an administrator corrects the policy; if not, somebody is between you "
            "and it"
        )
    if not where:
        return f"{thing} shows the fingerprint {shown}, and not the expected {known}: {_COMPARE}"
    return (
        f"{thing} shows the fingerprint {shown}, and known is {known} ({where}): if the device was "
        f"replaced or lost its key, run 'edge-tunnel forget {shlex.quote(thing)}'; if not, "
        "somebody is between you and it"
    )


def _append(path: Path, line: bytes) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line  # somebody's last line has no end: ours must not become part of it
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def _replace(path: Path, text: bytes) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as opened:  # noqa: PTH123 - a descriptor
            opened.write(text)
        draft.replace(path)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()
