"""Authors' folders: what is found wrong with them, and what goes into an image."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import pytest

from tmpnb_py.core.errors import ImageBuildError, ManifestError
from tmpnb_py.core.installation import workshop_directory
from tmpnb_py.core.models import ImageFacts
from tmpnb_py.engines.no_images import NoImageStore
from tmpnb_py.workshops import folders, manifest
from tmpnb_py.workshops.manifest import EXAMPLE

START = "introduction-to-r/Introduction to R.ipynb"


def notebook(**changes: Any) -> str:
    cell = {"cell_type": "code", "source": "1", "metadata": {}, "outputs": []}
    whole = {"cells": [cell], "metadata": {"kernelspec": {"name": "ir"}}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole | changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "workshops.toml").write_text(EXAMPLE)
    (tmp_path / "introduction-to-r").mkdir()
    (tmp_path / START).write_text(notebook())
    return tmp_path


def problems(folder: Path) -> list[str]:
    return [str(one) for one in folders.read_collection(folder).problems]


def test_a_folder_as_it_should_be(folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".git" / "x").write_text("")
    (folder / "introduction-to-r" / ".ipynb_checkpoints").mkdir()
    (folder / "introduction-to-r" / ".ipynb_checkpoints" / "x.ipynb").write_text("not even JSON")
    collection = folders.read_collection(folder)
    assert collection.fit
    assert collection.problems == ()
    assert [str(one) for one in collection.files] == [START]


def test_our_own_folder_is_as_it_should_be() -> None:
    assert problems(workshop_directory() / "workshops") == []


def test_a_folder_without_a_manifest_is_told_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        folders.read_collection(tmp_path)
    assert EXAMPLE in caught.value.remedy
    (tmp_path / "workshops.toml").write_text("")
    with pytest.raises(ManifestError, match="lists no workshop"):
        folders.read_collection(tmp_path)


def test_a_start_that_is_not_there(folder: Path) -> None:
    (folder / START).rename(folder / "introduction-to-r" / "Intro.ipynb")
    assert problems(folder) == [f"introduction-to-r: its start {START} does not exist; there is Intro.ipynb"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("[]", "is not a notebook of format 4"),
        (notebook(metadata={}), "is not a notebook of format 4"),
        (notebook(metadata={"kernelspec": {"name": ""}}), "names no kernel"),
        (
            notebook(cells=[{"metadata": {"tags": ["exercise"]}, "cell_type": "code", "outputs": [{}]}]),
            "has outputs in exercises (cell 1)",
        ),
    ],
)
def test_notebooks_are_examined(folder: Path, text: str, told: str) -> None:
    (folder / START).write_text(text)
    (problem,) = problems(folder)
    assert told in problem


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('warm = "python3"', "wants python3 to be warm, but its notebook uses ir"),
        ('language = "Klingon"\npreload = ["x"]', "wants a kernel to be warm, but its notebook uses ir"),
        ('preload = ["tidyverse"]', ""),
        ('warm = "ir"', ""),
        ('warm = "none"', ""),
    ],
)
def test_another_kernel_than_the_notebooks_is_no_use_if_it_is_warm(folder: Path, line: str, told: str) -> None:
    example = EXAMPLE.replace('language = "R"\n', "") if "language" in line else EXAMPLE
    (folder / "workshops.toml").write_text(f"{example}{line}\n")
    found = folders.read_collection(folder)
    assert found.fit
    remark = f'introduction-to-r: {told}: write warm = "ir"'
    assert [str(one) for one in found.problems] == ([remark] if told else [])


def test_links_do_not_go_along(folder: Path) -> None:
    (folder / "introduction-to-r" / "secret").symlink_to("/etc/passwd")
    (folder / "elsewhere").symlink_to("/etc")
    collection = folders.read_collection(folder)
    assert [str(one) for one in collection.files] == [START]
    assert len(collection.problems) == 2
    with pytest.raises(ManifestError, match="is a link"):
        folders.refuse_unfit(collection)


def test_large_files_are_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_LARGE_FILE", 10)
    collection = folders.read_collection(folder)
    assert collection.fit
    assert len(collection.problems) == 1
    monkeypatch.setattr(folders, "MAX_FOLDER", 10)
    assert not folders.read_collection(folder).fit


class Engine(NoImageStore):
    """Has one image with a manifest, and keeps the context that it was to build."""

    def __init__(self, facts: ImageFacts, files: dict[str, bytes]) -> None:
        self.facts = facts
        self.files = files
        self.context: dict[str, bytes] = {}
        self.options: dict[str, Any] = {}
        self.error: ImageBuildError | None = None

    async def image(self, image: str) -> ImageFacts:
        return self.facts

    async def read_image(self, image: ImageFacts, paths: Sequence[str], *, limit: int = 0) -> dict[str, bytes]:
        return {path: self.files[path] for path in paths if path in self.files}

    async def build_image(
        self,
        context: IO[bytes],
        *,
        tag: str,
        build_args: Mapping[str, str],
        target: str | None,
        network: str | None,
        labels: Mapping[str, str],
        buildkit: bool = False,
    ) -> AsyncGenerator[str, None]:
        self.options = {"tag": tag, "labels": labels, "network": network}
        data = context.read()
        assert data[257:263] == b"ustar "  # GNU: BuildKit takes a pax archive for a Dockerfile
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for entry in tar:
                content = tar.extractfile(entry)
                assert content is not None
                self.context[entry.name] = content.read()
        yield "Step 1/2 : FROM x"
        if self.error:
            raise self.error


async def test_adding_builds_upon_an_image(folder: Path) -> None:
    place = "/srv/work shops/w.toml"
    old = EXAMPLE.replace("introduction-to-r", "old")
    engine = Engine(ImageFacts("base:1", "sha256:1", workshops=place), {place: old.encode()})
    lines: list[str] = []
    collection = folders.read_collection(folder)
    added = await folders.add(engine, collection, base="base:1", tag="new:1", report=lines.append)
    assert [one.slug for one in added.manifest.workshops] == ["introduction-to-r", "old"]
    assert added.replaced == ()
    assert engine.context["Dockerfile"] == b'FROM base:1\nCOPY ["workshops/", "/srv/work shops/"]\n'
    assert manifest.parse(engine.context["workshops/w.toml"]) == added.manifest
    assert f"workshops/{START}" in engine.context
    assert engine.options == {"tag": "new:1", "labels": {"org.tmpnb.workshops": place}, "network": "none"}
    assert lines == ["Step 1/2 : FROM x"]


async def test_adding_to_an_image_without_workshops(folder: Path) -> None:
    engine = Engine(ImageFacts("foreign", "sha256:1"), {})
    await folders.add(engine, folders.read_collection(folder), base="foreign", tag="t")
    assert engine.options["labels"] == {"org.tmpnb.workshops": "/usr/share/workshops/workshops.toml"}


async def test_a_label_that_leads_nowhere() -> None:
    engine = Engine(ImageFacts("x", "sha256:1", workshops="/nowhere"), {})
    with pytest.raises(ManifestError, match="has no /nowhere"):
        await folders.of_image(engine, engine.facts)


async def test_a_failed_build_has_a_remedy(folder: Path) -> None:
    engine = Engine(ImageFacts("x", "sha256:1"), {})
    engine.error = ImageBuildError("no")
    with pytest.raises(ImageBuildError) as caught:
        await folders.add(engine, folders.read_collection(folder), base="x", tag="t")
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("x.docx", "PK", "its start x.docx is an office document"),
        ("x.Rnw", "", "is a Sweave document"),
        ("x.mlx", "", "for a program that is not there"),
        ("x.Rmd", "---\nruntime: shiny\n---\n", "x.Rmd: it is a Shiny document"),
        ("x.qmd", "{{< include y.qmd >}}\n", "x.qmd: it includes another file"),
        ("x.Rmd", "It is `r 1 + 1`.\n", "is shown as code"),
        ("x.ipynb", "{", "cannot be read as JSON"),
        ("x.pdf", "", ""),
    ],
)
async def test_what_cannot_be_a_start_is_told_with_words(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_text(text)
    (tmp_path / "workshops.toml").write_text(EXAMPLE.replace(START, name))
    found = [str(one) for one in (await folders.examined(tmp_path)).problems]
    assert len(found) == bool(told)
    assert told in "".join(found)


def test_saved_outputs_are_no_mistake(folder: Path) -> None:
    cells = [{"cell_type": "code", "metadata": {"tags": ["solution"]}, "outputs": [{}]}]
    (folder / START).write_text(notebook(cells=cells))
    assert problems(folder) == []


async def test_only_ones_own(folder: Path) -> None:
    place = folders.DEFAULT_PLACE
    engine = Engine(ImageFacts("ours", "sha256:1", workshops=place), {place: EXAMPLE.replace("-r", "-x").encode()})
    collection = folders.read_collection(folder)
    added = await folders.add(engine, collection, base="ours", tag="t", only=True)
    assert added.manifest == collection.manifest
    own = engine.options["labels"]["org.tmpnb.workshops"]
    assert own.startswith("/usr/share/workshops-")
    assert own != place
    assert f"ENV TMPNB_WORKSHOPS={own.removesuffix('/workshops.toml')}\n" in engine.context["Dockerfile"].decode()
    # An image that is not ours looks for its workshops where it always does.
    foreign = Engine(ImageFacts("x", "sha256:1", workshops="/srv/w.toml"), {"/srv/w.toml": b""})
    await folders.add(foreign, collection, base="x", tag="t", only=True)
    assert foreign.options["labels"] == {"org.tmpnb.workshops": "/srv/w.toml"}


async def test_what_is_replaced_is_told(folder: Path) -> None:
    place = folders.DEFAULT_PLACE
    engine = Engine(ImageFacts("ours", "sha256:1", workshops=place), {place: EXAMPLE.encode()})
    added = await folders.add(engine, folders.read_collection(folder), base="ours", tag="t")
    assert added.replaced == ("introduction-to-r",)
    assert engine.context["Dockerfile"].endswith(b"ENV TMPNB_WORKSHOPS=/usr/share/workshops\n")
