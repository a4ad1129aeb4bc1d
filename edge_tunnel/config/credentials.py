"""Where secrets come from: environment, systemd credentials, a file of their own, or the file.

In that order, because the first ones are set for this one service. EMS encrypts the secrets in its
file (``AES:...`` up to 5.4.7, all of them from 5.4.8 on, which `data_security.key_hash` tells);
the keys for that are EMS's own, so those values are only recognised, and the ways out named.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_tunnel.config.files import is_there, readable_by_all
from edge_tunnel.config.findings import Findings
from edge_tunnel.config.origins import DEFAULT, Origin, OriginKind
from edge_tunnel.config.secret import Secret
from edge_tunnel.config.source import Source
from edge_tunnel.config.walk import Section, Taken

__all__ = ["EDGE_SECRETS", "Chosen", "SecretPlace", "choose_secrets", "optional"]

_MOST = 64 * 1024
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True)
class SecretPlace:
    """Where one secret may stand. `file_target` is empty where no file key exists for it."""

    target: str
    key: str
    variable: str
    credential: str
    file_target: str = ""
    file_key: str = ""
    optional: bool = False
    """Do without it, with a warning: an empty one takes its place."""


EDGE_SECRETS = (
    SecretPlace(
        "app_key",
        "appKey",
        "EDGE_TUNNEL_APP_KEY",
        "appKey",
        "app_key_file",
        "edge_tunnel.appKey_file",
    ),
    SecretPlace(
        "http_proxy.password", "proxy.password", "EDGE_TUNNEL_PROXY_PASSWORD", "proxy_password"
    ),
    SecretPlace(
        "tls.client_key_passphrase",
        "certificates.key_passphrase",
        "EDGE_TUNNEL_KEY_PASSPHRASE",
        "key_passphrase",
    ),
)


def optional(place: SecretPlace) -> SecretPlace:
    """The same, but no error when the secret cannot be had."""
    return dataclasses.replace(place, optional=True)


@dataclass(frozen=True)
class Chosen:
    """A secret and where it came from."""

    secret: Secret
    origin: Origin


class _Chooser:
    def __init__(self, section: Section, source: Source, environ: Mapping[str, str]) -> None:
        self._section = section
        self._source = source
        self._environ = environ

    def choose(self, place: SecretPlace, findings: Findings) -> Chosen | None:
        chosen = self._chosen(place, findings)
        if chosen is None and place.optional and place.target == "app_key":
            return Chosen(Secret(""), DEFAULT)
        return chosen

    def _chosen(self, place: SecretPlace, findings: Findings) -> Chosen | None:
        taken = self._section.values.get(place.target)
        chosen = self._from_outside(place, findings)
        if chosen is None:
            return self._from_the_file(place, taken, findings)
        if taken is not None:
            message = f"not used: it comes from {chosen.origin}"
            findings.note(taken.offset, taken.path, message)
        return chosen

    def _from_outside(self, place: SecretPlace, findings: Findings) -> Chosen | None:
        if self._environ.get(place.variable, "").strip():
            origin = Origin(OriginKind.ENVIRONMENT, place.variable)
            return Chosen(Secret(self._environ[place.variable].strip()), origin)
        directory = self._environ.get("CREDENTIALS_DIRECTORY")
        if directory and is_there(Path(directory) / place.credential):
            path = Path(directory) / place.credential
            return _from_file(path, OriginKind.CREDENTIALS, str(path), None, findings)
        named = self._section.values.get(place.file_target)
        if named is None:
            return None
        path = self._source.directory / str(named.value)
        return _from_file(path, OriginKind.SECRET_FILE, str(named.value), named, findings)

    def _from_the_file(
        self, place: SecretPlace, taken: Taken | None, findings: Findings
    ) -> Chosen | None:
        if taken is None:
            return None
        encrypted = _how_encrypted(taken.value, self._section.value("key_hash") is not None)
        if encrypted:
            tell = findings.warning if place.optional else findings.error
            tell(taken.offset, taken.path, encrypted, _ways_out(place))
            return None
        return Chosen(taken.value, Origin(OriginKind.FILE, self._source.place(taken.offset)))


def choose_secrets(
    places: tuple[SecretPlace, ...],
    section: Section,
    source: Source,
    environ: Mapping[str, str],
    findings: Findings,
) -> dict[str, Chosen]:
    """The secrets by target. Paths of secret files are relative to the configuration."""
    chooser = _Chooser(section, source, environ)
    found = {place.target: chooser.choose(place, findings) for place in places}
    return {target: chosen for target, chosen in found.items() if chosen is not None}


def _from_file(
    path: Path, kind: OriginKind, written: str, named: Taken | None, findings: Findings
) -> Chosen | None:
    offset, key = (named.offset, named.path) if named else (None, str(path))
    try:
        with path.open("rb") as file:
            text = file.read(_MOST).decode("utf-8").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        findings.error(offset, key, f"{path} cannot be read: {reason}", "check path and rights")
        return None
    if not text:
        findings.error(offset, key, f"{path} is empty", "write the secret into it")
        return None
    if kind is OriginKind.SECRET_FILE and readable_by_all(path):
        message = f"every user of this machine can read {path}"
        findings.warning(offset, key, message, f"chmod 600 {path}")
    return Chosen(Secret(text), Origin(kind, str(path), written))


def _how_encrypted(secret: Secret, all_encrypted: bool) -> str:
    """What to say about a value that only EMS can decrypt; empty for a plain one."""
    if secret.reveal().startswith("AES:"):
        return "is encrypted by EMS (AES:...), and only EMS has the key"
    # A plain key in ThingWorx's usual form was written there after EMS had encrypted the rest.
    if all_encrypted and not _UUID.fullmatch(secret.reveal()):
        return "is encrypted by EMS 5.4.8 or later (data_security.key_hash says so)"
    return ""


def _ways_out(place: SecretPlace) -> str:
    file = f"name a file with it as {place.file_key}, " if place.file_key else ""
    return (
        f"give it plainly: set {place.variable}, {file}put it into the service's systemd "
        f"credential {place.credential}, or write it here and remove data_security.key_hash"
    )
