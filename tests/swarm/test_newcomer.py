"""Who follows docs/swarm.md word by word has a swarm that serves, and `doctor` says what is wrong with it."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents.blocks import block
from tests.engine_support import SERVER_COMMAND_SOCKET
from tests.swarm.nodes import Node, Swarm, running_swarm
from tests.swarm.test_stack import ROOT, ask, service_image

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.timeout(400)]

__all__ = ["service_image"]

_PATIENCE = 120.0
_FIRST = "192.0.2.1"
# What the document does not have its reader type: the images of the test instead of ours, and small ones.
_OPTIONS = {"TMPNB_COMMAND": SERVER_COMMAND_SOCKET, "TMPNB_MEM_LIMIT": "128m", "TMPNB_POOL_SIZE": "3"}


def commands() -> list[tuple[str, str]]:
    """Each command of the section with its comment."""
    typed = block("docs/swarm.md", "systemctl restart docker").commands
    split = [re.split(r"\s+#\s", line, maxsplit=1) for line in typed]
    return [(one[0].strip(), one[1] if len(one) > 1 else "") for one in split]


class Newcomer:
    """A shell on the first machine."""

    def __init__(self, swarm: Swarm, directory: Path) -> None:
        self.swarm = swarm
        self.directory = directory
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TMPNB_")}, **_OPTIONS,
            "DOCKER_HOST": swarm.manager.host,
        }  # fmt: skip
        (directory / "swarm.yaml").write_text((ROOT / "swarm.yaml").read_text())

    def types(self, command: str) -> str:
        """What it prints. What it exports is there for the next one."""
        script = f"{command.replace(_FIRST, self.swarm.manager.address)}\nstatus=$?; env -0 > env; exit $status"
        done = subprocess.run(
            ["sh", "-c", script], cwd=self.directory, env=self.environment, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        pairs = (one.partition("=") for one in (self.directory / "env").read_text().split("\0") if one)
        self.environment = {name: value for name, _, value in pairs}
        return done.stdout + done.stderr

    def report(self) -> str:
        """What a person would look at."""
        names = [f"tmpnb_{one}" for one in ("orchestrator", "front", "relay")]
        shown = [f"docker service ps --no-trunc {' '.join(names)}"]
        shown += [f"docker service logs --raw --tail=40 {name}" for name in names]
        return "\n".join(self.types(one) for one in shown)

    def inside(self) -> tuple[Node, str]:
        """Where the document has commands run: the orchestrator's node, and its container there."""
        for node in self.swarm.nodes:
            if found := node.docker("ps", "-q", "-f", "label=com.docker.swarm.service.name=tmpnb_orchestrator"):
                return node, found
        raise AssertionError("the orchestrator runs nowhere")

    def doctor(self) -> list[str]:
        node, container = self.inside()
        return node.docker("exec", container, "tmpnb-py", "doctor", check=False, seconds=120).splitlines()

    def operates(self) -> None:
        """Type there what the document says of images and of nodes; it calls the nodes as they are called here."""
        node, container = self.inside()
        self.environment["DOCKER_HOST"] = node.host
        (push,) = block("docs/swarm.md", "docker exec $(docker ps -q").commands
        assert sorted(self.types(push).splitlines()) == [f"{one.name}: has it" for one in self.swarm.nodes]
        (prune,) = block("docs/swarm.md", "docker exec … tmpnb-py image prune-nodes").commands
        said = self.types(prune.replace("…", container))
        assert sorted(said.splitlines()) == [f"{one.name}: nothing to remove" for one in self.swarm.nodes]
        drain, undo = block("docs/swarm.md", "tmpnb-py drain --node node2").commands
        assert "node2 is empty" in self.types(f"docker exec {container} {drain}")
        assert node.docker("node", "inspect", "--format={{.Spec.Availability}}", "node2") == "pause"
        self.types(f"docker exec {container} {undo}")
        assert node.docker("node", "inspect", "--format={{.Spec.Availability}}", "node2") == "active"


@pytest.fixture
def newcomer(service_image: str, server_image: str, tmp_path: Path) -> Iterator[Newcomer]:
    with running_swarm(joined=False) as swarm:
        first = swarm.manager
        swarm.load(service_image, server_image, nodes=[first])
        first.docker("tag", service_image, "tmpnb-py")
        first.docker("tag", server_image, "tmpnb-py-workshops")
        yield Newcomer(swarm, tmp_path)


def on(node: Node, command: str) -> None:
    words = shlex.split(command)
    assert words[0] == "docker"
    node.docker(*words[1:])


async def test_the_ten_commands(newcomer: Newcomer) -> None:
    listed = commands()
    assert len(listed) == 11, "the first is only where no-new-privileges has to be switched on"
    others = newcomer.swarm.nodes[1:]
    for command, comment in listed[:-3]:
        if command.startswith("systemctl"):  # these machines have none; their engines are so already
            assert "no-new-privileges" in comment
            continue
        said = await asyncio.to_thread(newcomer.types, command)
        if "join-token" in command:
            (join,) = [line.strip() for line in said.splitlines() if line.strip().startswith("docker swarm join")]
            for node in others:
                on(node, join)
        if "docker save" in command:
            for node in others:
                on(node, comment.partition(": ")[2].replace("images.tar", str(newcomer.directory / "images.tar")))
    stats: dict[str, int] | None = None
    until = time.monotonic() + _PATIENCE
    while stats is None or stats["available"] < int(_OPTIONS["TMPNB_POOL_SIZE"]):
        assert time.monotonic() < until, await asyncio.to_thread(newcomer.report)
        _, stats = await ask("GET", f"http://{newcomer.swarm.manager.address}:8000/api/stats")
        await asyncio.sleep(0.5)
    where, said, answer = [await asyncio.to_thread(newcomer.types, command) for command, _ in listed[-3:]]
    assert where.count("Running") >= 7
    assert "listening" in said
    assert '"available"' in answer

    lines = await asyncio.to_thread(newcomer.doctor)
    assert any("OK" in line and "all 3 nodes have a relay, the image" in line for line in lines), lines
    assert any("OK" in line and "managers" in line and "1 of which may be lost" in line for line in lines), lines
    assert not [line for line in lines if "FAIL" in line], lines

    await asyncio.to_thread(newcomer.operates)

    third = others[-1]
    third.docker("swarm", "leave", "--force")
    async with asyncio.timeout(60):
        while True:
            lines = await asyncio.to_thread(newcomer.doctor)
            if any("nothing is heard of" in line for line in lines):
                break
            await asyncio.sleep(1)
    assert any(f"nothing is heard of {third.name}" in line for line in lines), lines
    assert any("2 of 3 can be given notebooks" in line for line in lines), lines
    assert any("managers that do not answer: node3; no more may be lost" in line for line in lines), lines
