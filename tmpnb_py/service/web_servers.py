"""Where the two aiohttp applications are served: the public one to the proxy, the operator's on a listener."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import TypeVar

from aiohttp import web

P = TypeVar("P", bound=asyncio.BaseProtocol)


class WebServers:
    """Runs the public application behind the proxy, which dials it, and the operator's on ports of its own."""

    def __init__(self, public: web.Application, admin: web.Application, *, max_head_size: int) -> None:
        """`max_head_size` is in bytes: the proxy has checked by the same measure."""
        self._public = web.AppRunner(
            public,
            handler_cancellation=True,  # a visitor who leaves gives up the place in line
            auto_decompress=False,  # nobody sends us so much, and a body that is not what it says breaks aiohttp
            access_log=None,
            max_line_size=max_head_size,
            max_field_size=max_head_size,
        )
        self._admin = web.AppRunner(admin, handler_cancellation=True, auto_decompress=False, access_log=None)

    @property
    def applications(self) -> tuple[web.Application, web.Application]:
        """The public application and the operator's."""
        return self._public.app, self._admin.app

    async def set_up(self) -> None:
        """Begin, so that `dial` works; nobody outside is listened to."""
        await self._public.setup()
        await self._admin.setup()

    async def listen_for_operator(self, sockets: Iterable[socket.socket]) -> None:
        """Serve the operator on these sockets, which this closes."""
        for sock in sockets:
            await web.SockSite(self._admin, sock).start()

    async def stop_listening(self) -> None:
        """Accept no operator's connection any more; open ones go on."""
        for site in tuple(self._admin.sites):
            await site.stop()

    def retire(self) -> None:
        """Close the operator's idle connections, and the others once they have been answered."""
        if self._admin.server is not None:
            self._admin.server.pre_shutdown()

    async def dial(self, factory: Callable[[], P]) -> P:
        """A connection to the public application inside this process: a pair of sockets that nobody else sees."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        server = self._public.server
        assert server is not None  # noqa: S101  (`set_up` comes before the first visitor)
        ours.setblocking(False)
        theirs.setblocking(False)
        try:
            await loop.connect_accepted_socket(server, theirs)
            return (await loop.create_unix_connection(factory, sock=ours))[1]
        except BaseException:
            ours.close()  # which ends the other side too
            raise

    async def close(self) -> None:
        """Stop both."""
        await self._public.cleanup()
        await self._admin.cleanup()
