"""How two ends come to keys that nobody between them has."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from edge_tunnel.errors import RemoteProtocolError
from edge_tunnel.protocol.agreement import (
    Disagreement,
    EdgeAgreement,
    RemoteAgreement,
    epoch_keys,
)
from edge_tunnel.protocol.attach import EdgeTunnel, RemoteTunnel
from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import Attach, Attached, Close, Data, Position, Probe
from edge_tunnel.protocol.identity import Identity, fingerprint_of, is_fingerprint
from edge_tunnel.protocol.outlet import Outlet
from edge_tunnel.protocol.proof import attach_proof
from edge_tunnel.protocol.sealing import Opener, Sealer
from edge_tunnel.reasons import Reason
from tests.protocol.wire import IDENTITY, TO_EDGE, TO_REMOTE, Pair, fetch, tunnel_frame

VECTOR: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "sealed.json").read_text(encoding="utf-8")
)
ATTACH = bytes.fromhex(VECTOR["attach"])
ATTACHED = bytes.fromhex(VECTOR["attached"])


# -- the golden vector, from nothing but the RFCs


def x25519(scalar: bytes, point: bytes) -> bytes:
    """RFC 7748, section 5: the Montgomery ladder."""
    p = 2**255 - 19
    k = int.from_bytes(scalar, "little") & ~7 & ~(1 << 255) | (1 << 254)
    x1 = int.from_bytes(point, "little") & ((1 << 255) - 1)
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for t in reversed(range(255)):
        bit = k >> t & 1
        if swap ^ bit:
            x2, z2, x3, z3 = x3, z3, x2, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb, aa, bb = d * a, c * b, a * a, b * b
        x3, z3 = pow(da + cb, 2, p), x1 * pow(da - cb, 2, p) % p
        e = aa - bb
        x2, z2 = aa * bb % p, e * (aa + 121665 * e) % p
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, p - 2, p) % p).to_bytes(32, "little")


def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    """RFC 5869 with SHA-256, for 32 bytes: one block."""
    extracted = hmac.new(salt, key, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()


def gcm(key: bytes, nonce: bytes, data: bytes, associated: bytes) -> bytes:
    """Ciphertext and tag, by the library's general interface."""
    encryptor = Cipher(algorithms.AES(key), modes.GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(associated)
    sealed = encryptor.update(data) + encryptor.finalize()
    return sealed + encryptor.tag


def public(name: str) -> bytes:
    return x25519(bytes.fromhex(VECTOR[f"{name} private"]), (9).to_bytes(32, "little"))


def test_golden_agreement() -> None:
    """Every number of WIRE.md's section on the agreement, computed from its text."""
    offer, answer = ATTACH[-64:], ATTACHED[-160:]
    assert offer[:32] == public("remote")
    assert answer[:32] == public("edge")
    identity = answer[64:96]
    seed = bytes.fromhex(VECTOR["identity private"])
    assert identity == Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    proof = ATTACHED.index(b"\xc4\x20", 24)  # the first bin of 32 bytes behind the tunnel's id
    head, tail = ATTACHED[:proof], ATTACHED[proof + 34 :]
    unsigned = head + b"\xc4\x00" + tail[:-64] + bytes(64)
    signed = b"edge-tunnel 1 attached" + hashlib.sha256(ATTACH).digest()
    signed += hashlib.sha256(unsigned).digest()
    Ed25519PublicKey.from_public_bytes(identity).verify(answer[96:], signed)
    shared = x25519(bytes.fromhex(VECTOR["remote private"]), answer[:32])
    assert shared == x25519(bytes.fromhex(VECTOR["edge private"]), offer[:32])
    salt = hashlib.sha256(ATTACH[4:20] + offer[:32] + answer[:32] + identity).digest()
    secret = hkdf(shared, salt, b"edge-tunnel 1 secret")
    assert secret.hex() == VECTOR["secret"]
    expected = hmac.new(secret, head + b"\xc4\x00" + tail, hashlib.sha256).digest()
    assert ATTACHED[proof + 2 : proof + 34] == expected
    salt = hashlib.sha256(ATTACH + ATTACHED).digest()
    for way in ("to edge", "to remote"):
        assert hkdf(secret, salt, f"edge-tunnel 1 {way}".encode()).hex() == VECTOR[way]


def test_golden_frames() -> None:
    """Each sealed message from the table of WIRE.md: nonce, associated data, and where they go."""
    counts = {"to edge": 0, "to remote": 0}
    for each in VECTOR["frames"]:
        plain, key = bytes.fromhex(each["plain"]), bytes.fromhex(VECTOR[each["way"]])
        kind, stream = plain[1], plain[20]  # a small one, and so is its epoch
        if kind == 32:
            offset, size = plain[22], plain[24]
            nonce = stream.to_bytes(4, "big") + offset.to_bytes(8, "big")
            sealed = gcm(key, nonce, plain[25:], b"\x95" + plain[1:23])
            message = plain[:23] + bytes((0xC4, size + 16)) + sealed
        else:
            if kind == 34:
                nonce = stream.to_bytes(4, "big") + (2**63 + plain[22]).to_bytes(8, "big")
            else:
                nonce = counts[each["way"]].to_bytes(12, "big")
                counts[each["way"]] += 1
            message = bytes([plain[0] + 1]) + plain[1:] + b"\xc4\x10" + gcm(key, nonce, b"", plain)
        assert message.hex() == each["sealed"]


def test_ours_agrees_with_the_vector() -> None:
    """Both of our sides, given its keys, come to its secret, its keys and its frames."""
    asked, frame = decode(ATTACH), decode(ATTACHED)
    assert isinstance(asked, Attach)
    assert isinstance(frame, Attached)
    remote = RemoteAgreement()
    remote._private = X25519PrivateKey.from_private_bytes(bytes.fromhex(VECTOR["remote private"]))
    remote._share = asked.offer[:32]
    remote.conclude(asked, frame)
    assert remote.secret.hex() == VECTOR["secret"]
    assert fingerprint_of(remote.identity) == VECTOR["fingerprint"]
    keys = epoch_keys(remote.secret, asked, frame)
    for way, key in (("to edge", keys.to_edge), ("to remote", keys.to_remote)):
        sealer, opener = Sealer(key), Opener(key)
        sealer.enter(1)
        for each in VECTOR["frames"]:
            if each["way"] == way:
                plain = decode(bytes.fromhex(each["plain"]))
                assert sealer.seal(plain).hex() == each["sealed"]
                assert opener.open(tunnel_frame(bytes.fromhex(each["sealed"]))) == plain


# -- what each side refuses


def answer_of(agreement: EdgeAgreement, asked: Attach) -> Attached:
    return agreement.answered(asked, Attached(asked.tunnel, 0, asked.epoch, 0, 10, (), b""))


@pytest.fixture
def asked() -> Attach:
    tunnel = RemoteTunnel("pump-7", "ssh", now=0.0, sealed=True)
    outlet = Outlet()
    tunnel.attach(outlet, 0.0)
    (frame,) = fetch(outlet)
    assert isinstance(frame, Attach)
    return frame


def test_each_field_is_signed() -> None:
    """Whatever a node changes in ATTACH or ATTACHED, the device has not signed it."""
    remote = RemoteAgreement()
    ask = Attach(bytes(16), 0, 1, "pump-7", "ssh", True, b"", 10, (), b"", remote.offer())
    frame = answer_of(EdgeAgreement(IDENTITY, ask), ask)
    changes: dict[str, object] = {
        "tunnel": bytes(15) + b"x", "epoch": 2, "thing": "pump-8", "service": "vnc",
        "fresh": False, "secret": bytes(32), "window": 11, "proof": bytes(32),
        "positions": (Position(1, 0, 0, 0, accepted=False),), "offer": remote.offer(),
    }  # fmt: skip
    for name, value in changes.items():
        with pytest.raises(Disagreement, match="who it is"):
            remote.conclude(ask._replace(**{name: value}), frame)  # type: ignore[arg-type]
    changes = {"tunnel": bytes(15) + b"x", "epoch": 2, "highest": 1, "window": 11,
               "positions": (Position(1, 0, 0, 0, accepted=False),)}  # fmt: skip
    for name, value in changes.items():
        with pytest.raises(Disagreement, match="who it is"):
            remote.conclude(ask, frame._replace(**{name: value}))  # type: ignore[arg-type]
    for place in range(160):
        changed = bytearray(frame.answer)
        changed[place] ^= 1
        with pytest.raises(Disagreement):
            remote.conclude(ask, frame._replace(answer=bytes(changed)))
    assert remote.secret == b""
    remote.conclude(ask, frame)
    assert remote.secret


def test_a_node_in_the_middle_has_no_signature(asked: Attach) -> None:
    """One that agrees with each end for itself cannot make the device sign its own share."""
    evil = RemoteAgreement()
    theirs = asked._replace(offer=evil.offer())
    real = answer_of(EdgeAgreement(IDENTITY, theirs), theirs)
    evil.conclude(theirs, real)
    victim = RemoteAgreement()
    ours = asked._replace(offer=victim.offer())
    with pytest.raises(Disagreement):
        victim.conclude(ours, real)  # the device's own answer, to another question
    fake = answer_of(EdgeAgreement(Identity(), ours), ours)
    stolen = fake._replace(answer=fake.answer[:64] + IDENTITY.public + fake.answer[96:])
    with pytest.raises(Disagreement):
        victim.conclude(ours, stolen)  # its own answer, under the device's name
    victim.conclude(ours, fake)  # under its own name it is another device: see known_things
    assert victim.identity != IDENTITY.public


def test_a_share_that_gives_zero(asked: Attach) -> None:
    """A point of small order would make the secret known to everybody."""
    with pytest.raises(RemoteProtocolError, match="cannot be used"):
        EdgeAgreement(IDENTITY, asked._replace(offer=bytes(64)))


# -- the two tunnels


def test_a_lost_answer_is_said_again() -> None:
    """The remote asks again as fresh, with the same share; both come to one secret."""
    pair = Pair(sealed=True)
    path = pair.attach()
    path.pump(TO_EDGE, 1)
    pair.deliver(path, TO_EDGE, 1)
    path.pump(TO_REMOTE, 1)
    path.die(TO_REMOTE, keep=0)
    assert not pair.remote.attached
    pair.connect()
    remote, edge = pair.both
    assert remote.attached
    assert edge.attached
    assert remote._secret == edge._secret != b""
    stream = remote.open_stream()
    stream.write(b"hello")
    pair.drive()
    assert edge.streams[1].take(10, pair.now) == b"hello"


def fresh_again(pair: Pair) -> Attach:
    """What somebody makes who saw the first ATTACH: the same offer, a higher epoch."""
    assert pair.remote._asking is not None
    return pair.remote._asking._replace(
        epoch=pair.remote.epoch + 1, fresh=True, positions=(), proof=b"", secret=b""
    )


@pytest.mark.parametrize("proof", ["a frame", "an attach"])
def test_no_fresh_attach_after_a_proof(proof: str) -> None:
    """A tunnel whose remote has shown the secret is not begun anew by one who has not."""
    pair = Pair(sealed=True)
    path = pair.attach()
    path.pump(TO_EDGE, 1)
    pair.deliver(path, TO_EDGE, 1)
    path.pump(TO_REMOTE, 1)
    pair.deliver(path, TO_REMOTE, 1)
    if proof == "a frame":
        path.pump(TO_EDGE, 1)  # the remote's first PROBE
        pair.deliver(path, TO_EDGE, 1)
    else:
        path.outlets[0].next_message()
        second = pair.attach()
        second.pump(TO_EDGE, 1)
        pair.deliver(second, TO_EDGE, 1)
    _, edge = pair.both
    before = repr(edge)
    assert edge.accept(fresh_again(pair), Outlet(), pair.now) is Reason.UNKNOWN_TUNNEL
    assert repr(edge) == before


@pytest.mark.parametrize(
    "change",
    [
        {"offer": bytes(range(64))},
        {"offer": b""},
        {"offer": b"", "secret": bytes(32)},
        {"secret": bytes(32)},
        {"proof": bytes(32)},
        {"positions": (Position(1, 0, 0, 0, accepted=False),)},
        {"thing": "pump-8"},
        {"service": "vnc"},
    ],
    ids=str,
)
def test_a_stolen_tunnel_id_opens_nothing(change: dict[str, object]) -> None:
    """Even before the owner has proved itself, only its own first ATTACH again is taken."""
    pair = Pair(sealed=True)
    path = pair.attach()
    path.pump(TO_EDGE, 1)
    pair.deliver(path, TO_EDGE, 1)
    _, edge = pair.both
    before, thief = repr(edge), Outlet()
    frame = fresh_again(pair)._replace(**change)  # type: ignore[arg-type]
    assert edge.accept(frame, thief, pair.now) is Reason.UNKNOWN_TUNNEL
    assert repr(edge) == before
    assert thief.next_message() is None


def test_a_resume_is_proved() -> None:
    """ATTACH of a tunnel that stood: each change is refused, as in one that is not sealed."""
    pair = Pair(sealed=True).connect()
    path = pair.attach()
    (frame,) = fetch(path.outlets[0])
    assert isinstance(frame, Attach)
    _, edge = pair.both
    for change in ({"proof": bytes(32)}, {"epoch": 99}, {"offer": frame.offer[:32] + bytes(32)}):
        changed = frame._replace(**change)
        assert edge.accept(changed, Outlet(), pair.now) is Reason.UNKNOWN_TUNNEL
    assert edge.accept(frame, Outlet(), pair.now) is None


def refused(pair: Pair, frame: Attached) -> Reason:
    """Why the remote ends the tunnel that this is the answer to."""
    pair.remote.receive(frame, pair.now)
    assert pair.remote.closed is not None
    assert not pair.remote.attached
    assert isinstance(fetch(pair.paths[-1].outlets[0])[-1], Close)
    return pair.remote.closed.reason


def test_no_silent_downgrade() -> None:
    """An answer as of an older edge is refused, whatever else is right about it."""
    pair = Pair(sealed=True)
    pair.attach()
    frame = Attached(pair.remote.id, 0, 1, 0, 10, (), b"")
    proved = frame._replace(proof=attach_proof(b"", frame))
    assert refused(pair, proved) is Reason.ENCRYPTION


def test_an_answer_to_nothing() -> None:
    """One that a remote did not ask for is an error: it would not know what it has."""
    pair = Pair()
    path = pair.attach()
    frame = Attached(pair.remote.id, 0, 1, 0, 10, (), b"", bytes(160))
    proved = frame._replace(proof=attach_proof(pair.remote._secret, frame))
    pair.remote.receive(proved, pair.now)
    assert pair.remote.closed
    assert pair.remote.closed.reason is Reason.PROTOCOL_ERROR
    assert path


def test_another_device_answers_later() -> None:
    """The identity of the first answer stays that of the tunnel."""
    pair = Pair(sealed=True).connect()
    path = pair.attach()
    (ask,) = fetch(path.outlets[0])
    assert isinstance(ask, Attach)
    frame = answer_of(EdgeAgreement(Identity(), ask), ask)
    assert refused(pair, frame) is Reason.IDENTITY


def test_the_right_device_without_the_secret() -> None:
    """A device that was started anew signs well, and has not got our tunnel."""
    pair = Pair(sealed=True).connect()
    path = pair.attach()
    (ask,) = fetch(path.outlets[0])
    assert isinstance(ask, Attach)
    agreement = EdgeAgreement(IDENTITY, ask)
    frame = answer_of(agreement, ask)
    frame = frame._replace(proof=attach_proof(agreement.secret, frame))
    assert refused(pair, frame) is Reason.PROTOCOL_ERROR


@pytest.mark.parametrize("identity", [None, IDENTITY])
def test_an_opening_brings_one_of_the_two(asked: Attach, identity: Identity | None) -> None:
    """A secret or an offer; both is neither, and an offer needs a device that can answer it."""
    with pytest.raises(RemoteProtocolError, match="brings"):
        EdgeTunnel(asked._replace(secret=bytes(32)), now=0.0, identity=identity)
    with pytest.raises(RemoteProtocolError, match="brings"):
        EdgeTunnel(asked._replace(offer=b""), now=0.0, identity=identity)
    if identity is None:
        with pytest.raises(RemoteProtocolError, match="brings"):
            EdgeTunnel(asked, now=0.0)


def test_the_secret_is_never_sent() -> None:
    """No message of an attach or a resume has it, nor the keys."""
    pair = Pair(sealed=True)
    seen: list[bytes] = []
    for _ in range(2):
        path = pair.attach()
        for way in (TO_EDGE, TO_REMOTE):
            path.pump(way, 10)
            seen += path.queues[way]
            pair.deliver(path, way, 10)
    assert pair.remote.attached
    assert len(seen) >= 4
    assert all(pair.remote._secret not in message for message in seen)
    asked = [frame for frame in map(decode, seen) if isinstance(frame, Attach)]
    assert [frame.secret for frame in asked] == [b"", b""]


def test_keys_are_new_with_each_epoch() -> None:
    """And with each direction, each nonce and each byte of the two messages."""
    asked, frame = decode(ATTACH), decode(ATTACHED)
    assert isinstance(asked, Attach)
    assert isinstance(frame, Attached)
    keys = [
        epoch_keys(bytes(32), *each)
        for each in (
            (asked, frame),
            (asked._replace(epoch=2), frame._replace(epoch=2)),
            (asked._replace(offer=asked.offer[:63] + b"x"), frame),
            (asked, frame._replace(answer=frame.answer[:63] + b"x" + frame.answer[64:])),
        )
    ]
    flat = [key for each in keys for key in each]
    assert len(set(flat)) == len(flat)


# -- identities


def test_fingerprints() -> None:
    """As OpenSSH writes them; and what is none is told apart."""
    identity = Identity.from_pem(IDENTITY.to_pem())
    assert identity.public == IDENTITY.public
    assert identity.fingerprint == fingerprint_of(IDENTITY.public)
    assert fingerprint_of(bytes(32)) == "SHA256:Zmh6rfhivXdsj8GLjp+OIAiXFIVu4jOzkCpZHQ1fKSU"
    assert is_fingerprint(identity.fingerprint)
    good = fingerprint_of(bytes(32))
    for bad in (
        "",
        "SHA256:",
        good[7:],
        good[:-1],
        good + "=",
        "MD5" + good,
        good[:-1] + "é",
        good[:-1] + "V",
    ):
        assert not is_fingerprint(bad), bad


def test_an_identity_that_is_none() -> None:
    """Other keys, and no keys."""
    from cryptography.hazmat.primitives import serialization as s

    other = X25519PrivateKey.generate().private_bytes(
        s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()
    )
    locked = Ed25519PrivateKey.generate().private_bytes(
        s.Encoding.PEM, s.PrivateFormat.PKCS8, s.BestAvailableEncryption(b"x")
    )
    for text in (other, locked, b"", b"hello", IDENTITY.to_pem()[:60]):
        with pytest.raises((ValueError,)):
            Identity.from_pem(text)


def test_unsealed_tunnels_are_as_before() -> None:
    """No offer, no answer, no tag: the messages of an older version, byte for byte."""
    pair = Pair()
    path = pair.attach()
    path.pump(TO_EDGE, 1)
    assert path.queues[TO_EDGE][0][0] == 0x9B
    pair.deliver(path, TO_EDGE, 1)
    path.pump(TO_REMOTE, 1)
    assert path.queues[TO_REMOTE][0][0] == 0x98
    pair.drive()
    stream = pair.remote.open_stream()
    stream.write(b"x")
    frames = fetch(path.outlets[0])
    assert frames[-1] == Data(pair.remote.id, 1, 1, 0, b"x")
    assert not any(isinstance(frame, Probe) and frame.tag for frame in frames)
    assert encode(frames[0])[0] == 0x95
