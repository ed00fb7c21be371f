"""The locks of images say what the ranges ask for, and leave nothing out. No registry is asked.

`tests/integration/test_versions.py` asks the registry: `packaging/lock.py --check`, and pip for other platforms.
"""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.packaging_support import LOCKS, ROOT, locked

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
BUILD_SYSTEM = PROJECT["build-system"]["requires"]


def asked(name: str) -> list[Requirement]:
    """What a lock is made of."""
    service = [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["otel"]]
    source = {"service": service, "service-build": BUILD_SYSTEM}.get(name)
    if source is None:
        lines = (ROOT / LOCKS[name].path).with_suffix(".in").read_text().splitlines()
        source = [line.partition("#")[0].strip() for line in lines if not line.startswith("-")]
    return [Requirement(line) for line in source if line]


@pytest.mark.parametrize("name", list(LOCKS))
def test_every_dependency_is_locked_within_its_range(name: str) -> None:
    lock = locked(ROOT / LOCKS[name].path)
    for requirement in asked(name):
        version, _ = lock[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement}: run packaging/lock.py"


@pytest.mark.parametrize("name", list(LOCKS))
def test_every_file_is_known_by_its_hash_and_nothing_else_is_in_it(name: str) -> None:
    path = ROOT / LOCKS[name].path
    text = path.read_text()
    assert locked(path)
    assert all(hashes for _, hashes in locked(path).values())
    # No index, file or option: pip would take packages from there.
    assert not re.search(r"://|^-|^[^#\n]*(file:|--(?!hash=sha256:))", text, re.MULTILINE)


@pytest.mark.parametrize("name", ["service", "service-build"])
def test_what_dependencies_need_is_there(name: str) -> None:
    """Of those that are installed here in the very version: what they need is in the lock, in their range."""
    lock, seen = locked(ROOT / LOCKS[name].path), set()
    for package, (version, _) in lock.items():
        try:
            distribution = importlib.metadata.distribution(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        if distribution.version != version:
            continue
        seen.add(package)
        for need in map(Requirement, distribution.requires or ()):
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                found, _ = lock[canonicalize_name(need.name)]
                assert need.specifier.contains(found), f"{package} needs {need}"
    assert seen


def test_the_notebooks_of_both_targets_have_the_same_versions() -> None:
    small, full = (locked(ROOT / LOCKS[name].path) for name in ("notebooks", "notebooks-full"))
    assert {name: one for name, one in full.items() if name in small} == small


def test_images_take_no_package_but_by_a_lock() -> None:
    """Each call of pip that fetches something demands hashes."""
    texts = [
        (ROOT / name).read_text()
        for name in ("Dockerfile", "workshop_image/Dockerfile", "workshop_image/install-python.sh")
    ]
    lines = "\n".join(texts).replace("\\\n", " ").splitlines()
    calls = [
        one
        for line in lines
        if not line.lstrip().startswith("#")
        for one in line.split("&&")
        if re.search(r"\bpip\b.* (install|download)\b", one)
    ]
    assert len(calls) >= 5
    assert [one for one in calls if not re.search(r"--require-hashes|--no-index", one)] == []


def test_the_lowest_versions_are_said_of_every_dependency() -> None:
    """What `tests/integration/test_versions.py` installs. A range without one would promise what nobody has tried."""
    for line in PROJECT["project"]["dependencies"]:
        assert [one for one in Requirement(line).specifier if one.operator == ">="], line


def test_the_lock_is_where_the_image_looks() -> None:
    text = (ROOT / "Dockerfile").read_text()
    for name in ("service", "service-build"):
        assert LOCKS[name].path in text
    assert Path(LOCKS["service"].path).name in text
