"""Checks folders of workshops and adds them to images. For `image workshops`.

A folder contains a manifest and the files that its workshops need. They are added to any image as one layer, so an
author needs no Dockerfile.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import shlex
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path, PurePosixPath
from typing import IO, Any

from tmpnb_py.core.errors import ImageBuildError, ManifestError, NotesError
from tmpnb_py.core.models import ImageFacts
from tmpnb_py.core.warm import is_kernel
from tmpnb_py.engines.base import ImageStore
from tmpnb_py.workshops import manifest as manifests
from tmpnb_py.workshops.manifest import MANIFEST_NAME, Manifest, Workshop
from tmpnb_py.workshops.notes.notebook import is_readable
from tmpnb_py.workshops.notes_cache import make_notes

DEFAULT_PLACE = "/usr/share/workshops/workshops.toml"
MAX_FOLDER = 128 * 1024 * 1024  # bytes: half a visitor's home; every start copies it

_LARGE_FILE = 20 * 1024 * 1024
_LABEL = "org.tmpnb.workshops"
_OWN_PLACE = "/usr/share/workshops-"
_LEFT_OUT = ("__pycache__",)
_OFFICE = "an office document, which JupyterLab does not open: save it as Markdown (.md)"
_SWEAVE = "a Sweave document, which needs LaTeX: write it as R Markdown (.Rmd)"
_FOREIGN = "for a program that is not there: save it as a Jupyter notebook (.ipynb)"
# Files that no visitor could use, by their names.
_REFUSED = {
    **dict.fromkeys((".doc", ".docx", ".odt", ".rtf", ".ppt", ".pptx", ".odp", ".key", ".pages"), _OFFICE),
    **dict.fromkeys((".rnw", ".snw", ".rtex", ".lyx"), _SWEAVE),
    **dict.fromkeys((".rpres", ".mlx", ".nb", ".wls", ".ipyn", ".sagews", ".zpln", ".dib"), _FOREIGN),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """A problem that the author should fix. `serious` if it keeps the folder from being served."""

    where: str
    text: str
    serious: bool = True

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


@dataclasses.dataclass(frozen=True, slots=True)
class Collection:
    """A folder with its manifest, the files for the image, and their problems."""

    directory: Path
    manifest: Manifest
    files: tuple[PurePosixPath, ...]
    problems: tuple[Problem, ...]

    @property
    def fit(self) -> bool:
        """Whether the folder can be served."""
        return not any(one.serious for one in self.problems)


async def examined(directory: Path) -> Collection:
    """Read and examine a folder, and render each workshop's notes. Raises `ManifestError` as `read_collection`."""
    collection = read_collection(directory)
    problems = [one for workshop in collection.manifest.workshops for one in await _as_notes(collection, workshop)]
    return dataclasses.replace(collection, problems=(*collection.problems, *problems))


async def _as_notes(collection: Collection, workshop: Workshop) -> list[Problem]:
    """The problems of a workshop's page of notes."""
    file = PurePosixPath(workshop.start)
    if file not in collection.files or not is_readable(workshop.start):
        return []
    if any(one.serious and one.where == workshop.start for one in collection.problems):
        return []  # `_examine_notebook` reports the same
    data = (collection.directory / file).read_bytes()
    try:
        notes = await make_notes(data, start=workshop.start, pages={}, language=workshop.language)
    except NotesError as error:
        return [Problem(workshop.start, error.message)]
    return [Problem(workshop.start, remark, serious=False) for remark in notes.remarks]


def read_collection(directory: Path) -> Collection:
    """Read and examine a folder. Raises `ManifestError` if it has no readable manifest."""
    manifest = _read_manifest(directory)
    problems: list[Problem] = []
    files = tuple(sorted(_files(directory, problems)))
    for workshop in manifest.workshops:
        problems += _missing(directory, workshop.slug, workshop.start)
        if refused := _REFUSED.get(PurePosixPath(workshop.start).suffix.lower()):
            problems.append(Problem(workshop.slug, f"its start {workshop.start} is {refused}"))
        problems += _other_kernel(directory, workshop)
    for file in files:
        problems += _examine(directory, file)
    size = sum((directory / file).stat().st_size for file in files)
    if size > MAX_FOLDER:
        problems.append(Problem(str(directory), f"its {size >> 20} MiB are more than {MAX_FOLDER >> 20} MiB"))
    return Collection(directory, manifest, files, tuple(problems))


def _read_manifest(directory: Path) -> Manifest:
    path = directory / MANIFEST_NAME
    try:
        if path.stat().st_size > manifests.MAX_SIZE:
            raise ManifestError(f"{path} is larger than {manifests.MAX_SIZE >> 10} KiB")
        manifest = manifests.parse(path.read_bytes(), source=str(path))
    except OSError as error:
        command = f"tmpnb-py image workshops --preview {shlex.quote(str(directory))}"
        remedy = f"`{command}` drafts one; or write one such as:\n{manifests.EXAMPLE}"
        raise ManifestError(f"cannot read {path}: {error.strerror}", remedy=remedy) from error
    if not manifest.workshops:
        raise ManifestError(f"{path} lists no workshop", remedy=f"such as:\n{manifests.EXAMPLE}")
    return manifest


def _files(directory: Path, problems: list[Problem]) -> Iterator[PurePosixPath]:
    """The files to include: no hidden files or caches, and no links, as they could lead anywhere."""
    for path in sorted(directory.rglob("*")):
        name = PurePosixPath(path.relative_to(directory))
        if str(name) == MANIFEST_NAME or any(part.startswith(".") or part in _LEFT_OUT for part in name.parts):
            continue
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            yield name
        elif not stat.S_ISDIR(mode):
            problems.append(Problem(str(name), "is a link or a special file: put the file itself here"))


def _missing(directory: Path, slug: str, start: str) -> Iterator[Problem]:
    path = directory / start
    if not path.is_file():
        beside = sorted(path.parent.iterdir()) if path.parent.is_dir() else []
        near = [one.name for one in beside if is_readable(one.name) and not one.name.startswith(".")]
        hint = f"; there is {', '.join(near)}" if near else ""
        yield Problem(slug, f"its start {start} does not exist{hint}")


def _other_kernel(directory: Path, workshop: Workshop) -> Iterator[Problem]:
    """Say that another kernel than the notebook's would be started before visitors come."""
    if workshop.is_cold or not (workshop.warm or workshop.preload) or not workshop.start.endswith(".ipynb"):
        return
    uses: Any = None
    with contextlib.suppress(OSError, ValueError, RecursionError, LookupError, TypeError):
        uses = json.loads((directory / workshop.start).read_bytes())["metadata"]["kernelspec"]["name"]
    if isinstance(uses, str) and is_kernel(uses) and uses != workshop.kernel:
        text = (
            f'wants {workshop.kernel or "a kernel"} to be warm, but its notebook uses {uses}: write warm = "{uses}"'
        )
        yield Problem(workshop.slug, text, serious=False)


def _examine(directory: Path, file: PurePosixPath) -> Iterator[Problem]:
    path = directory / file
    if path.stat().st_size > _LARGE_FILE:
        text = f"has {path.stat().st_size >> 20} MiB, which is copied for every visitor"
        yield Problem(str(file), text, serious=False)
    if file.suffix == ".ipynb":
        for text, serious in _examine_notebook(path):
            yield Problem(str(file), text, serious=serious)


def _examine_notebook(path: Path) -> Iterator[tuple[str, bool]]:
    try:
        notebook: Any = json.loads(path.read_bytes())
        cells = notebook["cells"]
        name = notebook["metadata"]["kernelspec"]["name"]
        given_away = [number for number, cell in enumerate(cells, start=1) if _tells_answer(cell)]
    except (OSError, ValueError, RecursionError) as error:
        yield f"cannot be read as JSON: {error}", True
        return
    except (KeyError, TypeError, AttributeError):
        yield "is not a notebook of format 4 with a kernel: save it once with JupyterLab", True
        return
    if not isinstance(name, str) or not name:
        yield "names no kernel", True
    if given_away:
        which = ", ".join(map(str, given_away[:10]))
        words = f"has outputs in exercises (cell {which}), which the page would show beside the question: clear them"
        yield words, False


def _tells_answer(cell: Any) -> bool:
    """Whether this is a solved exercise. For all other code saved outputs improve the page."""
    return "exercise" in cell.get("metadata", {}).get("tags", ()) and bool(cell.get("outputs"))


@dataclasses.dataclass(frozen=True, slots=True)
class Added:
    """An image's workshops after the addition, and the slugs that were replaced."""

    manifest: Manifest
    replaced: tuple[str, ...]


# ---- into an image -----------------------------------------------------------------------------------------


async def of_image(engine: ImageStore, facts: ImageFacts) -> Manifest:
    """Read an image's manifest. Raises `ManifestError` for an invalid one."""
    if not facts.workshops:
        return Manifest()
    files = await engine.read_image(facts, [facts.workshops], limit=manifests.MAX_SIZE)
    if facts.workshops not in files:
        raise ManifestError(
            f"the image {facts.image} has no {facts.workshops}, which its label {_LABEL} names",
            remedy="build it again, or correct the label",
        )
    return manifests.parse(files[facts.workshops], source=f"{facts.workshops} of {facts.image}")


async def add(
    engine: ImageStore,
    collection: Collection,
    *,
    base: str,
    tag: str,
    only: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> Added:
    """Build `tag`: the image `base` with the collection's workshops before its existing ones (`only`: instead).

    Raises `ManifestError` if the collection is unfit, `ImageBuildError`, and the engine's errors.
    """
    refuse_unfit(collection)
    facts = await engine.image(base)
    place = _place(collection, facts, only=only)
    had = Manifest() if only else await of_image(engine, facts)
    merged = had.merged(collection.manifest)
    with io.BytesIO() as context:
        write_context(context, collection, facts.image, place, merged)
        building = engine.build_image(
            context,
            tag=tag,
            build_args={},
            target=None,
            network="none",
            labels={_LABEL: str(place)},
        )
        try:
            async with aclosing(building) as lines:
                async for line in lines:
                    report(line)
        except ImageBuildError as error:
            error.remedy = error.remedy or f"the base {base} must be an image that the engine has"
            raise
    return Added(merged, tuple(one.slug for one in had.workshops if collection.manifest.find(one.slug)))


def refuse_unfit(collection: Collection) -> None:
    """Raise `ManifestError` with all problems that keep the folder from being served."""
    serious = [str(one) for one in collection.problems if one.serious]
    if serious:
        raise ManifestError("\n".join(serious), remedy=f"fix these in {collection.directory}, and try again")


def _place(collection: Collection, base: ImageFacts, *, only: bool) -> PurePosixPath:
    """Where the manifest goes: beside the base's workshops, or with `only` into a new directory.

    An image that is not ours keeps its own directory, as it could not be told of another one.
    """
    place = PurePosixPath(base.workshops or DEFAULT_PLACE)
    if not only or not _is_ours(place):
        return place
    digest = hashlib.sha256(manifests.dump(collection.manifest).encode())
    for name in collection.files:
        digest.update(str(name).encode() + b"\0" + (collection.directory / name).read_bytes())
    return PurePosixPath(f"{_OWN_PLACE}{digest.hexdigest()[:12]}", MANIFEST_NAME)


def _is_ours(place: PurePosixPath) -> bool:
    return str(place) == DEFAULT_PLACE or str(place).startswith(_OWN_PLACE)


def write_context(file: IO[bytes], collection: Collection, base: str, place: PurePosixPath, merged: Manifest) -> None:
    """Write the build context, with the merged manifest for `place` and the files beside it. Rewinds the file."""
    dockerfile = f"FROM {base}\nCOPY {json.dumps(['workshops/', f'{place.parent}/'])}\n"
    if _is_ours(place):  # read by start-notebook.sh
        dockerfile += f"ENV TMPNB_WORKSHOPS={place.parent}\n"
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        _put(tar, "Dockerfile", dockerfile.encode())
        _put(tar, f"workshops/{place.name}", manifests.dump(merged).encode())
        for name in collection.files:
            _put(tar, f"workshops/{name}", (collection.directory / name).read_bytes())
    file.seek(0)


def _put(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = 0o644
    tar.addfile(entry, io.BytesIO(content))
