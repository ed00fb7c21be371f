"""Which engine does what: the columns and rows of the table in docs/engines.md, and how a column is measured.

Each engine runs on an empty data root in namespaces of its own (`.ci/own-machine`), and all of it goes afterwards.
There the contract suite runs, and tests of whole services. A cell says how the tests of its row ended.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from tests.engine_support import base_image, build_server_image, build_workshop_image, docker, skip_or_fail
from tests.engines import programs, roots

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "engines.md"
YES, PARTLY, UNTRIED, REFUSED, NO = "yes", "in part", "not tried", "refused", "no"

_CONTRACT = ("tests/contract/test_docker_engine.py", "tests/contract/test_engine_contract.py")
_SERVICES = (
    "tests/engines/test_images.py",
    "tests/e2e/test_egress.py",
    "tests/e2e/test_runtimes.py",
    "tests/e2e/test_restart.py::test_kill_9_loses_nothing",
    "tests/e2e/test_restart.py::test_sigterm_keeps_containers_and_the_next_start_takes_them_up",
    "tests/e2e/test_warm_kernels.py::test_by_default_the_first_workshops_kernel_is_there_before_its_visitor",
    "tests/e2e/test_browser.py::test_click_lab_cell_output_end",
    "tests/e2e/test_contract_tmpnb_compose.py::test_up_serves_and_down_leaves_nothing",
    "tests/e2e/test_contract_tmpnb_compose.py::test_no_certificate_of_the_builds_is_in_an_image",
)
_SECONDS = 2400
# Images come from the machine's engine, before there is nothing to build them with; and are not kept twice.
_LOADED = 'docker load --quiet --input "$0" && rm "$0" && exec "$@"'

# The rows, and the tests that hold each.
FEATURES: Mapping[str, tuple[str, ...]] = {
    "Notebooks start, are claimed and removed": (
        "test_a_container_lives_through_its_states", "test_four_at_once", "test_a_failed_start_leaves_nothing",
    ),
    "One service for each pool": ("test_a_pool_has_one_manager", "test_a_hold_outlives_nobody"),
    "Limits of memory, processes and CPU time; no privileges": (
        "test_hardening_is_in_force", "test_out_of_memory_is_told_from_other_deaths",
    ),
    "Unix sockets, and notebooks without a network": (
        "test_the_transport_is_found_by_trying", "test_a_sealed_directory_stays_as_it_is",
    ),
    "Ports": ("test_a_container_by_port", "test_a_port_is_reachable_on_loopback_only"),
    "Events: a death is told at once": ("test_a_death_is_told_and_listed", "test_events_come_back_after_a_break"),
    "CPU time of notebooks": (
        "test_cpu_time_is_told_of_those_that_run", "test_cpu_time_is_the_same_by_control_groups_and_by_statistics",
    ),
    "Images are built, imported and read": (
        "test_images_are_built_and_described", "test_an_image_is_imported",
        "test_files_of_an_image_are_read_without_running_it",
    ),
    "The fence: `egress` and neighbours": (
        "test_the_internet_is_neither_private_networks_nor_this_machine",
        "test_a_notebook_with_a_port_reaches_nothing",
        "test_rules_outlive_the_engine", "test_neighbours_that_are_not_kept_apart_are_found_out",
    ),
    "`runtime`": ("test_another_runtime",),
    "`tmpnb-py image build`, `save` and `load`": ("test_image_build_with_certificates_and_save_and_load",),
    "`kill -9` of the service": ("test_kill_9_loses_nothing",),
    "Warm kernels": ("test_by_default_the_first_workshops_kernel_is_there_before_its_visitor",),
    "JupyterLab in a browser": ("test_click_lab_cell_output_end",),
    "compose: up and down, and certificates of a company": (
        "test_up_serves_and_down_leaves_nothing", "test_no_certificate_of_the_builds_is_in_an_image",
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Kind:
    """A column. `make` writes the engine's programs into a folder. `refusal`: what `serve` says instead."""

    title: str
    make: Callable[[Path], None]
    tests: tuple[str, ...] = (*_CONTRACT, *_SERVICES)
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    refusal: str = ""


def _gvisor(folder: Path) -> None:
    program = os.environ.get("RUNSC") or shutil.which("runsc")
    if program is None:
        skip_or_fail("no runsc: apt-get install runsc")
    arguments = ["--network=host", "--platform=ptrace", "--host-uds=all"]
    setup = {"runtimes": {"runsc": {"path": program, "runtimeArgs": arguments}}}
    (folder / "daemon.json").write_text(json.dumps(setup))
    programs.this_docker(folder, ["--config-file", str(folder / "daemon.json")])


def _podman(folder: Path) -> None:
    if shutil.which("podman") is None:
        skip_or_fail("no podman: apt-get install podman")
    programs.podman(folder)


_OF_29 = ["--feature=containerd-snapshotter=true"]  # what Docker 29 has by default, and the oldest API that it knows
_BUILDKIT = {"DOCKER_BUILDKIT": "1"}

KINDS = {
    "20": Kind("Docker 20.10", lambda folder: programs.this_docker(folder, [])),
    "userns": Kind(
        "20.10, userns-remap",
        lambda folder: programs.this_docker(folder, ["--userns-remap=default"]),
        tests=_CONTRACT,
    ),
    "gvisor": Kind("20.10, gVisor", _gvisor, tests=_CONTRACT, environment={"NOTEBOOK_RUNTIME": "runsc"}),
    "26": Kind("26.1", lambda folder: programs.another_docker(folder, roots.stable()), tests=_CONTRACT),
    "28": Kind("28.5", lambda folder: programs.another_docker(folder, roots.newest()), environment=_BUILDKIT),
    "28-as-29": Kind(
        "28.5 set up as 29",
        lambda folder: programs.another_docker(
            folder, roots.newest(), options=_OF_29, environment="DOCKER_MIN_API_VERSION=1.44"
        ),
        environment=_BUILDKIT,
    ),
    "rootless": Kind(
        "28.5, rootless",
        lambda folder: programs.rootless_docker(folder, roots.newest()),
        refusal="notebooks would not be kept apart: memory is not limited",
    ),
    "podman": Kind("Podman 4.3", _podman, refusal="is Podman 4."),
    "podman-5": Kind("Podman 5.4", lambda folder: programs.podman(folder, roots.stable()), refusal="is Podman 5."),
}


def observed(kind: Kind) -> dict[str, str]:
    """What the tests of each row say of an engine. Raises with their output if one fails."""
    if os.geteuid() != 0:
        skip_or_fail("only root can start a Docker engine")
    with tempfile.TemporaryDirectory(prefix="tmpnb-engine-") as place:
        folder = Path(place)
        folder.chmod(0o755)
        (folder / "bin").mkdir()
        kind.make(folder / "bin")
        report, images = folder / "report.xml", folder / "images.tar"
        tests = kind.tests if not kind.refusal else ("tests/engines/test_refusals.py",)
        of_services = (build_workshop_image(),) if set(tests) & set(_SERVICES) else ()
        docker("save", "--output", str(images), base_image(), build_server_image(), *of_services)
        command: list[str | Path] = [
            "sh", "-c", _LOADED, images, sys.executable, "-m", "pytest", "-q", "--long", "--tb=short",
            "-p", "no:cacheprovider", "-k", "not swarm", "-m", "engine", f"--junitxml={report}", *tests,
        ]  # fmt: skip
        environment = {**_environment(folder / "bin"), **kind.environment, "REFUSAL": kind.refusal}
        print(_on_own_machine(command, environment))
        return dict.fromkeys(FEATURES, REFUSED) if kind.refusal else cells(report.read_text())


def _on_own_machine(command: Sequence[str | Path], environment: Mapping[str, str]) -> str:
    """The last line that it prints there. Whatever happens, the machine ends and removes what it has."""
    machine = subprocess.Popen(
        ["setpriv", "--pdeathsig", "TERM", ROOT / ".ci" / "own-machine", *command],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        output, _ = machine.communicate(timeout=_SECONDS)
    finally:
        if machine.poll() is None:
            machine.terminate()  # where it is killed, its disk stays
            machine.wait(60)
    assert machine.returncode == 0, output[-12_000:]
    return output.splitlines()[-1]


def _environment(programs_of_engine: Path) -> dict[str, str]:
    """It is the engine at the usual place, which the folder's programs start and call."""
    kept = {name: value for name, value in os.environ.items() if name != "DOCKER_HOST"}
    path = f"{programs_of_engine}:{kept['PATH']}"
    return {**kept, "PATH": path, "IMAGES_ARE_LOADED": "true", "OTHER_ENGINE": "true"}


def cells(report: str) -> dict[str, str]:
    """The cells of a column, by pytest's report (JUnit's XML)."""
    ends: dict[str, set[str]] = {}
    for case in ElementTree.fromstring(report).iter("testcase"):
        name = case.attrib["name"].partition("[")[0]
        found = {child.tag for child in case} & {"failure", "error", "skipped"}
        ends.setdefault(name, set()).add(next(iter(found), "passed"))
    return {row: _cell([ends.get(test, set()) for test in tests]) for row, tests in FEATURES.items()}


def _cell(tests: Sequence[set[str]]) -> str:
    """By how each of the row's tests ended, with each of its parameters: "yes" only where all of them ran."""
    ends = set().union(*tests)
    if ends & {"failure", "error"}:
        return NO
    if all(one == {"passed"} for one in tests):
        return YES
    return PARTLY if "passed" in ends else UNTRIED


def table() -> dict[str, dict[str, str]]:
    """The cells that docs/engines.md shows, by column and row. What a number in brackets points to is left off."""
    _, _, text = TABLE.read_text().partition("\n## What was measured\n")
    lines = [line.strip().strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    heads, _, *rows = [[re.sub(r" \(\d\)$", "", cell.strip()) for cell in line] for line in lines]
    return {head: {row[0]: row[number] for row in rows} for number, head in enumerate(heads[1:], 1)}
