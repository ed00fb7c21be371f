"""Reading a notebook (nbformat 4, https://nbformat.readthedocs.io/en/latest/format_description.html). Pure.

It comes from an image that anybody may have made: whatever is not as the format says is left out or refused, and
everything is bounded. What is returned is plain values of known types; nothing in them is safe to show yet.
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

MAX_SIZE = 16 * 1024 * 1024  # bytes of a notebook file; one with many pictures left in is smaller
MAX_CELLS = 2000
MAX_SOURCE = 200_000  # characters of one cell
MAX_OUTPUT = 100_000  # characters of one output, in each of its forms
MAX_STREAM = 1_000_000  # characters of a stream, most of which a progress bar overwrites
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
    """An image with its media type, which is one of `PICTURES` or SVG; or what a player plays, of `MEDIA`.

    `width` and `height` are what it is to be shown in, in CSS pixels (0 = its own), and `alt` says what it shows.
    """

    type: str
    data: bytes
    width: int = 0
    height: int = 0
    alt: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Output:
    """What a cell left. `kind` is "stdout", "stderr", "error" (a traceback) or "display".

    A display comes in one or more forms of the same: `text`, a picture, HTML, Markdown, LaTeX ("" = it has none). The
    text is what a terminal shows, in pieces with the names of the classes for their looks.
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
        """The text without its looks."""
        return "".join(text for text, _ in self.terminal)


class Part(enum.Enum):
    """What of a cell an author can hide."""

    CELL = "cell"
    INPUT = "input"
    OUTPUT = "output"


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """One cell. `number` is its place in the file, from 0, also where cells before it were left out.

    What is `folded` can be opened by the reader; what is `removed` is not published. `lang` tags the language of a
    cell's text ("" = that of the notebook).
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
    """A notebook. `kernel` is the kernelspec's name ("" = the file does not say), `language` its language.

    `title` is what a front matter says, with which files of Quarto and jupytext begin. `remarks` tell the author what
    of the file cannot be shown as it is meant. `lang` tags the language that the text is written in ("" = the file
    does not say).
    """

    cells: tuple[Cell, ...]
    kernel: str = ""
    language: str = ""
    title: str = ""
    remarks: tuple[str, ...] = ()
    lang: str = ""


def is_readable(path: str) -> bool:
    """Whether a file is a notebook by its name: one of Jupyter's, or text that jupytext reads as one."""
    return path.endswith(NOTEBOOK) or is_text_notebook(path)


def read(data: bytes, path: str) -> Notebook:
    """Read a file as what its name says it is. Raises `NotesError`."""
    if not is_text_notebook(path):
        return parse(data)
    found, remarks = texts.document(data, PurePosixPath(path).suffix)
    return dataclasses.replace(_notebook(found), remarks=remarks)


def parse(data: bytes) -> Notebook:
    """Read a file. Raises `NotesError` for what is no notebook of format 3 or 4."""
    if len(data) > MAX_SIZE:
        raise NotesError(f"the notebook is larger than {MAX_SIZE >> 20} MiB")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NotesError(f"the notebook is not JSON: {error}") from error
    if isinstance(document, dict) and document.get("nbformat") == 3:
        document = upgraded(document)
    if not isinstance(document, dict) or document.get("nbformat") != 4 or not isinstance(document.get("cells"), list):
        raise NotesError("the file is no notebook of format 3 or 4")
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
    """What a block of YAML at the very beginning says of what is known here, and the cells without it."""
    if not cells or cells[0].kind == "code" or not (found := _FRONT_MATTER.match(cells[0].source)):
        return {}, cells
    said = {key: re.sub(r"""^(["'])(.*)\1$""", r"\2", value.strip()) for key, value in _ENTRY.findall(found[1])}
    rest = dataclasses.replace(cells[0], source=cells[0].source[found.end() :])
    return said, (rest, *cells[1:])


def _tongue(value: Any) -> str:
    """A language tag: `lang` of Quarto, R Markdown and pandoc, and in metadata of nbTranslate. nbformat has none."""
    return value if isinstance(value, str) and is_tag(value) else ""


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _name(value: Any) -> str:
    return value if isinstance(value, str) and _NAME.fullmatch(value) else ""


def _text(value: Any, limit: int = MAX_SOURCE) -> str:
    """A multi-line string, which the format allows to be a list of lines."""
    parts = value if isinstance(value, list) else [value]
    text = "".join(part for part in parts if isinstance(part, str))
    # Half a surrogate pair is fine in JSON, but in no UTF-8.
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
    """What is closed at first: tags as in Jupyter Book, and what JupyterLab and the classic interface collapse."""
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
    """The picture of a MIME bundle, if there is one that is what it says."""
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
    """With the size and the words that the kernel sent along, for all forms or for this one."""
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
    """Whether the data begins as a picture of this type does."""
    if kind == SVG:
        return data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
    return kind in PICTURES and data.startswith(PICTURES[kind])


def _outputs(entries: Any) -> Iterable[Output]:
    tables = [_table(entry) for entry in entries] if isinstance(entries, list) else []
    for stream, group in itertools.groupby(tables, key=_stream_name):
        # A stream may be saved in pieces, and a progress bar goes on from one to the next.
        if stream:
            yield _stream(stream, group)
        else:
            yield from filter(None, map(_output, group))


def _stream_name(entry: dict[str, Any]) -> str:
    """ "" for what is no stream."""
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
    """An error without a traceback. Kernels for shells give an exit status alone (see `live/output.js`, too)."""
    name, value = (_text(entry.get(key), MAX_STREAM).strip() for key in ("ename", "evalue"))
    if not name and value.isdecimal():
        return f"exit status {value}"
    return ": ".join(part for part in (name, value) if part) or "error"


def _terminal(text: str) -> tuple[Run, ...]:
    """What a terminal shows of a text."""
    pieces = runs(text)
    if sum(len(piece) for piece, _ in pieces) <= MAX_OUTPUT:
        return tuple(pieces)
    return (*cut(pieces, MAX_OUTPUT), (_CUT, ""))


def _whole(value: Any) -> str:
    """A text that means something else when it is cut."""
    text = _text(value, MAX_SIZE)
    return text if len(text) <= MAX_OUTPUT else ""
