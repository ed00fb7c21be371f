"""Which protections a container lacks, judged by what a probe saw inside one. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

from tmpnb_py.core.models import ContainerConfig, Egress, Gap, Protection

# One address of each kind that must not be reached. Nothing needs to answer there.
_PRIVATE = ("169.254.169.254", "10.255.255.254", "172.31.255.254", "192.168.255.254")
_PUBLIC = "192.0.2.1"  # TEST-NET-1 (RFC 5737), assigned to nobody
_PRIVATE_SIX, _PUBLIC_SIX = "fd00:ec2::254", "2001:db8::1"
_PORT = 9  # "discard"
GATEWAY = "gateway"
_PAGE = 4096
_LIMITS_OF_ITS_OWN = ("memory", "swap", "processes")
# Errors of a connection that the firewall refuses, or that has no route.
_KEPT_BACK = ("EHOSTUNREACH", "ENETUNREACH", "EACCES", "EPERM", "EADDRNOTAVAIL", "EAFNOSUPPORT")
_REACHED = ("connected", "ECONNREFUSED", "ECONNRESET")

_UPDATE = "update the engine, or use another one"
_ROOTLESS = (
    "use an engine that runs as root: a rootless one limits only where systemd delegates control groups of version 2 "
    "to its user (docs/engines.md)"
)
NO_NEW_PRIVILEGES = "no-new-privileges is not in force"
NO_NEW_PRIVILEGES_IN_SERVICES = (  # what to do about it in a swarm
    'start its Docker engine with --no-new-privileges ("no-new-privileges": true in daemon.json): '
    "services of Docker 20.10 cannot ask for it"
)
NO_PYTHON = Gap(
    Protection.VERIFICATION,
    "the isolation of this image's containers cannot be verified: it has no python3 to check it from inside",
    "install python3 in the image",
)


@dataclasses.dataclass(frozen=True, slots=True)
class EngineLimits:
    """Which limits the engine says it supports, and whether it runs without root (`rootless`)."""

    memory: bool = True
    swap: bool = True
    processes: bool = True
    cpu: bool = True
    rootless: bool = False


def limits_of(info: Mapping[str, Any]) -> EngineLimits:
    """Read them from the answer to Docker's `GET /info`."""
    return EngineLimits(
        memory=bool(info.get("MemoryLimit", True)),
        swap=bool(info.get("SwapLimit", True)),
        processes=bool(info.get("PidsLimit", True)),
        cpu=bool(info.get("CpuCfsQuota", True)),
        rootless=any("name=rootless" in str(one) for one in info.get("SecurityOptions") or ()),
    )


def forbidden(config: ContainerConfig, *, fenced: bool) -> list[tuple[str, int]]:
    """Addresses and ports that such a container must not reach. `fenced`: its network has our firewall rules."""
    if not fenced:
        return [(_PUBLIC, _PORT), (_PUBLIC_SIX, _PORT)]
    closed = config.egress is not Egress.INTERNET
    targets = [*_PRIVATE, GATEWAY, _PRIVATE_SIX, *((_PUBLIC, _PUBLIC_SIX) if closed else ())]
    return [(target, _PORT) for target in targets]


def gaps_of(
    config: ContainerConfig, facts: Mapping[str, Any], limits: EngineLimits, *, own_kernel: bool = False
) -> Iterator[Gap]:
    """The protections that a probe container lacks, by the facts that it printed (`docker.probe_inside`).

    `own_kernel`: the runtime's own kernel answers system calls (gVisor), so no filter needs to keep them from the
    machine's. It shows control groups of its own, which limit nothing: the engine limits the sandbox as a whole, and
    all the memory that this kernel knows is that limit.
    """
    seen = facts["limits"]
    if own_kernel:
        seen = {name: limit for name, limit in seen.items() if name not in _LIMITS_OF_ITS_OWN}
        seen["memory"] = seen.get("all memory")
    yield from _privileges(facts, own_kernel=own_kernel)
    yield from _memory(config, seen, limits)
    processes = seen.get("processes", config.pids_limit if limits.processes else None)
    if config.pids_limit and (processes is None or processes > config.pids_limit):
        text = "the number of processes is not limited, so one visitor can stop the whole machine"
        remedy = _ROOTLESS if limits.rootless else "enable the kernel's control group pids"
        yield Gap(Protection.PROCESSES, text, remedy)
    if config.cpu_quota and not limits.cpu:
        yield Gap(None, "the engine cannot limit CPU time: cpu_quota has no effect")


def _privileges(facts: Mapping[str, Any], *, own_kernel: bool) -> Iterator[Gap]:
    held = [name for name in ("CapEff", "CapPrm", "CapBnd") if int(facts[name] or "1", 16)]
    if held:
        yield Gap(Protection.PRIVILEGES, f"containers keep capabilities ({', '.join(held)})", _UPDATE)
    if facts["NoNewPrivs"] != "1":
        yield Gap(Protection.PRIVILEGES, NO_NEW_PRIVILEGES, _UPDATE)
    if facts["Seccomp"] != "2" and not own_kernel:
        text = "no seccomp filter is in force, so visitors can make every system call"
        yield Gap(Protection.SECCOMP, text, "use an engine with seccomp and its default profile")


def _memory(config: ContainerConfig, seen: Mapping[str, int | None], limits: EngineLimits) -> Iterator[Gap]:
    memory = seen.get("memory", config.mem_limit if limits.memory else None)
    if memory is None or memory > config.mem_limit + _PAGE:
        text = "memory is not limited, so one visitor can use all of the machine's memory"
        remedy = "enable the kernel's control group memory (cgroup_enable=memory)"
        yield Gap(Protection.MEMORY, text, _ROOTLESS if limits.rootless else remedy)
    swap = seen.get("swap", 0 if limits.swap else None)
    if swap is None or swap > _PAGE:
        yield Gap(
            None,
            "swap is not limited: notebooks use it beyond mem_limit (swapaccount=1 on the kernel's command line)",
        )


def reached(facts: Mapping[str, Any], config: ContainerConfig) -> Iterator[Gap]:
    """Forbidden addresses that it reached or may have reached, except those that the operator opened."""
    seen: Mapping[str, str] = facts["attempts"]
    odd = {host: result for host, result in seen.items() if result not in _KEPT_BACK}
    wrong = {host: result for host, result in odd.items() if not _is_allowed(host, config)}
    if not wrong:
        return
    named = ", ".join(f"{_named(host, facts)} ({_result(result)})" for host, result in sorted(wrong.items()))
    text = f"a container reaches addresses that it must not: {named}"
    yield Gap(Protection.NETWORK, text, "find out what else changes this machine's firewall")


def neighbours(facts: Mapping[str, Any], neighbour: str) -> Iterator[Gap]:
    """Whether one container on the network reached another."""
    if facts["attempts"].get(neighbour) in _REACHED:
        text = "containers on one network reach each other, although the engine was told to separate them"
        yield Gap(Protection.NETWORK, text, "load the kernel module br_netfilter, or use another engine")


def told(warnings: Sequence[str]) -> Iterator[Gap]:
    """The engine's own warnings about a container, which nobody would see otherwise."""
    for warning in warnings:
        yield Gap(None, f"the engine says: {warning}")


def _is_allowed(host: str, config: ContainerConfig) -> bool:
    opened = config.egress_allow if config.egress is Egress.INTERNET else ()
    return any(ip_address(host) in ip_network(network) for network in opened)


def _named(host: str, facts: Mapping[str, Any]) -> str:
    return f"this machine at {host}" if host == facts["gateway"] else host


def _result(result: str) -> str:
    return {"silent": "not blocked"}.get(result, result)
