"""What one client may take of the proxy, and which proxies in front are believed."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

from tmpnb_py.core.units import KIB, MIB
from tmpnb_py.options import values
from tmpnb_py.options.declaration import Group, Reload, option
from tmpnb_py.options.values import SOON, Kind, Network, Quantity


class ProxyOptions(Group):
    """Limits and timeouts of the proxy."""

    title: ClassVar[str] = "Proxy"

    trusted_proxies: Annotated[tuple[Network, ...], BeforeValidator(values.read_networks), NoDecode] = option(
        (),
        "Addresses and networks of reverse proxies whose X-Forwarded headers are believed (comma list).",
        reload=Reload.RESTART,
    )
    max_head_size: Annotated[int, Quantity(Kind.SIZE, 4 * KIB, MIB)] = option(
        32 * KIB,
        "Room for the first line and the headers of a request (size); an answer's may have 64k.",
        reload=Reload.RESTART,
    )
    head_timeout: Annotated[float, SOON] = option(
        15.0, "Time in which a client has to send its headers (duration).", reload=Reload.AT_ONCE
    )
    body_timeout: Annotated[float, SOON] = option(
        60.0,
        "Time without progress after which a client's upload is given up (duration).",
        reload=Reload.AT_ONCE,
    )
    write_timeout: Annotated[float, SOON] = option(
        60.0,
        "Time without progress after which a client that does not read its answer is given up (duration).",
        reload=Reload.AT_ONCE,
    )
    keepalive_timeout: Annotated[float, SOON] = option(
        75.0, "Time that an idle client connection is kept open (duration).", reload=Reload.AT_ONCE
    )
    proxy_keepalive_timeout: Annotated[float, SOON] = option(
        3600.0,
        "The same of a connection of trusted_proxies (duration): longer than they keep them, or requests that they "
        "send into one that just closes are answered 502.",
        reload=Reload.AT_ONCE,
    )
    connect_timeout: Annotated[float, SOON] = option(
        10.0, "Time in which a container has to accept a connection (duration).", reload=Reload.AT_ONCE
    )
    response_timeout: Annotated[float, SOON] = option(
        300.0, "Time in which a container has to begin its answer (duration).", reload=Reload.AT_ONCE
    )
    max_connections: Annotated[int, Quantity(Kind.NUMBER, 1, 1_000_000)] = option(
        10000, "Number of client connections at the same time.", reload=Reload.AT_ONCE
    )
    max_connections_per_address: Annotated[int, Quantity(Kind.NUMBER, 1, 1_000_000, zero="no limit")] = option(
        2500,
        "Number of connections that one client address (of IPv6, one /64 network) may hold; 0 is no limit. Those of "
        "trusted proxies are not held to it. A browser with a notebook holds about ten, and a whole class may share "
        "an address.",
        reload=Reload.AT_ONCE,
    )
