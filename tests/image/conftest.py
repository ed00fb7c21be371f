"""The workshops' image in a real engine, started as the service starts it."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests import engine_support
from tmpnb_py.engines.docker.engine import DockerEngine
from tmpnb_py.options.settings import Settings


@dataclasses.dataclass(frozen=True)
class Place:
    """An engine with a pool of the test's own, and the settings that name the image."""

    engine: DockerEngine
    settings: Settings


@pytest.fixture
async def place(workshop_image: str, pool: str) -> AsyncIterator[Place]:
    """The image under test; afterwards nothing is left."""
    directory = Path(tempfile.mkdtemp(prefix="tmpnb-image-"))
    settings = Settings(image=workshop_image, pool_name=pool, runtime_dir=directory)
    engine = DockerEngine(pool=pool, runtime_dir=directory)
    await engine.open()
    yield Place(engine, settings)
    left = await engine.list()
    await engine.remove_pool()
    await engine.close()
    shutil.rmtree(directory)
    assert left == []


@pytest.fixture(scope="session")
def hardened(workshop_image: str) -> list[str]:
    """The arguments of `docker` that run a program in the image about as the service does."""
    home = "rw,exec,nosuid,nodev,uid=1000,gid=1000,mode=0700,size=256m"
    return [
        "run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
        "--tmpfs", "/tmp:rw,noexec,nosuid,nodev,size=128m", "--tmpfs", f"/home/jovyan:{home}", "--pids-limit", "256",
        "--memory", "512m", "--memory-swap", "512m", "--cpus", "0.5", "--ulimit", "nofile=4096", workshop_image,
    ]  # fmt: skip


@pytest.fixture(scope="session")
def in_image(hardened: list[str]) -> engine_support.Run:
    """Run a shell command in a hardened container; returns what it prints."""
    return lambda command: engine_support.docker(*hardened, "sh", "-c", command)
