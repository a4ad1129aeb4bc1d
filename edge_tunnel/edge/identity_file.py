"""Where a device keeps its identity: one file, made at the first start, that only its user reads.

Remotes remember the identity, so a device that loses it looks like another device. Therefore a file
that is there and cannot be used is an error, and is never written over; and a place where nothing
can be written is no reason to be unreachable: the device goes on with an identity for this run, and
says so.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import stat
from pathlib import Path
from typing import NoReturn

from edge_tunnel.errors import ConfigError
from edge_tunnel.link.oserrors import in_words
from edge_tunnel.protocol.identity import Identity

__all__ = ["identity_path", "load_identity", "load_identity_aside"]

_log = logging.getLogger("edge_tunnel.edge")


def identity_path(config_file: str | os.PathLike[str], named: str | None) -> Path:
    """`edge_tunnel.identity_file`, relative to the configuration; else beside it, by its name."""
    file = Path(config_file)
    return file.parent / (named or f"{file.stem}.identity.pem")


def load_identity(path: str | os.PathLike[str]) -> Identity:
    """The identity in this file, which is made if it is not there (mode 0600).

    Where it cannot be made, one that lasts as long as this process, with a warning.

    Raises:
      ConfigError: the file is there, and cannot be used.
    """
    file = Path(path)
    identity = _read(file)
    if identity is not None:
        return identity
    identity = Identity()
    try:
        _create(file, identity.to_pem())
    except FileExistsError:  # another process was faster: its identity is the device's
        return _read(file) or load_identity(file)
    except OSError as error:
        _log.warning(
            "%s: the device's identity cannot be kept (%s), so remotes will take this device for "
            "another one after each start; name a place that lasts in edge_tunnel.identity_file",
            file,
            in_words(error),
        )
    return identity


def load_identity_aside(path: str | os.PathLike[str]) -> Identity:
    """`load_identity` in a process of its own, which takes `cryptography` with it when it ends.

    It is 9 MiB that a device needs when somebody opens a tunnel. For a program that has no threads
    yet. Raises ConfigError as `load_identity` does.
    """
    if not hasattr(os, "fork"):
        return load_identity(path)
    mine, its = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(mine)
        _tell_identity(path, its)
    os.close(its)
    with open(mine, "rb") as pipe:  # noqa: PTH123 - a descriptor
        said = pipe.read()
    os.waitpid(child, 0)
    if not said:  # it could not: whoever asks is told why
        return load_identity(path)
    return Identity.known(said[:32], said[32:])


def _tell_identity(path: str | os.PathLike[str], pipe: int) -> NoReturn:
    try:
        identity = load_identity(path)
        os.write(pipe, identity.public + identity.to_pem())  # small: in one piece
    finally:
        os._exit(0)


def _read(file: Path) -> Identity | None:
    """None: there is no such file."""
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            text = opened.read(16_384)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(
            f"{file}: the device's identity cannot be read: {in_words(error)}"
        ) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        _log.warning("%s: others can read the device's private key: chmod 600 %s", file, file)
    try:
        return Identity.from_pem(text)
    except ValueError:
        what = "holds no Ed25519 private key; restore it, or remove it for a new identity"
        raise ConfigError(f"{file}: {what}, which remotes will have to be told of") from None


def _create(file: Path, text: bytes) -> None:
    """All of it or nothing, and never over another. Raises OSError."""
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as opened:  # noqa: PTH123 - a descriptor
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        os.link(draft, file)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()
