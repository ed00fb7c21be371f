"""Is there a real Docker engine, and the image that tests start in it? Used by fixtures."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tmpnb_py.options.groups.notebooks import DEFAULT_IMAGE

SERVER_IMAGE = "tmpnb-py-test/server"
SERVER_COMMAND_SOCKET = "python3 /server.py --base {base_path} --socket {socket}"
SERVER_COMMAND_PORT = "python3 /server.py --base /{base_path} --ip={ip} --port {port}"
ENGINE_SOCKET = Path(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://"))

Run = Callable[[str], str]
_IMAGES = Path(__file__).parent / "images"
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")  # with those of a proxy that re-signs TLS
_PROGRAM = Path(sys.executable).parent / "tmpnb-py"


def docker(*arguments: str, check: bool = True, seconds: float = 300) -> str:
    """What the docker command prints."""
    return run_docker(["docker", *arguments], check=check, seconds=seconds)


def run_docker(command: Sequence[str], *, check: bool = True, seconds: float = 300) -> str:
    """What this docker command prints."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
        env={**os.environ, "DOCKER_BUILDKIT": "0"},
    )
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
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


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """What another run of this checkout builds just now is waited for, and found in the engine's cache then."""
    descriptor = os.open(_IMAGES, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@functools.cache
def base_image() -> str:
    """The name of the image to build upon, from where the product has it; the engine has it from then on."""
    with _one_at_a_time():
        done = subprocess.run([_PROGRAM, "image", "base"], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def build_image(tag: str, context: Path, *, seconds: float = 300) -> str:
    """Build an image for tests upon the product's base (the engine's cache makes it quick) and return its name."""
    need_engine()
    arguments = ["--network", "host", "--build-arg", f"BASE={base_image()}", "--tag", tag]
    with _one_at_a_time():
        docker("build", *arguments, str(context), seconds=seconds)
    return tag


def build_with_the_internet(name: str) -> str:
    """Build one of the tests' images that have packages from PyPI, also through a proxy that re-signs TLS."""
    with tempfile.TemporaryDirectory() as place:
        shutil.copy(_IMAGES / name / "Dockerfile", place)
        if _CERTIFICATES.exists():
            Path(place, "certs").mkdir()
            shutil.copy(_CERTIFICATES, Path(place, "certs", "host.crt"))
        return build_image(f"tmpnb-py-test/{name}", Path(place), seconds=1200)


def _images_are_loaded() -> bool:
    """Whether the engine was given the tests' images, as one for which they are not to be built again."""
    return os.environ.get("IMAGES_ARE_LOADED") == "true"


def build_server_image() -> str:
    """The image of the stand-in server."""
    if _images_are_loaded():
        return SERVER_IMAGE
    return build_image(SERVER_IMAGE, _IMAGES / "server")


def build_workshop_image() -> str:
    """Build the workshops' image with `tmpnb-py image build` and return its name.

    Where several working trees share an engine, WORKSHOP_IMAGE gives each an image of its own.
    """
    need_engine()
    tag = os.environ.get("WORKSHOP_IMAGE", DEFAULT_IMAGE)
    if _images_are_loaded():
        return tag
    with _one_at_a_time():
        done = subprocess.run(
            [_PROGRAM, "image", "build", "--tag", tag], capture_output=True, text=True, check=False, timeout=900
        )
    assert done.returncode == 0, done.stderr[-3000:]
    return tag


def mount_in_memory(place: Path, options: str) -> None:
    """Give a directory a file system of its own. Skips (in CI: fails) where that cannot be."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    if subprocess.run(command, check=False).returncode:
        skip_or_fail("no file system can be mounted here")


@contextlib.contextmanager
def hung(docker_id: str, *, host: str = "") -> Iterator[None]:
    """Whatever is asked for this container waits, while the engine (at `host`) answers everything else.

    Its shim is stopped, so that a signal for the container is not delivered; and who delivers it has the lock.
    """
    shim = _shim_of(docker_id)
    engine = ["docker", "--host", host] if host else ["docker"]
    os.kill(shim, signal.SIGSTOP)
    try:
        with subprocess.Popen([*engine, "kill", "--signal", "CONT", docker_id], stdout=subprocess.DEVNULL):
            try:
                while not _hangs(engine, docker_id):
                    pass
                yield
            finally:
                os.kill(shim, signal.SIGCONT)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(shim, signal.SIGCONT)


def _shim_of(docker_id: str) -> int:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command = path.read_bytes().split(b"\0")
            if b"containerd-shim" in command[0] and docker_id.encode() in command:
                return int(path.parent.name)
    skip_or_fail("the container's shim is not to be seen from here")
    raise AssertionError


def _hangs(engine: list[str], docker_id: str) -> bool:
    """Whether what is asked for the container is not answered while the engine answers again and again."""
    with subprocess.Popen([*engine, "inspect", docker_id], stdout=subprocess.DEVNULL) as asking:
        for _ in range(5):
            subprocess.run([*engine, "version"], stdout=subprocess.DEVNULL, check=True, timeout=60)
        hangs = asking.poll() is None
        asking.kill()
    return hangs
