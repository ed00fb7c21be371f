"""Drafts a manifest for a folder without one, from its notebooks. Called by `image workshops --preview`."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from tmpnb_py.core import languages
from tmpnb_py.core.document_paths import is_text_notebook
from tmpnb_py.core.errors import ManifestError, NotesError
from tmpnb_py.workshops import manifest as manifests
from tmpnb_py.workshops.manifest import MANIFEST_NAME, Manifest, Workshop
from tmpnb_py.workshops.notes.model import Notes
from tmpnb_py.workshops.notes.notebook import MAX_SIZE, NOTEBOOK
from tmpnb_py.workshops.notes_cache import make_notes

MAX_WORKSHOPS = 50
_ALWAYS = (NOTEBOOK, ".rmd", ".qmd")  # other text is a notebook if its head says so
_SAYS_SO = re.compile(r"^(?:# ?)?(?:jupytext|kernelspec):|^# ?%%|^```\{code-cell\}", re.MULTILINE)
_HEAD = 8192  # characters of the head
_INTRODUCTION = """\
# The workshops of this folder, as tmpnb-py found them in the notebooks. Edit as you like: people see the title, the
# description and the duration (in minutes) on the first page, in this order. Remove entries that are no workshop of
# their own. Links contain the slug, so keep it once you have shared one. Files beside the notebooks (data, pictures)
# are included automatically.

"""


async def write(directory: Path) -> tuple[Path, Manifest]:
    """Write a manifest. Returns its path and content. Raises `ManifestError`, also if one exists already."""
    path = directory / MANIFEST_NAME
    drafted = await draft(directory)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(_INTRODUCTION + manifests.dump(drafted))
    except OSError as error:
        raise ManifestError(f"cannot write {path}: {error.strerror}", remedy="write it yourself") from error
    return path, drafted


async def draft(directory: Path) -> Manifest:
    """Draft a folder's manifest. Raises `ManifestError` if there is no readable notebook."""
    workshops: list[Workshop] = []
    problems: list[str] = []
    for place in list(_notebooks(directory))[:MAX_WORKSHOPS]:
        try:
            notes = await make_notes((directory / place).read_bytes(), start=str(place), pages={}, language="")
        except NotesError as error:
            problems.append(f"{place}: {error.message}")
            continue
        workshops.append(_workshop(place, notes, {one.slug for one in workshops}))
    if not workshops:
        message = "\n".join(problems) or f"{directory} has no notebook (.ipynb, .Rmd, .qmd)"
        raise ManifestError(message, remedy="put notebooks there, or correct the existing ones")
    return Manifest(workshops=tuple(workshops))


def _notebooks(directory: Path) -> Iterator[PurePosixPath]:
    """The notebooks in natural order of their names, as people number them."""
    for path in sorted(directory.rglob("*"), key=_order):
        place = PurePosixPath(path.relative_to(directory))
        if any(part.startswith((".", "_")) for part in place.parts) or path.is_symlink() or not path.is_file():
            continue
        if path.stat().st_size <= MAX_SIZE and _is_notebook(path):
            yield place


def _order(path: Path) -> tuple[tuple[int, str], ...]:
    """A sort key by which 2 comes before 10."""
    parts = re.findall(r"\d+|\D+", str(path).casefold())
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def _is_notebook(path: Path) -> bool:
    if path.suffix.lower() in _ALWAYS:
        return True
    if not is_text_notebook(path.name):
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        return _SAYS_SO.search(file.read(_HEAD)) is not None


def _workshop(place: PurePosixPath, notes: Notes, taken: Iterable[str]) -> Workshop:
    title = _cut(notes.title or place.stem.replace("_", " ").replace("-", " "), 100)
    language = languages.title(notes.language or notes.kernel) or "Text"
    return Workshop(
        slug=_slug(place, set(taken)),
        title=title,
        language=_cut(language, 40),
        description=_cut(_first_words(notes.body) or f"A workshop in {language}.", 200),
        duration=_minutes(notes.body),
        start=str(place),
    )


def _slug(place: PurePosixPath, taken: set[str]) -> str:
    plain = unicodedata.normalize("NFKD", place.stem).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:58].strip("-") or "workshop"
    numbered = (f"{name}-{number}" for number in range(2, 1000))
    return name if name not in taken else next(one for one in numbered if one not in taken)


def _first_words(body: str) -> str:
    """The first paragraph."""
    for found in re.finditer(r"<p>(.*?)</p>", body, re.DOTALL):
        words = " ".join(html.unescape(re.sub(r"<[^>]*>", "", found[1])).split())
        if len(words) > 20:
            return words
    return ""


def _minutes(body: str) -> int:
    """Estimate: two minutes per cell, and 150 words per minute for reading."""
    words = len(re.sub(r"<[^>]*>", " ", body).split())
    minutes = 2 * body.count("data-cell=") + words / 150
    return min(240, max(5, 5 * round(minutes / 5)))


def _cut(text: str, limit: int) -> str:
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text if len(text) <= limit else text[: limit - 1].rpartition(" ")[0].rstrip(",;: ") + "…"
