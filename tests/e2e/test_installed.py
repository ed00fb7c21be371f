"""Installed as the head of the systemd unit says, word by word; then what the documents tell an operator to type.

In mounts that nobody else sees: what is written to /etc, /opt and /usr/local goes with the test. The runtime
directory alone is a real one, below /run under another name, as the engine has to see it. systemd does not run in a
test, so what it does for the unit (user, directory, environment, a /tmp of its own) is done here.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents.blocks import block, head_of
from tests.engine_support import SERVER_COMMAND_SOCKET, docker, skip_or_fail
from tests.ports import free_ports
from tests.quickstart import copy_of_repository

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "packaging" / "tmpnb-py.service"
SECONDS = 600

# Whose number a new user gets is of no matter: the engine sees a directory of that number, and nobody else.
HIDE = """
set -e
mount -t tmpfs tmpfs "$1"
for name in etc opt usr/local; do
    mkdir -p "$1/$name/upper" "$1/$name/work"
    mount -t overlay overlay -o "lowerdir=/$name,upperdir=$1/$name/upper,workdir=$1/$name/work" "/$name"
done
touch "$1/ready"
exec sleep infinity
"""
OWN_TMP = 'mount -t tmpfs tmpfs /tmp; exec "$@"'


class Machine:
    """A machine of the test's own, as far as files go."""

    def __init__(self, directory: Path) -> None:
        self.clone = copy_of_repository(directory / "clone")
        self.pool = f"unit{secrets.token_hex(4)}"
        self.runtime = Path("/run") / self.pool
        stage = directory / "stage"
        stage.mkdir()
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", HIDE, "sh", str(stage)],
            stderr=subprocess.DEVNULL,
        )
        self._inside = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt"]
        deadline = time.monotonic() + 10
        while self.run(f"test -e {stage}/ready").returncode:
            if self._holder.poll() is not None or time.monotonic() > deadline:
                skip_or_fail("mounts of one's own, with overlays, are not to be had here")
            time.sleep(0.05)
        unit = configparser.ConfigParser(strict=False, interpolation=None)
        unit.optionxform = str  # type: ignore[assignment,method-assign]  # configparser's way to keep capitals
        unit.read_string(UNIT.read_text())
        self.unit = unit["Service"]
        self._service: subprocess.Popen[bytes] | None = None
        self.log = directory / "log"

    def _environment(self) -> dict[str, str]:
        network = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        network |= {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
        # As Debian's root has it: `python3` is the system's.
        return {**network, "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}

    def run(self, command: str, *, user: str = "") -> subprocess.CompletedProcess[str]:
        """A line of shell, as root or another user."""
        become = ["--wd=/", "runuser", "-u", user, "--"] if user else [f"--wd={self.clone}"]
        return subprocess.run(
            [*self._inside, *become, "sh", "-c", command.replace("/run/tmpnb-py", str(self.runtime))],
            capture_output=True, text=True, check=False, timeout=SECONDS, env=self._environment(),
        )  # fmt: skip

    def start(self) -> None:
        """As systemd starts the unit."""
        user, group = self.unit["User"], self.unit["Group"]
        owner, name = f"{user}:{group}", self.unit["RuntimeDirectory"]
        directory = f"/run/{name}"
        made = self.run(f"install -d -o {user} -g {group} -m {self.unit['RuntimeDirectoryMode']} {directory}")
        assert made.returncode == 0, (owner, made.stderr)
        given = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "RUNTIME_DIRECTORY": str(self.runtime)}
        given |= dict(part.split("=", 1) for part in shlex.split(self.unit.get("Environment", "")))
        secrets_file = self.unit["EnvironmentFile"].removeprefix("-")  # that need not be there
        given |= dict(line.split("=", 1) for line in self.run(f"cat {secrets_file}").stdout.splitlines())
        become = ["setpriv", "--reuid", user, "--regid", group, "--init-groups"]
        become += ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        own_tmp = ["unshare", "--mount", "--propagation", "private", "sh", "-c", OWN_TMP, "sh"]
        with self.log.open("wb") as log:
            self._service = subprocess.Popen(
                [*self._inside, "--wd=/", *own_tmp, *become, *shlex.split(self.unit["ExecStart"])],
                stdout=log, stderr=log, env=given,
            )  # fmt: skip

    def ready(self) -> None:
        deadline = time.monotonic() + 60
        while '"event": "ready"' not in self.log.read_text():
            assert self._service is not None
            assert self._service.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def stop(self) -> int:
        assert self._service is not None
        self._service.terminate()
        return self._service.wait(60)

    def containers(self) -> list[str]:
        return docker("ps", "-aq", "--filter", f"label=org.tmpnb.pool={self.pool}").split()

    def sweep(self) -> None:
        """Leave nothing, whatever the test did."""
        if self._service is not None and self._service.poll() is None:
            self._service.kill()
            self._service.wait()
        for one in self.containers():
            docker("rm", "--force", "--volumes", one)
        self._holder.kill()
        self._holder.wait()
        shutil.rmtree(self.runtime, ignore_errors=True)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    if os.geteuid() != 0:
        pytest.skip("needs to be root to install anything")
    if not Path("/usr/bin/python3").exists() or not list(Path("/usr/lib").glob("python3*/ensurepip")):
        skip_or_fail("the system has no python3 with venv (apt-get install python3-venv)")
    machine = Machine(tmp_path)
    try:
        yield machine
    finally:
        machine.sweep()


def must(done: subprocess.CompletedProcess[str], code: int = 0) -> str:
    """What a command printed, if it ended so."""
    assert done.returncode == code, f"{done.args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.mark.engine
@pytest.mark.timeout(1200)
def test_every_documented_command_finds_the_service(machine: Machine, server_image: str) -> None:
    first, second = free_ports(2)
    commands = head_of("packaging/tmpnb-py.service").commands
    assert [one.split()[0] for one in commands][-2:] == ["cp", "tmpnb-py"]
    for command in commands[:-2]:
        if command == "tmpnb-py image build":
            must(machine.run("tmpnb-py image build --help"))  # what it builds is tested elsewhere
        else:
            must(machine.run(command))
    options = f'pool_name = "{machine.pool}"\npool_size = 1\nport = {first}\nadmin_port = {second}\n'
    options += f'image = "{server_image}"\ncommand = "{SERVER_COMMAND_SOCKET}"\nmem_limit = "128m"\n'
    must(machine.run(f"printf %s {shlex.quote(options)} >> /etc/tmpnb-py.toml"))
    assert commands[-2].endswith("systemctl enable --now tmpnb-py")
    must(machine.run("(umask 077; echo ADMIN_AUTH_TOKEN=sesame > /etc/tmpnb-py.env)"))
    must(machine.run(f"mkdir -p /etc/systemd/system && {commands[-2].partition('&&')[0]}"))

    must(machine.run("tmpnb-py doctor"))  # also before there is a runtime directory
    assert not machine.runtime.exists()
    machine.start()
    machine.ready()

    for user in ("", "tmpnb"):
        shown = must(machine.run(commands[-1], user=user))
        assert "FAIL" not in shown
        assert f"{machine.runtime} belongs to the user tmpnb" in shown or "the checks do not disturb it" in shown
        assert "files may be open" in shown
        refused = must(machine.run("tmpnb-py purge --yes", user=user), 6)
        assert "is managed by another tmpnb-py" in refused
    assert len(machine.containers()) == 1
    assert machine.runtime.stat().st_mode & 0o777 == 0o700
    owners = {path.lstat().st_uid for path in machine.runtime.rglob("*") if path.name != "server.sock"}
    assert owners == {machine.runtime.stat().st_uid}, "files of root would be refused to the service"

    for user in ("", "tmpnb"):
        must(machine.run("tmpnb-py status", user=user), 7)
    (secret,) = re.findall(r"with: (set -a .*)$", UNIT.read_text(), re.MULTILINE)
    assert "1 of 1" in must(machine.run(f"{secret} && tmpnb-py status"))

    denied = must(machine.run("tmpnb-py purge --yes", user="nobody"), 2)
    assert "belongs to the user tmpnb" in denied

    assert machine.stop() == 0
    assert len(machine.containers()) == 1
    must(machine.run("tmpnb-py purge --yes"))
    assert machine.containers() == []
    machine.start()  # what root's commands left keeps nobody out
    machine.ready()
    assert machine.stop() == 0


def test_the_documented_line_shows_the_audit_trail() -> None:
    """Between our events the journal has systemd's own lines, and words of a service that could not start."""
    if shutil.which("jq") is None:
        skip_or_fail("jq is not installed (apt-get install jq)")
    line = block("docs/operating.md", "journalctl -u tmpnb-py").text.partition(" | ")[2]
    event = {"event": "session_ended", "ended": "2026-01-01T00:00:00Z", "duration": 60, "reason": "idle"}
    lines = ["Started tmpnb-py.service.", '{"event": "ready"}', "12", "error: no", json.dumps(event), "Stopped."]
    done = subprocess.run(
        shlex.split(line), input="\n".join(lines), capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "2026-01-01T00:00:00Z\t60\tidle\n", "")
