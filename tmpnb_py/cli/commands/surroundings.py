"""What `doctor` finds round the service: clock, disks, limits of the kernel, the network. Changes nothing.

What is read is this machine's, so of an engine on another one only what that engine tells is judged.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tmpnb_py.cli.commands.findings import Finding, Grade
from tmpnb_py.cli.commands.output import size
from tmpnb_py.core.models import Egress, EngineInfo
from tmpnb_py.core.units import GIB, MIB
from tmpnb_py.options.settings import Settings

_SKEW = 5.0  # seconds; a cookie, a booking or a log is off by so much without harm
_SMALL, _ROOMY = 1 * MIB, 16 * MIB  # of runtime and state directory, which hold sockets and small files
_FULL, _TIGHT = 256 * MIB, 2 * GIB  # of the engine's data
_ETHERNET = 1500  # bytes; the MTU of a bridge that nobody has set otherwise
_WEB_SECONDS = 5.0
_USUAL_HOST = "pypi.org"  # what nearly every notebook that may reach the web asks first
_PROXY_VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
_SIOCGIFMTU = 0x8921  # linux/sockios.h
_WATCHERS = Path("/proc/sys/fs/inotify/max_user_instances")
_ROUTES = Path("/proc/net/route")

# What the engine says of itself, in words that Docker has used since 1.13, and what follows from it.
_SHORTCOMINGS = {
    "no memory limit": "A notebook can take all memory: boot with cgroup_enable=memory.",
    "no swap limit": "A notebook may swap beside its mem_limit: boot with swapaccount=1, or use control groups v2.",
    "no cpu cfs": "cpu_quota has no effect: use a kernel with CONFIG_CFS_BANDWIDTH.",
    "no pids limit": "pids_limit has no effect: use a kernel with CONFIG_CGROUP_PIDS.",
    "without encryption": "Whoever reaches that port is root there: take --host tcp:// from dockerd, or use its TLS.",
}


def of_engine(info: EngineInfo, pools: Sequence[Settings]) -> Iterator[Finding]:
    """What the engine says of itself and its machine."""
    if abs(info.ahead) > _SKEW:
        text = f"the engine's clock is {abs(info.ahead):.0f} s {'ahead' if info.ahead > 0 else 'behind'}"
        yield Finding(Grade.WARN, "clock", text, "Have both machines keep time (timedatectl set-ntp true).")
    for said in info.shortcomings:
        if remedy := next((then for words, then in _SHORTCOMINGS.items() if words in said.lower()), ""):
            first = said.splitlines()[0].removeprefix("WARNING: ")
            yield Finding(Grade.WARN, "limits", f"the engine says: {first}", remedy)
    if not info.forwards and any(one.egress is Egress.INTERNET for one in pools):
        text = "IPv4 forwarding is off on the engine's machine: notebooks with egress internet reach nothing"
        yield Finding(
            Grade.WARN, "forwarding", text, "sysctl -w net.ipv4.ip_forward=1, and the same in /etc/sysctl.d/."
        )
    if info.confinement:
        yield Finding(Grade.OK, "confinement", f"the engine has {', '.join(info.confinement)}")


def is_here(info: EngineInfo) -> bool:
    """Whether the engine's machine is this one, as far as can be seen."""
    return bool(info.data_root) and _is_dir(Path(info.data_root))


def _is_dir(path: Path) -> bool:
    """Whether it is a directory that can be seen. What other users hide is no error."""
    try:
        return path.is_dir()
    except PermissionError:
        return False


def of_disks(settings: Settings, info: EngineInfo | None) -> Iterator[Finding]:
    """Whether there is room where the service, and the engine if it is here, write."""
    places = [("runtime_dir", settings.runtime_path), ("state_dir", settings.state_path)]
    found = [_disk(name, place, _SMALL, _ROOMY, "Free some, or name another directory.") for name, place in places]
    if info is not None and info.data_root:
        remedy = "Mostly old images: docker system df tells, docker image prune removes those without a name."
        found.append(_disk("the engine's data", Path(info.data_root), _FULL, _TIGHT, remedy))
    yield from filter(None, found)


def _disk(name: str, place: Path, full: int, tight: int, remedy: str) -> Finding | None:
    """None for a directory that cannot be seen from here."""
    there = next((one for one in (place, *place.parents) if _is_dir(one)), None)
    if there is None or (name == "the engine's data" and there != place):
        return None
    try:
        about = os.statvfs(there)
    except OSError:
        return None
    free = about.f_bavail * about.f_frsize
    text = f"{name}: {size(free)} free in {there}"
    if about.f_files and about.f_favail < about.f_files // 100:
        return Finding(Grade.WARN, "disk", f"{text}, but only {about.f_favail} more files fit (inodes)", remedy)
    grade = Grade.FAIL if free < full else Grade.WARN if free < tight else Grade.OK
    return Finding(grade, "disk", text, "" if grade is Grade.OK else remedy)


def of_watchers(pools: Sequence[Settings]) -> Iterator[Finding]:
    """Whether each ready notebook can watch files once: the limit is of all that run as the same user."""
    try:
        limit = int(_WATCHERS.read_text())
    except (OSError, ValueError):
        return
    wanted = sum(one.largest_size for one in pools)
    if limit < wanted:
        text = (
            f"fs.inotify.max_user_instances lets {limit} programs of a user watch files; {wanted} notebooks are ready"
        )
        remedy = f"sysctl -w fs.inotify.max_user_instances={max(512, 2 * wanted)}, and the same in /etc/sysctl.d/."
        yield Finding(Grade.WARN, "watchers", text, remedy)


def of_network(pools: Sequence[Settings], *, is_here: bool) -> Iterator[Finding]:
    """Whether what notebooks send to the internet fits the way out. `is_here`: the engine is on this machine."""
    device = _way_out() if is_here and any(one.egress is Egress.INTERNET for one in pools) else None
    if device is None:
        return
    try:
        mtu = _mtu(device)
    except OSError:
        return
    if mtu < _ETHERNET:
        text = f"{device}, the way out, carries {mtu} bytes at once, notebooks send {_ETHERNET}: downloads hang"
        clamp = "iptables -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu"
        remedy = f"{clamp}, at each boot."
        yield Finding(Grade.WARN, "mtu", text, remedy)


def _mtu(device: str) -> int:
    """Of a device of this network namespace; /sys may show another one's. `struct ifreq` of netdevice(7)."""
    asked = struct.pack("16si12x", device.encode(), 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        told: bytes = fcntl.ioctl(any_socket, _SIOCGIFMTU, asked)
    mtu: int = struct.unpack_from("16si", told)[1]
    return mtu


def _way_out() -> str | None:
    """The device of the default route."""
    try:
        rows = [line.split() for line in _ROUTES.read_text().splitlines()[1:]]
    except OSError:
        return None
    return next((row[0] for row in rows if len(row) > 7 and row[1] == row[7] == "00000000"), None)


async def of_web(pools: Sequence[Settings], environ: Mapping[str, str]) -> list[Finding]:
    """Whether this service reaches the web, where notebooks do by it: names, then a connection."""
    asked = [one for one in pools if one.egress is Egress.WEB]
    if not asked:
        return []
    named = next((host for one in asked for host in one.egress_hosts if host[:1].isalnum()), _USUAL_HOST)
    host, _, port = named.partition(":")
    try:
        async with asyncio.timeout(_WEB_SECONDS):
            _, writer = await asyncio.open_connection(host, int(port or 443))
        writer.close()
    except socket.gaierror as error:
        text = f"the name {host} does not resolve: {error.strerror}"
        return [
            Finding(Grade.WARN, "web", text, "See /etc/resolv.conf: notebooks' names are looked up by this service.")
        ]
    except (OSError, TimeoutError) as error:
        text = f"{host} is not reached: {getattr(error, 'strerror', None) or 'no answer in time'}"
        if proxy := next((name for name in _PROXY_VARIABLES if environ.get(name)), ""):
            text += f"; {proxy} is set, which notebooks' connections do not use"
        return [Finding(Grade.WARN, "web", text, "Let this machine connect to the web's ports in its firewall.")]
    return [Finding(Grade.OK, "web", f"{host} is reached, as notebooks reach it by this service")]
