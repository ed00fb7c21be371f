"""A client of the admin listener, for commands that talk to a running service.

It finds listener and token as `serve` does, in the same options, variables and file. Every call ends within a bounded
time, and raises `ServiceError` on failure.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
import pydantic

from tmpnb_py.core.errors import ServiceError, SettingsError
from tmpnb_py.options.settings import Settings
from tmpnb_py.web.api.schema import (
    AdminBooking,
    AdminBookings,
    AdminNode,
    AdminNodes,
    AdminSessions,
    AdminStatus,
    Announcement,
    Announcements,
    Drained,
    PoolStatus,
    Upgraded,
)

_CONNECT_SECONDS = 3.0
_ANSWER_SECONDS = 30.0
_UPGRADE_SECONDS = 240.0  # longer than an upgrade may take
_MAX_ANSWER = 64 * 1024 * 1024

M = TypeVar("M", bound=pydantic.BaseModel)


def admin_url(settings: Settings) -> str:
    """The admin listener's URL for this machine. Raises `SettingsError`."""
    if not settings.admin_port:
        raise SettingsError(
            "admin_port is 0, so only the service's log tells which port it listens on",
            remedy="Pass that port with --admin-port.",
        )
    host = settings.admin_ip
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"http://{host}:{settings.admin_port}/"
    if address.is_unspecified:
        address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
    return (
        f"http://[{address}]:{settings.admin_port}/"
        if address.version == 6
        else f"http://{address}:{settings.admin_port}/"
    )


class AdminClient:
    """Calls the admin listener. Use it with `async with`."""

    def __init__(self, settings: Settings, pool: str | None = None) -> None:
        """`pool` is the one of several that calls are about; None for all, where that can be."""
        self._query = {} if pool is None else {"pool": pool}
        self.url = admin_url(settings)
        token = settings.admin_auth_token.get_secret_value()
        self._has_token = bool(token)
        self._session = aiohttp.ClientSession(
            base_url=self.url,
            headers={"Accept": "application/json", **({"Authorization": f"token {token}"} if token else {})},
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def status(self) -> AdminStatus:
        """Return the complete status."""
        return await self._ask("GET", "api/status", AdminStatus)

    async def sessions(self) -> AdminSessions:
        """Return the running sessions."""
        return await self._ask("GET", "api/sessions", AdminSessions)

    async def end(self, session_id: str) -> None:
        """End a session."""
        await self._call("DELETE", f"api/sessions/{session_id}")

    async def drain(self) -> int:
        """Replace every ready container. Returns their number."""
        return (await self._ask("DELETE", "api/pool", Drained)).drained

    async def nodes(self) -> tuple[AdminNode, ...]:
        """Return the nodes of the cluster."""
        return (await self._ask("GET", "api/nodes", AdminNodes)).nodes

    async def pause_node(self, node: str) -> AdminNode:
        """Place no new notebooks on a node, and replace its ready ones."""
        return await self._ask("POST", f"api/nodes/{node}/pause", AdminNode)

    async def activate_node(self, node: str) -> AdminNode:
        """Place notebooks on a node again."""
        return await self._ask("POST", f"api/nodes/{node}/activate", AdminNode)

    async def resize(self, size: int) -> PoolStatus:
        """Set the number of containers kept ready."""
        return await self._ask("PATCH", "api/pool", PoolStatus, {"size": size})

    async def close_pool(self, *, to_classes: bool = False) -> PoolStatus:
        """Turn newcomers away, those of classes, too, where `to_classes`."""
        return await self._ask("POST", "api/close?classes=1" if to_classes else "api/close", PoolStatus)

    async def open_pool(self) -> PoolStatus:
        """Let newcomers in again."""
        return await self._ask("POST", "api/open", PoolStatus)

    async def book(self, wish: Mapping[str, object]) -> AdminBooking:
        """Book notebooks for a time; `wish` has the fields of a `BookingRequest`."""
        return await self._ask("POST", "api/bookings", AdminBooking, wish)

    async def bookings(self) -> AdminBookings:
        """Return the bookings that are not over."""
        return await self._ask("GET", "api/bookings", AdminBookings)

    async def cancel(self, booking_id: str) -> AdminBooking:
        """Cancel a booking. Returns what it was."""
        return await self._ask("DELETE", f"api/bookings/{booking_id}", AdminBooking)

    async def replace_link(self, booking_id: str, *, of_teacher: bool) -> AdminBooking:
        """Void the link of a class, or its teacher's, for another one. Returns the booking with it."""
        wish = {"of": "teacher" if of_teacher else "class"}
        return await self._ask("POST", f"api/bookings/{booking_id}/link", AdminBooking, wish)

    async def announce(self, wish: Mapping[str, object]) -> Announcement:
        """Announce something; `wish` has the fields of an `AnnouncementRequest`."""
        return await self._ask("POST", "api/announcements", Announcement, wish)

    async def announcements(self) -> Announcements:
        """Return what is announced."""
        return await self._ask("GET", "api/announcements", Announcements)

    async def withdraw(self, announcement_id: str) -> Announcement:
        """Show an announcement no longer. Returns what it was."""
        return await self._ask("DELETE", f"api/announcements/{announcement_id}", Announcement)

    async def upgrade(self) -> int:
        """Have the installed program take the running one's place. Returns its process id once it serves."""
        return (await self._ask("POST", "api/upgrade", Upgraded, seconds=_UPGRADE_SECONDS)).pid

    async def _ask(
        self, method: str, path: str, model: type[M], body: object = None, *, seconds: float = _ANSWER_SECONDS
    ) -> M:
        answer = await self._call(method, path, body, seconds=seconds)
        try:
            return model.model_validate_json(answer)
        except pydantic.ValidationError as error:
            raise ServiceError(
                f"the server at {self.url} is not a tmpnb-py of this version ({error.error_count()} fields differ)",
                remedy="Use the command from the service's installation, or another --admin-port.",
            ) from error

    async def _call(self, method: str, path: str, body: object = None, *, seconds: float = _ANSWER_SECONDS) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        headers = {} if data is None else {"Content-Type": "application/json"}
        try:
            async with self._session.request(
                method,
                path,
                params=self._query,
                data=data,
                headers=headers,
                allow_redirects=False,
                timeout=_timeout(seconds),
            ) as response:
                answer = await response.content.read(_MAX_ANSWER)
                while chunk := await response.content.read(_MAX_ANSWER):
                    answer += chunk
                    if len(answer) > _MAX_ANSWER:
                        raise ServiceError(f"the server at {self.url} sends an endless answer")
        except TimeoutError as error:
            raise self._silent() from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._unreachable(error) from error
        if response.status >= 300:
            raise self._refused(response.status, answer)
        return answer

    def _silent(self) -> ServiceError:
        return ServiceError(
            f"the service at {self.url} did not answer in time", remedy="Its log shows what it is doing; try again."
        )

    def _unreachable(self, error: Exception) -> ServiceError:
        reason = "nothing listens there" if isinstance(error, aiohttp.ClientConnectorError) else str(error)
        return ServiceError(
            f"no service answers at {self.url} ({reason})",
            remedy="Start it with tmpnb-py serve, or tell its address with --admin-ip, --admin-port or --config.",
        )

    def _refused(self, status: int, answer: bytes) -> ServiceError:
        message = _message(answer) or f"status {status}"
        if status in (401, 403):
            remedy = "Set ADMIN_AUTH_TOKEN to the token that the service was started with."
            what = "does not accept this token" if self._has_token else "demands a token"
            return ServiceError(f"the service at {self.url} {what}", remedy=remedy)
        return ServiceError(f"the service refused: {message}")


def _timeout(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=seconds, sock_connect=_CONNECT_SECONDS)


def _message(answer: bytes) -> str:
    try:
        found: Any = json.loads(answer)
        text = str(found["message"])
    except (ValueError, LookupError, TypeError):
        return ""
    return "".join(char for char in text if char.isprintable())[:500]
