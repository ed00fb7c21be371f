"""What one client may take of the proxy, and which proxies in front are believed."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

from tmpnb_py.core.units import KIB, MIB
from tmpnb_py.options import values
from tmpnb_py.options.declaration import Group, Reload, option
from tmpnb_py.options.kinds import SOON, Kind, Quantity
from tmpnb_py.options.values import Network


class ProxyOptions(Group):
    """Limits and timeouts of the proxy."""

    title: ClassVar[str] = "Proxy"

    trusted_proxies: Annotated[tuple[Network, ...], BeforeValidator(values.read_networks), NoDecode] = option(
        (),
        "Addresses and networks of reverse proxies whose X-Forwarded headers are trusted (comma list).",
        reload=Reload.AT_ONCE,
    )
    max_head_size: Annotated[int, Quantity(Kind.SIZE, 4 * KIB, MIB)] = option(
        32 * KIB,
        "Maximum size of a request's first line and headers (size); those of a response may take 64k.",
        reload=Reload.RESTART,
    )
    head_timeout: Annotated[float, SOON] = option(
        15.0, "Time for a client to send its headers (duration).", reload=Reload.AT_ONCE
    )
    body_timeout: Annotated[float, SOON] = option(
        60.0,
        "Time without progress after which a client's upload is aborted (duration).",
        reload=Reload.AT_ONCE,
    )
    write_timeout: Annotated[float, SOON] = option(
        60.0,
        "Time without progress after which a client that does not read its response is dropped (duration).",
        reload=Reload.AT_ONCE,
    )
    keepalive_timeout: Annotated[float, SOON] = option(
        75.0, "Time that an idle client connection is kept open (duration).", reload=Reload.AT_ONCE
    )
    proxy_keepalive_timeout: Annotated[float, SOON] = option(
        3600.0,
        "Time that an idle connection of trusted_proxies is kept open (duration): longer than they keep it, or a "
        "request that they send on a connection that is just closing gets 502.",
        reload=Reload.AT_ONCE,
    )
    connect_timeout: Annotated[float, SOON] = option(
        10.0, "Time for a container to accept a connection (duration).", reload=Reload.AT_ONCE
    )
    response_timeout: Annotated[float, SOON] = option(
        300.0, "Time for a container to begin its response (duration).", reload=Reload.AT_ONCE
    )
    max_connections: Annotated[int, Quantity(Kind.NUMBER, 1, 1_000_000)] = option(
        10000, "Maximum number of simultaneous client connections.", reload=Reload.AT_ONCE
    )
    max_connections_per_address: Annotated[int, Quantity(Kind.NUMBER, 1, 1_000_000, zero="no limit")] = option(
        2500,
        "Maximum number of connections per client address (for IPv6, per /64 network); 0 is no limit. Connections "
        "of trusted proxies are exempt. A browser with a notebook holds about ten, and a whole class may share an "
        "address.",
        reload=Reload.AT_ONCE,
    )
