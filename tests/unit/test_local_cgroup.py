"""Where a notebook's control groups are made, in both versions, and what is written to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tmpnb_py.engines.local import cgroup
from tmpnb_py.engines.local.cgroup import GroupLimits, find

LIMITS = GroupLimits(memory=1000, pids=50)


def group(path: Path, **files: str) -> Path:
    """A directory as the kernel makes one."""
    path.mkdir(parents=True, exist_ok=True)
    for name, content in {"cgroup.procs": "", **files}.items():
        (path / name).write_text(content)
    return path


def unified(path: Path, *, delegated: str = "memory pids", available: str = "cpu memory pids") -> Path:
    return group(path, **{"cgroup.subtree_control": delegated, "cgroup.controllers": available})


def test_version_1_has_a_tree_for_each_controller(tmp_path: Path) -> None:
    memory, pids = group(tmp_path / "memory" / "a"), group(tmp_path / "pids")
    own = "9:name=systemd:/\n8:pids:/\n4:memory:/a\n2:cpu,cpuacct:/gone\n1:freezer:/\n0::/\n"
    found = find(own, tmp_path)
    assert found.parents == {"memory": memory, "pids": pids}
    assert found.limit_memory
    assert found.limit_pids
    assert found.named("x") == (f"{pids}/x", f"{memory}/x")


@pytest.mark.parametrize(
    ("own", "delegated"),
    [("0::/user/app/term.scope\n", "user/app"), ("0::/deep/own\n", "deep/own"), ("0::/\n", "")],
)
def test_version_2_takes_the_nearest_delegated_group(tmp_path: Path, own: str, delegated: str) -> None:
    for path in ("", "user/app", "user/app/term.scope", "deep", "deep/own"):
        unified(tmp_path / path, delegated="", available="cpu")
    unified(tmp_path / delegated)
    assert find(own, tmp_path).parents == {"unified": tmp_path / delegated}


def test_version_2_hands_on_what_was_not_handed_on(tmp_path: Path) -> None:
    unified(tmp_path, delegated="cpu")
    assert find("0::/\n", tmp_path).parents == {"unified": tmp_path}
    assert (tmp_path / "cgroup.subtree_control").read_text().startswith("+memory +pids")


def test_nothing_where_nothing_may_be_made(tmp_path: Path) -> None:
    unified(tmp_path, delegated="", available="cpu")
    for own in ("0::/\n", "0::/x/y\n", "4:memory:/gone\n", ""):
        found = find(own, tmp_path)
        assert not found.parents
        assert not found.limit_memory
        assert found.make("x", LIMITS) == ()


def test_limits_are_written_to_files_that_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "memory": {"memory.limit_in_bytes": "1000", "memory.memsw.limit_in_bytes": "1000"},
        "unified": {"memory.max": "1000", "memory.swap.max": "0", "pids.max": "50"},
        "pids": {"pids.max": "50"},
    }
    for controller, wanted in files.items():
        parent = tmp_path / controller
        written = group(parent / "x", **dict.fromkeys(wanted, ""))
        made = cgroup.Cgroups({controller: parent}).make("x", LIMITS)
        assert made == (str(written),)
        assert {name: (written / name).read_text() for name in wanted} == wanted
    assert cgroup.Cgroups({"pids": tmp_path / "pids"}).make("x", GroupLimits(1, 0))
    assert (tmp_path / "pids/x/pids.max").read_text().startswith("max")
    # Swap is not accounted for in every kernel.
    assert cgroup.Cgroups({"memory": tmp_path}).make("bare", LIMITS)
    assert list((tmp_path / "bare").iterdir()) == []


def test_the_cpu_limit_in_both_versions(tmp_path: Path) -> None:
    first = group(tmp_path / "a", **{"cpu.cfs_quota_us": "", "cpu.cfs_period_us": ""})
    second = group(tmp_path / "b", **{"cpu.max": ""})
    cgroup.limit_cpu([str(first), str(second), str(tmp_path)], 50_000)
    assert (first / "cpu.cfs_quota_us").read_text() == "125000"
    assert (second / "cpu.max").read_text() == "125000 250000"
    cgroup.limit_cpu([str(second)], 0)
    assert (second / "cpu.max").read_text() == "125000 250000"


@pytest.mark.parametrize(
    ("name", "text", "killed"),
    [
        ("memory.events", "low 0\noom 2\noom_kill 1\n", True),
        ("memory.events", "low 0\noom 2\noom_kill 0\n", False),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", True),
        ("memory.oom_control", "nonsense\n", False),
        ("other", "oom_kill 1", False),
    ],
)
def test_out_of_memory(tmp_path: Path, name: str, text: str, killed: bool) -> None:
    (tmp_path / name).write_text(text)
    assert cgroup.out_of_memory([str(tmp_path)]) is killed


def test_members_and_removal(tmp_path: Path) -> None:
    one = group(tmp_path / "one", **{"cgroup.procs": "12\n0\n345\n"})
    assert cgroup.members([str(one), str(tmp_path / "gone")]) == {12, 345}
    empty = tmp_path / "empty"
    empty.mkdir()
    assert cgroup.remove([str(empty), str(tmp_path / "gone"), str(one)], seconds=0.05) == [str(one)]
    assert not empty.exists()
