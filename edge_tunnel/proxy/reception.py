"""Where keys are shown: a link's greeting, and each question to the API.

The order is the point. Whose address showed too many wrong keys is sent away before its key is
looked at (see `attempts`); whose key is wrong never learns whether there is a place; and only who
may link at all takes one of the places that `admission` gives out.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio

from edge_tunnel.access.rights import Authority, Credentials, PeerCertificate, Principal
from edge_tunnel.errors import LinkLost, RemoteProtocolError
from edge_tunnel.link.transport import Transport
from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import Bye, Frame, Hello, Welcome, clip
from edge_tunnel.protocol.greeting import RESUMING
from edge_tunnel.proxy.admission import Admission
from edge_tunnel.proxy.api import Api, ApiAnswer, ApiRequest
from edge_tunnel.proxy.attempts import Attempts
from edge_tunnel.proxy.demands import answer_greeting
from edge_tunnel.proxy.recording import Recording
from edge_tunnel.proxy.settings import NodeSettings
from edge_tunnel.reasons import Reason

__all__ = ["Reception"]

_log = logging.getLogger("edge_tunnel.proxy")

_GUESSING: Final = "too many refused keys from your address"


class Reception:
    """Greets the endpoints of one node."""

    def __init__(
        self,
        settings: NodeSettings,
        authority: Authority,
        recording: Recording,
        busy: Callable[[], Bye | None],
    ) -> None:
        """`busy`: what to say to all while the node takes no links; None: it does."""
        self._settings = settings
        self._authority = authority
        self._recording = recording
        self._busy = busy
        self.admission = Admission(settings.admission_rate, settings.admission_burst)
        self._attempts = Attempts(settings.max_failures_per_source)

    async def greet(
        self, transport: Transport, certificate: PeerCertificate | None
    ) -> tuple[Hello, Principal] | None:
        """The accepted HELLO, and who said it; None if the link was refused, or lost.

        `certificate`: what TLS has verified of the peer's.
        """
        with trio.move_on_after(self._settings.handshake_timeout), suppress(LinkLost):
            try:
                hello = decode(await transport.receive())
                verdict = await self._judge(hello, transport.peer, certificate)
            except RemoteProtocolError as error:
                hello, verdict = None, Bye(Reason.PROTOCOL_ERROR, str(error), 0)
            if not isinstance(verdict, Bye):
                welcome, greeted, who = verdict
                await transport.send(encode(welcome))
                return greeted, who
            await self._refuse(transport, hello, verdict)
        return None

    async def _judge(
        self, hello: Frame, peer: str, certificate: PeerCertificate | None
    ) -> tuple[Welcome, Hello, Principal] | Bye:
        if not isinstance(hello, Hello):
            return Bye(Reason.PROTOCOL_ERROR, "a link begins with HELLO", 0)
        shown = hello.key or ("" if certificate is None else certificate.fingerprint)
        guessing = self._too_many_failures(peer, shown)
        if guessing is not None:
            self._recording.link_refused(hello.role, peer, guessing)
            return guessing
        answer = self._busy() or self._agree(hello)
        if isinstance(answer, Bye):
            return answer
        who = await self._authority.admit(
            Credentials(
                role=hello.role,
                key=hello.key,
                certificate=certificate,
                address=peer,
                instance=hello.instance,
            )
        )
        if isinstance(who, Principal):
            self._attempts.worked(peer, shown)
            # again: a drain that began meanwhile has asked those to go that were linked
            return self._busy() or self._come_later(hello) or (answer, hello, who)
        if who.reason is Reason.NOT_AUTHORISED:
            self._attempts.failed(peer, shown, trio.current_time())
        return Bye(who.reason, clip(who.text), 0)

    async def _refuse(self, transport: Transport, hello: Frame | None, bye: Bye) -> None:
        if not bye.retry_after_ms:  # "later" is no denial
            role = hello.role if isinstance(hello, Hello) else ""
            self._recording.link_refused(role, transport.peer, bye)
        await transport.send(encode(bye))
        if hello is not None:
            level = logging.INFO if bye.retry_after_ms else logging.WARNING
            _log.log(level, "%s refused: %s", transport.peer, bye.text)

    def _agree(self, hello: Hello) -> Welcome | Bye:
        """To all of HELLO but its key."""
        return answer_greeting(hello, self._settings.name, self._settings.demands)

    def _too_many_failures(self, peer: str, shown: str) -> Bye | None:
        """Before any key is looked at: a guess costs the one who guesses, and not the node."""
        wait = self._attempts.wait(peer, shown, trio.current_time())
        if not wait:
            return None
        text = f"{_GUESSING}: come again in {wait:.1f} s"
        return Bye(Reason.TOO_MANY, text, math.ceil(wait * 1000))

    async def ask(self, api: Api, request: ApiRequest, peer: str) -> ApiAnswer:
        """What the API answers, unless this peer's address has shown too many wrong keys."""
        if not request.key:
            return await api.answer(request)  # which refuses it: nothing was guessed
        wait = self._attempts.wait(peer, request.key, trio.current_time())
        if wait:
            text = f"{_GUESSING}: come again in {wait:.1f} s"
            answer = ApiAnswer(429, {"error": text}, math.ceil(wait))
        else:
            answer = await api.answer(request)
            if answer.status == 401:
                self._attempts.failed(peer, request.key, trio.current_time())
            elif answer.status != 503:  # the API cannot tell then
                self._attempts.worked(peer, request.key)
        if answer.status in (401, 429):
            self._recording.api_refused(peer, guessing=bool(wait))
        return answer

    def _come_later(self, hello: Hello) -> Bye | None:
        """Asked last: who may not link at all takes nobody's place, nor a moment to come back.

        A ticket was redeemed by then; the same process may show it again when it comes back.
        """
        hurried = hello.role == "remote" or RESUMING in hello.features
        wait = self.admission.ask(trio.current_time(), hurried=hurried)
        if not wait:
            return None
        text = f"many want a link just now: this one in {wait:.1f} s"
        return Bye(Reason.TOO_MANY, text, math.ceil(wait * 1000))
