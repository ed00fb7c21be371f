"""Every notebook of the image runs from top to bottom as a visitor would run it, and its plots are really there.

In a container as the service starts it: uid 1000, read-only root, no capabilities, no network, 512 MiB, half a CPU.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.image.conftest import Place
from tmpnb_py.core.installation import workshop_directory
from tmpnb_py.core.models import Transport
from tmpnb_py.images.notebooks import EXERCISE, run_notebooks, source_of
from tmpnb_py.images.results import NotebookTrial
from tmpnb_py.images.started import started_image
from tmpnb_py.workshops import manifest

WORKSHOPS = workshop_directory() / "workshops"
NOTEBOOKS = sorted(
    str(path.relative_to(WORKSHOPS)) for path in WORKSHOPS.rglob("*.ipynb") if ".ipynb_" not in str(path)
)
NO_PLOTS = ("bash",)


def load(name: str) -> dict[str, object]:
    notebook: dict[str, object] = json.loads((WORKSHOPS / name).read_text())
    return notebook


def kernel_of(name: str) -> str:
    metadata = load(name)["metadata"]
    assert isinstance(metadata, dict)
    return str(metadata["kernelspec"]["name"])


@pytest.mark.engine
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", NOTEBOOKS, ids=[Path(name).stem.replace(" ", "-") for name in NOTEBOOKS])
async def test_it_runs_from_top_to_bottom(place: Place, name: str) -> None:
    async with started_image(place.engine, place.settings, Transport.SOCKET) as container:
        trials = [one async for one in run_notebooks(container.client, only=lambda path: path == name)]
    assert trials == [
        NotebookTrial(name, trials[0].cells, trials[0].plots, trials[0].seconds),
    ], "\n".join(trials[0].problems)
    assert trials[0].cells > 0
    if kernel_of(name) not in NO_PLOTS:
        assert trials[0].plots > 0


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_is_clean(name: str) -> None:
    cells = load(name)["cells"]
    assert isinstance(cells, list)
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
            tags = cell["metadata"].get("tags", [])
            assert source_of(cell).strip() or EXERCISE in tags, f"{cell.get('id')} is empty"


def test_every_notebook_is_listed() -> None:
    listed = {one.start for one in manifest.parse((WORKSHOPS / manifest.MANIFEST_NAME).read_bytes()).workshops}
    assert set(NOTEBOOKS) == listed
