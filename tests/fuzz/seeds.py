"""What the fuzzer starts from: golden vectors, sample files, and corpus/."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["seeds", "write_seeds"]

_TESTS: Final = Path(__file__).parent.parent
_HERE: Final = Path(__file__).parent / "corpus"


def seeds(target: str) -> Iterator[bytes]:
    """Inputs for the target of this name."""
    if target == "frames":
        yield from _vectors()
    elif target in ("alwayson", "device"):
        yield from _alwayson()
    elif target == "mainsocket":
        yield from (bytes(1) + each for each in _alwayson())
        yield b"\1" + _bare(b"\x82\x80\0\0\0\0", b"\x81\x83\0\0\0\0QUJ", b"\x89\x80\0\0\0\0")
        yield b"\1" + _bare(b"\x82\xff\0\0\0\0\xff\xff\xff\xff\0\0\0\0" + bytes(99))
    elif target == "greeting":
        yield from _conversations()
    elif target == "config":
        for path in sorted((_TESTS / "config" / "files").iterdir()):
            kind = 1 if path.suffix == ".toml" else 0
            yield bytes([kind]) + path.read_bytes()
        yield b"\x02" + (_TESTS.parent / "examples" / "proxy.toml").read_bytes()
    elif target == "policy":
        yield (_TESTS.parent / "examples" / "policy.toml").read_bytes()
    if (_HERE / target).is_dir():
        yield from (path.read_bytes() for path in sorted((_HERE / target).iterdir()))


def write_seeds(target: str, folder: Path) -> int:
    """One file each; how many."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(target)):
        (folder / f"seed-{number:03}").write_bytes(seed)
    return len(list(folder.iterdir()))


def _vectors() -> list[bytes]:
    content = json.loads((_TESTS / "vectors" / "frames.json").read_text(encoding="utf-8"))
    return [bytes.fromhex(each["message"]) for each in content["frames"] + content["malformed"]]


def _alwayson() -> Iterator[bytes]:
    """What real devices said, and the same as parts of a connection."""
    content = json.loads((_TESTS / "vectors" / "alwayson.json").read_text(encoding="utf-8"))
    for each in content:
        data = bytes.fromhex(each["hex"])
        if len(data) < 4000:
            yield data
            yield _bare(data)
            head = data[:14] + b"\1"
            yield _bare(head + b"\0\1\0\2 \0" + data[15:], head + b"\0\2\0\2 \0" + data[15:])


def _conversations() -> Iterator[bytes]:
    """Every frame behind a good greeting: of an edge, a remote, and another node."""
    from edge_tunnel.protocol.codec import encode
    from edge_tunnel.protocol.frames import Bind, Hello, Join

    edge, remote = (
        Hello(1, 1, role, "edge_tunnel/0.1.0", "k", bytes(16), 30_000, ("grants", "drain"))
        for role in ("edge", "remote")
    )
    join = Join(1, 1, "b", "edge_tunnel/0.1.0", "k", 30_000, ())
    for number, message in enumerate(_vectors()):
        yield _said(0, encode(remote), message)
        yield _said(1, encode(join), encode(Bind("device-7", 1)), message)
        if number < 60:
            yield _said(0, encode(edge), encode(Bind("device-7", 1)), message)


def _said(kind: int, *messages: bytes) -> bytes:
    return bytes([kind]) + _bare(*messages)


def _bare(*messages: bytes) -> bytes:
    return b"".join(len(each).to_bytes(2, "big") + each for each in messages)
