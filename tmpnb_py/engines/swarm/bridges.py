"""A Unix socket here for each notebook elsewhere, so that whoever talks to notebooks need not know where they are.

Each connection is put through to the notebook's relay. While that is away, whoever asks gets a 503 that says so and
when to come again: the notebook most likely lives on, and JupyterLab and browsers do come again. So does who only
reads and whose relay is lost before it has said anything. Who changes something may have done so: there the
connection just ends, and nothing invites to do it twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import SocketAddress
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.engines.docker.options import SOCKET_NAME, is_id
from tmpnb_py.engines.swarm import wire
from tmpnb_py.engines.swarm.wire import Connection, RelayAwayError

_HEAD_LIMIT = 64 * 1024
_ANSWER_SECONDS = 10.0
_BACKLOG = 512
_ONLY_READS = (b"GET ", b"HEAD ", b"OPTIONS ")
_TEXT = b"The machine of this notebook is out of reach at the moment. Please try again.\n"
_AWAY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Cache-Control: no-store\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(_TEXT), _TEXT)
)


class Bridges:
    """One listener per notebook of a pool, in `<runtime_dir>/relayed/<pool>/<id>`, which only this user may enter.

    `reach` connects to a notebook by its id.
    """

    def __init__(self, runtime_dir: Path, pool: str, reach: Callable[[str], Awaitable[Connection]]) -> None:
        self._root = Path(os.path.abspath(runtime_dir)) / "relayed" / pool  # noqa: PTH100 - resolve() follows links
        self._reach = reach
        self._servers: dict[str, asyncio.AbstractServer] = {}
        self._connections: dict[str, Tasks] = {}
        self._opening = asyncio.Lock()

    async def open(self, container_id: str) -> SocketAddress:
        """Where the notebook is to be reached from here; made where it is not yet."""
        directory = self._directory(container_id)
        async with self._opening:  # who starts a notebook and who lists it must not both listen
            if container_id not in self._servers:
                try:
                    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                    self._servers[container_id] = await self._listen(container_id, directory)
                except OSError as error:
                    raise EngineError(
                        f"cannot make a socket: {error}",
                        remedy="give the option runtime-dir a directory that belongs to this user",
                    ) from error
        return SocketAddress(str(directory), SOCKET_NAME)

    async def _listen(self, container_id: str, directory: Path) -> asyncio.AbstractServer:
        tasks = self._connections.setdefault(container_id, Tasks())
        serve = wire.serve_by(tasks, "bridge", functools.partial(self._serve, container_id))
        (directory / SOCKET_NAME).unlink(missing_ok=True)  # of a process before this one
        place = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:  # by way of the descriptor: a directory's path may exceed the 107 bytes of unix(7)
            path = f"/proc/self/fd/{place}/{SOCKET_NAME}"
            return await asyncio.start_unix_server(serve, path, backlog=_BACKLOG, limit=_HEAD_LIMIT)
        finally:
            os.close(place)

    async def close(self, container_id: str) -> None:
        """Stop listening for a notebook, cut its connections, and remove its directory."""
        directory = self._directory(container_id)
        server = self._servers.pop(container_id, None)
        if server is not None:
            server.close()
        await self._connections.pop(container_id, Tasks()).close()
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    async def keep(self, ids: set[str]) -> None:
        """Close all others."""
        for gone in self._servers.keys() - ids:
            await self.close(gone)

    async def close_all(self) -> None:
        """Stop listening; the notebooks stay."""
        for server in self._servers.values():
            server.close()
        self._servers.clear()
        connections, self._connections = self._connections, {}
        for tasks in connections.values():
            await tasks.close()

    def remove_pool(self) -> None:
        """Remove the pool's directory."""
        shutil.rmtree(self._root, ignore_errors=True)

    def _directory(self, container_id: str) -> Path:
        if not is_id(container_id):
            raise EngineError(f"not a container id: {container_id!r}")
        return self._root / container_id

    async def _serve(self, container_id: str, visitor: Connection) -> None:
        head = b""
        with contextlib.suppress(OSError):
            head = await visitor[0].read(_HEAD_LIMIT)
        if not head:
            return
        try:
            notebook = await self._reach(container_id)
            notebook[1].write(head)
            await wire.join(visitor, notebook, unanswered=functools.partial(self._unanswered, container_id, head))
        except RelayAwayError:
            with contextlib.suppress(OSError):
                async with asyncio.timeout(_ANSWER_SECONDS):
                    visitor[1].write(_AWAY)
                    await visitor[1].drain()
        except EngineError:  # its server does not answer: neither do we
            pass

    async def _unanswered(self, container_id: str, head: bytes) -> bytes:
        """What is said to whom the notebook has said nothing; b"" where its relay answers: it was its own doing."""
        if head.startswith(_ONLY_READS):
            try:
                (await self._reach(container_id))[1].close()
            except RelayAwayError:
                return _AWAY
            except EngineError:
                pass
        return b""
