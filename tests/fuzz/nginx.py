"""A real nginx as a second reader of the same bytes, and servers that write down what reaches them.

Each lane has its own: `front` is nginx before a recorder, in the proxy's place; `behind` is
nginx as the notebook server that the proxy talks to, before another recorder.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
from collections.abc import AsyncIterator
from pathlib import Path

from tests.fuzz.memory import FIELD, Request, read_requests
from tests.nginx_support import nginx

_HTTP = """\
    map $request $tmpnb_host {
        default $http_host;
        "~^[^ ]+ [A-Za-z]+://(?<named>[^/? ]+)" $named;
    }
    large_client_header_buffers 8 64k;
    underscores_in_headers on;
    ignore_invalid_headers off;
    client_header_timeout 5s;
    client_body_timeout 5s;
    lingering_close always;
    proxy_http_version 1.1;
    proxy_ignore_client_abort on;
    proxy_set_header Host $tmpnb_host;
    proxy_set_header Upgrade $http_upgrade;
"""
_SERVER = "server {{ listen unix:{path}; location / {{ proxy_pass http://127.0.0.1:{recorder}; }} }}\n"
_PATIENT = re.compile(rb"([^:\s]+):[ \t]*([^\r\n]*?)[ \t]*")


class Recorder:
    """A server that answers each whole request and keeps it; what the reader does not take is `malformed`.

    nginx passes a tab at the end of a value on, so what comes from it is read with more patience.
    """

    def __init__(self, *, of_nginx: bool = False) -> None:
        self._field = _PATIENT if of_nginx else FIELD
        self.requests: list[Request] = []
        self.malformed: list[bytes] = []
        self.port = 0
        self._server: asyncio.Server

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more."""
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = b""
        try:
            while part := await reader.read(65536):
                data, size = data + part, 1
                while size:  # the reader stops after an upgrade; it is refused here, so more requests follow
                    requests, size = read_requests(data, field=self._field)
                    data = data[size:]
                    for request in requests[: None if not requests or requests[-1].complete else -1]:
                        self.requests.append(request)
                        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        except ConnectionError:
            pass
        except AssertionError:
            self.malformed.append(data)
        writer.close()


@dataclasses.dataclass
class Lane:
    """What one message at a time is sent through."""

    front: Path
    behind: Path
    recorder_of_front: Recorder
    recorder_of_behind: Recorder


@contextlib.asynccontextmanager
async def nginx_lanes(directory: Path, count: int) -> AsyncIterator[list[Lane]]:
    """One nginx with two servers per lane. Skips the test where nginx is not installed."""
    servers, lanes = "", []
    for number in range(count):
        (place := directory / str(number)).mkdir()
        lane = Lane(place / "front", place / "behind", Recorder(of_nginx=True), Recorder(of_nginx=True))
        lanes.append(lane)
        await lane.recorder_of_front.start()
        await lane.recorder_of_behind.start()
        servers += _SERVER.format(path=lane.front, recorder=lane.recorder_of_front.port)
        servers += _SERVER.format(path=lane.behind, recorder=lane.recorder_of_behind.port)
    try:
        async with nginx(directory, _HTTP + servers, place=lanes[-1].behind, main="master_process off;"):
            yield lanes
    finally:
        for lane in lanes:
            await lane.recorder_of_front.stop()
            await lane.recorder_of_behind.stop()


async def send(where: int | Path, data: bytes, *, half_close: bool = True) -> tuple[bytes, bool]:
    """What a client gets who sends these bytes and then no more, and whether the connection was reset."""
    if isinstance(where, Path):
        reader, writer = await asyncio.open_unix_connection(where)
    else:
        reader, writer = await asyncio.open_connection("127.0.0.1", where)
    answer = b""
    try:
        async with asyncio.timeout(60):
            writer.write(data)
            if half_close:
                with contextlib.suppress(OSError):  # it is closed already
                    writer.write_eof()
            while part := await reader.read(65536):
                answer += part
    except ConnectionError:
        return answer, True
    finally:
        writer.close()
    return answer, False
