"""What ``edge-tunnel connect`` does: one tunnel, on a local port or on stdin and stdout.

The tunnel is opened before anything is offered to the user, so that a wrong name shows at once and
as an exit code, not when the first connection is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import trio

from edge_tunnel.cli.events import Reporter
from edge_tunnel.cli.exits import CommandFailed, Exit, exit_of_reason
from edge_tunnel.cli.live import show_live
from edge_tunnel.cli.patience import open_patience
from edge_tunnel.cli.ports import why_not_open
from edge_tunnel.errors import TunnelEnded
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.link.notices import Notice
from edge_tunnel.protocol.attach import RemoteTunnel
from edge_tunnel.reasons import Reason
from edge_tunnel.remote.remote import Remote
from edge_tunnel.remote.stdio import carry_stdio

__all__ = ["LinkWatch", "Target", "keep_port", "use_stdio"]

_LINGER: Final = 2.0
"""Seconds that what was ended may take to be delivered before the tunnel is closed."""

_ADVICE: Final = {
    Reason.NO_SUCH_THING: "check the name, and that its edge is running",
    Reason.SERVICE_NOT_ALLOWED: "ask for one of these, or add it to the device's configuration",
    Reason.CONNECTION_REFUSED: "that is an address of the device: is the service running there?",
    Reason.ENCRYPTION: "to go without it: --no-encryption",
}

_FINAL: Final = (
    Reason.NOT_AUTHORISED,
    Reason.SERVICE_NOT_ALLOWED,
    Reason.ENCRYPTION,
    Reason.IDENTITY,
)
"""Ends after which a new tunnel would end the same way: the port is given up."""


class LinkWatch:
    """Remembers how the last attempt at a link went, for the line that says why there is none."""

    def __init__(self) -> None:
        self.url = ""
        self.problem = "no answer"

    def __call__(self, notice: Notice) -> None:
        if notice.event == "connecting":
            self.url = str(notice["url"])
        elif notice.event in ("connect_failed", "link_lost", "link_refused"):
            self.problem = str(notice["reason"])


@dataclass(frozen=True)
class Target:
    """What is to be reached."""

    thing: str
    service: str
    timeout: float
    """Seconds to get there at first."""

    watch: LinkWatch

    def failed(self, error: TunnelEnded) -> CommandFailed:
        """The line and the code for the end of a tunnel or stream."""
        advice = _ADVICE.get(error.reason)
        text = f"{self.service} of {self.thing}: {error}" + (f"; {advice}" if advice else "")
        # an end that its peer calls clean is still not what was asked for
        return CommandFailed(exit_of_reason(error.reason) or Exit.COULD_NOT_CONNECT, text)


async def _open(remote: Remote, target: Target) -> RemoteTunnel:
    try:
        return await remote.open_tunnel(target.thing, target.service, timeout=target.timeout)
    except TunnelEnded as error:
        raise target.failed(error) from error
    except trio.TooSlowError:
        raise CommandFailed(Exit.COULD_NOT_CONNECT, _silence(remote, target)) from None


def _silence(remote: Remote, target: Target) -> str:
    if remote.link is not None:
        return f"{target.thing} did not answer within {target.timeout:g} s; try again later"
    nodes = ", ".join(remote.settings.urls)
    tried = f"could not connect to {nodes} within {target.timeout:g} s"
    return f"{tried}: {target.watch.problem}; check the address, and that the node is running"


# -- stdin and stdout


async def use_stdio(remote: Remote, target: Target, *, aloud: bool) -> None:
    """One stream, from its beginning to its end. `aloud`: say on stderr what is waited for, until
    the stream is there; afterwards the terminal is ssh's."""
    tunnel = await (_open_aloud if aloud else _open)(remote, target)
    try:
        stream = await remote.open_stream_early(target.thing, target.service)
        whole = await carry_stdio(stream)
    except TunnelEnded as error:
        raise target.failed(error) from error
    except trio.BrokenResourceError as error:
        cause = error.__cause__
        reset = cause if isinstance(cause, TunnelEnded) else TunnelEnded(Reason.RESET)
        raise target.failed(reset) from error
    except OSError as error:
        text = f"stdin or stdout: {(error.strerror or str(error)).lower()}"
        raise CommandFailed(Exit.CONFIGURATION, text) from error
    if not whole:
        text = f"{target.service} of {target.thing} stopped reading before it had everything"
        raise CommandFailed(Exit.REFUSED_BY_DEVICE, text)
    await remote.close_tunnel(tunnel, linger=_LINGER)


async def _open_aloud(remote: Remote, target: Target) -> RemoteTunnel:
    def waiting() -> str:
        why = target.watch.problem if remote.link is None else f"{target.thing} does not answer"
        return f"no connection yet: {why}; waiting for up to {target.timeout:g} s"

    async with open_patience(waiting):
        return await _open(remote, target)


# -- a local port


async def keep_port(
    remote: Remote, target: Target, address: tuple[str, int], *, show: Reporter | None
) -> None:
    """A port that stays while tunnels come and go. Ends only with an error or cancelled.

    `show`: draw a live line, between what this reporter prints.
    """
    await _open(remote, target)
    end = _FinalEnd()
    remote.notices.call(end)
    async with open_plain_nursery() as nursery:
        if show is not None:
            nursery.start_soon(show_live, remote, show, f"{target.thing} {target.service}")
        try:
            await nursery.start(remote.forward, target.thing, target.service, *address)
        except OSError as error:
            text = why_not_open(*address, error)
            raise CommandFailed(Exit.CONFIGURATION, text) from error
        raise target.failed(await end.wait())


class _FinalEnd:
    """Waits for the end of a tunnel that a new one would not mend."""

    def __init__(self) -> None:
        self._error: TunnelEnded | None = None
        self._happened = trio.Event()

    def __call__(self, notice: Notice) -> None:
        code = notice.data.get("code")
        if notice.event == "closed" and isinstance(code, int) and code in _FINAL:
            self._error = TunnelEnded(Reason.of(code), str(notice["reason"]))
            self._happened.set()

    async def wait(self) -> TunnelEnded:
        await self._happened.wait()
        assert self._error is not None
        return self._error
