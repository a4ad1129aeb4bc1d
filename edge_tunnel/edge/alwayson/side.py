"""What an edge has of AlwaysOn: the main socket of the moment, and the tunnels."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn

import trio

from edge_tunnel.config.model import EdgeConfig
from edge_tunnel.edge.alwayson.main_socket import MainSocket, why
from edge_tunnel.edge.alwayson.tunnels import Tunnels
from edge_tunnel.edge.offered import Offered
from edge_tunnel.errors import LinkLost
from edge_tunnel.link.notices import Notices
from edge_tunnel.link.transport import PlainTransport

__all__ = ["AlwaysOnSide"]

_log = logging.getLogger("edge_tunnel.edge")

_NAMED: Final = 5
"""Things that one line names."""

_FAREWELL: Final = 2.0
"""Seconds that the goodbye may take."""


class AlwaysOnSide:
    """Of one edge."""

    def __init__(
        self,
        config: EdgeConfig,
        offered: Offered,
        notices: Notices,
        nursery: trio.Nursery,
        on_bound: Callable[[str], None],
    ) -> None:
        """`on_bound` is called for each thing that was bound."""
        self.tunnels = Tunnels(config, offered, notices, nursery)
        self._config = config
        self._notices = notices
        self._nursery = nursery
        self._on_bound = on_bound
        self._main: MainSocket | None = None
        self._leaving = False
        self._over = trio.Event()

    async def speak(self, transport: PlainTransport, on_linked: Callable[[], None]) -> NoReturn:
        """One main socket, until it is lost. Raises LinkLost or LinkRefused."""
        main = MainSocket(transport, self._config, self.tunnels)

        def serve(nursery: trio.Nursery) -> None:
            self._main = main
            on_linked()
            nursery.start_soon(self._bind, main, self._config.things)

        try:
            await main.run(serve)
        finally:
            if self._main is main:
                self._main = None
                if self._leaving:
                    await transport.aclose()  # in the time of `say_goodbye`
            self._over.set()

    async def _bind(self, main: MainSocket, things: tuple[str, ...]) -> None:
        """Raises LinkLost: the server refused, and is to be asked again on another socket."""
        if not things:
            return
        response = await main.bind(things)
        if response.ok:
            for thing in things:
                self._on_bound(thing)
            return
        reason = why(response)
        for thing in things:
            self._notices.emit("bind_refused", thing=thing, reason=reason)
        names = ", ".join(things) if len(things) <= _NAMED else f"{len(things)} things"
        _log.error("%s: not bound: %s", names, reason)
        raise LinkLost(f"the server did not bind {names}: {reason}")

    def configure(self, config: EdgeConfig) -> None:
        """Another configuration: other services, other things."""
        old, self._config = self._config, config
        self.tunnels.configure(config)
        if self._main is not None:
            self._nursery.start_soon(self._rebind, self._main, old.things, config.things)

    async def _rebind(self, main: MainSocket, old: tuple[str, ...], new: tuple[str, ...]) -> None:
        gone = tuple(each for each in old if each not in new)
        come = tuple(each for each in new if each not in old)
        try:
            if gone:
                await main.unbind(gone)
            await self._bind(main, come)
        except LinkLost as error:
            _log.warning("%s", error)

    async def say_goodbye(self) -> None:
        """End the tunnels, unbind, and close the socket, as far as there is time."""
        self._leaving = True
        with trio.move_on_after(_FAREWELL, shield=True):
            await self.tunnels.end_all()
            if self._main is not None:
                with suppress(LinkLost):
                    await self._main.unbind(self._config.things)
                    self._over = trio.Event()
                    self._main.end("we said goodbye")
                    await self._over.wait()
