#!/usr/bin/env python3
"""Plants bugs in the core and the links, one at a time: does a test of their room catch them?

    python tools/mutants.py [NAME ...]

Each bug is an edit of the source text in a temporary copy. A bug that no test catches is a hole in
the tests; an edit that fits no longer is an error here. Exit code 0: every bug was caught.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Mutant(NamedTuple):
    """One bug: in that module, this text becomes that."""

    module: str
    before: str
    after: str
    room: str = "protocol"


MUTANTS = {
    "the epoch of a frame is not checked": Mutant(
        "tunnel", "if self.closed or frame.epoch != self.epoch:", "if self.closed:"
    ),
    "the epoch of an attach is not checked": Mutant(
        "attach", "if frame.epoch <= self.epoch:", "if frame.epoch < 0:"
    ),
    "frames are taken between ATTACH and ATTACHED": Mutant(
        "tunnel", "if self._outlet is None and not isinstance", "if False and not isinstance"
    ),
    "a duplicate is not trimmed": Mutant(
        "receiving", "            data = data[self.received - offset :]\n", ""
    ),
    "a gap is delivered": Mutant("receiving", "if offset > self.received:", "if offset < 0:"),
    "bytes count as delivered when they arrive": Mutant(
        "receiving",
        "        self.received = stop\n",
        "        self.received = self.delivered = stop\n",
    ),
    "bytes are freed when they are sent": Mutant(
        "replay",
        "        self._skip = stop\n        return",
        "        self._skip = stop\n        self.release(self.next)\n        return",
    ),
    "END is delivered early": Mutant(
        "receiving", "return offset == self.received\n", "return offset >= self.received\n"
    ),
    "END overtakes the bytes before it": Mutant(
        "sending",
        "if not self.ended or self._end_sent or self._buffer.next < self._buffer.end:",
        "if not self.ended or self._end_sent:",
    ),
    "EOF is given before the bytes are read": Mutant(
        "receiving", "        if not chunks:\n", "        if self.state.value == 'ended':\n"
    ),
    "highest is ignored": Mutant("tunnel", "elif stream.id > highest:", "elif stream.id < 0:"),
    "a vanished stream looks like a clean end": Mutant(
        "stream",
        '        self.break_off(Reason.RESET, "the far end knows',
        '        ("the far end knows',
    ),
    "a reset looks like a clean end": Mutant(
        "receiving",
        '(ReceiveState.OPEN, "reset"): ReceiveState.BROKEN',
        '(ReceiveState.OPEN, "reset"): ReceiveState.ENDED',
    ),
    "bulk makes no way for a keystroke": Mutant("window", "< _COMPANY", "< -1"),
    "bulk makes way for itself": Mutant(
        "window", "self._before if self._who is who else self._seen", "self._seen"
    ),
    "a promise is taken back from bulk": Mutant("window", "max(self.size, promised)", "self.size"),
    "the front of a burst is thin": Mutant("receiving", " < THIN and not chunks:", " < THIN:"),
    "a long path waits for half of a large window": Mutant(
        "window", "else min(half, MOST_UNTOLD)", "else half"
    ),
    "the credit limit is not checked": Mutant("receiving", "if stop > self.limit:", "if stop < 0:"),
    "a writer may exceed its credit": Mutant(
        "sending", "return min(self.limit, self._buffer", "return min(2 * self.limit, self._buffer"
    ),
    "a far end may name any limit": Mutant(
        "sending", "self._buffer.base + MAX_WINDOW)", "self._buffer.base + 2**62)"
    ),
    "the proof of an attach is not checked": Mutant(
        "attach",
        "return same and proves(frame.proof, attach_proof(self._secret, frame))",
        "return same",
    ),
    "the proof of the answer is not checked": Mutant(
        "attach", "if not proves(frame.proof, attach_proof(self._secret, frame)):", "if False:"
    ),
    "the cursor stays at the end of a block": Mutant(
        "replay", "self._index += 1  # there is", "self._index += 0  # there is"
    ),
    "RESET is not answered": Mutant(
        "tunnel",
        "            self._over(stream)\n            self._on_unknown(frame)\n",
        "            self._over(stream)\n",
    ),
    "STOP makes a sent END unsent": Mutant(
        "sending",
        "            self._buffer.clear()  # an END",
        "            self._end_sent = False\n            self._buffer.clear()  # an END",
    ),
    "STOP is not said again": Mutant(
        "stream", "elif self.incoming.state is ReceiveState.STOPPED:", "elif False:"
    ),
    "credit of the time between ATTACH and ATTACHED is lost": Mutant(
        "attach", "        self._send_owing(self.streams.values())\n", ""
    ),
    "a finished stream is forgotten untold": Mutant(
        "stream", "if self._complete and self.incoming.told:", "if self._complete:"
    ),
    "growth is not given back": Mutant("tunnel", "stream.incoming.window.release()", "pass"),
    "small deliveries are never told": Mutant(
        "tunnel", "if now >= self._owing_since + CREDIT_DELAY:", "if now < 0:"
    ),
    "a pending attach stops the resume clock": Mutant(
        "attach",
        "        if self.detached_since is None:\n            self.detached_since = now\n",
        "",
    ),
    "answers are not bounded": Mutant("tunnel", ">= _MAX_ANSWERS:", "< 0:"),
    "arrays are not bounded": Mutant("codec", "max_array_len=longest", "max_array_len=2**17"),
    "a true number passes for a flag": Mutant(
        "spec", "return type(value) is bool", "return isinstance(value, int)"
    ),
    "a flag passes for a number": Mutant(
        "spec",
        "return type(value) is int and 0 <= value <= MAX_NUMBER",
        "return isinstance(value, int) and 0 <= value <= MAX_NUMBER",
    ),
    "an offset may be sealed twice": Mutant(
        "sealing", "<= start < stop:", "<= 2**65 or stop < start:"
    ),
    "a stream may be sealed again": Mutant("sealing", "if stream <= self._newest:", "if False:"),
    "END is not sealed": Mutant(
        "sealing",
        "            elif isinstance(frame, _TAGGED):\n",
        "            elif isinstance(frame, End):\n"
        "                return frame._replace(tag=b'')\n"
        "            elif isinstance(frame, _TAGGED):\n",
    ),
    "a frame without a tag is taken": Mutant(
        "sealing",
        "            elif isinstance(frame, _TAGGED):\n",
        "            elif isinstance(frame, _TAGGED) and not frame.tag:\n"
        "                return frame\n"
        "            elif isinstance(frame, _TAGGED):\n",
    ),
    "the end's nonce is without its offset": Mutant(
        "sealing",
        "nonce = _nonce(frame.stream, frame.offset | _END)",
        "nonce = _nonce(frame.stream, _END)",
    ),
    "nothing binds DATA to its head": Mutant(
        "codec",
        "_pack((_DATA, frame.tunnel, stream, epoch, offset))",
        "_pack((_DATA,))",
    ),
    "the offset is not in the nonce": Mutant(
        "sealing",
        '_nonce = struct.Struct(">IQ").pack',
        "_nonce = lambda one, two: struct.pack('>IQ', one, two >> 63 << 63 if one else two)",
    ),
    "what a tag is for is not what is sent": Mutant(
        "sealing", "self._aead.decrypt(nonce, frame.tag, encode(plain))", "pass"
    ),
    "control frames are not counted": Mutant(
        "sealing", "            self._count += 1\n        return encode", "        return encode"
    ),
    "a tag passes where nothing is sealed": Mutant(
        "sealing", "elif isinstance(frame, _TAGGED) and frame.tag:", "elif False:"
    ),
    "a downgrade is accepted": Mutant(
        "attach",
        "            self._agreement.conclude(self._asking, frame)\n",
        "            if not frame.answer:\n"
        "                self._agreement = None\n"
        "                return\n"
        "            self._agreement.conclude(self._asking, frame)\n",
    ),
    "the device's signature is not checked": Mutant(
        "agreement", "if not verifies(identity, signature, _signed(asked, frame)):", "if False:"
    ),
    "the signature is not over the question": Mutant(
        "agreement", "for each in (asked, unsigned))", "for each in (unsigned,))"
    ),
    "the signature is not over the answer": Mutant(
        "agreement", "for each in (asked, unsigned))", "for each in (asked,))"
    ),
    "another identity may answer": Mutant(
        "agreement", "if self.identity and identity != self.identity:", "if False:"
    ),
    "keys stay from epoch to epoch": Mutant(
        "agreement",
        "salt = hashlib.sha256(encode(asked) + encode(frame)).digest()",
        "salt = hashlib.sha256(asked.tunnel).digest()",
    ),
    "one key for both directions": Mutant(
        "agreement",
        'return Keys(_derive(secret, salt, b"to edge"), _derive(secret, salt, b"to remote"))',
        'return Keys(_derive(secret, salt, b"to edge"), _derive(secret, salt, b"to edge"))',
    ),
    "a tunnel can always be begun anew": Mutant(
        "attach", "return not (proved or frame.secret", "return not (frame.secret"
    ),
    "any share may begin it anew": Mutant(
        "attach", "same = same and frame.offer[:32] == self._agreement.far_share", "pass"
    ),
    "the edge makes a new key for each answer": Mutant(
        "agreement",
        "        ours = self._share + secrets",
        "        self._share = secrets.token_bytes(32)\n        ours = self._share + secrets",
    ),
    "a stream id is used again": Mutant(
        "attach",
        "if not isinstance(frame, Open) or frame.stream <= self._highest:",
        "if not isinstance(frame, Open):",
    ),
    "a message is sent into the rest of another": Mutant(
        "writer", "_burst < _BURST and not self._flushing:", "_burst < _BURST:", "link"
    ),
    "a message follows the farewell": Mutant(
        "writer", "return group[: index + 1]", "return group", "link"
    ),
    "the farewell is not the end": Mutant(
        "writer", "self._ended = True", "self._ended = False", "link"
    ),
    "the end overtakes what the socket did not take yet": Mutant(
        "splice",
        "            if self._full or (self._stream",
        "            if (self._stream",
        "link",
    ),
    "bytes are poured into a full socket": Mutant(
        "splice",
        "while not self._full and not self._broken and",
        "while not self._broken and",
        "link",
    ),
    "what an earlier read left is forgotten": Mutant(
        "scratch", "buffer[:start] = divider.rest", "buffer[:start] = bytes(start)", "link"
    ),
    "the goodbye follows half a frame": Mutant(
        "shared",
        "self._half, self._torn = False, True",
        "self._half, self._torn = False, False",
        "link",
    ),
    "a flood in one read holds up all others": Mutant(
        "link", "for _ in range(_TURN):", "for _ in range(10**9):", "link"
    ),
    "an error in a batch loses what it made ready": Mutant(
        "batch",
        "        bug: BaseException | None = None\n",
        "        bug: BaseException | None = None\n        _[0] and self.calls.clear()\n",
        "link",
    ),
    "Ctrl-C in one call at the end of a batch drops the others": Mutant(
        "batch", "except BaseException as error:", "except Exception as error:", "link"
    ),
    "an attempt outlives the configuration that it was made for": Mutant(
        "endpoint", " or self._current.settled.is_set()", "", "link"
    ),
    "a link without tunnels is kept beside a newer one": Mutant(
        "endpoint", "            self.leave_links()\n            await", "            await", "link"
    ),
    "bytes that were dropped before their end count as delivered": Mutant(
        "stream", "ReceiveState.OPEN or self.incoming.waiting", "ReceiveState.OPEN"
    ),
    "a reset that a write was told is forgotten": Mutant(
        "splice",
        "            self._broken = True\n\n    def _end",
        "            pass\n\n    def _end",
        "link",
    ),
    "a reset is told to nobody who only listens": Mutant(
        "splice",
        "            self._nursery.cancel_scope.cancel()\n        elif not self._flushing",
        "            pass\n        elif not self._flushing",
        "link",
    ),
    "a paused reader is not resumed": Mutant(
        "splice", "        self._sock.resume()\n", "        pass\n", "link"
    ),
    "nobody who waits is silent": Mutant(
        "splice", "self._silence.deadline = math.inf  # it", "pass  # it", "link"
    ),
    "a bug at the end of a round ends the node": Mutant(
        "reactor",
        "        except Exception as error:  # noqa: BLE001 - it may end links",
        "        except NameError as error:  # noqa: BLE001 - it may end links",
        "link",
    ),
    "each stream gets the window that one alone has filled": Mutant(
        "window", "budget.proven if alone else 0", "budget.proven"
    ),
    "frames are as small as a stream's share": Mutant(
        "pacing",
        "in_time = (pace.delivered - self._before) / (now - self._since) * _TIME",
        "in_time = count / (now - self._since) * _TIME",
    ),
    "splinters of a frame are sent": Mutant(
        "sending", "return room if room >= self._worth or", "return room if room > 0 or"
    ),
    "what is passed on overtakes those that wait": Mutant(
        "outlet", "if self._turns or self._urgent or self._next", "if self._urgent or self._next"
    ),
    "what is passed on overtakes what is urgent": Mutant(
        "outlet", "        if self._urgent:\n", "        if self._urgent and not self._next:\n"
    ),
    "what is passed on is lost by the next one": Mutant(
        "outlet",
        "self._turns or self._urgent or self._next is not None:\n            return",
        "self._turns or self._urgent:\n            return",
    ),
    "a small frame may have something behind it": Mutant("frequent", '?\\Z" %', '?" %'),
    "how many fields a small frame says it has is not looked at": Mutant(
        "frequent", "if message[0] != 0x93 + count + bool(tag):", "if False:"
    ),
    "a kernel that gives less is asked all the same": Mutant(
        "short_path", "most_allowed() >= _BUFFER and ", "", "link"
    ),
    "a source that has nothing is asked for ever": Mutant(
        "outlet", "if message is None or not source.pending:", "if not source.pending:"
    ),
}


def caught(mutant: Mutant, work: Path) -> bool:
    """Run the tests of its room against a copy with this bug in it."""
    path = work / "edge_tunnel" / mutant.room / f"{mutant.module}.py"
    original = path.read_text(encoding="utf-8")
    if original.count(mutant.before) != 1:
        raise SystemExit(f"this edit of {mutant.module} fits no longer:\n{mutant.before}")
    path.write_text(original.replace(mutant.before, mutant.after), encoding="utf-8")
    try:
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        environment = {**os.environ, "PYTHONPATH": str(work), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [*command, f"tests/{mutant.room}"],
            cwd=work,
            env=environment,
            capture_output=True,
            check=False,
            timeout=300,
        )
        # 1: tests failed; 2 to 5: pytest could not run them, which proves nothing
        if done.returncode not in (0, 1):
            raise SystemExit(done.stdout.decode() + done.stderr.decode())
        return done.returncode == 1
    finally:
        path.write_text(original, encoding="utf-8")


def main() -> int:
    """Plant them all, or the ones that are named."""
    names = sys.argv[1:] or list(MUTANTS)
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for part in ("edge_tunnel", "tests"):
            shutil.copytree(ROOT / part, work / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", work)
        for name in names:
            start = time.monotonic()
            result = "caught" if caught(MUTANTS[name], work) else "NOT CAUGHT"
            missed += result != "caught"
            print(f"{result:10}  {name}  ({time.monotonic() - start:.1f} s)", flush=True)
    print(f"{len(names) - missed} of {len(names)} caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
