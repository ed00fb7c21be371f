"""Is there a real Docker engine, and the image that tests start in it? Used by fixtures."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tmpnb_py.settings import DEFAULT_IMAGE

SERVER_IMAGE = "tmpnb-py-test/server"
SERVER_COMMAND_SOCKET = "python3 /server.py --base {base_path} --socket {socket}"
SERVER_COMMAND_PORT = "python3 /server.py --base /{base_path} --ip={ip} --port {port}"
ENGINE_SOCKET = Path("/var/run/docker.sock")

Run = Callable[[str], str]
_IMAGES = Path(__file__).parent / "images"
_PROGRAM = Path(sys.executable).parent / "tmpnb-py"


def docker(*arguments: str, check: bool = True, seconds: float = 300) -> str:
    """What the docker command prints."""
    done = subprocess.run(
        ["docker", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
        env={**os.environ, "DOCKER_BUILDKIT": "0"},
    )
    if check and done.returncode:
        raise AssertionError(f"docker {' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout.strip()


def skip_or_fail(reason: str) -> None:
    """Skip with a reason; but fail in CI, where everything that tests need must be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def need_engine() -> None:
    """Skip (in CI: fail) unless a Docker engine answers on this machine's socket."""
    try:
        docker("version", "--format", "{{.Server.Version}}")
    except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
        skip_or_fail(f"no Docker engine answers: {error}")


@functools.cache
def base_image() -> str:
    """The name of the image to build upon, from where the product has it; the engine has it from then on."""
    done = subprocess.run([_PROGRAM, "image", "base"], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def build_image(tag: str, context: Path, *, seconds: float = 300) -> str:
    """Build an image for tests upon the product's base (the engine's cache makes it quick) and return its name."""
    need_engine()
    docker(
        "build",
        "--network",
        "host",
        "--build-arg",
        f"BASE={base_image()}",
        "--tag",
        tag,
        str(context),
        seconds=seconds,
    )
    return tag


def build_server_image() -> str:
    """The image of the stand-in server."""
    return build_image(SERVER_IMAGE, _IMAGES / "server")


def build_workshop_image() -> str:
    """Build the workshops' image with `tmpnb-py image build` and return its name.

    Where several working trees share an engine, WORKSHOP_IMAGE gives each an image of its own.
    """
    need_engine()
    tag = os.environ.get("WORKSHOP_IMAGE", DEFAULT_IMAGE)
    done = subprocess.run(
        [_PROGRAM, "image", "build", "--tag", tag], capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return tag
