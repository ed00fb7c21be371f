"""Which versions the package works with: the lowest of each library that its ranges allow, and every Python it names.

Each is an environment of its own, with the suite's fast part in it (as `tests/run --fast` chooses it). Locks are
compared with what their ranges ask for, and their files with what pip would take elsewhere. All from a registry.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from tests.documents.blocks import block
from tests.packaging_support import LOCKS, ROOT
from tests.quickstart import copy_of_repository

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = re.findall(r"Python :: (3\.\d+)'", str(PROJECT["classifiers"]))
FAST = ("--fast", "-q", "-p", "no:cacheprovider", "-m", "not engine and not browser and not waits", "tests/unit")
_SECONDS = 3000

long = (pytest.mark.long, pytest.mark.timeout(_SECONDS))


def run(*command: str | Path) -> str:
    """What a command prints, in this tree. Fails with the end of it."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TMPNB_")}
    done = subprocess.run(
        command, check=False, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=_SECONDS
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-6000:]}{done.stderr[-2000:]}"
    return done.stdout


def lowest() -> dict[NormalizedName, Version]:
    """Of each library that the program needs, with traces and local notebooks, the lowest version that is allowed."""
    extras = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"], *extras["local"], *extras["otel"]]
    found = {}
    for requirement in map(Requirement, lines):
        for one in requirement.specifier:
            if one.operator == ">=":
                found[canonicalize_name(requirement.name)] = Version(one.version)
    return found


def interpreter(version: str) -> Path:
    """A Python of this version on this machine: on the PATH, or one of pyenv's. Skips where there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    on_path = shutil.which(f"python{version}")
    here = [Path(on_path)] if on_path else []
    for one in (*here, *sorted(pyenv.glob(f"versions/{version}.*/bin/python"))):
        says = "import sys, ensurepip; print('%d.%d' % sys.version_info[:2])"
        done = subprocess.run([one, "-c", says], check=False, capture_output=True, text=True, timeout=60)
        if done.stdout.strip() == version:
            return one
    pytest.skip(f"this machine has no Python {version} with ensurepip")


def with_tests(python: Path, place: Path, *arguments: str) -> Path:
    """An environment in which the tests run. Returns its Python."""
    run(python, "-m", "venv", place)
    inside = place / "bin" / "python"
    run(inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments, "-e", ".[test]")
    return inside


def test_the_package_names_the_pythons_that_are_tested() -> None:
    assert PYTHONS == ["3.11", "3.12", "3.13"]
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"


@pytest.mark.parametrize("version", [pytest.param(one, marks=long) for one in PYTHONS])
def test_the_newest_libraries_on(version: str, tmp_path: Path) -> None:
    python = with_tests(interpreter(version), tmp_path / "environment")
    assert " passed" in run(python, "-m", "pytest", f"--basetemp={tmp_path / 'tests'}", *FAST)


@pytest.mark.long
@pytest.mark.timeout(_SECONDS)
def test_the_lowest_versions(tmp_path: Path) -> None:
    constraints = tmp_path / "lowest.txt"
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in lowest().items()))
    python = with_tests(interpreter(PYTHONS[0]), tmp_path / "environment", "--constraint", str(constraints))
    frozen = dict(line.split("==") for line in run(python, "-m", "pip", "freeze").splitlines() if "==" in line)
    here = {canonicalize_name(name): Version(version) for name, version in frozen.items()}
    assert {name: here[name] for name in lowest()} == lowest()
    assert " passed" in run(python, "-m", "pytest", f"--basetemp={tmp_path / 'tests'}", *FAST)


@pytest.mark.long
@pytest.mark.timeout(_SECONDS)
def test_the_locks_are_what_the_ranges_ask_for(tmp_path: Path) -> None:
    venv.create(tmp_path / "tools", with_pip=True)
    python = tmp_path / "tools" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv")
    page = block("docs/service-image.md", "python3 -m pip install uv")
    commands = [line.partition("#")[0].split() for line in page.commands]
    assert commands[1:] == [["packaging/lock.py", *more] for more in ((), ("--upgrade",), ("--check",))]
    run(python, *commands[-1])


@pytest.mark.long
@pytest.mark.timeout(_SECONDS)
def test_the_images_versions_without_an_image(tmp_path: Path) -> None:
    copy = copy_of_repository(tmp_path / "tmpnb-py")
    venv.create(copy / ".venv", with_pip=True)
    page = block("docs/service-image.md", ".venv/bin/pip install --require-hashes -r packaging/requirements.txt")
    subprocess.run(["sh", "-ec", page.text], check=True, cwd=copy, timeout=_SECONDS)
    assert run(copy / ".venv" / "bin" / "tmpnb-py", "--version").startswith("tmpnb-py ")
    assert run(copy / ".venv" / "bin" / "python", "-m", "pip", "check") == "No broken requirements found.\n"


@pytest.mark.long
@pytest.mark.timeout(_SECONDS)
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_pip_finds_every_file_of_the_image(machine: str, python: str, tmp_path: Path) -> None:
    """Compiled ones by their hashes, and no dependency that the lock lacks: pip refuses both."""
    place = [f"--platform=manylinux{one}_{machine}" for one in ("2014", "_2_17", "_2_28", "_2_34")]
    place += [f"--python-version={python}", "--implementation=cp", f"--target={tmp_path}"]
    demands = ["--require-hashes", "--only-binary=:all:", "--dry-run", "--ignore-installed"]
    for name in ("service", "service-build"):
        run(
            sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *demands, *place,
            "--requirement", LOCKS[name].path,
        )  # fmt: skip
