"""An image lists the workshops that can run in it; what a workshop needs is read from its notebook."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest

from tests.image_modules import load
from tmpnb_py.core.installation import workshop_directory
from tmpnb_py.workshops import manifest

SOURCE = workshop_directory() / "workshops"
picking = load("tmpnb_workshops")


def kernels(directory: Path, *names: str) -> Path:
    for name in names:
        (directory / name).mkdir(parents=True)
        (directory / name / "kernel.json").write_text("{}")
    return directory


def notebook(path: Path, source: str, kernel: str = "python3") -> Path:
    cells = [{"cell_type": "markdown", "source": "import nothing"}, {"cell_type": "code", "source": [source]}]
    path.write_text(json.dumps({"metadata": {"kernelspec": {"name": kernel}}, "cells": cells}))
    return path


@pytest.mark.parametrize(
    ("source", "lacks"),
    [
        ("import json, os.path as p\nfrom email.message import Message", ""),
        ("def f():\n    from nosuchpackage.sub import x", "the package nosuchpackage"),
        ("import json, nosuchpackage as n", "the package nosuchpackage"),
        ("%matplotlib inline\nimport nosuchpackage", ""),
        ("'import nosuchpackage'", ""),
    ],
)
def test_what_a_notebook_lacks(tmp_path: Path, source: str, lacks: str) -> None:
    assert picking.lacking(notebook(tmp_path / "a.ipynb", source), kernels(tmp_path / "k", "python3")) == lacks


def test_a_kernel_that_is_not_there(tmp_path: Path) -> None:
    there = kernels(tmp_path / "k", "python3")
    assert picking.lacking(notebook(tmp_path / "a.ipynb", "x <- 1", "ir"), there) == "the kernel ir"
    assert picking.lacking(tmp_path / "handout.pdf", there) == ""


def test_an_image_with_python_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What remains is a manifest as before, and of the rest nothing."""
    monkeypatch.setattr(picking.importlib.util, "find_spec", lambda name: name == "IPython" or None)
    directory = shutil.copytree(SOURCE, tmp_path / "workshops")
    picking.prune(directory, kernels(tmp_path / "k", "python3"))
    found = manifest.parse((directory / "workshops.toml").read_bytes()).workshops
    assert [one.slug for one in found] == ["first-steps-in-python"]
    assert sorted(path.name for path in directory.iterdir()) == ["introduction-to-python", "workshops.toml"]
    assert [path.name for path in directory.rglob("*.ipynb")] == ["First steps in Python.ipynb"]


def test_an_image_that_has_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picking.importlib.util, "find_spec", lambda _: True)
    directory = shutil.copytree(SOURCE, tmp_path / "workshops")
    before = tomllib.loads((directory / "workshops.toml").read_text())
    picking.prune(directory, kernels(tmp_path / "k", "python3", "ir", "octave", "bash"))
    assert tomllib.loads((directory / "workshops.toml").read_text()) == before
    assert sorted(path.relative_to(directory) for path in directory.rglob("*")) == sorted(
        path.relative_to(SOURCE) for path in SOURCE.rglob("*")
    )


def test_a_small_image_has_no_kernels_started_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picking.importlib.util, "find_spec", lambda _: True)
    directory = shutil.copytree(SOURCE, tmp_path / "workshops")
    before = manifest.parse((directory / "workshops.toml").read_bytes()).workshops
    picking.prune(directory, kernels(tmp_path / "k", "python3", "ir", "octave", "bash"), is_cold=True)
    found = manifest.parse((directory / "workshops.toml").read_bytes()).workshops
    assert found == tuple(one.model_copy(update={"warm": "none", "preload": ()}) for one in before)


def test_our_workshops_have_their_own_kernels_started_ahead() -> None:
    for one in manifest.parse((SOURCE / "workshops.toml").read_bytes()).workshops:
        metadata = json.loads((SOURCE / one.start).read_bytes())["metadata"]
        assert one.warm == metadata["kernelspec"]["name"], one.slug
