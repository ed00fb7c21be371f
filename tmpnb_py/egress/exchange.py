"""One connection of a notebook to the proxy: plain HTTP requests one after another, or one tunnel (CONNECT)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import h11

from tmpnb_py.core.web_targets import Target
from tmpnb_py.egress import heads
from tmpnb_py.egress.hello import NotTlsError, server_name
from tmpnb_py.egress.policy import RefusedError, WebPolicy
from tmpnb_py.egress.wire import HEAD_SECONDS, End, IdleError, pump

_MAX_HEAD = 32 * 1024
_VERSIONS = (b"1.0", b"1.1")
_PARTS = 8  # in which the beginning of TLS may come; each is parsed anew with those before it, which costs 0.1 ms
_OVER = (OSError, IdleError, h11.ProtocolError)  # `TimeoutError` is an `OSError`

Dial = Callable[[Target], Awaitable[End]]
Refused = Callable[[RefusedError, Target | None], None]
Pace = Callable[[], Awaitable[None]]
Work = Coroutine[Any, Any, None]


class Exchange:
    """Serves one connection to its end. `dial` connects to a target that the policy allows."""

    def __init__(
        self, client: End, policy: WebPolicy, dial: Dial, refused: Refused, *, pace: Pace, parsed: Pace
    ) -> None:
        """`pace` waits until the notebook may ask for more, and `parsed` after each piece of a message."""
        self._client = client
        self._pace = pace
        self._parsed = parsed
        self._policy = policy
        self._dial = dial
        self._refused = refused
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD)

    async def run(self) -> None:
        """Serve until either side ends it, or nothing happens for too long."""
        try:
            with contextlib.suppress(*_OVER):
                while await self._one():
                    self._http.start_next_cycle()
                    await self._pace()
        finally:
            await self._client.close()

    async def _one(self) -> bool:
        """Serve one request; whether another one may follow. Raises `_OVER`."""
        target = None
        try:
            request = await self._head()
            if request is None:
                return False
            if request.http_version not in _VERSIONS:
                raise RefusedError(505, "malformed", "this proxy speaks HTTP/1")
            if request.method == b"CONNECT":
                target = heads.tunnel_target(request)
                self._policy.check(target)
                if not isinstance(await self._event(self._http, self._client), h11.EndOfMessage):
                    raise RefusedError(400, "malformed", "CONNECT has no content")
                await self._tunnel(target)
                return False
            target, path = heads.split(request)
            self._policy.check(target)
            await self._forward(request, target, path)
        except h11.RemoteProtocolError as error:
            await self._refuse(RefusedError(error.error_status_hint, "malformed", "the request is malformed"), target)
            return False
        except RefusedError as error:
            await self._refuse(error, target)
            return False
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _head(self) -> h11.Request | None:
        """The next request; None if there is none. A head that comes too slowly ends the connection."""
        async with asyncio.timeout(HEAD_SECONDS):
            event = await self._event(self._http, self._client)
        return event if isinstance(event, h11.Request) else None

    async def _refuse(self, error: RefusedError, target: Target | None) -> None:
        self._refused(error, target)
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        text = str(error)
        body = f"{text[:1].upper()}{text[1:]}.\n".encode("ascii", "replace")
        headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), ("Connection", "close")]
        reason = text.encode("ascii", "replace")  # clients show that much of a refused CONNECT
        await self._say(h11.Response(status_code=error.status, headers=headers, reason=reason))
        await self._say(h11.Data(data=body))
        await self._say(h11.EndOfMessage())

    async def _say(self, event: h11.Event) -> None:
        if data := self._http.send(event):
            await self._client.write(data)

    async def _event(self, http: h11.Connection, end: End) -> h11.Event:
        """The next event of a side. Raises `h11.RemoteProtocolError`, and what reading raises.

        Each costs the same, also one for a chunk of a byte, of which a single read brings ten thousand.
        """
        while not isinstance(event := http.next_event(), h11.Event):
            http.receive_data(await end.read())
        await self._parsed()
        return event

    # --- tunnels

    async def _tunnel(self, target: Target) -> None:
        server = await self._dial(target)
        try:
            await self._say(h11.Response(status_code=200, headers=[], reason=b"Connection established"))
            first, _ = self._http.trailing_data
            if self._policy.hosts:
                first = await self._checked(first, target)
            if first:
                await server.write(first)
            with contextlib.suppress(*_OVER):
                await _both(pump(self._client, server), pump(server, self._client))
        finally:
            await server.close()

    async def _checked(self, data: bytes, target: Target) -> bytes:
        """Read the beginning of TLS. Raises `RefusedError` where it is not for the target's name.

        For an address as target no name is sent.
        """
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                for _ in range(_PARTS):
                    if (name := server_name(data)) is not None:
                        break
                    data += (more := await self._client.read())
                    if not more:
                        raise NotTlsError
                else:
                    raise NotTlsError
        except NotTlsError as error:
            raise RefusedError(403, "tls", f"a tunnel to {target.host} has to begin with TLS") from error
        if name != ("" if target.address is not None else target.host):
            raise RefusedError(403, "tls", f"a tunnel to {target.host} is for another host")
        return data

    # --- plain HTTP

    async def _forward(self, request: h11.Request, target: Target, path: bytes) -> None:
        onward = heads.forwarded(request, target, path)
        server = await self._dial(target)
        http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
        try:
            await server.write(http.send(onward) or b"")
            await _first_of(self._answer(http, server), self._body(http, server))
        except h11.RemoteProtocolError as error:
            raise RefusedError(502, "unreachable", f"{target} answers something that is not HTTP") from error
        finally:
            await server.close()

    async def _body(self, http: h11.Connection, server: End) -> None:
        """Pass the request's body on."""
        if self._http.they_are_waiting_for_100_continue:
            await self._say(h11.InformationalResponse(status_code=100, headers=[]))
        while True:
            event = await self._event(self._http, self._client)
            if isinstance(event, h11.Data):
                await server.write(http.send(h11.Data(data=bytes(event.data))) or b"")
            else:
                await server.write(http.send(h11.EndOfMessage()) or b"")  # trailers are not passed on
                return

    async def _answer(self, http: h11.Connection, server: End) -> None:
        """Pass the answer back."""
        while True:
            event = await self._event(http, server)
            if isinstance(event, h11.Response):
                await self._say(heads.returned(event))
            elif isinstance(event, h11.Data):
                await self._say(h11.Data(data=bytes(event.data)))
            elif isinstance(event, h11.EndOfMessage):
                await self._say(h11.EndOfMessage())
                return
            elif not isinstance(event, h11.InformationalResponse):
                raise h11.RemoteProtocolError("the server has closed the connection")


async def _both(*work: Work) -> None:
    """Do both at once; an error of one ends the other and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(one)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _first_of(first: Work, other: Work) -> None:
    """Do both at once; when `first` is done, `other` is not waited for. An error of either is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            beside = group.create_task(other)
            await group.create_task(first)
            beside.cancel()
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
