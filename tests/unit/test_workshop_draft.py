"""The manifest that a folder without one begins with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tmpnb_py.core.errors import ManifestError
from tmpnb_py.workshops import draft, folders, manifest


def notebook(kernel: str, *texts: str) -> str:
    cells = [{"cell_type": "markdown", "metadata": {}, "source": text} for text in texts]
    code = {"cell_type": "code", "metadata": {}, "source": "1", "outputs": []}
    metadata = {"kernelspec": {"name": kernel}}
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": [*cells, code]})


async def test_a_manifest_is_written_as_the_notebooks_begin(tmp_path: Path) -> None:
    (tmp_path / "10 Ünder way.ipynb").write_text(
        notebook("ir", "# Under way\n\nIn this part we go *on* & on for long.")
    )
    (tmp_path / "2.ipynb").write_text(notebook("python3", "no heading"))
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "2.Rmd").write_text("---\ntitle: Third\n---\n\n```{r}\n1\n```\n")
    (tmp_path / "more" / "data.csv").write_text("a,b")
    # No workshops: what only helps, what is hidden, and text that does not say that it is a notebook.
    (tmp_path / "helper.py").write_text("def f(): pass\n")
    (tmp_path / "README.md").write_text("# Read me\n")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".ipynb_checkpoints" / "x.ipynb").write_text("{")
    (tmp_path / "script.py").write_text("# %% [markdown]\n# # A script\n\n# %%\nprint(1)\n")

    path, drafted = await draft.write(tmp_path)

    assert [(one.start, one.slug, one.title, one.language) for one in drafted.workshops] == [
        ("2.ipynb", "2", "2", "Python"),
        ("10 Ünder way.ipynb", "10-under-way", "Under way", "R"),
        ("more/2.Rmd", "2-2", "Third", "R"),
        ("script.py", "script", "A script", "Python"),
    ]
    assert drafted.workshops[1].description == "In this part we go on & on for long."
    assert drafted.workshops[0].duration == 5
    assert manifest.parse(path.read_bytes()) == drafted
    assert path.read_text().startswith("# The workshops of this folder")
    collection = await folders.examined(tmp_path)
    assert [str(one) for one in collection.problems] == []
    assert "data.csv" in str(collection.files)


async def test_one_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.ipynb").write_text(notebook("ir", "# A"))
    (tmp_path / "workshops.toml").write_text("mine")
    with pytest.raises(ManifestError, match="cannot write"):
        await draft.write(tmp_path)
    assert (tmp_path / "workshops.toml").read_text() == "mine"


async def test_a_folder_without_notebooks_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="has no notebook"):
        await draft.write(tmp_path)
    (tmp_path / "a.ipynb").write_text("{")
    with pytest.raises(ManifestError, match=r"a\.ipynb: the notebook is not JSON"):
        await draft.write(tmp_path)
    assert not (tmp_path / "workshops.toml").exists()
