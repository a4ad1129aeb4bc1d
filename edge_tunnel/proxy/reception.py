"""A link's greeting at a node: who may come in, who may not, and who has to come later.

The order is the point. Who showed too many wrong keys is sent away before any key is looked at;
whose key is wrong never learns whether there is a place; and only who may link at all takes one of
the places that `admission` gives out.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import suppress

import trio

from edge_tunnel.access.rights import Authority, Credentials, PeerCertificate, Principal
from edge_tunnel.errors import LinkLost, RemoteProtocolError
from edge_tunnel.link.transport import Transport
from edge_tunnel.protocol.codec import decode, encode
from edge_tunnel.protocol.frames import Bye, Frame, Hello, Welcome, clip
from edge_tunnel.protocol.greeting import RESUMING
from edge_tunnel.proxy.admission import Admission
from edge_tunnel.proxy.demands import answer_greeting
from edge_tunnel.proxy.pace import Pace
from edge_tunnel.proxy.recording import Recording
from edge_tunnel.proxy.settings import NodeSettings
from edge_tunnel.proxy.sources import source_of
from edge_tunnel.reasons import Reason

__all__ = ["Reception"]

_log = logging.getLogger("edge_tunnel.proxy")


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
        failures = settings.max_failures_per_source
        self._failures = Pace(failures / 60, failures) if failures else None

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
        answer = self._too_many_failures(peer) or self._busy() or self._agree(hello)
        if isinstance(answer, Bye):
            return answer
        shown = Credentials(
            role=hello.role,
            key=hello.key,
            certificate=certificate,
            address=peer,
            instance=hello.instance,
        )
        who = await self._authority.admit(shown)
        if isinstance(who, Principal):
            return self._come_later(hello) or (answer, hello, who)
        if who.reason is Reason.NOT_AUTHORISED:
            self._count_failure(peer)
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

    def _too_many_failures(self, peer: str) -> Bye | None:
        """Before any key is looked at: a guess costs the one who guesses, and not the node."""
        if self._failures is None:
            return None
        wait = self._failures.wait(source_of(peer), trio.current_time())
        if not wait:
            return None
        text = f"too many refused keys from your address: come again in {wait:.1f} s"
        return Bye(Reason.TOO_MANY, text, math.ceil(wait * 1000))

    def _count_failure(self, peer: str) -> None:
        if self._failures is not None:
            self._failures.spend(source_of(peer), trio.current_time())

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
