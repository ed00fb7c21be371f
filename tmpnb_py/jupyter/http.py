"""The only HTTP client for notebook servers, wherever they are."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import yarl
from aiohttp.client_proto import ResponseHandler

from tmpnb_py.core.models import TcpAddress
from tmpnb_py.jupyter.endpoint import Endpoint

_LONGEST_SECONDS = 300.0
_CONNECT_SECONDS = 30.0


class _Connector(aiohttp.BaseConnector):
    """Connects by an endpoint, whatever a URL says: this is the method that aiohttp's own connectors implement."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__()
        self._endpoint = endpoint

    async def _create_connection(self, req: Any, traces: Any, timeout: aiohttp.ClientTimeout) -> ResponseHandler:  # noqa: ARG002, ASYNC109
        try:
            async with asyncio.timeout(timeout.sock_connect):
                return await self._endpoint.connect(self._factory)
        except TimeoutError:
            raise
        except OSError as error:
            raise aiohttp.ClientConnectorError(req.connection_key, error) from error


def http_session(endpoint: Endpoint, token: str, *, seconds: float = _LONGEST_SECONDS) -> aiohttp.ClientSession:
    """A session whose URLs are paths on the server. It keeps no cookies.

    `token` "" sends none; `seconds` bounds each call and WebSocket handshake.
    """
    address = endpoint.address
    if isinstance(address, TcpAddress):  # puts an IPv6 address in brackets (RFC 3986, 3.2.2)
        url = yarl.URL.build(scheme="http", host=address.host, port=address.port, path="/")
    else:
        url = yarl.URL("http://localhost/")
    return aiohttp.ClientSession(
        url,
        connector=_Connector(endpoint),
        headers={"Authorization": f"token {token}"} if token else {},
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=min(seconds, _CONNECT_SECONDS)),
    )
