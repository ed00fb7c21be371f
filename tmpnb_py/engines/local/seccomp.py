"""The system call filter of a sandboxed notebook, as a program for the kernel (seccomp(2)). Pure.

Used by the local engine, which passes the program to bubblewrap. It allows what Docker's default profile allows a
container without capabilities; the two lists differ only in form. Docker lists the allowed calls. Here all calls of
kernels up to 6.11 are allowed except those in `_REFUSED`, and later ones do not exist (`ENOSYS`). So in both, a call
that a future kernel adds is closed until somebody has reviewed it.

Stricter than Docker's profile, a notebook gets only the socket families that it needs, and cannot inject input into
terminals.

The program is written by hand because a notebook must start without a compiler or libseccomp, as any user. It is
straight-line code: no loops, and jumps over at most one rule. The kernel caches calls that are allowed whatever
their arguments (Linux 5.11), so these cost nothing.
"""

from __future__ import annotations

import dataclasses
import errno
import itertools
import platform
import struct
from collections.abc import Sequence

# linux/bpf_common.h, linux/seccomp.h: the word load, the jumps and the return values used here.
_LOAD, _EQUAL, _GREATER_EQUAL, _ANY_BIT, _END = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERROR, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
# Offsets in seccomp_data. Both machines are little-endian: an argument's low half comes first, and the kernel reads
# only that half of the arguments checked here.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16

_NAMESPACES = 0x7E020000  # CLONE_NEW*, of clone(2)
_FAMILIES = (1, 2, 10)  # AF_UNIX, AF_INET, AF_INET6
_NETLINK, _NETLINK_ROUTE = 16, 0  # for the machine's own addresses: getifaddrs(3)
_PERSONALITIES = (0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)  # Linux; 32-bit; reporting version 2.6; both; query
_TYPED = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX: inject input into a terminal


@dataclasses.dataclass(frozen=True, slots=True)
class Machine:
    """A processor architecture. `column` is its column in `_CALLS`; `known` are first and last call of each range."""

    column: int
    audit: int  # linux/audit.h
    known: tuple[tuple[int, int], ...]


MACHINES = {
    "x86_64": Machine(0, 0xC000003E, ((0, 334), (424, 462))),
    "aarch64": Machine(1, 0xC00000B7, ((0, 294), (424, 462))),
}

# The call numbers on x86_64 and aarch64; -1 if there is no such call.
_CALLS = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "afs_syscall": (183, -1),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_settime": (227, 112),
    "clone": (56, 220),
    "clone3": (435, 435),
    "create_module": (174, -1),
    "delete_module": (176, 106),
    "epoll_ctl_old": (214, -1),
    "epoll_wait_old": (215, -1),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "get_kernel_syms": (177, -1),
    "get_mempolicy": (239, 236),
    "getpmsg": (181, -1),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioctl": (16, 29),
    "ioperm": (173, -1),
    "iopl": (172, -1),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "listmount": (458, 458),
    "lookup_dcookie": (212, 18),
    "mbind": (237, 235),
    "migrate_pages": (256, 238),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "putpmsg": (182, -1),
    "query_module": (178, -1),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "security": (185, -1),
    "set_mempolicy": (238, 237),
    "set_mempolicy_home_node": (450, 450),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "statmount": (457, 457),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "sysfs": (139, -1),
    "_sysctl": (156, -1),
    "syslog": (103, 116),
    "tuxcall": (184, -1),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "uselib": (134, -1),
    "userfaultfd": (323, 282),
    "ustat": (136, -1),
    "vhangup": (153, 58),
    "vserver": (236, -1),
}
_BY_ARGUMENT = ("clone", "ioctl", "personality", "socket", "socketpair")
# clone3 passes its flags in memory, which a filter cannot read; without it the C library uses clone.
_REFUSED = {**dict.fromkeys(_CALLS, errno.EPERM), "clone3": errno.ENOSYS}


def machine() -> Machine | None:
    """This machine's architecture; None if there is no program for it."""
    return MACHINES.get(platform.machine())


def number(name: str, machine: Machine) -> int:
    """The number of a call in `_CALLS`."""
    return _CALLS[name][machine.column]


def program(machine: Machine) -> bytes:
    """The program as bubblewrap's `--seccomp` takes it: an array of `struct sock_filter`."""
    code = [_step(_LOAD, _ARCHITECTURE), _step(_EQUAL, machine.audit, 1, 0), _end(_KILL)]
    code += [_step(_LOAD, _NUMBER), *_unknown(machine.known)]
    for name in _CALLS:
        if number(name, machine) >= 0:
            rule = _by_argument(name) if name in _BY_ARGUMENT else [_refuse(_REFUSED[name])]
            code += [_step(_EQUAL, number(name, machine), 0, len(rule)), *rule]
    code.append(_end(_ALLOW))
    return b"".join(code)


def _unknown(known: Sequence[tuple[int, int]]) -> list[bytes]:
    """Rules by which calls outside the ranges do not exist, including those of x32 with its far higher numbers."""
    code = []
    for (_, last), (following, _) in itertools.pairwise(known):
        code += [_step(_GREATER_EQUAL, last + 1, 0, 2), _step(_GREATER_EQUAL, following, 1, 0), _refuse(errno.ENOSYS)]
    return [*code, _step(_GREATER_EQUAL, known[-1][1] + 1, 0, 1), _refuse(errno.ENOSYS)]


def _by_argument(name: str) -> list[bytes]:
    """A rule that checks an argument, and returns in every case."""
    if name == "clone":
        return [_load(0), _step(_ANY_BIT, _NAMESPACES, 0, 1), _refuse(errno.EPERM), _end(_ALLOW)]
    if name in ("socket", "socketpair"):
        netlink = [_step(_EQUAL, _NETLINK, 1, 0), _refuse(errno.EAFNOSUPPORT), _load(2)]
        return [_load(0), *_each(_FAMILIES, _end(_ALLOW)), *netlink, *_only((_NETLINK_ROUTE,), errno.EAFNOSUPPORT)]
    if name == "personality":
        return [_load(0), *_only(_PERSONALITIES, errno.EPERM)]
    return [_load(1), *_each(_TYPED, _refuse(errno.EPERM)), _end(_ALLOW)]  # ioctl


def _only(values: Sequence[int], error: int) -> list[bytes]:
    return [*_each(values, _end(_ALLOW)), _refuse(error)]


def _each(values: Sequence[int], end: bytes) -> list[bytes]:
    return [step for value in values for step in (_step(_EQUAL, value, 0, 1), end)]


def _step(operation: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """A `struct sock_filter`."""
    return struct.pack("<HBBI", operation, if_true, if_false, value)


def _load(argument: int) -> bytes:
    return _step(_LOAD, _ARGUMENTS + 8 * argument)


def _end(value: int) -> bytes:
    return _step(_END, value)


def _refuse(error: int) -> bytes:
    return _end(_ERROR | error)
