"""What `doctor` finds, where to read on, and what it says of a cluster's nodes. Pure."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Iterator, Sequence

from tmpnb_py.core.models import NodeState, NodeStatus

_PORTS = "TCP 2377 and 7946, and UDP 7946 and 4789, have to be open between all nodes"


# The section of docs/troubleshooting.md that is about each subject.
SECTIONS = {
    "clock": "clocks-differ",
    "confinement": "seccomp-apparmor-and-selinux",
    "disk": "disk-fills-up",
    "engine": "the-engine-does-not-answer",
    "files": "the-service-is-short-of-files",
    "forwarding": "ipv4-forwarding-is-off",
    "image": "the-image-is-missing",
    "isolation": "notebooks-would-not-be-kept-apart",
    "kernel": "no-kernel-becomes-idle",
    "limits": "the-engine-lacks-a-limit",
    "managers": "nodes-of-a-swarm",
    "memory": "memory-does-not-suffice",
    "mtu": "downloads-hang-in-a-notebook",
    "nodes": "nodes-of-a-swarm",
    "permissions": "the-runtime-directory-is-somebody-elses",
    "pool": "the-pool-is-managed-by-another-tmpnb-py",
    "ports": "a-port-is-taken",
    "proxy": "behind-a-proxy",
    "settings": "warnings-of-options",
    "start": "no-notebook-can-be-started-at-the-moment",
    "versions": "reporting-a-fault",
    "warm": "no-kernel-is-started-ahead",
    "watchers": "programs-that-watch-files-fail",
    "web": "the-web-is-not-reached",
    "workshops": "a-workshop-is-offered-twice",
}


class Grade(enum.StrEnum):
    """A finding's severity. Only FAIL makes `doctor` exit with an error."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


_URGENCY = (Grade.FAIL, Grade.WARN, Grade.OK)


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One finding: what was checked, the result, and the remedy unless it is OK."""

    grade: Grade
    subject: str
    text: str
    remedy: str = ""
    lines: tuple[str, ...] = ()

    @property
    def section(self) -> str:
        """Where the troubleshooting page is about it."""
        return SECTIONS[self.subject]


def most_urgent_first(found: Iterable[Finding]) -> list[Finding]:
    """What keeps the service from working, then what may, then the rest; each in the order in which it was found.

    That order is one of causes: without the engine, say, nothing can be said of the image.
    """
    return sorted(found, key=lambda one: _URGENCY.index(one.grade))


def of_nodes(nodes: Sequence[NodeStatus]) -> list[Finding]:
    """What is to be said of a cluster's nodes; nothing of an engine that has one machine."""
    if not nodes:
        return []
    found = [*_of_managers(nodes)]
    problems = {node.id: _problem(node) for node in nodes}
    found += [Finding(Grade.WARN, "nodes", *problem) for problem in problems.values() if problem is not None]
    good = sum(problem is None for problem in problems.values())
    # Where all lack something, their operator is asked: `isolation` is another finding.
    usable = good or sum(bool(node.lacks) for node in nodes)
    if not usable:
        found.append(Finding(Grade.FAIL, "nodes", "no node can be given notebooks", "Mend one of the nodes above."))
    elif good == len(nodes):
        count = "the swarm's one node has" if usable == 1 else f"all {usable} nodes have"
        text = f"{count} a relay, the image, and what keeps notebooks apart"
        found.append(Finding(Grade.OK, "nodes", text))
    else:
        found.append(Finding(Grade.OK, "nodes", f"{usable} of {len(nodes)} can be given notebooks"))
    return found


def _of_managers(nodes: Sequence[NodeStatus]) -> Iterator[Finding]:
    managers = [one for one in nodes if one.manager is not None]
    lost = [one.name for one in managers if not one.manager]
    more = "docker node promote NAME makes a manager of a worker."
    if lost:
        spare = len(managers) - len(lost) - (len(managers) // 2 + 1)
        text = f"managers that do not answer: {', '.join(lost)}; {spare or 'no'} more may be lost"
        yield Finding(Grade.WARN, "managers", text, f"See that they run: {_PORTS}.")
    elif len(managers) % 2 == 0:
        text = f"of {len(managers)} managers no more may be lost than of {len(managers) - 1}"
        yield Finding(Grade.WARN, "managers", text, f"Have an odd number of them: {more}")
    elif len(managers) == 1 and len(nodes) > 2:
        text = f"{managers[0].name} is the only manager: without it nothing is given away and nothing starts"
        yield Finding(Grade.WARN, "managers", text, f"Have three: {more}")
    else:
        text = f"{len(managers)} of {len(nodes)} nodes, {(len(managers) - 1) // 2} of which may be lost"
        yield Finding(Grade.OK, "managers", text)


def _problem(node: NodeStatus) -> tuple[str, str] | None:
    """Why a node is given no notebooks, and what to do about it; the first reason is the one to begin with."""
    if node.state is not NodeState.ACTIVE:
        text, remedy = _STATES[node.state]
        return text.format(node.name), remedy.format(node.name)
    if not node.has_relay:
        trouble = f" ({node.trouble})" if node.trouble else ""
        remedy = f"docker service ps tmpnb_relay tells whether it runs there; {_PORTS}."
        return f"no relay answers from {node.name}, so it gets no notebooks{trouble}", remedy
    if node.has_image is False:
        return f"{node.name} lacks the image, so it gets no notebooks", "tmpnb-py image push-nodes brings it there."
    if node.lacks:
        text = node.trouble or f"it lacks {', '.join(node.lacks)}"
        return f"{node.name} gets no notebooks while other nodes lack nothing: {text}", node.remedy
    if node.lacks is None:
        trouble = node.trouble or "it has not been looked at from inside"
        return f"it is not known what keeps notebooks apart on {node.name}: {trouble}", node.remedy
    return None


_UNDO = "tmpnb-py drain --node {} --undo has it take notebooks again."
_STATES = {
    NodeState.DOWN: ("nothing is heard of {}", f"See that it and its Docker engine run: {_PORTS}."),
    NodeState.PAUSED: ("{} is paused, so it gets no notebooks", _UNDO),
    NodeState.DRAINING: ("Swarm drains {}, so it gets no notebooks", _UNDO),
    NodeState.UNKNOWN: ("the managers do not know how {} is", "docker node ls, in a moment."),
}
