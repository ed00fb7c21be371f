"""What a relay reads of a notebook's processes is what the kernel says of that very process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tmpnb_py.core.errors import EngineError
from tmpnb_py.engines.swarm.relay.processes import status_of

ID = "a" * 64
STATUS = "Name:\tsh\nNoNewPrivs:\t1\nSeccomp:\t2\nCapBnd:\t0000000000000000\nstray line\n"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "status").write_text(STATUS)
    return tmp_path


@pytest.mark.parametrize(
    "groups",
    [f"4:memory:/docker/{ID}\n", f"0::/system.slice/docker-{ID}.scope\n", f"0::/../{ID}\n"],
    ids=["cgroupfs", "systemd", "from another control group"],
)
def test_fields_of_the_container_s_own_process(proc: Path, groups: str) -> None:
    (proc / "7" / "cgroup").write_text(groups)
    found = status_of(7, ID, proc)
    assert (found["NoNewPrivs"], found["Seccomp"], found["CapBnd"]) == ("1", "2", "0" * 16)


def test_another_process_with_the_same_number_is_refused(proc: Path) -> None:
    (proc / "7" / "cgroup").write_text(f"0::/docker/{'b' * 64}\n")
    with pytest.raises(EngineError, match="another one"):
        status_of(7, ID, proc)


def test_without_the_node_s_proc_it_is_said_what_to_mount(proc: Path) -> None:
    with pytest.raises(EngineError) as caught:
        status_of(8, ID, proc)
    assert "/host/proc" in caught.value.remedy


def test_a_real_process() -> None:
    groups = Path("/proc/self/cgroup").read_text()
    assert status_of(os.getpid(), groups.splitlines()[-1], Path("/proc"))["Pid"] == str(os.getpid())
