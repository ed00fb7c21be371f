"""compose.yaml, the orchestrator's own image and the systemd unit, as an operator uses them."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.documents.blocks import block
from tests.e2e.service import PROGRAM
from tests.engine_support import ENGINE_SOCKET, base_image, docker, need_engine, skip_or_fail
from tests.packaging_support import locked, must_be_cyclonedx
from tmpnb_py.core import errors
from tmpnb_py.images.build import read_ca_bundle
from tmpnb_py.options.settings import OPTIONS
from tmpnb_py.options.sources import ADMIN_TOKEN_VARIABLE, API_TOKEN_VARIABLE

ROOT = Path(__file__).parents[2]
PARTS = ("compose.yaml", "Dockerfile", ".dockerignore", "pyproject.toml", "README.md", "LICENSE")
DIRECTORIES = ("docs", "packaging", "tmpnb_py", "workshop_image")
COMPOSE = (ROOT / "compose.yaml", ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
PORT_WAIT = 120.0  # seconds; the first ready notebook takes two
SERVICE_MIB = 200  # of the service's image beyond its base; measured: 176 (docs/service-image.md)


def need(program: str, package: str) -> str:
    """The path of a program, or the test is skipped; `.ci/run` installs the package, so in CI it fails."""
    path = shutil.which(program)
    if path is None:
        skip_or_fail(f"{program} is not installed (apt-get install {package})")
    return str(path)


def documented(pages: Iterable[Path]) -> list[list[str]]:
    """What is to be typed behind `docker compose exec`, wherever that is said."""
    found = {one for page in pages for one in re.findall(r"compose exec (tmpnb tmpnb-py [a-z]+)", page.read_text())}
    assert {"tmpnb tmpnb-py status", "tmpnb tmpnb-py doctor"} <= found
    return [one.split() for one in sorted(found)]


class Project:
    """A copy of the repository in which compose runs, with names and directories that nothing else uses."""

    def __init__(self, directory: Path) -> None:
        self.name = f"tmpnbtest{secrets.token_hex(4)}"
        self.directory = directory
        self.runtime = Path("/run") / self.name
        self.url = ""
        for part in PARTS:
            shutil.copy(ROOT / part, directory)
        for part in DIRECTORIES:
            ignored = shutil.ignore_patterns("__pycache__", "certs")
            shutil.copytree(ROOT / part, directory / part, ignore=ignored)
        self._trust_this_network()
        (directory / "images.yaml").write_text(f"services: {{tmpnb: {{image: {self.name}}}}}\n")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TMPNB_")},
            "COMPOSE_PROJECT_NAME": self.name,
            "COMPOSE_FILE": "compose.yaml:images.yaml",
            "DOCKER_BUILDKIT": os.environ.get("DOCKER_BUILDKIT", "0"),  # compose of Docker 28 has BuildKit
            "COMPOSE_DOCKER_CLI_BUILD": "0",
            "TMPNB_BASE": base_image(),
            "TMPNB_IMAGE": f"{self.name}-notebooks",
            "TMPNB_PUBLISHED_PORT": "0",
            "TMPNB_RUNTIME_DIR": str(self.runtime),
            "TMPNB_POOL_NAME": self.name,
            "TMPNB_POOL_SIZE": "2",
            "TMPNB_WORKSHOPS": "minimal",
        }

    def _trust_this_network(self) -> None:
        bundle = Path(os.environ.get("PIP_CERT") or os.devnull)
        if bundle.is_file():
            (self.directory / "workshop_image" / "certs").mkdir()
            target = self.directory / "workshop_image" / "certs" / "extra.crt"
            target.write_text(read_ca_bundle(bundle))

    def compose(self, *arguments: str) -> str:
        """What compose prints on its standard output."""
        command = [*_compose_command(), *arguments]
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def get(self, path: str, *, method: str = "GET", token: str = "") -> Any:
        headers = {"Authorization": f"token {token}"} if token else {}
        request = urllib.request.Request(self.url + path, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def ready(self, count: int) -> None:
        """Wait until so many notebooks are ready. Each `up` gives the service another port."""
        self.url = f"http://127.0.0.1:{self.compose('port', 'tmpnb', '8000').strip().rpartition(':')[2]}"
        deadline = time.monotonic() + PORT_WAIT
        while True:
            try:
                if self.get("/api/stats")["available"] >= count:
                    return
            except OSError:
                pass
            assert time.monotonic() < deadline, self.compose("logs", "tmpnb")
            time.sleep(0.1)

    def containers(self) -> list[str]:
        """Everything of this project: compose's own containers and the notebooks."""
        labels = (
            f"com.docker.compose.project={self.name}",
            f"org.tmpnb.pool={self.name}",
            f"org.tmpnb.probe={self.name}",
        )
        return [one for label in labels for one in docker("ps", "-aq", "--filter", f"label={label}").split()]

    def remains(self) -> list[str]:
        label = f"label=com.docker.compose.project={self.name}"
        left = [*self.containers(), *docker("network", "ls", "-q", "--filter", label).split()]
        volumes = docker("volume", "ls", "-q", "--filter", label).split()
        return [*left, *(one for one in volumes if one != f"{self.name}_state")]  # bookings outlive `down`

    def sweep(self) -> None:
        """Leave nothing, whatever the test did."""
        if left := self.containers():
            docker("rm", "--force", "--volumes", *left)
        self.compose("down", "--volumes", "--rmi", "all")
        shutil.rmtree(self.runtime, ignore_errors=True)


def _compose_command() -> list[str]:
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False, timeout=30)
    if plugin.returncode:
        skip_or_fail("there is neither docker-compose nor the plugin (apt-get install docker-compose)")
    return ["docker", "compose"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Both images, built once for this module."""
    need_engine()
    _compose_command()
    project = Project(tmp_path_factory.mktemp("compose"))
    try:
        project.compose("build")
        yield project
    finally:
        project.sweep()


@pytest.mark.engine
@pytest.mark.timeout(900)
def test_up_serves_and_down_leaves_nothing(project: Project) -> None:
    began = time.monotonic()
    project.compose("up", "-d")
    project.ready(1)
    print(f"from up to the first ready notebook: {time.monotonic() - began:.2f} s")
    project.ready(2)
    spawned = project.get("/api/spawn?wait=30", method="POST")
    assert project.get(f"{spawned['url']}api/contents", token=spawned["token"])["type"] == "directory"

    # The service is an ordinary user of its container, which has the engine's socket and no right besides.
    service = project.compose("ps", "-q", "tmpnb").strip()
    status = dict(
        line.split(":", 1) for line in docker("exec", service, "cat", "/proc/1/status").splitlines() if ":" in line
    )
    assert status["Uid"].split() == ["10000"] * 4
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {0}
    assert status["NoNewPrivs"].strip() == "1"
    assert str(Path("/var/run/docker.sock").stat().st_gid) in status["Groups"].split()
    facts = json.loads(docker("inspect", service))[0]
    assert facts["HostConfig"]["ReadonlyRootfs"]
    program, *arguments = facts["Config"]["Healthcheck"]["Test"]
    assert program == "CMD"
    docker("exec", service, *arguments)  # raises where it does not end with 0
    assert project.runtime.stat().st_mode & 0o777 == 0o700

    # Notebooks have no network, and nothing of the engine's.
    for notebook in docker("ps", "-q", "--filter", f"label=org.tmpnb.pool={project.name}").split():
        facts = json.loads(docker("inspect", notebook))[0]
        assert facts["HostConfig"]["NetworkMode"] == "none"
        sources = {mount.get("Source", "") for mount in facts["Mounts"]}
        assert all(source.startswith(str(project.runtime)) for source in sources), sources

    # An operator looks in from inside; the admin listener is on no other address. What works on the engine does so as
    # the service's user, which root becomes on its way.
    typed = block("docs/commands.md", "docker compose exec tmpnb tmpnb-py status").commands
    assert {tuple(one.split()[3:]) for one in typed} == {tuple(one) for one in documented(COMPOSE)}
    for command in typed:
        assert "FAIL" not in project.compose("exec", "-T", *command.split()[3:])
    shown = project.compose("exec", "-T", "tmpnb", "tmpnb-py", "status", "--json")
    assert json.loads(shown)["pool"]["claimed"] == 1
    owners = {path.lstat().st_uid for path in project.runtime.rglob("*") if path.name != "server.sock"}
    assert owners == {10000}

    project.compose("down")
    assert project.remains() == []
    assert not list(project.runtime.glob(f"sockets/{project.name}/*"))


@pytest.mark.engine
@pytest.mark.timeout(900)
def test_notebooks_outlive_an_update_where_the_operator_wants_it(project: Project) -> None:
    """And what is booked does in any case: it is in the volume of the state directory. Here root is nobody, ever."""
    line = block("docs/service-image.md", "TMPNB_SERVICE_USER=10000:998").text.strip()
    name, user = line.replace("998", str(ENGINE_SOCKET.stat().st_gid)).split("=")
    project.environment |= {"TMPNB_CLEANUP_ON_EXIT": "false", name: user}
    project.compose("down", "--volumes")
    shutil.rmtree(project.runtime, ignore_errors=True)
    prepare, _ = block("docs/service-image.md", "install -d -o 10000 -g 10000 -m 0700 /run/tmpnb-py").commands
    subprocess.run(prepare.replace("/run/tmpnb-py", str(project.runtime)).split(), check=True)
    try:
        project.compose("up", "-d")
        project.ready(2)
        facts = json.loads(docker("inspect", project.compose("ps", "-q", "tmpnb").strip()))[0]
        assert facts["Config"]["User"] == user
        spawned = project.get("/api/spawn", method="POST")
        book = ("book", "tomorrow 9:00-11:00", "--people=2", "--for-class", "--time-zone=UTC", "--json")
        booked = json.loads(project.compose("exec", "-T", "tmpnb", "tmpnb-py", *book))
        project.compose("up", "-d", "--force-recreate", "--no-deps", "tmpnb")
        project.ready(2)
        assert project.get(f"{spawned['url']}api/contents", token=spawned["token"])["type"] == "directory"
        (found,) = json.loads(project.compose("exec", "-T", "tmpnb", "tmpnb-py", "bookings", "--json"))["bookings"]
        keys = [one["class_url"].rpartition("/")[2] for one in (booked, found)]
        assert (found["id"], keys[0]) == (booked["id"], keys[1])
        path = f"/var/lib/tmpnb-py/{project.name}.json"
        listed = project.compose("exec", "-T", "tmpnb", "stat", "-c", "%a %U", path)
        assert listed.strip() == "600 tmpnb"
    finally:
        project.environment |= {"TMPNB_CLEANUP_ON_EXIT": "true", "TMPNB_SERVICE_USER": ""}
        project.compose("up", "-d", "--no-deps", "tmpnb")
        project.ready(2)
        project.compose("down")
    assert project.remains() == []


@pytest.mark.engine
@pytest.mark.timeout(900)
def test_no_certificate_of_the_builds_is_in_an_image(project: Project) -> None:
    find = "find / -xdev -name 'extra.crt' -o -xdev -path '*workshop_image/certs*'; ls -d /src /build"
    for image in (project.name, f"{project.name}-notebooks"):
        shown = docker(
            "run", "--rm", "--network", "none", "--entrypoint", "sh", image, "-c", f"{find} 2>/dev/null || true"
        )
        assert shown == ""
        assert "BEGIN CERTIFICATE" not in docker("history", "--no-trunc", image)


@pytest.mark.engine
@pytest.mark.timeout(900)
def test_the_services_image_is_an_ordinary_users_and_says_what_is_in_it(project: Project, tmp_path: Path) -> None:
    facts = json.loads(docker("image", "inspect", project.name))[0]
    assert facts["Config"]["User"] == "10000:10000"
    (base,) = json.loads(docker("image", "inspect", base_image()))
    assert facts["Size"] - base["Size"] < SERVICE_MIB * 2**20
    script = block("docs/service-image.md", "sbom=/usr/share/doc/tmpnb-py/sbom.cdx.json").text
    words = ["sh", "-ec", script.replace(" tmpnb-py ", f" {project.name} ")]
    subprocess.run(words, check=True, cwd=tmp_path, timeout=60)
    text = (tmp_path / "tmpnb-py.cdx.json").read_text()
    must_be_cyclonedx(text)
    found = {one["name"]: one["version"] for one in json.loads(text)["components"]}
    lock = locked(ROOT / "packaging" / "requirements.txt")
    assert {name: found.get(name) for name in ("aiohttp", "pydantic")} == {
        name: lock[name][0] for name in ("aiohttp", "pydantic")
    }
    assert {"tmpnb-py", "mathjax", "python3", "libc6"} < set(found)
    # Whoever has no right to the engine's socket is told which group has it.
    socket = str(ENGINE_SOCKET.resolve())
    mount = ("--volume", f"{socket}:/var/run/docker.sock")
    told = subprocess.run(
        ["docker", "run", "--rm", "--network", "none", "--read-only", *mount, project.name, "--version"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert told.stdout.startswith("tmpnb-py ")
    assert f"--group-add {ENGINE_SOCKET.stat().st_gid}\n" in told.stderr


@pytest.mark.engine
@pytest.mark.timeout(900)
def test_our_minimal_image_serves_visitors_what_runs_in_it(project: Project, tmp_path: Path) -> None:
    image = f"{project.name}-notebooks"
    done = subprocess.run(
        [PROGRAM, "image", "check", image, "--notebooks", f"--pool-name={project.name}", f"--runtime-dir={tmp_path}"],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 1 workshop; socket yes" in done.stdout
    assert "First steps in Python.ipynb: " in done.stdout
    assert {line.split()[0] for line in done.stdout.splitlines() if line[:4].isupper()} == {"WARN"}  # no matplotlib


def test_every_variable_in_compose_is_an_option() -> None:
    text = (ROOT / "compose.yaml").read_text()
    ours = {
        "TMPNB_BASE",
        "TMPNB_PUBLISHED_PORT",
        "TMPNB_SERVICE_USER",
        "TMPNB_WORKSHOPS",
    }  # compose's own, for the builds and the host
    known = {option.variable for option in OPTIONS.values()} | {ADMIN_TOKEN_VARIABLE, API_TOKEN_VARIABLE}
    assert set(re.findall(r"^      ([A-Z_]+_AUTH_TOKEN|TMPNB_[A-Z_]+):", text, re.MULTILINE)) <= known
    assert set(re.findall(r"\$\{(TMPNB_[A-Z_]+)", text)) <= known | ours
    assert set(re.findall(r"TMPNB_[A-Z_]+", (ROOT / "Dockerfile").read_text())) <= known


def test_every_file_that_compose_mounts_is_there() -> None:
    mounted = re.findall(r"^      - \./([^:]+):", (ROOT / "compose.yaml").read_text(), re.MULTILINE)
    assert len(mounted) >= 4
    assert [path for path in mounted if not (ROOT / path).exists()] == []


def test_prometheus_understands_its_configuration(tmp_path: Path) -> None:
    promtool = need("promtool", "prometheus")
    # Beside each other, as compose.yaml mounts them.
    for source in ("packaging/prometheus.yml", "docs/prometheus/alerts.yaml"):
        shutil.copy(ROOT / source, tmp_path)
    done = subprocess.run(
        [promtool, "check", "config", tmp_path / "prometheus.yml"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr


def test_the_unit_is_one_that_systemd_understands(tmp_path: Path) -> None:
    analyze = need("systemd-analyze", "systemd")
    text = (ROOT / "packaging" / "tmpnb-py.service").read_text()
    unit = tmp_path / "tmpnb-py.service"
    unit.write_text(text.replace("/opt/tmpnb-py/bin/tmpnb-py", PROGRAM))  # it has to exist for this check
    listener = tmp_path / "tmpnb-py.socket"
    listener.write_text((ROOT / "packaging" / "tmpnb-py.socket").read_text())
    done = subprocess.run(
        [analyze, "verify", unit, listener], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    # Without this, stopping the service would take the sockets from notebooks that go on.
    assert "\nRuntimeDirectoryPreserve=yes\n" in text
    final = {
        int(code)
        for code in re.findall(r"\d+", re.findall(r"^RestartPreventExitStatus=(.*)$", text, re.MULTILINE)[0])
    }
    assert final == {errors.SettingsError.exit_code, errors.PoolLockedError.exit_code}
