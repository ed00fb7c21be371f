"""The package as people get it: what `python -m build` makes, twice alike, and what an empty environment does.

Quick: no registry is asked. The environment has our wheel and nothing else, and finds the libraries in this one.
`tests/quickstart.py --package` installs all from a registry and opens a notebook (`test_a_notebook_from_a_package`).
"""

from __future__ import annotations

import asyncio
import dataclasses
import email
import os
import re
import signal
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import aiohttp
import pytest

import tmpnb_py
from tests.engine_support import docker
from tests.integration.command_support import environment
from tests.ports import free_ports, until_it_answers
from tests.quickstart import copy_of_repository

ROOT = Path(__file__).parents[2]
ENGINE = """
from tmpnb_py.engines.fake import FakeEngine, FakeHost
from tmpnb_py.engines.registry import Chosen

async def choose(settings, environ, workshops):
    host = FakeHost()
    return Chosen("theirs", lambda pool: FakeEngine(host, pool=pool), lambda same: same, stores_images=False)
"""


@dataclasses.dataclass(frozen=True)
class Built:
    """What one build made, and the tree that it was made of."""

    tree: Path
    sdist: Path
    wheel: Path


def build(tree: Path) -> Built:
    """Build the source distribution, and of that the wheel, as `python -m build` does for everybody."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tree / "dist"), str(tree)]
    environ = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    done = subprocess.run(command, check=False, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = tree.glob("dist/*.tar.gz"), tree.glob("dist/*.whl")
    return Built(tree, sdist, wheel)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The package of what is committed, and of what is not yet; with a certificate that is nobody else's."""
    tree = copy_of_repository(tmp_path_factory.mktemp("first") / "tree")
    (tree / "workshop_image" / "certs").mkdir()
    (tree / "workshop_image" / "certs" / "ours.crt").write_text("a company's own")
    (tree / ".gitignore").unlink()  # as in an archive of another kind
    return build(tree)


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and with a package that has an engine of somebody else's."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, symlinks=True)
    python = str(place / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", "--no-compile", str(built.wheel)], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(place)}))
    # A plain line: the .pth files of that directory, which lead to this tree, are not read.
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (packages / "theirs.py").write_text(ENGINE)
    about = packages / "theirs-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[tmpnb_py.engines]\ntheirs = theirs:choose\n")
    return place


def test_the_wheel_has_every_file_and_no_other(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name or "/workshop_image/" in name}
    wanted = set()
    for folder, installed_as in (("tmpnb_py", "tmpnb_py"), ("workshop_image", "tmpnb_py/workshop_image")):
        files = {path.relative_to(built.tree / folder) for path in (built.tree / folder).rglob("*") if path.is_file()}
        wanted |= {f"{installed_as}/{path}" for path in files if path.parts[0] != "certs"}
    wanted |= {f"tmpnb_py/docs/{page.name}" for page in (built.tree / "docs").glob("*.md")}  # doctor leads there
    assert names == wanted
    assert {"tmpnb_py/py.typed", "tmpnb_py/workshop_image/Dockerfile", "tmpnb_py/frontend/landing.html"} < names


def test_programs_of_the_image_stay_executable(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        assert archive.getinfo("tmpnb_py/workshop_image/start-notebook.sh").external_attr >> 16 & 0o777 == 0o755
        assert archive.getinfo("tmpnb_py/__init__.py").external_attr >> 16 & 0o777 == 0o644


def test_the_source_distribution_has_the_tree(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {"/".join(Path(one.name).parts[1:]) for one in archive if one.isfile()}
    assert names - {"PKG-INFO"} == {
        str(path.relative_to(built.tree))
        for path in built.tree.rglob("*")
        if path.is_file() and not {"certs", "dist"} & set(path.relative_to(built.tree).parts[:2])
    }


def test_the_metadata_say_what_is_so(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        name = f"tmpnb_py-{tmpnb_py.__version__}.dist-info/METADATA"
        metadata = email.message_from_bytes(archive.read(name))
        licences = {one for one in archive.namelist() if "dist-info/licenses/" in one}
    vendored = tomllib.loads((ROOT / "packaging" / "vendored.toml").read_text())
    assert metadata["Version"] == tmpnb_py.__version__
    assert metadata["Author"] == "the tmpnb-py contributors"
    assert set(metadata["License-Expression"].split(" AND ")) == {one["licence"] for one in vendored.values()}
    assert len(licences) == len(metadata.get_all("License-File", []))
    assert len(licences) == 1 + len(list(ROOT.glob("tmpnb_py/vendor/*/LICENSE")))
    assert {"Typing :: Typed", "Framework :: Jupyter"} < set(metadata.get_all("Classifier", []))
    assert "local" in metadata.get_all("Provides-Extra", [])
    assert metadata.get_content_type() == "text/plain"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata["Keywords"]
    assert "Project-URL" not in metadata, "there is an address now: SECURITY.md says that there is none"


def test_two_builds_are_alike(built: Built, tmp_path: Path) -> None:
    """Whatever the times and rights of the files are, and in whatever order a directory lists them."""
    again = tmp_path / "another" / "place"
    listed = sorted(path for path in copy_of_repository(tmp_path / "listed").rglob("*") if path.is_file())
    for path in reversed(listed):
        other = again / path.relative_to(tmp_path / "listed")
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_bytes(path.read_bytes())
        other.chmod(0o777 if os.access(path, os.X_OK) else 0o666)
        os.utime(other, (1_600_000_000, 1_600_000_000))
    (again / ".gitignore").unlink()
    second = build(again)
    assert second.wheel.name == built.wheel.name
    assert second.wheel.read_bytes() == built.wheel.read_bytes()
    assert second.sdist.read_bytes() == built.sdist.read_bytes()


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The installed program, which does not see this tree."""
    command = [str(installed / "bin" / "tmpnb-py"), *arguments]
    return subprocess.run(
        command, check=False, env=environment(), cwd=installed, capture_output=True, text=True, timeout=60
    )


def test_version_and_help(installed: Path) -> None:
    assert run(installed, "--version").stdout == f"tmpnb-py {tmpnb_py.__version__}\n"
    assert "serve" in run(installed, "--help").stdout
    assert "--engine" in run(installed, "serve", "--help").stdout


def test_an_engine_that_nobody_installed(installed: Path) -> None:
    done = run(installed, "serve", "--engine", "nobodys")
    assert done.returncode == 2
    assert (
        '--engine: "nobodys" is not among its values: choose auto or docker or local or swarm or theirs'
        in done.stderr
    )


async def test_it_serves_with_an_engine_of_somebody_else(installed: Path, tmp_path: Path) -> None:
    port, admin = free_ports(2)
    process = await asyncio.create_subprocess_exec(
        installed / "bin" / "tmpnb-py",
        *(
            "serve",
            "--engine",
            "theirs",
            "--image",
            "fake",
            "--pool-size",
            "1",
            "--runtime-dir",
            str(tmp_path / "run"),
        ),
        *("--ip", "127.0.0.1", "--port", str(port), "--admin-port", str(admin), "--cleanup-on-exit"),
        env=environment({"TMPNB_STATE_DIR": str(tmp_path / "state")}),
        cwd=installed,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        await until_it_answers(f"http://127.0.0.1:{port}/readyz")
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as visitor:
            async with visitor.get("/") as page:
                assert "<html" in await page.text()
            async with visitor.post("/api/spawn?wait=30") as spawned:
                assert spawned.status == 200, await spawned.text()
                assert (await spawned.json())["url"].startswith("/user/")
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


def test_completion_of_the_shell(installed: Path) -> None:
    """As docs/commands.md has it, for the program as it is installed."""
    page = (ROOT / "docs" / "commands.md").read_text()
    (line,) = re.findall(r"^\| bash \| `(eval .*?)` \|", page, re.MULTILINE)
    ask = "; COMP_WORDS=(tmpnb-py ima); COMP_CWORD=1; _tmpnb_py_completion tmpnb-py; printf '%s\\n' ${COMPREPLY[@]}"
    done = subprocess.run(
        ["bash", "-c", line + ask], check=True, capture_output=True, text=True, timeout=60,
        env=environment({"PATH": f"{installed / 'bin'}:{os.environ['PATH']}"}),
    )  # fmt: skip
    assert done.stdout.split() == ["image"]


def test_the_wheel_builds_the_very_image_of_this_tree(installed: Path, workshop_image: str) -> None:
    """Its files make each of the image's layers as the engine has it already."""
    tag = f"{workshop_image}-of-the-wheel"
    try:
        done = run(installed, "image", "build", "--tag", tag)
        assert done.returncode == 0, done.stderr
        assert docker("image", "inspect", "-f", "{{.Id}}", tag) == docker(
            "image", "inspect", "-f", "{{.Id}}", workshop_image
        )
    finally:
        docker("image", "rm", tag, check=False)


def tools(place: Path, *packages: str) -> str:
    """A PATH that has these programs from a registry before all others."""
    venv.create(place, with_pip=True)
    pip = [str(place / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, *packages], check=True)
    return f"{place / 'bin'}:{os.environ['PATH']}"


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("by", ["pip", "pipx", "uvx"])
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_a_notebook_from_a_package(built: Built, kind: str, by: str, tmp_path: Path) -> None:
    """All of it from a registry, in an environment that has nothing. `.ci/checks` does it with the wheel and pip."""
    port, admin = free_ports(2)
    environ = {**os.environ, "TMPNB_PORT": str(port), "TMPNB_ADMIN_PORT": str(admin)}
    if by != "pip":
        environ["PATH"] = tools(tmp_path / "tools", by.replace("uvx", "uv"))
    package = built.wheel if kind == "wheel" else built.sdist
    command = [sys.executable, str(ROOT / "tests" / "quickstart.py"), "--package", str(package), "--by", by]
    done = subprocess.run(command, check=False, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
