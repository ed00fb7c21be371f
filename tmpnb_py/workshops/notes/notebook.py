"""Reading a notebook (nbformat 4, https://nbformat.readthedocs.io/en/latest/format_description.html). Pure.

Images are untrusted: invalid parts are dropped or refused, and everything is bounded. The result consists of plain
values of known types, which are not yet safe to show.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import enum
import itertools
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from tmpnb_py.core.document_paths import is_text_notebook
from tmpnb_py.core.errors import NotesError
from tmpnb_py.core.language_tags import is_tag
from tmpnb_py.workshops.notes import texts
from tmpnb_py.workshops.notes.interactive import Scripts, player, scripts_of
from tmpnb_py.workshops.notes.nbformat3 import upgraded
from tmpnb_py.workshops.notes.terminal import Run, cut, runs

MAX_SIZE = 16 * 1024 * 1024  # bytes of a notebook file; even with many saved pictures one is smaller
MAX_CELLS = 2000
MAX_SOURCE = 200_000  # characters of one cell
MAX_OUTPUT = 100_000  # characters of one output, per form
MAX_STREAM = 1_000_000  # characters of a stream, which progress bars mostly overwrite
MAX_PICTURE = 4 * 1024 * 1024  # bytes
PICTURES = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff",
    "image/gif": b"GIF8",
    "image/webp": b"RIFF",
}
SVG = "image/svg+xml"
NOTEBOOK = ".ipynb"

_NAME = re.compile(r"[A-Za-z0-9._+-]{1,64}")
_FRONT_MATTER = re.compile(r"\s*---[ \t]*\r?\n((?:[^\n]*\n){0,200}?)(?:---|\.\.\.)[ \t]*(?:\r?\n|$)")
_ENTRY = re.compile(r"^(title|lang):[ \t]*([^\r\n]+)", re.MULTILINE)
_CUT = "\n… (cut: the rest is in the notebook)"


@dataclasses.dataclass(frozen=True, slots=True)
class Picture:
    """An image of a media type in `PICTURES` or SVG; or audio or video of a type in `MEDIA`.

    `width` and `height` are the display size in CSS pixels (0 = its own); `alt` is its alternative text.
    """

    type: str
    data: bytes
    width: int = 0
    height: int = 0
    alt: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Output:
    """An output of a cell. `kind` is "stdout", "stderr", "error" (a traceback) or "display".

    A display has one or more forms of the same: `text`, a picture, HTML, Markdown, LaTeX ("" if missing). The text
    is what a terminal would show, in pieces with the names of their style classes.
    """

    kind: str
    terminal: tuple[Run, ...] = ()
    picture: Picture | None = None
    html: str = ""
    markdown: str = ""
    latex: str = ""
    scripts: Scripts = Scripts.NONE

    @property
    def text(self) -> str:
        """The text without styles."""
        return "".join(text for text, _ in self.terminal)


class Part(enum.Enum):
    """The parts of a cell that an author can hide."""

    CELL = "cell"
    INPUT = "input"
    OUTPUT = "output"


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """One cell. `number` is its position in the file from 0, counting omitted cells.

    Readers can open `folded` parts; `removed` ones are not published. `lang` tags the language of the cell's text
    ("" for the notebook's).
    """

    number: int
    kind: str
    source: str
    tags: frozenset[str] = frozenset()
    folded: frozenset[Part] = frozenset()
    removed: frozenset[Part] = frozenset()
    attachments: Mapping[str, Picture] = dataclasses.field(default_factory=dict)
    outputs: tuple[Output, ...] = ()
    lang: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Notebook:
    """A notebook. `kernel` is the kernelspec's name, `language` its language ("" if not given).

    `title` comes from the front matter with which files of Quarto and jupytext begin. `remarks` tell the author what
    cannot be shown as intended. `lang` tags the language of the text ("" if not given).
    """

    cells: tuple[Cell, ...]
    kernel: str = ""
    language: str = ""
    title: str = ""
    remarks: tuple[str, ...] = ()
    lang: str = ""


def is_readable(path: str) -> bool:
    """Whether a file is a notebook by its name: Jupyter's own format, or a text format of jupytext's."""
    return path.endswith(NOTEBOOK) or is_text_notebook(path)


def read(data: bytes, path: str) -> Notebook:
    """Read a file in the format that its name tells. Raises `NotesError`."""
    if not is_text_notebook(path):
        return parse(data)
    found, remarks = texts.document(data, PurePosixPath(path).suffix)
    return dataclasses.replace(_notebook(found), remarks=remarks)


def parse(data: bytes) -> Notebook:
    """Read a notebook of format 3 or 4. Raises `NotesError` for anything else."""
    if len(data) > MAX_SIZE:
        raise NotesError(f"the notebook is larger than {MAX_SIZE >> 20} MiB")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NotesError(f"the notebook is not JSON: {error}") from error
    if isinstance(document, dict) and document.get("nbformat") == 3:
        document = upgraded(document)
    if not isinstance(document, dict) or document.get("nbformat") != 4 or not isinstance(document.get("cells"), list):
        raise NotesError("the file is not a notebook of format 3 or 4")
    return _notebook(document)


def _notebook(document: dict[str, Any]) -> Notebook:
    metadata = _table(document.get("metadata"))
    kernelspec, language_info = _table(metadata.get("kernelspec")), _table(metadata.get("language_info"))
    entries = document["cells"][:MAX_CELLS]
    cells = tuple(_cell(number, entry) for number, entry in enumerate(entries) if isinstance(entry, dict))
    front, cells = _without_front_matter(cells)
    return Notebook(
        cells=cells,
        title=front.get("title", "")[:200],
        lang=_tongue(front.get("lang")) or _tongue(metadata.get("lang")),
        kernel=_name(kernelspec.get("name")),
        language=_name(language_info.get("name")) or _name(kernelspec.get("language")),
    )


def _without_front_matter(cells: tuple[Cell, ...]) -> tuple[dict[str, str], tuple[Cell, ...]]:
    """Split off YAML front matter: its known values, and the cells without it."""
    if not cells or cells[0].kind == "code" or not (found := _FRONT_MATTER.match(cells[0].source)):
        return {}, cells
    said = {key: re.sub(r"""^(["'])(.*)\1$""", r"\2", value.strip()) for key, value in _ENTRY.findall(found[1])}
    rest = dataclasses.replace(cells[0], source=cells[0].source[found.end() :])
    return said, (rest, *cells[1:])


def _tongue(value: Any) -> str:
    """A language tag, from `lang` of Quarto, R Markdown, pandoc, or nbTranslate's metadata. nbformat has none."""
    return value if isinstance(value, str) and is_tag(value) else ""


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _name(value: Any) -> str:
    return value if isinstance(value, str) and _NAME.fullmatch(value) else ""


def _text(value: Any, limit: int = MAX_SOURCE) -> str:
    """A multi-line string, which may also be a list of lines in this format."""
    parts = value if isinstance(value, list) else [value]
    text = "".join(part for part in parts if isinstance(part, str))
    # JSON allows half a surrogate pair, UTF-8 does not.
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return _cut(text, limit)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:limit] + _CUT


def _cell(number: int, entry: dict[str, Any]) -> Cell:
    metadata = _table(entry.get("metadata"))
    kind = entry.get("cell_type")
    tags = metadata.get("tags")
    known = frozenset(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else frozenset()
    return Cell(
        number=number,
        kind=kind if kind in ("markdown", "code") else "raw",
        source=_text(entry.get("source")),
        tags=known,
        folded=frozenset(_folded(metadata, known)),
        removed=frozenset(part for part in Part if {f"remove-{part.value}", f"remove_{part.value}"} & known),
        attachments=dict(_attachments(_table(entry.get("attachments")))),
        outputs=tuple(_outputs(entry.get("outputs"))) if kind == "code" else (),
        lang=_tongue(metadata.get("lang")),
    )


def _folded(metadata: dict[str, Any], tags: frozenset[str]) -> Iterable[Part]:
    """The initially folded parts, by tags as in Jupyter Book, and by metadata of JupyterLab and Notebook 6."""
    jupyter = _table(metadata.get("jupyter"))
    yield from (part for part in Part if {f"hide-{part.value}", f"hide_{part.value}"} & tags)
    if jupyter.get("source_hidden") is True or metadata.get("hide_input") is True:
        yield Part.INPUT
    if jupyter.get("outputs_hidden") is True or metadata.get("collapsed") is True:
        yield Part.OUTPUT


def _attachments(entries: dict[str, Any]) -> Iterable[tuple[str, Picture]]:
    for name, bundle in entries.items():
        picture = _picture(_table(bundle))
        if picture is not None:
            yield name, picture


def _picture(bundle: dict[str, Any]) -> Picture | None:
    """The picture of a MIME bundle, if its data matches its type."""
    svg = _text(bundle.get(SVG), MAX_PICTURE)
    if svg.lstrip().startswith("<"):
        return Picture(SVG, svg.encode())
    for kind in PICTURES:
        encoded = _text(bundle.get(kind), MAX_PICTURE * 4 // 3 + 4)
        try:
            data = base64.b64decode("".join(encoded.split()), validate=True)
        except (binascii.Error, ValueError):
            continue
        if is_picture(kind, data):
            return Picture(kind, data)
    return None


def _sized(picture: Picture | None, metadata: dict[str, Any]) -> Picture | None:
    """Add the size and alternative text from the kernel's metadata, for all forms or for this one."""
    if picture is None:
        return None
    facts = {**metadata, **_table(metadata.get(picture.type))}
    width, height = (
        size if isinstance(size := facts.get(name), int) and 0 < size < 10_000 else 0 for name in ("width", "height")
    )
    alt = facts.get("alt")
    return dataclasses.replace(picture, width=width, height=height, alt=alt[:500] if isinstance(alt, str) else "")


def _played(html: str) -> Picture | None:
    found = player(html)
    return None if found is None else Picture(*found)


def is_picture(kind: str, data: bytes) -> bool:
    """Whether the data begins like a picture of this type."""
    if kind == SVG:
        return data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
    return kind in PICTURES and data.startswith(PICTURES[kind])


def _outputs(entries: Any) -> Iterable[Output]:
    tables = [_table(entry) for entry in entries] if isinstance(entries, list) else []
    for stream, group in itertools.groupby(tables, key=_stream_name):
        # A stream may be saved in pieces, and a progress bar continues across them.
        if stream:
            yield _stream(stream, group)
        else:
            yield from filter(None, map(_output, group))


def _stream_name(entry: dict[str, Any]) -> str:
    """The stream's name; "" for another kind of output."""
    if entry.get("output_type") != "stream":
        return ""
    return "stderr" if entry.get("name") == "stderr" else "stdout"


def _stream(name: str, entries: Iterable[dict[str, Any]]) -> Output:
    text = _text([_text(entry.get("text"), MAX_STREAM) for entry in entries], MAX_STREAM)
    return Output(name, _terminal(text))


def _output(entry: dict[str, Any]) -> Output | None:
    kind = entry.get("output_type")
    if kind == "error":
        traceback = entry.get("traceback")
        lines = [line for line in traceback if isinstance(line, str)] if isinstance(traceback, list) else []
        text = "\n".join(lines) or _failure(entry)
        return Output("error", _terminal(_text(text, MAX_STREAM)))
    if kind in ("display_data", "execute_result"):
        bundle = _table(entry.get("data"))
        source = _text(bundle.get("text/html"), MAX_SIZE)
        output = Output(
            kind="display",
            terminal=_terminal(_text(bundle.get("text/plain"), MAX_STREAM)),
            picture=_sized(_picture(bundle), _table(entry.get("metadata"))) or _played(source),
            html=_whole(source),
            markdown=_whole(bundle.get("text/markdown")),
            latex=_whole(bundle.get("text/latex")),
            scripts=scripts_of(bundle, source),
        )
        return output if output != Output("display") else None
    return None


def _failure(entry: dict[str, Any]) -> str:
    """Describe an error without a traceback. Shell kernels only give an exit status (as in `live/output.js`)."""
    name, value = (_text(entry.get(key), MAX_STREAM).strip() for key in ("ename", "evalue"))
    if not name and value.isdecimal():
        return f"exit status {value}"
    return ": ".join(part for part in (name, value) if part) or "error"


def _terminal(text: str) -> tuple[Run, ...]:
    """The text as a terminal would show it."""
    pieces = runs(text)
    if sum(len(piece) for piece, _ in pieces) <= MAX_OUTPUT:
        return tuple(pieces)
    return (*cut(pieces, MAX_OUTPUT), (_CUT, ""))


def _whole(value: Any) -> str:
    """A text that would change its meaning if it were cut: "" if it is too long."""
    text = _text(value, MAX_SIZE)
    return text if len(text) <= MAX_OUTPUT else ""
