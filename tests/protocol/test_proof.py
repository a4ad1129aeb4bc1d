"""The proof that an attach comes from the end that opened the tunnel."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from edge_tunnel.protocol.codec import decode
from edge_tunnel.protocol.frames import Attach, Attached, Position
from edge_tunnel.protocol.proof import attach_proof, new_secret, proves
from tests.protocol.test_codec import GOLDEN, VECTORS

SECRET = bytes.fromhex(VECTORS["secret"])
POSITION = Position(1, 2, 3, 4, accepted=True)
ATTACH = Attach(bytes(16), 0, 5, "pump-7", "ssh", False, b"", 10, (POSITION,), b"")


@pytest.mark.parametrize(
    "vector",
    [vector for vector in GOLDEN if vector["kind"] in ("ATTACH", "ATTACHED")],
    ids=lambda vector: vector["meaning"],
)
def test_golden_proofs(vector: dict[str, str]) -> None:
    """As WIRE.md says it: HMAC-SHA256 over the message whose last field is empty."""
    message = bytes.fromhex(vector["message"])
    assert message[-34:-32] == b"\xc4\x20"
    expected = hmac.new(SECRET, message[:-34] + b"\xc4\x00", hashlib.sha256).digest()
    assert message[-32:] == expected
    frame = decode(message)
    assert isinstance(frame, (Attach, Attached))
    assert proves(frame.proof, attach_proof(SECRET, frame))


@pytest.mark.parametrize(
    "change",
    [
        {"tunnel": bytes(15) + b"x"},
        {"epoch": 6},
        {"thing": "pump-8"},
        {"service": "vnc"},
        {"fresh": True},
        {"window": 11},
        {"positions": ()},
        {"positions": (POSITION._replace(received=9),)},
    ],
    ids=str,
)
def test_each_field_is_covered(change: dict[str, object]) -> None:
    """A frame that was changed on its way proves nothing."""
    changed = ATTACH._replace(**change)  # type: ignore[arg-type]
    assert not proves(attach_proof(SECRET, ATTACH), attach_proof(SECRET, changed))


def test_highest_is_covered() -> None:
    """A wrong `highest` would make streams vanish."""
    answer = Attached(bytes(16), 0, 5, 1, 10, (), b"")
    assert attach_proof(SECRET, answer) != attach_proof(SECRET, answer._replace(highest=2))


def test_only_the_secret_proves() -> None:
    """Another secret, an empty proof and a cut one fail; the same frame with its proof agrees."""
    good = attach_proof(SECRET, ATTACH)
    assert proves(good, attach_proof(SECRET, ATTACH._replace(proof=good)))
    assert not proves(attach_proof(new_secret(), ATTACH), good)
    assert not proves(b"", good)
    assert not proves(good[:31], good)


def test_secrets_differ() -> None:
    """32 bytes, new each time."""
    assert len(new_secret()) == 32
    assert new_secret() != new_secret()
