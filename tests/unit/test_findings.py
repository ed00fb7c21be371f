"""What `doctor` says of a swarm's nodes."""

from __future__ import annotations

import dataclasses

from tmpnb_py.cli.commands.findings import Grade, of_nodes
from tmpnb_py.core.models import NodeState, NodeStatus, Protection

NODE = NodeStatus(
    "n1",
    "one",
    NodeState.ACTIVE,
    has_relay=True,
    has_image=True,
    memory=1,
    reserved=0,
    cpus=1,
    lacks=(),
    manager=True,
)


def said(*nodes: NodeStatus) -> list[tuple[Grade, str]]:
    found = of_nodes([dataclasses.replace(one, id=f"n{number}") for number, one in enumerate(nodes)])
    assert all(one.remedy for one in found if one.grade is Grade.FAIL)
    return [(one.grade, one.text) for one in found]


def test_an_engine_of_one_machine_has_none() -> None:
    assert of_nodes([]) == []


def test_all_is_well() -> None:
    assert said(NODE, NODE, NODE) == [
        (Grade.OK, "3 of 3 nodes, 1 of which may be lost"),
        (Grade.OK, "all 3 nodes have a relay, the image, and what keeps notebooks apart"),
    ]


def test_each_node_that_gets_no_notebooks_says_why() -> None:
    worker = dataclasses.replace(NODE, manager=None)
    nodes = [
        dataclasses.replace(worker, name="a", state=NodeState.DOWN),
        dataclasses.replace(worker, name="b", state=NodeState.PAUSED),
        dataclasses.replace(worker, name="c", has_relay=False, trouble="tasks.relay:7443 is the name of nothing"),
        dataclasses.replace(worker, name="d", has_image=False),
        dataclasses.replace(worker, name="e", lacks=(Protection.SECCOMP,), trouble="no seccomp filter is in force"),
        dataclasses.replace(worker, name="f", lacks=None),
    ]
    assert said(NODE, *nodes) == [
        (Grade.WARN, "one is the only manager: without it nothing is given away and nothing starts"),
        (Grade.WARN, "nothing is heard of a"),
        (Grade.WARN, "b is paused, so it gets no notebooks"),
        (Grade.WARN, "no relay answers from c, so it gets no notebooks (tasks.relay:7443 is the name of nothing)"),
        (Grade.WARN, "d lacks the image, so it gets no notebooks"),
        (Grade.WARN, "e gets no notebooks while other nodes lack nothing: no seccomp filter is in force"),
        (Grade.WARN, "it is not known what keeps notebooks apart on f: it has not been looked at from inside"),
        (Grade.OK, "1 of 7 can be given notebooks"),
    ]


def test_none_is_left() -> None:
    assert said(dataclasses.replace(NODE, has_relay=False))[-1] == (Grade.FAIL, "no node can be given notebooks")


def test_what_all_lack_is_for_their_operator_to_accept() -> None:
    lacking = dataclasses.replace(NODE, lacks=(Protection.SECCOMP,))
    assert said(lacking)[-1] == (Grade.OK, "1 of 1 can be given notebooks")


def test_managers() -> None:
    assert said(NODE, NODE)[0] == (Grade.WARN, "of 2 managers no more may be lost than of 1")
    lost = dataclasses.replace(NODE, name="two", manager=False)
    assert said(NODE, NODE, lost)[0] == (Grade.WARN, "managers that do not answer: two; no more may be lost")
    assert said(*[NODE] * 4, lost)[0] == (Grade.WARN, "managers that do not answer: two; 1 more may be lost")
