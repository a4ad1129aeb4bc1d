"""What a command says while it runs: one line for each event, JSON or words.

The roles call us from inside their tasks, so nothing here may wait for whoever reads our output: a
program that started us and does not read would otherwise stop every tunnel. Notices go through a
bounded queue to one task, and that one writes in a thread.
"""

from __future__ import annotations

import errno
import json
import logging
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import trio

from edge_tunnel.config.source import printable
from edge_tunnel.link.groups import open_plain_nursery
from edge_tunnel.link.notices import Notice
from edge_tunnel.remote.stdio import write_fully

__all__ = [
    "Reporter",
    "fit_to_show",
    "json_line",
    "open_reporter",
    "set_up_logging",
    "words_of",
]

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a full disk says: there may be room later, and nobody has left."""

_QUEUE: Final = 1024
"""Lines that the reader of our output may be behind: a burst of 500 streams, opened and closed."""

_LAST_WORDS: Final = 1.0
"""Seconds that the last lines may take when the command ends."""

_WORDS: Final[Mapping[str, str]] = {
    "asked_to_go": "{url} asks us to go to another node: {reason}",
    "attached": "attached to {service} of {thing}",
    "audit_failed": "the audit log cannot be written ({reason}): {meanwhile}",
    "audit_head": "the audit log has come to record {seq}, hash {head}",
    "audit_recovered": "the audit log is written again; {lost} records were lost",
    "bind_denied": "{who} at {peer} was not let bind {thing}: {reason}",
    "bind_refused": "{thing} was not bound: {reason}",
    "bound": "bound {thing}",
    "certificate_ends": "the certificate of {what} ({file}) ends in {days} days",
    "certificate_refused": "the new certificate of {what} is not used: {reason}",
    "certificate_renewed": "{what} shows a new certificate from now on ({file})",
    "closed": "closed: {reason}",
    "engine_back": "etcd is back",
    "engine_lost": "etcd is away: {reason}; what is known goes on, a node that starts waits",
    "granted": "the policy's limits of this tunnel: {limits}",
    "identity": "this device's fingerprint is {fingerprint}",
    "joined": "joined the cluster as {node}: {nodes}",
    "name_taken": "node {node} runs at {address} as well; no two nodes may have one name",
    "waiting": "waiting for {what}",
    "connect_failed": "no connection: {reason}",
    "connecting": "connecting to {url}",
    "detached": "detached: {reason}; waiting for the way back",
    "draining": "draining: {links} links are asked to go to other nodes",
    "hop_lost": "the connection to node {node} was lost: {reason}",
    "link_left": "left {url} for another node",
    "link_lost": "link lost: {reason}",
    "link_refused": "refused by {url}: {reason}",
    "linked": "linked to {url} ({protocol})",
    "listening": "listening on {where}",
    "reload_failed": "the file was read again, and nothing was changed: {reason}",
    "reloaded": "the file was read again; changed: {changed}",
    "notice": "{text}",
    "remembered": "{thing} is known from now on by its fingerprint {fingerprint}",
    "resumed": "resumed after {seconds:.3f} s; nothing was lost",
    "state_in_memory": "keys and policy end with this node: --state DIR keeps them",
    "stream_opened": "stream {stream} to {service} opened",
    "stream_refused": "stream to {service} refused: {reason}",
    "tunnel_attached": "tunnel to {service} of {thing} attached again",
    "tunnel_closed": "tunnel to {service} of {thing} closed: {reason}",
    "tunnel_denied": "{who} at {peer} was denied {service} of {thing}: {reason}",
    "tunnel_detached": "tunnel to {service} of {thing} detached: {reason}",
    "tunnel_opened": "tunnel to {service} of {thing} opened",
    "tunnel_resumed": "tunnel to {service} of {thing} resumed after {seconds:.3f} s",
    "unbound": "unbound {thing}: {reason}",
    "worker_ended": "worker {worker} ended ({how}); {then}",
    "worker_started": "worker {worker} runs as process {pid}",
}
"""For people. An event that is not here is shown with its data, as it is."""


def json_line(event: str, **data: object) -> str:
    """One event as one line, for what happens outside of a role."""
    return _json(Notice(event, time.time(), data))


def _json(notice: Notice) -> str:
    return json.dumps(notice.as_dict())  # ASCII: a terminal obeys some of what is not


def fit_to_show(text: str) -> str:
    """Lines of text, with nothing else in them that a terminal would obey."""
    return "\n".join(printable(line) for line in text.split("\n"))


def words_of(notice: Notice) -> str:
    """One event for people."""
    known = _WORDS.get(notice.event)
    if known is None:
        data = " ".join(f"{key}={value}" for key, value in notice.data.items())
        text = f"{notice.event} {data}".rstrip()
    else:
        fields = {key: _listed(value) for key, value in notice.data.items()}
        made = {"where": _where(notice), "then": _then(notice), "limits": _limits(notice)}
        text = known.format_map({**made, **fields})
        if "worker" in notice.data and "{worker}" not in known:
            text = f"{notice.data['worker']}: {text}"
    return f"{time.strftime('%H:%M:%S', time.localtime(notice.time))} {printable(text)}"


def _listed(value: object) -> object:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value


def _limits(notice: Notice) -> str:
    seconds, streams = notice.data.get("seconds"), notice.data.get("max_streams")
    few = f"{streams} streams at once" if streams else ""
    if not isinstance(seconds, (int, float)):
        return few or "none"
    end = time.strftime("%Y-%m-%d %H:%M", time.localtime(notice.time + seconds))
    return f"it ends at {end}" + (f", {few}" if few else "")


def _where(notice: Notice) -> object:
    data = notice.data
    return data["url"] if "url" in data else f"{data.get('host')}:{data.get('port')}"


def _then(notice: Notice) -> str:
    again = notice.data.get("again")
    return "all end" if again is None else f"it is started again in {again:g} s"


class Reporter:
    """Prints notices. Call it with each; it never waits and never raises."""

    def __init__(
        self, fd: int, *, as_json: bool, on_broken: Callable[[], object], worker: str = ""
    ) -> None:
        """`on_broken` is called once, when nobody reads what we write any more. `worker`: who says
        it, where several say it on one stdout."""
        self.dropped = 0
        self._worker = worker
        self.before_line = b""
        """Written in front of each batch of lines: clears a live line."""
        self._fd = fd
        self._as_json = as_json
        self._on_broken = on_broken
        self._queue, self._lines = trio.open_memory_channel[str](_QUEUE)

    def __call__(self, notice: Notice) -> None:
        if self._worker:
            notice = Notice(notice.event, notice.time, {**notice.data, "worker": self._worker})
        self._offer(_json(notice) if self._as_json else words_of(notice))

    def emit(self, event: str, **data: object) -> None:
        """An event of the command itself."""
        self(Notice(event, time.time(), data))

    def _offer(self, line: str) -> None:
        try:
            self._queue.send_nowait(line)
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            self.dropped += 1

    async def write_all(self) -> None:
        """Write until `close`, or until nobody reads."""
        cut = b""  # ends a line of which a full disk may have taken a part
        async for first in self._lines:
            lines = [first, *self._waiting()]
            data = "".join(f"{line}\n" for line in lines).encode(errors="replace")
            try:
                await trio.to_thread.run_sync(
                    write_fully, self._fd, cut + self.before_line + data, abandon_on_cancel=True
                )
                cut = b""
            except OSError as error:
                if error.errno in _FULL:
                    self.dropped += len(lines)
                    cut = b"\n"
                    continue
                self._lines.close()
                self._on_broken()
                return

    def _waiting(self) -> list[str]:
        count = self._lines.statistics().current_buffer_used
        return [self._lines.receive_nowait() for _ in range(count)]

    def close(self) -> None:
        """No more will be said; `write_all` ends when the rest is written."""
        if self.dropped:
            text = json_line("dropped", count=self.dropped)
            self._offer(text if self._as_json else f"{self.dropped} events were not printed")
        self._queue.close()


@asynccontextmanager
async def open_reporter(
    *, as_json: bool, on_broken: Callable[[], object], fd: int = 1, worker: str = ""
) -> AsyncIterator[Reporter]:
    """A reporter for the length of the block; what it was told is written before the block ends."""
    reporter = Reporter(fd, as_json=as_json, on_broken=on_broken, worker=worker)
    scope = trio.CancelScope(shield=True)  # a cancelled command still says how it ended

    async def write() -> None:
        with scope:
            await reporter.write_all()

    async with open_plain_nursery() as nursery:
        nursery.start_soon(write)
        try:
            yield reporter
        finally:
            reporter.close()
            scope.deadline = trio.current_time() + _LAST_WORDS


class _Formatter(logging.Formatter):
    """Shows what peers said, and lets them say nothing to the terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        return fit_to_show(super().formatMessage(record))


def set_up_logging(level: str) -> None:
    """Logs go to stderr, each with the room that it comes from."""
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [stream]
    root.setLevel(level)
    # what a node tells its users is for them to see, however quiet the rest should be
    logging.getLogger("edge_tunnel.notice").setLevel(logging.WARNING)
    # the libraries' debug lines hold what they carry: keys, and people's data
    for library in ("trio-websocket", "websockets"):
        logging.getLogger(library).setLevel(logging.WARNING)
