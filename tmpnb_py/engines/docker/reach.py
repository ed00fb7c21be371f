"""Addresses of notebook servers with a TCP port: a published port, the container's own address, or the host's.

Labels record what the engine's answers do not tell later. Used by the Docker engine only. Pure, except for finding a
free port of the host and the engine's address.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import ipaddress
import socket
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import ContainerConfig, TcpAddress, Transport

LABEL_TRANSPORT = "org.tmpnb.transport"
LABEL_LISTENS = "org.tmpnb.listens"

_LAST_PORT = 65535
_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


def labels_of(config: ContainerConfig, port: int) -> dict[str, str]:
    """The labels that record how to reach the server. `port` is where it listens."""
    labels = {LABEL_TRANSPORT: config.transport.value}
    if config.transport is Transport.ADDRESS:
        labels[LABEL_LISTENS] = str(port)
    elif config.transport is Transport.HOST:
        labels[LABEL_LISTENS] = f"{config.container_ip}:{port}"
    return labels


@dataclasses.dataclass(frozen=True, slots=True)
class Where:
    """The engine's machine: `remote` is its address, "" for this machine."""

    remote: str = ""

    def address_of_entry(self, entry: Mapping[str, Any]) -> TcpAddress | None:
        """The address of a container that `GET /containers/json` lists."""
        return self._address(entry["Labels"], entry.get("NetworkSettings") or {}, self._published(entry["Ports"]))

    def address_of_inspect(self, inspected: Mapping[str, Any]) -> TcpAddress | None:
        """The address of a container by `GET /containers/<id>/json`."""
        settings = inspected.get("NetworkSettings") or {}
        bindings = [binding for bound in (settings.get("Ports") or {}).values() for binding in bound or ()]
        published = [(str(one.get("HostIp") or ""), int(one["HostPort"])) for one in bindings]
        return self._address((inspected.get("Config") or {}).get("Labels") or {}, settings, self._one_of(published))

    def _address(
        self, labels: Mapping[str, str], settings: Mapping[str, Any], published: TcpAddress | None
    ) -> TcpAddress | None:
        transport = labels.get(LABEL_TRANSPORT)
        host, _, port = labels.get(LABEL_LISTENS, "").rpartition(":")
        if transport not in (Transport.ADDRESS, Transport.HOST):
            return published
        if not port.isdecimal():
            return None
        if transport == Transport.HOST:
            return self._reachable(host, int(port))
        networks = (settings.get("Networks") or {}).values()
        addresses = [str(network.get("IPAddress") or network.get("GlobalIPv6Address") or "") for network in networks]
        return next((TcpAddress(address, int(port)) for address in addresses if address), None)

    def _published(self, ports: Iterable[Mapping[str, Any]]) -> TcpAddress | None:
        found = [port for port in ports if port.get("PublicPort") and port.get("Type") == "tcp"]
        return self._one_of([(str(port.get("IP") or ""), int(port["PublicPort"])) for port in found])

    def _one_of(self, published: Iterable[tuple[str, int]]) -> TcpAddress | None:
        """Choose independently of the order, IPv4 first: a changed address would mean a restarted container."""
        first = min(published, key=lambda one: (":" in one[0], one), default=None)
        return None if first is None else self._reachable(*first)

    def _reachable(self, host: str, port: int) -> TcpAddress:
        """Replace "all addresses" with the engine's address: loopback, if it is this machine."""
        if self.remote and host in _EVERYWHERE:
            return TcpAddress(self.remote, port)
        return TcpAddress(_EVERYWHERE.get(host, host), port)

    def see_that_it_is_reached(self, config: ContainerConfig) -> None:
        """Raise `EngineError` if such a container's port is only open on another machine's loopback."""
        by_port = config.transport in (Transport.PORT, Transport.HOST)
        if self.remote and by_port and ipaddress.ip_address(config.container_ip).is_loopback:
            raise EngineError(
                f"notebooks would listen on {config.container_ip} of the engine's machine {self.remote}, which "
                "cannot be reached from here",
                remedy=f"set --container-ip {self.remote}, or 0.0.0.0, and let that machine's firewall keep all but "
                "this one away from its ports",
            )


async def find(base: str) -> Where:
    """Locate the engine whose URL begins with `base`. An unresolvable name counts as this machine."""
    parts = urlsplit(base)
    if parts.scheme == "unix" or not parts.hostname:
        return Where()
    try:
        found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, None, type=socket.SOCK_STREAM)
    except OSError:
        return Where()
    address = str(found[0][4][0])
    return Where() if _is_own(address) else Where(address)


def _is_own(address: str) -> bool:
    """Whether an address belongs to this machine."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def host_port_of(labels: Mapping[str, str]) -> int | None:
    """The host's port that a listed container has."""
    port = labels.get(LABEL_LISTENS, "").rpartition(":")[2]
    return int(port) if labels.get(LABEL_TRANSPORT) == Transport.HOST and port.isdecimal() else None


def free_host_port(ip: str, first: int, taken: Collection[int]) -> int:
    """The first port from `first` on that is neither `taken` nor in use. Raises `EngineError`.

    Another program may take it before the server does. Then the start fails, and the next start gets another port.
    """
    for port in range(first, _LAST_PORT + 1):
        if port not in taken and _is_free(ip, port):
            return port
    raise EngineError(
        f"no port from {first} on is free on {ip}", remedy="choose a lower container_port, or fewer containers"
    )


def _is_free(ip: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ip, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise EngineError(
                f"cannot listen on {ip}: {error.strerror}", remedy="set container_ip to an address of this machine"
            ) from error
    return True
