"""The filter of system calls, run step by step as the kernel does, for both kinds of processors."""

from __future__ import annotations

import errno
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tmpnb_py.engines.local import seccomp
from tmpnb_py.engines.local.seccomp import MACHINES, Machine

ALLOWED, KILLED = 0x7FFF0000, 0x80000000
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


@pytest.fixture(params=sorted(MACHINES))
def machine(request: pytest.FixtureRequest) -> Machine:
    return MACHINES[request.param]


def steps(machine: Machine) -> list[tuple[int, int, int, int]]:
    return list(struct.iter_unpack("<HBBI", seccomp.program(machine)))


def run(machine: Machine, number: int, *arguments: int, audit: int | None = None) -> int:
    """What the filter answers to a call (linux/filter.h, for the few operations that there are)."""
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<IIQ6Q", number, machine.audit if audit is None else audit, 0, *padded)
    at, word, program = 0, 0, steps(machine)
    while True:
        operation, if_true, if_false, value = program[at]
        at += 1
        if operation == 0x20:
            word = struct.unpack_from("<I", data, value)[0]
        elif operation == 0x06:
            return value
        else:
            test = {0x15: word == value, 0x35: word >= value, 0x45: bool(word & value)}[operation]
            at += if_true if test else if_false


def refused(machine: Machine, name: str, *arguments: int) -> int:
    """The error that a call gets; 0 where it is let through."""
    answer = run(machine, seccomp.number(name, machine), *arguments)
    assert answer == ALLOWED or answer >> 16 == 5, name
    return 0 if answer == ALLOWED else answer & 0xFFFF


def names(machine: Machine) -> Iterator[str]:
    return (name for name in seccomp._CALLS if seccomp.number(name, machine) >= 0)


def test_the_kernel_would_take_it(machine: Machine) -> None:
    program = steps(machine)
    assert len(program) <= 4096
    assert program[-1][0] == 0x06
    for at, (operation, if_true, if_false, _) in enumerate(program):
        assert at + max(if_true, if_false) + 1 < len(program) or operation == 0x06


def test_other_interfaces_of_the_same_kernel_are_closed(machine: Machine) -> None:
    """32-bit programs have numbers of their own, by which everything else here could be walked round."""
    for audit in (0x40000003, 0x40000028, 0xC00000B7, 0xC000003E, 0):
        if audit != machine.audit:
            assert run(machine, 39, audit=audit) == KILLED
    for number in (0x40000000 | 39, 0x40000000 | 250, 335, 423, 512, 547, 463, 0xFFFFFFFF):  # x32, none, later ones
        assert run(machine, number) == 0x50000 | errno.ENOSYS


def test_what_a_notebook_does_is_let_through(machine: Machine) -> None:
    others = {
        "x86_64": (0, 1, 9, 59, 101, 202, 262, 317, 319, 334, 424, 434, 449),
        "aarch64": (63, 64, 98, 117, 221, 277),
    }
    (kind,) = (name for name, one in MACHINES.items() if one is machine)
    for number in others[kind]:
        assert run(machine, number) == ALLOWED
    assert not refused(machine, "clone", 0x003D0F00)  # a thread
    assert not refused(machine, "clone", 0x01200011)  # a process
    for family in (1, 2, 10):
        assert not refused(machine, "socket", family, 1, 0)
    assert not refused(machine, "socket", 16, 3, 0)
    assert not refused(machine, "personality", 0xFFFFFFFF)
    assert not refused(machine, "ioctl", 0, 0x5413)


def test_the_rest_is_refused(machine: Machine) -> None:
    by_argument = {"clone", "ioctl", "personality", "socket", "socketpair"}
    for name in set(names(machine)) - by_argument:
        assert refused(machine, name), name
    assert refused(machine, "clone3") == errno.ENOSYS  # the C library then takes clone
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert refused(machine, "clone", 0x11 | flag) == errno.EPERM
    for family in (0, 3, 5, 15, 17, 29, 30, 31, 38, 40, 44, 45, (1 << 32) - 1):
        assert refused(machine, "socket", family, 1, 0) == errno.EAFNOSUPPORT
        assert refused(machine, "socketpair", family, 1, 0) == errno.EAFNOSUPPORT
    for protocol in (9, 12, 15, 16):
        assert refused(machine, "socket", 16, 3, protocol) == errno.EAFNOSUPPORT
    assert refused(machine, "personality", 0x0400000) == errno.EPERM
    assert refused(machine, "ioctl", 0, 0x5412) == errno.EPERM


def test_what_the_kernel_does_not_read_of_an_argument_does_not_matter(machine: Machine) -> None:
    high = 1 << 32
    assert refused(machine, "socket", high | 40, 1, 0)
    assert not refused(machine, "socket", high | 1, 1, 0)
    assert refused(machine, "clone", high | 0x10000011)
    assert refused(machine, "ioctl", 0, high | 0x5412)


@pytest.mark.parametrize("kind", sorted(MACHINES))
def test_numbers_are_the_kernels(kind: str) -> None:
    if not HEADERS[kind].exists():
        pytest.skip("the kernel's headers are not installed")
    text = HEADERS[kind].read_text()
    theirs = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text)}
    for name in names(MACHINES[kind]):
        number = seccomp.number(name, MACHINES[kind])
        # Headers of an older kernel lack the last ones; nothing else may have their numbers.
        assert theirs.get(name, number) == number
        assert name in theirs or number not in set(theirs.values()) - {theirs.get("syscalls")}
