"""The table of a swarm's nodes, as `tmpnb-py status` prints it."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from tests.documents.blocks import block
from tmpnb_py.cli.commands.nodes import node_table
from tmpnb_py.core.models import NodeState
from tmpnb_py.web.api.schema import AdminNode

IMAGE = {"there": True, "missing": False, "not known": None}
UNITS = {"B": 1, "GiB": 2**30}


def printed(nodes: list[AdminNode]) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(node_table(console, nodes))
    assert isinstance(console.file, io.StringIO)
    return "".join(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines())


def read(row: str) -> AdminNode:
    """The node that a row is about."""
    name, state, relay, image, isolation, claimed, ready, starting, memory = re.split(r" {2,}", row)
    reserved, there = (int(float(one.split()[0]) * UNITS[one.split()[1]]) for one in memory.split(" of "))
    return AdminNode(
        id=name,
        name=name,
        state=NodeState(state),
        relay={"connected": True, "away": False}[relay],
        image=IMAGE[image],
        pulling="",
        image_error="",
        memory_bytes=there,
        reserved_bytes=reserved,
        cpus=4,
        ready=int(ready),
        claimed=int(claimed),
        starting=int(starting),
        removing=0,
        missing=() if isolation == "verified" else None,
    )


def test_it_is_the_table_of_the_document() -> None:
    text = block("docs/swarm.md", "node   state   relay").text
    assert printed([read(row) for row in text.splitlines()[1:]]) == text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image": False, "pulling": "3 of 7 layers"}, "pulling: 3 of 7 layers"),
        ({"image": False, "image_error": "no such tag"}, "cannot be pulled"),
        ({"relay": False}, "away"),
        ({"missing": ("seccomp",)}, "lacks seccomp"),
    ],
)
def test_what_else_it_says(change: dict[str, object], words: str) -> None:
    node = read(block("docs/swarm.md", "node   state   relay").text.splitlines()[1])
    assert words not in printed([node])
    assert words in printed([AdminNode.model_validate(node.model_dump() | change)])
