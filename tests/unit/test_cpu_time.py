"""CPU seconds as the kernel's files tell them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tmpnb_py.engines import cpu_time
from tmpnb_py.engines.swarm.link.wire import cpu_seconds_of

ID = "ab" * 32


@pytest.mark.parametrize(
    ("place", "file", "text"),
    [
        (f"cpuacct/docker/{ID}", "cpuacct.usage", "2500000000\n"),
        (f"cpuacct/system.slice/docker-{ID}.scope", "cpuacct.usage", "2500000000\n"),
        (f"docker/{ID}", "cpu.stat", "usage_usec 2500000\nuser_usec 1\n"),
        (f"system.slice/docker-{ID}.scope", "cpu.stat", "usage_usec 2500000\nuser_usec 1\n"),
    ],
)
def test_a_containers_group_is_found(tmp_path: Path, place: str, file: str, text: str) -> None:
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / file).write_text(text)
    assert cpu_time.of_docker(ID, tmp_path) == 2.5


@pytest.mark.parametrize("docker_id", ["", "..", "../../x", "a" * 63, "A" * 64, f"{ID}/.."])
def test_only_an_id_of_docker_is_looked_up(tmp_path: Path, docker_id: str) -> None:
    assert cpu_time.of_docker(docker_id, tmp_path) is None


def test_a_group_that_counts_nothing_is_passed_over(tmp_path: Path) -> None:
    """The cpu controller of version 1 has a cpu.stat, too, about something else."""
    for name, file, text in (("cpu", "cpu.stat", "nr_periods 7\n"), ("acct", "cpuacct.usage", "1000000000")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(text)
    assert cpu_time.of_groups([tmp_path / "gone", tmp_path / "cpu", tmp_path / "acct"]) == 1.0
    assert cpu_time.of_groups([tmp_path / "cpu"]) is None


def test_a_relays_answer_is_believed_as_far_as_it_makes_sense() -> None:
    told = {"a": 2, "b": -1, "c": "x", "d": float("nan"), "e": 1e300, "foreign": 3.0, "f": None}
    assert cpu_seconds_of({"seconds": told}, ["a", "b", "c", "d", "e", "f", "g"]) == {"a": 2.0}
    assert cpu_seconds_of({"seconds": [1]}, ["a"]) == cpu_seconds_of({}, ["a"]) == {}
