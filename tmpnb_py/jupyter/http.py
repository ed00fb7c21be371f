"""The only HTTP client for notebook servers, on Unix sockets, IPv4 and IPv6."""

from __future__ import annotations

import aiohttp
import yarl

from tmpnb_py.core.models import SocketAddress
from tmpnb_py.jupyter.endpoint import Endpoint

_LONGEST_SECONDS = 300.0
_CONNECT_SECONDS = 30.0


def http_session(endpoint: Endpoint, token: str, *, seconds: float = _LONGEST_SECONDS) -> aiohttp.ClientSession:
    """A session whose URLs are paths on the server. It keeps no cookies.

    `token` "" sends none; `seconds` bounds each call and WebSocket handshake. Raises `OSError` if the
    server's socket cannot be pinned.
    """
    path, address = endpoint.unix_path, endpoint.address
    connector = aiohttp.TCPConnector() if path is None else aiohttp.UnixConnector(path)
    if isinstance(address, SocketAddress):
        url = yarl.URL("http://localhost/")
    else:  # puts an IPv6 address in brackets (RFC 3986, 3.2.2)
        url = yarl.URL.build(scheme="http", host=address.host, port=address.port, path="/")
    return aiohttp.ClientSession(
        url,
        connector=connector,
        headers={"Authorization": f"token {token}"} if token else {},
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=min(seconds, _CONNECT_SECONDS)),
    )
