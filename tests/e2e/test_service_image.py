"""The service's own image as `docs/service-image.md` builds and starts it: word by word, and built twice.

`test_contract_tmpnb_compose.py` has what compose makes of it, its bill of materials and its size.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import shlex
import shutil
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents.blocks import block
from tests.e2e.test_contract_tmpnb_compose import Project
from tests.engine_support import SERVER_COMMAND_SOCKET, base_image, docker
from tests.ports import free_ports

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.timeout(1800)]
EPOCH = 1_700_000_000
SECONDS = 120.0


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the repository, which trusts this machine's network."""
    return Project(tmp_path_factory.mktemp("service"))


def build(project: Project, tag: str, *arguments: str) -> str:
    """The page's command, on this machine's base and network."""
    (command,) = block("docs/service-image.md", "docker build --tag tmpnb-py .").commands
    words = [tag if word == "tmpnb-py" else word for word in shlex.split(command)]
    words[2:2] = ["--network=host", f"--build-arg=BASE={base_image()}", *arguments]
    environ = {**os.environ, "DOCKER_BUILDKIT": "0"}
    done = subprocess.run(
        words, cwd=project.directory, env=environ, check=False, capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return tag


@pytest.fixture(scope="module")
def image(project: Project) -> Iterator[str]:
    tag = build(project, f"tmpnb-py-test/own-{secrets.token_hex(4)}", f"--build-arg=SOURCE_DATE_EPOCH={EPOCH}")
    yield tag
    docker("image", "rm", "--force", tag)


def test_started_as_the_page_says_it_is_never_root(image: str, server_image: str) -> None:
    """An ordinary user from its first process on, with no capability, a read-only root and the socket's group."""
    name = f"own{secrets.token_hex(4)}"
    runtime, (port,) = Path("/run") / name, free_ports(1)
    text = block("docs/service-image.md", "install -d -o 10000 -g 10000 -m 0700 /run/tmpnb-py").text
    options = {"TMPNB_IMAGE": server_image, "TMPNB_COMMAND": SERVER_COMMAND_SOCKET, "TMPNB_POOL_NAME": name}
    options |= {"TMPNB_POOL_SIZE": "1", "TMPNB_RUNTIME_DIR": str(runtime), "TMPNB_MEM_LIMIT": "128m"}
    given = " ".join(f"--env {key}={shlex.quote(value)}" for key, value in options.items())
    assert text.rstrip().endswith(" tmpnb-py")
    text = text.rstrip().removesuffix(" tmpnb-py") + f" {given} {image}"
    text = text.replace("/run/tmpnb-py", str(runtime)).replace("--name tmpnb ", f"--name {name} ")
    try:
        script = text.replace("8000:8000", f"127.0.0.1:{port}:8000")
        subprocess.run(["sh", "-ec", script], check=True, capture_output=True, timeout=120)
        _ready(port, name)
        facts = json.loads(docker("inspect", name))[0]
        assert facts["Config"]["User"] == "10000:10000"
        assert facts["HostConfig"]["ReadonlyRootfs"]
        status = docker("exec", name, "cat", "/proc/1/status")
        lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        assert lines["Uid"].split() == ["10000"] * 4
        assert {int(lines[kind], 16) for kind in ("CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd")} == {0}
        assert lines["NoNewPrivs"].strip() == "1"
        assert "FAIL" not in docker("exec", name, "tmpnb-py", "doctor")
        docker("exec", name, "tmpnb-py", "purge", "--yes", check=False)
    finally:
        docker("rm", "--force", name, check=False)
        for one in docker("ps", "-aq", "--filter", f"label=org.tmpnb.pool={name}").split():
            docker("rm", "--force", one, check=False)
        shutil.rmtree(runtime, ignore_errors=True)


def _ready(port: int, name: str) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/stats", timeout=5) as answer:
                if json.load(answer)["available"]:
                    return
        except OSError:
            pass
        assert time.monotonic() < deadline, docker("logs", name)
        time.sleep(0.2)


def contents(image: str) -> dict[str, tuple[object, ...]]:
    """Of each file below /opt/tmpnb-py what it is: kind, mode, owner, link, contents, time."""
    container = docker("create", image)
    try:
        exported = subprocess.run(["docker", "export", container], check=True, capture_output=True).stdout
    finally:
        docker("rm", container)
    found: dict[str, tuple[object, ...]] = {}
    with tarfile.open(fileobj=io.BytesIO(exported)) as archive:
        for one in archive:
            if not one.name.startswith("opt/tmpnb-py/"):
                continue
            file = archive.extractfile(one) if one.isfile() else None
            digest = hashlib.sha256(file.read()).hexdigest() if file else ""
            found[one.name] = (one.type, one.mode, one.uid, one.gid, one.linkname, digest, one.mtime)
    return found


def test_two_builds_have_the_same_files(project: Project, image: str) -> None:
    again = build(project, f"{image}-again", "--no-cache", f"--build-arg=SOURCE_DATE_EPOCH={EPOCH}")
    try:
        first, second = contents(image), contents(again)
        assert len(first) > 4000
        assert sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name)) == []
        assert {one[-1] for one in first.values()} == {EPOCH}
    finally:
        docker("image", "rm", "--force", again)


def test_files_that_the_engine_knows_get_the_time_that_is_asked_for(project: Project, image: str) -> None:
    other = build(project, f"{image}-other", f"--build-arg=SOURCE_DATE_EPOCH={EPOCH + 1}")
    try:
        assert {one[-1] for one in contents(other).values()} == {EPOCH + 1}
    finally:
        docker("image", "rm", "--force", other)
