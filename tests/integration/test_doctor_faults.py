"""`doctor` on a machine with faults, each produced for real, in namespaces of its own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.own_engine import own_engine
from tests.engine_support import skip_or_fail
from tests.integration.command_support import PROGRAM, environment

SECONDS = 120
# A full disk, a kernel that lets few programs watch files, few files, a network that leads nowhere and names nothing.
FAULTS = """
set -e
mkdir "$1/state" && mount -t tmpfs -o size=256k tmpfs "$1/state"
head -c 300k /dev/zero > "$1/state/full" 2>/dev/null || true
echo 4 > "$1/watchers" && mount --bind "$1/watchers" /proc/sys/fs/inotify/max_user_instances
ulimit -n 1024
shift
exec "$@"
"""
# The only way out is a device that carries little at once.
NARROW = """
set -e
ip link add out mtu 1380 type veth peer name nowhere
ip address add 192.0.2.1/24 dev out && ip link set out up && ip link set nowhere up && ip link set lo up
ip route add default via 192.0.2.2
exec "$@"
"""


def doctor(where: list[str], *options: str, env: dict[str, str]) -> tuple[int, list[dict[str, Any]]]:
    """Its exit code and findings, in namespaces of its own."""
    if os.geteuid() != 0:
        skip_or_fail("only root can have namespaces with mounts and devices")
    command = [*where, PROGRAM, "doctor", "--json", "--port=0", "--admin-port=0", *options]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=SECONDS, env=environment(env)
    )  # fmt: skip
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)["findings"]


def test_a_machine_with_everything_wrong(tmp_path: Path) -> None:
    """What stops the service comes first, then what may; each has one line of remedy and a section to read."""
    where = ["unshare", "--mount", "--propagation", "private", "--net", "sh", "-c", FAULTS, "sh", str(tmp_path)]
    code, found = doctor(
        where, f"--runtime-dir={tmp_path / 'run'}", f"--state-dir={tmp_path / 'state'}",
        "--pool-size=5", "--egress=web", "--egress-hosts=files.pythonhosted.org",
        env={"DOCKER_HOST": "unix:///nowhere.sock", "https_proxy": "http://192.0.2.1:3128"},
    )  # fmt: skip
    assert code == 8
    wrong = [(one["grade"], one["subject"]) for one in found if one["grade"] != "OK"]
    assert wrong == [
        ("FAIL", "engine"), ("FAIL", "disk"), ("WARN", "files"), ("WARN", "watchers"), ("WARN", "web"),
    ]  # fmt: skip
    assert [one["grade"] for one in found] == sorted(
        (one["grade"] for one in found), key=["FAIL", "WARN", "OK"].index
    )
    texts = {one["subject"]: one["text"] for one in found if one["grade"] != "OK"}
    assert "no Docker engine at unix:///nowhere.sock" in texts["engine"]
    assert texts["disk"].startswith("state_dir: 0 B free in ")
    assert "1024 files may be open" in texts["files"]
    assert "lets 4 programs of a user watch files; 5 notebooks" in texts["watchers"]
    assert "the name files.pythonhosted.org does not resolve" in texts["web"]
    for one in found[: len(wrong)]:
        assert one["remedy"], one
        assert "\n" not in one["remedy"]
        assert one["link"].endswith(f"/docs/troubleshooting.md#{one['section']}")


@pytest.mark.engine
@pytest.mark.long
def test_an_engine_that_does_not_forward_and_a_way_out_that_is_narrow(tmp_path: Path) -> None:
    """Such an engine makes no networks: that notebooks cannot be kept apart is found, too."""
    with own_engine(options=["--ip-forward=false"]) as engine:
        switch = "echo 0 > /proc/sys/net/ipv4/ip_forward"  # of the engine's network alone
        subprocess.run(["nsenter", f"--net=/proc/{engine.pid}/ns/net", "sh", "-c", switch], check=True)
        where = ["unshare", "--net", "sh", "-c", NARROW, "sh"]
        options = [f"--runtime-dir={tmp_path / 'run'}", "--egress=internet", "--image=no-such-image"]
        _, found = doctor(where, *options, env={"DOCKER_HOST": engine.host})
    texts = {one["subject"]: one["text"] for one in found if one["grade"] != "OK"}
    assert "IPv4 forwarding is off" in texts["forwarding"]
    assert texts["mtu"].startswith("out, the way out, carries 1380 bytes at once")
