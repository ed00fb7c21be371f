#!/usr/bin/env python3
"""The README's first command, in a fresh copy of this repository, as on a machine without Docker.

With `--package FILE` it is a wheel or a source distribution that is installed, without a copy of the repository, by
the README's command for pip, or with `--by pipx` and `--by uvx` by theirs.

`python3 tests/quickstart.py` installs and starts it, opens a notebook, runs a cell over the kernel's WebSocket, stops
it as Ctrl-C does and sees that nothing is left. Needs no more than a Python with venv, and a registry to install
from; takes about a minute, most of it pip's. TMPNB_PORT and TMPNB_ADMIN_PORT choose other ports than 8000 and 10000.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import importlib.util
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

COMMAND = "python3 -m venv .venv && .venv/bin/pip install '.[local]' && .venv/bin/tmpnb-py serve --cleanup-on-exit"
PACKAGE_COMMANDS = {
    "pip": COMMAND.replace("'.[local]'", '"${PACKAGE}[local]"'),
    "pipx": 'pipx run --spec "${PACKAGE}[local]" tmpnb-py serve --cleanup-on-exit',
    "uvx": 'uvx --from "${PACKAGE}[local]" tmpnb-py serve --cleanup-on-exit',
}
ROOT = Path(__file__).resolve().parents[1]
PORT = os.environ.get("TMPNB_PORT", "8000")
START_SECONDS = 600.0
STOP_SECONDS = 60.0

# Every entry of /run but Docker's socket, in mounts that nobody else sees.
HIDE_DOCKER = """
set -e
stage=$(mktemp -d)
mount -t tmpfs -o mode=755 tmpfs "$stage"
for path in /run/* /run/.[!.]*; do
    name=${path#/run/}
    if [ "$name" = docker.sock ] || ! [ -e "$path" ]; then continue
    elif [ -L "$path" ]; then cp -P "$path" "$stage/$name"
    elif [ -d "$path" ]; then mkdir "$stage/$name" && mount --rbind "$path" "$stage/$name"
    else touch "$stage/$name" && mount --bind "$path" "$stage/$name"
    fi
done
mount --move "$stage" /run
rmdir "$stage"
exec "$@"
"""


def main(package: Path | None, by: str) -> None:
    """Go through it, with the repository or with a package of it; any failure is an exception."""
    if Path("/var/run/docker.sock").exists():
        _hide_docker()
    began = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix="tmpnb-quickstart-"))
    try:
        clone, command = directory / "tmpnb-py", PACKAGE_COMMANDS[by] if package else COMMAND
        assert command in (ROOT / "README.md").read_text(), f"the README's quick start is no longer: {command}"
        if package:
            clone.mkdir()
        else:
            copy_of_repository(clone)
        _try(command, clone, directory, package)
    finally:
        shutil.rmtree(directory)
    what = f"{package.name} by {by}" if package else "the repository"
    print(f"quick start of {what}: all of it works, in {time.monotonic() - began:.0f} s")


def _hide_docker() -> None:
    """Become this program again, where there is no trace of Docker."""
    if os.environ.get("TMPNB_QUICKSTART"):
        raise SystemExit("Docker's socket could not be hidden")
    os.environ["TMPNB_QUICKSTART"] = "hidden"
    namespaces = ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]
    again = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:]]
    os.execvp("unshare", ["unshare", *namespaces, "--propagation", "private", "sh", "-c", HIDE_DOCKER, "sh", *again])


def copy_of_repository(clone: Path) -> Path:
    """What a clone would have, and what is not committed yet."""
    listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    return clone


def _try(command: str, clone: Path, directory: Path, package: Path | None) -> None:
    kept = {"PATH", "HOME", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT", "PIP_CONFIG_FILE", "SSL_CERT_FILE"}
    environ = {name: value for name, value in os.environ.items() if name in kept or name.lower().endswith("_proxy")}
    environ |= {name: os.environ[name] for name in ("TMPNB_PORT", "TMPNB_ADMIN_PORT") if name in os.environ}
    environ |= {"TMPNB_LOG_FORMAT": "json", "TMPNB_RUNTIME_DIR": str(directory / "run")}
    environ |= {"TMPNB_STATE_DIR": str(directory / "state")}
    environ |= {"PIPX_HOME": str(directory / "pipx"), "UV_CACHE_DIR": str(directory / "uv")}
    if package:
        environ["PACKAGE"] = str(package.resolve())
    environ |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "NO_PROXY": "localhost,127.0.0.1"}
    log = directory / "log"
    keyboard, terminal = pty.openpty()
    with log.open("wb") as output:
        service = subprocess.Popen(
            ["sh", "-c", command], cwd=clone, env=environ, stdin=terminal, stdout=output, stderr=output,
            start_new_session=True, preexec_fn=_own_terminal,  # noqa: PLW1509 - there are no threads
        )  # fmt: skip
    try:
        _wait_for_page(service)
        python = _python_of(service)
        _run(python, clone, "--use")
        os.write(keyboard, b"\x03")  # Ctrl-C: uvx hands a signal on to its program, unless that is a terminal's
        code = service.wait(STOP_SECONDS)
        assert code in (0, -signal.SIGINT, 128 + signal.SIGINT), f"it ended with {code}"
        _run(python, clone, "--after", str(log), str(directory / "run"))
    except BaseException:
        print(log.read_text(errors="replace")[-8000:], file=sys.stderr)
        raise
    finally:
        if service.poll() is None:
            os.killpg(service.pid, signal.SIGTERM)
            service.wait(STOP_SECONDS)
        os.close(keyboard)
        os.close(terminal)


def _own_terminal() -> None:
    """Make the standard input the terminal of this session, whose keys are signals."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _wait_for_page(service: subprocess.Popen[bytes]) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert service.poll() is None, "it ended before there was a page"
        try:
            with opener.open(f"http://localhost:{PORT}/", timeout=5) as response:
                assert b"<html" in response.read()
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise AssertionError("no page within ten minutes")


def _python_of(service: subprocess.Popen[bytes]) -> str:
    """The Python of the environment that was just made, wherever that is: what the program runs in."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode().split("\0")
            if os.getsid(int(path.parent.name)) == service.pid and words[1].endswith("/tmpnb-py"):
                return words[0]
        except (OSError, IndexError):
            continue
    raise AssertionError("there is a page, and no program that makes it")


def _run(python: str, clone: Path, *arguments: str) -> None:
    """A part of this program that uses what has just been installed."""
    environ = {**os.environ, "PYTHONPATH": str(clone)}
    subprocess.run([python, __file__, *arguments], check=True, env=environ, cwd=clone)


def _visitor() -> Any:
    """The module `tests.e2e.jupyter`, without its package, which needs pytest."""
    spec = importlib.util.spec_from_file_location("visitor", Path(__file__).parent / "e2e" / "jupyter.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["visitor"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def use() -> None:
    """Do what a visitor does."""
    import aiohttp  # noqa: PLC0415 - only the new environment has it

    notebook_of = _visitor().Notebook.of
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(f"http://localhost:{PORT}", timeout=timeout) as client:
        async with client.post("/api/spawn?wait=60") as response:
            assert response.status == 200, await response.text()
            spawned = await response.json()
        async with client.get(spawned["open_url"]) as response:
            assert response.status == 200
            assert spawned["url"] in await response.text()
        printed = await notebook_of(client, spawned).run("import sys\nprint(6 * 7, sys.version_info[:2])")
        assert printed.startswith("42 "), printed


def after(log: Path, runtime_dir: Path) -> None:
    """See that processes, sockets, directories, mounts and control groups are gone."""
    from tmpnb_py.engines.local.cgroup import find  # noqa: PLC0415 - only the new environment has it
    from tmpnb_py.engines.local.launch import handle  # noqa: PLC0415
    from tmpnb_py.engines.local.process import marked  # noqa: PLC0415

    events = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert [event for event in events if event["event"] == "engine" and event["engine"] == "local"]
    ids = {event["id"] for event in events if event["event"] == "starting"}
    assert ids
    # The directory stays ours: its lock, and the mark that says so.
    left = [str(path) for path in runtime_dir.rglob("*") if path.suffix != ".lock" and path.name != ".tmpnb-py"]
    for container_id in ids:
        name = handle("tmpnb", container_id)
        places = [*find().named(name), str(Path(tempfile.gettempdir(), name))]
        left += [place for place in places if Path(place).exists()]
        left += [f"process {one.pid}" for one in marked("TMPNB_BASE_PATH", f"/user/{container_id}/")]
    left += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(runtime_dir) in line]
    assert not left, (len(left), left[:20])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--use"]:
        asyncio.run(use())
    elif sys.argv[1:2] == ["--after"]:
        after(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        parser = argparse.ArgumentParser(description="Try the README's first command, or those for a package.")
        parser.add_argument("--package", type=Path, metavar="FILE", help="a wheel or a source distribution")
        parser.add_argument("--by", choices=PACKAGE_COMMANDS, default="pip", help="what installs it")
        asked = parser.parse_args()
        main(asked.package, asked.by)
