"""What Swarm is told of a notebook, and what is made of what it tells."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tmpnb_py.core.models import (
    ContainerConfig,
    ContainerSpec,
    Egress,
    EndReason,
    Exit,
    ImageFacts,
    NodeState,
    State,
    Transport,
)
from tmpnb_py.engines.docker import options as docker
from tmpnb_py.engines.swarm import naming, services
from tmpnb_py.engines.swarm.services import LABEL_STATE, Node, Placed, Task

MIB = 1024 * 1024
IMAGE = ImageFacts("lab", f"sha256:{'a' * 64}", supports_socket=True, supports_read_only=True, home="/home/jovyan")
CONFIG = ContainerConfig(
    image=IMAGE,
    command="serve {base_path} {socket}",
    transport=Transport.SOCKET,
    egress=Egress.NONE,
    mem_limit=128 * MIB,
    cpu_quota=50_000,
    pids_limit=64,
    home_size=16 * MIB,
    tmp_size=8 * MIB,
    shm_size=12 * MIB,
)
SPEC = ContainerSpec("abc", "secret0token", CONFIG)


def body(**changes: Any) -> dict[str, Any]:
    spec = dataclasses.replace(SPEC, config=dataclasses.replace(CONFIG, **changes))
    return services.service_body("pool", spec, init=True, constraints=("node.role==worker",), avoid={"n2", "n1"})


def test_a_notebook_is_a_service_that_is_never_restarted_and_on_no_network() -> None:
    made = body()
    template = made["TaskTemplate"]
    assert made["Mode"] == {"Replicated": {"Replicas": 1}}
    assert template["RestartPolicy"] == {"Condition": "none"}
    assert "Networks" not in template
    assert "EndpointSpec" not in made
    assert template["Placement"]["Constraints"] == ["node.role==worker", "node.id!=n1", "node.id!=n2"]
    assert template["Resources"]["Limits"] == {"MemoryBytes": 128 * MIB, "Pids": 64}
    assert template["Resources"]["Reservations"] == {"MemoryBytes": 128 * MIB}
    container = template["ContainerSpec"]
    assert container["Image"] == IMAGE.image_id, "no node asks a registry for it"
    assert container["CapabilityDrop"] == ["ALL"]
    assert container["Privileges"] == {"NoNewPrivileges": True}
    assert container["ReadOnly"] is True
    assert container["Args"][:2] == ["/bin/sh", "-c"]
    assert container["Args"][2].startswith("echo 500 > /proc/self/oom_score_adj || exit; serve ")


def test_a_share_of_cpu_is_reserved() -> None:
    assert body(cpu_shares=512)["TaskTemplate"]["Resources"]["Reservations"]["NanoCPUs"] == 500_000_000


def test_a_name_does_not_hold_the_id_and_is_a_dns_label() -> None:
    name = naming.name_of("pool", "abc" * 20)
    assert "abcabc" not in name
    assert len(name) <= 63
    assert name != naming.name_of("other", "abc" * 20)


def test_every_place_that_can_be_written_to_is_bounded() -> None:
    mounts = {one["Target"]: one for one in body()["TaskTemplate"]["ContainerSpec"]["Mounts"]}
    assert mounts.keys() == {docker.SOCKET_DIRECTORY, "/dev/shm", "/tmp", "/home/jovyan"}
    for volume in (mounts[docker.SOCKET_DIRECTORY], mounts["/home/jovyan"]):
        options = volume["VolumeOptions"]
        assert options["NoCopy"] is True
        assert options["Labels"][docker.LABEL_ID] == "abc"
        assert options["DriverConfig"]["Options"]["type"] == "tmpfs"
        assert "size=" in options["DriverConfig"]["Options"]["o"]
    home = mounts["/home/jovyan"]["VolumeOptions"]["DriverConfig"]["Options"]["o"]
    assert home == f"nosuid,nodev,uid=1000,gid=1000,mode=0700,size={16 * MIB}"
    assert mounts["/tmp"]["TmpfsOptions"]["SizeBytes"] == 8 * MIB
    assert mounts["/dev/shm"]["TmpfsOptions"]["SizeBytes"] == 12 * MIB


@pytest.mark.parametrize(
    ("label", "marks"),
    [
        ("starting", docker.Marks(State.STARTING)),
        ("ready", docker.Marks(State.READY)),
        ("claimed-17-ab", docker.Marks(State.CLAIMED, 17.0)),
        ("claimed-17-ab-9-0123abcd", docker.Marks(State.CLAIMED, 17.0, "9-0123abcd")),
        ("", docker.Marks(State.CLAIMED, 5.0)),
        ("removing", docker.Marks(State.CLAIMED, 5.0)),
        ("claimed-x-ab", docker.Marks(State.CLAIMED, 5.0)),
    ],
)
def test_what_is_undecidable_is_claimed(label: str, marks: docker.Marks) -> None:
    assert services.marks_of(label, 5.0) == marks


def test_a_claim_is_known_again_whatever_its_stamp() -> None:
    mine = services.claimed(17.9, "ab")
    assert services.is_claimed_by(mine, mine)
    assert services.is_claimed_by(f"{mine}-9-0123abcd", mine)
    assert not services.is_claimed_by(services.claimed(17.9, "abc"), mine)
    assert not services.is_claimed_by("ready", mine)


def _task(service: str, state: str = "running", **status: Any) -> dict[str, Any]:
    return {"ServiceID": service, "NodeID": "n1", "Status": {"State": state, **status}}


def test_a_second_task_is_not_what_the_visitor_had() -> None:
    tasks = services.tasks_of([
        _task("one", ContainerStatus={"ContainerID": "c1", "ExitCode": 0}),
        _task("two", "failed", ContainerStatus={"ContainerID": "c2", "ExitCode": 7}, Err="task: non-zero exit (7)"),
        _task("three"),
        _task("three", "shutdown"),
    ])  # fmt: skip
    assert tasks["one"] == Task("running", "n1", "c1", 0)
    assert tasks["two"].has_ended
    assert (tasks["two"].status, tasks["two"].message) == (7, "task: non-zero exit (7)")
    assert tasks["three"].has_ended


def test_nodes_are_told_apart() -> None:
    def node(node_id: str, state: str, availability: str = "active") -> dict[str, Any]:
        resources = {"NanoCPUs": 2 * 10**9, "MemoryBytes": 8 * 2**30}
        return {
            "ID": node_id,
            "Description": {"Hostname": node_id.upper(), "Resources": resources},
            "Status": {"State": state},
            "Spec": {"Availability": availability},
        }

    found = services.nodes_of([
        node("a", "ready"), node("b", "down"), node("c", "ready", "pause"), node("d", "unknown"), {"ID": "e"},
    ])  # fmt: skip
    assert [one.id for one in found.values() if one.usable] == ["a"]
    assert [one.id for one in found.values() if one.down] == ["b"], "unknown is what a manager says at first"
    assert (found["a"].cpus, found["a"].memory, found["a"].name) == (2, 8 * 2**30, "A")


def test_a_service_is_observed_as_its_labels_say() -> None:
    service = {
        "ID": "s1",
        "CreatedAt": "2026-01-02T03:04:05.678901234Z",
        "Spec": {"Name": body()["Name"], "Labels": body()["Labels"] | {LABEL_STATE: "ready"}},
    }
    observed = services.observed_of(service, address=None, ended=None)
    assert (observed.id, observed.state, observed.token) == ("abc", State.READY, "secret0token")
    assert observed.created_unix == 1767323045.0
    assert observed.config_digest == CONFIG.digest
    assert services.id_of({"Spec": {"Labels": {docker.LABEL_ID: "../x"}}}) == ""
    assert services.id_of({"Spec": {}}) == ""


def test_why_a_notebook_of_a_drained_node_ended() -> None:
    draining = Node("n1", "one", usable=False, down=False, memory=1, cpus=1, state=NodeState.DRAINING)
    paused = dataclasses.replace(draining, state=NodeState.PAUSED)
    died = Exit(137)
    task, replaced = Task("failed", "n1"), Task("orphaned", "n1")
    assert services.explained(died, task, draining) == Exit(137, reason=EndReason.NODE_DRAINED)
    assert services.explained(services.LOST, replaced, draining).reason is EndReason.NODE_DRAINED
    assert services.explained(died, task, paused) == services.explained(died, task, None) == died
    assert services.explained(died, replaced, paused).reason is EndReason.NODE_LOST
    assert services.explained(Exit(137, out_of_memory=True), task, draining).reason is None, "memory was short"


def test_where_a_replaced_task_was_first() -> None:
    tasks = services.tasks_of([
        {**_task("one", "running"), "NodeID": "n2", "CreatedAt": "2026-01-01T00:00:02Z"},
        {**_task("one", "shutdown"), "CreatedAt": "2026-01-01T00:00:01Z"},
    ])  # fmt: skip
    assert (tasks["one"].state, tasks["one"].node) == ("orphaned", "n1")


@pytest.mark.parametrize(
    ("state", "availability", "expected"),
    [
        ("ready", "active", NodeState.ACTIVE),
        ("ready", "pause", NodeState.PAUSED),
        ("ready", "drain", NodeState.DRAINING),
        ("down", "drain", NodeState.DRAINING),
        ("down", "active", NodeState.DOWN),
        ("disconnected", "pause", NodeState.DOWN),
        ("unknown", "active", NodeState.UNKNOWN),
        ("ready", "new-kind", NodeState.UNKNOWN),
    ],
)
def test_what_a_node_does(state: str, availability: str, expected: NodeState) -> None:
    listed = {"ID": "n1", "Status": {"State": state}, "Spec": {"Availability": availability}}
    assert services.nodes_of([listed])["n1"].state is expected


def test_what_is_placed_where() -> None:
    def task(container_id: str, state: str, node: str = "n1") -> dict[str, Any]:
        labels = {"org.tmpnb.id": container_id}
        spec = {"ContainerSpec": {"Labels": labels}, "Resources": {"Reservations": {"MemoryBytes": 7}}}
        return {"ServiceID": container_id, "NodeID": node, "Spec": spec, "Status": {"State": state}}

    mine, other = "a" * 24, "b" * 24
    listed = [task(mine, "assigned"), task(other, "shutdown"), task(other, "pending", ""), task("../x", "running")]
    placed = services.placed_of([*listed, {"NodeID": "n1", "Status": {"State": "running"}}])
    assert placed == [Placed("n1", mine, 7)]


@pytest.mark.parametrize(
    ("constraints", "fits"),
    [
        ([], True),
        (["node.role==worker"], True),
        (["node.role == WORKER", "node.labels.notebooks==true"], True),
        (["node.role!=worker"], False),
        (["node.labels.notebooks==false"], False),
        (["node.labels.other!=true"], True),
        (["node.labels.other==true"], False),
        (["engine.labels.disk==fast", "node.hostname!=two"], True),
        (["node.id==n2"], False),
    ],
)
def test_constraints_as_swarm_understands_them(constraints: list[str], fits: bool) -> None:
    listed = {
        "ID": "n1",
        "Description": {"Hostname": "one", "Engine": {"Labels": {"disk": "fast"}}},
        "Spec": {"Role": "worker", "Labels": {"notebooks": "true"}},
    }
    (node,) = services.nodes_of([listed]).values()
    assert services.matches(node, constraints) is fits


def test_what_only_has_a_notebooks_labels_is_none() -> None:
    made = {"Spec": body()}
    assert services.id_of(made) == "abc"
    assert services.id_of({"Spec": {**made["Spec"], "Name": "copy-of-it"}}) == ""
    labels = made["Spec"]["Labels"]
    name = naming.name_of("pool", "abc")
    assert naming.is_of_notebook(f"/{name}.1.task", labels), "a container of Swarm's"
    assert naming.is_of_notebook(f"{name}-socket", labels), "a volume of ours"
    assert not naming.is_of_notebook("/serene_bell", labels), "of an image that was made of a notebook's container"
    assert not naming.is_of_notebook(f"/{name}.1.task", {})
    assert not naming.is_of_notebook(f"/{name}.1.task", None)
    assert not naming.is_of_notebook(f"/{name}.1.task", {**labels, "org.tmpnb.id": "../x"})
