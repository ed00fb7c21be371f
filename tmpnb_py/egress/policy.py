"""What notebooks may reach through the proxy: names, ports and addresses. Pure.

The name is checked as the notebook wrote it, and the addresses after the name was resolved: the proxy then connects
to the very address that was checked, so a name that resolves differently the next time (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import dataclasses
import ipaddress

from tmpnb_py.core.models import Egress
from tmpnb_py.core.web_targets import Address, Target, ports_of, read_target
from tmpnb_py.engines.docker.fence_rules import BLOCKED
from tmpnb_py.options.settings import Settings

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Beside what the firewall of `--egress internet` closes: 6to4 relays, Teredo and other protocols' own (RFC 6890).
_BLOCKED = tuple(map(ipaddress.ip_network, (*BLOCKED, "192.88.99.0/24", "2001::/23", "100::/64", "5f00::/16")))
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL = (ipaddress.IPv6Network("2000::/3"), _NAT64)  # all that is given out (RFC 4291 §2.4); overlays use the rest
_ISATAP, _ISATAP_MASK = 0x00005EFE, 0xFCFFFFFF  # the upper half of an interface's number (RFC 5214 §6.1)


class RefusedError(Exception):
    """What a notebook asks for is not to be had. `status` is the answer's, `reason` its label in the metrics."""

    def __init__(self, status: int, reason: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason


# The labels of refusals in the metrics.
REASONS = ("malformed", "host", "port", "address", "tls", "unresolved", "unreachable")


@dataclasses.dataclass(frozen=True, slots=True)
class WebPolicy:
    """What notebooks may reach, and how much of it.

    `is_open` is False where the operator has closed the web to notebooks that were started with it. `hosts` is empty
    where every host may be reached; `allow` are networks that may be reached beside the public internet. A notebook
    has at most `connections` at a time, and `rate` bytes per second in both directions (0: no limit). `log_hosts`:
    the log says what they reach.
    """

    is_open: bool = True
    ports: frozenset[int] = frozenset((80, 443))
    hosts: tuple[str, ...] = ()
    allow: tuple[Network, ...] = ()
    connections: int = 32
    rate: int = 0
    log_hosts: bool = False

    @classmethod
    def of(cls, settings: Settings) -> WebPolicy:
        """What the options say."""
        return cls(
            is_open=settings.egress is not Egress.NONE,
            ports=frozenset(settings.egress_ports),
            hosts=settings.egress_hosts,
            allow=settings.egress_allow,
            connections=settings.egress_connections,
            rate=settings.egress_rate,
            log_hosts=settings.log_egress_hosts,
        )

    def check(self, target: Target) -> None:
        """Raise `RefusedError` for a host or port that may not be reached."""
        if not self.is_open:
            raise RefusedError(403, "host", "notebooks may not reach the web any more")
        ports = ports_of(target, self.hosts) if self.hosts else frozenset((0,))
        if ports is None:
            raise RefusedError(403, "host", f"notebooks may not reach {target.host}")
        if target.port not in ports and not (0 in ports and target.port in self.ports):
            raise RefusedError(403, "port", f"notebooks may not reach port {target.port} of {target.host}")

    def allows(self, address: Address, *, is_own: bool) -> bool:
        """Whether a connection to the address may be made. `is_own`: it is one of this machine's."""
        if any(one in network for one in {address, carried(address)} for network in self.allow):
            return True
        return not is_own and is_public(address)


def target_of(authority: str, default_port: int | None = None) -> Target:
    """The target that a request names. Raises `RefusedError`."""
    try:
        return read_target(authority, default_port)
    except ValueError as error:
        raise RefusedError(400, "malformed", "the request names no host and port") from error


def carried(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for (mapped, NAT64, 6to4, ISATAP); else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    number = int(address)
    is_isatap = (number >> 32) & _ISATAP_MASK == _ISATAP
    if address.ipv4_mapped is not None or address in _NAT64 or is_isatap:
        return ipaddress.IPv4Address(number & 0xFFFFFFFF)
    return address.sixtofour or address


def is_public(address: Address) -> bool:
    """Whether an address is the public internet's, of whatever machine."""
    if address.version == 6 and not any(address in network for network in _GLOBAL):
        return False
    return not any(one in network for one in {address, carried(address)} for network in _BLOCKED)
