"""What Swarm is told and what it tells, as plain dictionaries. Pure.

A notebook is a service with one replica that is never restarted. Its identity and its state are in the service's
labels: changing them leaves the task alone, and Swarm takes a change only for the version that it was made from, so
of two that claim one notebook one is refused.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from tmpnb_py.core import boot_clock, host_names, links
from tmpnb_py.core.models import Address, ContainerSpec, EndReason, Exit, NodeState, Observed, State
from tmpnb_py.engines.docker import options as docker
from tmpnb_py.engines.swarm import naming

LABEL_STATE = "org.tmpnb.state"

# Who has been given up: its node does not answer any more, or Swarm has started it a second time elsewhere.
LOST = Exit(128 + 9, reason=EndReason.NODE_LOST)
SOCKET_VOLUME, HOME_VOLUME = "socket", "home"
# Room for a socket and for nothing else: the server may write there until its directory is sealed. That belongs to
# nobody, as its owner may undo the seal: root in an image that runs as root, although it has no capabilities.
_NOBODY = (1 << 31) - 1
_SOCKET_VOLUME_OPTIONS = f"size=64k,nr_inodes=16,mode=0777,uid={_NOBODY},gid={_NOBODY},nosuid,nodev,noexec"
_CLAIMED = re.compile(rf"claimed-([0-9]{{1,12}})-[0-9a-f]{{1,16}}(?:-({boot_clock.PATTERN}))?")
_ENDED = {"complete", "failed", "rejected", "shutdown", "orphaned", "remove"}
_REPLACED = "orphaned"
_BY_SWARM = (_REPLACED, "shutdown")  # not by itself: what ends by itself has failed or is complete
# Services of Docker 20.10 cannot set the score by which the kernel chooses what to end where memory is short. So the
# shell that becomes the server raises its own, which takes no privilege, and all that it starts inherits it. A
# visitor may lower it again, but only to what it was.
_FIRST_TO_GO = f"echo {docker.OOM_SCORE_ADJ} > /proc/self/oom_score_adj || exit; "
_CPU_SHARE = 1024  # one CPU's weight
_CONFLICT = "update out of sequence"
_MESSAGE_LIMIT = 300


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """Where a notebook runs, or ran. `message` is Swarm's own word on it.

    `is_given_up`: Swarm has lost its node, or the node is drained, and ends the task there as soon as it can.
    """

    state: str
    node: str = ""
    container: str = ""
    status: int | None = None
    message: str = ""
    is_given_up: bool = False

    @property
    def has_ended(self) -> bool:
        return self.state in _ENDED


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """A machine of the swarm: `usable` when it is ready and takes new tasks, `down` when nothing is heard of it."""

    id: str
    name: str
    usable: bool
    down: bool
    memory: int
    cpus: int
    state: NodeState = NodeState.UNKNOWN
    attributes: tuple[tuple[str, str], ...] = ()  # that constraints may name
    manager: bool | None = None  # None for a worker, else whether the other managers hear of it

    @property
    def is_draining(self) -> bool:
        return self.state is NodeState.DRAINING


@dataclasses.dataclass(frozen=True, slots=True)
class Placed:
    """A notebook that Swarm has placed on a node, running or about to, and what memory it reserves there.

    `is_leaving`: its service has been removed, and its node has not confirmed that (it may be out of reach for long).
    """

    node: str
    id: str
    memory: int
    is_leaving: bool = False


def is_conflict(message: str) -> bool:
    """Whether an update was refused because somebody else made one first."""
    return _CONFLICT in message


def is_taken(status: int, message: str) -> bool:
    """Whether something was refused because another one has its name."""
    return status == 409 or "already exists" in message or "conflicts" in message


# --- services


def service_body(
    pool: str, spec: ContainerSpec, *, init: bool, constraints: Sequence[str], avoid: Collection[str]
) -> dict[str, Any]:
    """The body of `POST /services/create` for a notebook. `avoid` are nodes on which it could not become ready."""
    config = spec.config
    labels = docker.labels_of(pool, spec)
    reservations = {"MemoryBytes": config.mem_limit}
    if config.cpu_shares:
        reservations["NanoCPUs"] = config.cpu_shares * 10**9 // _CPU_SHARE
    return {
        "Name": naming.name_of(pool, spec.id),
        "Labels": {**labels, LABEL_STATE: State.STARTING.value},
        "Mode": {"Replicated": {"Replicas": 1}},
        "TaskTemplate": {
            "ContainerSpec": _container(pool, spec, labels, init=init),
            "RestartPolicy": {"Condition": "none"},
            "Resources": {
                "Limits": {"MemoryBytes": config.mem_limit, "Pids": config.pids_limit},
                "Reservations": reservations,
            },
            "Placement": {
                "Constraints": [*constraints, *(f"node.id!={one}" for one in sorted(avoid))],
                "Preferences": [{"Spread": {"SpreadDescriptor": "node.id"}}],
            },
            "LogDriver": {"Name": "json-file", "Options": {"max-size": "1m", "max-file": "1"}},
        },
    }


def _container(pool: str, spec: ContainerSpec, labels: Mapping[str, str], *, init: bool) -> dict[str, Any]:
    config = spec.config
    return {
        "Image": config.image.image_id,  # by its id, no node asks a registry
        "Args": ["/bin/sh", "-c", _FIRST_TO_GO + docker.render_command(spec)],
        "Env": docker.environment_of(spec),
        "User": spec.user,
        "Hostname": docker.HOSTNAME,
        "Labels": dict(labels),
        "Init": init,
        "ReadOnly": config.image.supports_read_only,
        "CapabilityDrop": ["ALL"],
        # Docker 20.10 (API 1.41) drops this silently; the relay looks before a notebook becomes ready.
        "Privileges": {"NoNewPrivileges": True},
        "Ulimits": [
            {"Name": "nofile", "Soft": 4096, "Hard": 4096},
            {"Name": "core", "Soft": 0, "Hard": 0},
        ],
        "Healthcheck": {"Test": ["NONE"]},  # Swarm would wait for an image's own
        "StopGracePeriod": 0,
        "Mounts": _mounts(pool, spec),
    }


def _mounts(pool: str, spec: ContainerSpec) -> list[dict[str, Any]]:
    container_id, config = spec.id, spec.config
    mounts = [_volume(pool, container_id, SOCKET_VOLUME, docker.SOCKET_DIRECTORY, _SOCKET_VOLUME_OPTIONS)]
    mounts.append(_tmpfs("/dev/shm", config.shm_size))  # noqa: S108 - the container's
    if config.image.supports_read_only:
        mounts.append(_tmpfs("/tmp", config.tmp_size))  # noqa: S108 - the container's
        if config.image.home:
            options = docker.home_options(config.home_size, spec.user).removeprefix("rw,exec,")
            mounts.append(_volume(pool, container_id, HOME_VOLUME, config.image.home, options))
    mounts += [docker.bind(one.source, one.target, read_only=one.read_only) for one in config.mounts]
    return mounts


def _tmpfs(target: str, size: int) -> dict[str, Any]:
    return {"Type": "tmpfs", "Target": target, "TmpfsOptions": {"SizeBytes": size, "Mode": 0o1777}}


def _volume(pool: str, container_id: str, kind: str, target: str, options: str) -> dict[str, Any]:
    """A volume in memory, made on the node on which the task lands, and bounded.

    Swarm's own tmpfs mounts cannot say whose they are, nor be executable, as a home has to be.
    """
    return {
        "Type": "volume",
        "Source": f"{naming.name_of(pool, container_id)}-{kind}",
        "Target": target,
        "VolumeOptions": {
            "NoCopy": True,
            "Labels": {**naming.labels_of(pool), docker.LABEL_ID: container_id},
            "DriverConfig": {"Name": "local", "Options": {"type": "tmpfs", "device": "tmpfs", "o": options}},
        },
    }


# --- states


def claimed(unix_time: float, claimant: str) -> str:
    """The state label of a claim, without the stamp that may follow."""
    return f"{State.CLAIMED.value}-{max(0, math.floor(unix_time))}-{claimant}"


def is_claimed_by(state: str, claim: str) -> bool:
    """Whether a state label is this claim, whatever its stamp."""
    return f"{state}-".startswith(f"{claim}-")


def marks_of(state: str, created_unix: float) -> docker.Marks:
    """What a state label tells. Whatever is undecidable is claimed: it never returns to the pool."""
    if state in (State.STARTING, State.READY):
        return docker.Marks(State(state))
    if match := _CLAIMED.fullmatch(state):
        return docker.Marks(State.CLAIMED, float(match[1]), match[2] or "")
    return docker.Marks(State.CLAIMED, created_unix)


# --- what Swarm lists


def id_of(service: Mapping[str, Any]) -> str:
    """The notebook's id, "" for a service that is none: one that only has a notebook's labels has another name."""
    labels = service["Spec"].get("Labels") or {}
    found, pool = str(labels.get(docker.LABEL_ID, "")), str(labels.get(docker.LABEL_POOL, ""))
    return found if docker.is_id(found) and service["Spec"].get("Name") == naming.name_of(pool, found) else ""


def tasks_of(listed: Iterable[Mapping[str, Any]]) -> dict[str, Task]:
    """The task of each service, by the service's own id.

    A notebook has one for ever. Where there is a second one, Swarm has replaced the first, and what the visitor had
    is gone: that is an orphaned task, wherever it runs.
    """
    found: dict[str, list[Task]] = {}
    for one in sorted(listed, key=lambda one: str(one.get("CreatedAt", ""))):
        found.setdefault(str(one.get("ServiceID", "")), []).append(_task(one))
    return {service: tasks[0] if len(tasks) == 1 else _replaced(tasks[0]) for service, tasks in found.items()}


def _replaced(first: Task) -> Task:
    return Task(_REPLACED, node=first.node, message="Swarm has started it a second time")


def _task(listed: Mapping[str, Any]) -> Task:
    status = listed.get("Status") or {}
    container = status.get("ContainerStatus") or {}
    state, wanted = str(status.get("State", "")), str(listed.get("DesiredState", ""))
    return Task(
        state=state,
        node=str(listed.get("NodeID", "")),
        container=str(container.get("ContainerID", "")),
        status=int(container.get("ExitCode") or 0),
        message=str(status.get("Err") or status.get("Message") or "")[:_MESSAGE_LIMIT],
        is_given_up=state not in _ENDED and wanted in _ENDED,
    )


def nodes_of(listed: Iterable[Mapping[str, Any]]) -> dict[str, Node]:
    """The swarm's machines by their ids, from `GET /nodes`."""
    return {str(one["ID"]): _node(one) for one in listed}


def _node(listed: Mapping[str, Any]) -> Node:
    description = listed.get("Description") or {}
    resources = description.get("Resources") or {}
    state = (listed.get("Status") or {}).get("State")
    of_managers = listed.get("ManagerStatus") or {}
    return Node(
        id=str(listed["ID"]),
        name=str(description.get("Hostname", "")),
        usable=state == "ready" and (listed.get("Spec") or {}).get("Availability") == "active",
        down=state in ("down", "disconnected"),  # "unknown" is what a manager says that has just started
        memory=int(resources.get("MemoryBytes") or 0),
        cpus=int(resources.get("NanoCPUs") or 0) // 10**9,
        state=_node_state(str(state), str((listed.get("Spec") or {}).get("Availability"))),
        attributes=tuple(_attributes(listed, description)),
        manager=None if not of_managers else of_managers.get("Reachability") == "reachable",
    )


def _attributes(listed: Mapping[str, Any], description: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    spec, platform = listed.get("Spec") or {}, description.get("Platform") or {}
    yield "node.id", str(listed["ID"])
    yield "node.hostname", str(description.get("Hostname", ""))
    yield "node.role", str(spec.get("Role", ""))
    yield "node.ip", str((listed.get("Status") or {}).get("Addr", ""))
    yield "node.platform.os", str(platform.get("OS", ""))
    yield "node.platform.arch", str(platform.get("Architecture", ""))
    engine = description.get("Engine") or {}
    for prefix, labels in (("node.labels", spec.get("Labels")), ("engine.labels", engine.get("Labels"))):
        for name, value in (labels or {}).items():
            yield f"{prefix}.{name}", str(value)


def matches(node: Node, constraints: Iterable[str]) -> bool:
    """Whether Swarm would place tasks with these constraints on a node (swarmkit, `manager/constraint`)."""
    known = dict(node.attributes)
    for one in constraints:
        name, unequal, value = one.partition("!=") if "!=" in one else one.partition("==")
        is_equal = known.get(name.strip(), "").casefold() == value.strip().casefold()
        if is_equal == (unequal == "!="):
            return False
    return True


def _node_state(state: str, availability: str) -> NodeState:
    if availability == "drain":  # also where it is down: its notebooks have been ended
        return NodeState.DRAINING
    if state in ("down", "disconnected"):
        return NodeState.DOWN
    if state != "ready":
        return NodeState.UNKNOWN
    return {"active": NodeState.ACTIVE, "pause": NodeState.PAUSED}.get(availability, NodeState.UNKNOWN)


def placed_of(listed: Iterable[Mapping[str, Any]]) -> list[Placed]:
    """Where Swarm has put notebooks that have not ended, from `GET /tasks`."""
    found = []
    for one in listed:
        task, spec = _task(one), one.get("Spec") or {}
        container_id = str(((spec.get("ContainerSpec") or {}).get("Labels") or {}).get(docker.LABEL_ID, ""))
        if task.node and not task.has_ended and docker.is_id(container_id):
            reserved = (spec.get("Resources") or {}).get("Reservations") or {}
            memory = int(reserved.get("MemoryBytes") or 0)
            found.append(Placed(task.node, container_id, memory, one.get("DesiredState") == "remove"))
    return found


def explained(ended: Exit, task: Task, node: Node | None) -> Exit:
    """How a notebook ended, with the reason where it is its node's.

    Swarm ends all tasks of a node that is drained, and those of one that it had given up, or replaces them.
    """
    if ended.out_of_memory:
        return ended
    if node is not None and node.is_draining:
        return dataclasses.replace(ended, reason=EndReason.NODE_DRAINED)
    return dataclasses.replace(ended, reason=EndReason.NODE_LOST) if task.state in _BY_SWARM else ended


def created_unix(service: Mapping[str, Any]) -> float:
    """When a service was made; Swarm writes RFC 3339 with nanoseconds."""
    text = str(service.get("CreatedAt", ""))
    try:
        return datetime.fromisoformat(f"{text[:19]}+00:00").timestamp()
    except ValueError:
        return 0.0


def observed_of(service: Mapping[str, Any], *, address: Address | None, ended: Exit | None) -> Observed:
    """A notebook as the engine's protocol wants it."""
    labels: Mapping[str, str] = service["Spec"].get("Labels") or {}
    created = created_unix(service)
    marks = marks_of(labels.get(LABEL_STATE, ""), created)
    base_url = labels.get(docker.LABEL_BASE_URL, links.ROOT)
    return Observed(
        id=id_of(service),
        state=marks.state,
        config_digest=labels.get(docker.LABEL_CONFIG, ""),
        token=labels.get(docker.LABEL_TOKEN, ""),
        created_unix=created,
        claimed_unix=marks.claimed_unix,
        exit=ended,
        address=address if ended is None else None,
        claimed_stamp=marks.claimed_stamp,
        base_url=base_url if links.is_base(base_url) else links.ROOT,
        session_name=host_names.session_name(labels.get(docker.LABEL_SESSION_NAME, "")),
    )
