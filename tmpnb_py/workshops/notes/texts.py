"""Converts text notebooks (R Markdown, Quarto, jupytext's formats) to notebooks of format 4. Pure.

It uses jupytext, like the image when JupyterLab opens one (`workshop_image/server/tmpnb_texts.py`), so that cells
have the same numbers and sources in both. Only the process for notes calls it, as jupytext is slow to import, and
may take unbounded time for a hostile file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from tmpnb_py.core.errors import NotesError
from tmpnb_py.core.languages import LANGUAGES, find
from tmpnb_py.workshops.notes import divs

MAX_TEXT = 2 * 1024 * 1024  # bytes
# Quarto's own converter is a program that the image lacks. Its cells are written like R Markdown's.
_READ_AS = {".rmd": ".Rmd", ".qmd": ".Rmd", **{one.suffix.lower(): one.suffix for one in LANGUAGES}}
_PROGRAMS = ("pandoc", "quarto", "marimo")  # jupytext runs them for the formats of these names
_KERNEL = re.compile(r"^jupyter:[ \t]*([A-Za-z0-9._+-]{1,64})[ \t]*$", re.MULTILINE)
_SHINY = re.compile(r"""^(?:runtime|server):[ \t]*["']?shiny""", re.MULTILINE)
_SHORTCODE = re.compile(r"\{\{<\s*([A-Za-z-]+)")
_INLINE = re.compile(r"(?<!`)`(?:r|\{r\}|\{python\}|python) [^`\n]+`(?!`)")
_MAGIC = re.compile(r"%%([A-Za-z]++)[^\n]*\n")
# Languages of chunks; those after the table's have no kernel.
_CHUNKS = {
    *(name for one in LANGUAGES for name in one.names),
    *("sql", "stan", "javascript", "js", "ojs", "mermaid", "dot"),
}
_OPTION = re.compile(r"#\|[ \t]*([A-Za-z.-]+)[ \t]*:[ \t]*(\S+)[ \t]*(?:\n|$)|#\|[^\n]*(?:\n|$)")
_FALSE, _TRUE = {"false", "f", "no"}, {"true", "t", "yes"}


def document(data: bytes, suffix: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Convert a text to a notebook, with remarks for its author. Raises `NotesError` if it cannot be one."""
    if len(data) > MAX_TEXT:
        raise NotesError(f"the file is larger than {MAX_TEXT >> 20} MiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotesError("the file is not UTF-8 text: save it as UTF-8") from error
    notebook = _read(text, _READ_AS.get(suffix.lower(), suffix.lower()))
    cells, metadata = notebook["cells"], notebook["metadata"]
    front = cells[0]["source"] if cells and cells[0]["cell_type"] == "raw" else ""
    _refuse(front, cells)
    remarks = dict.fromkeys(_remarks(cells))
    language = str(metadata.pop("jupytext", {}).get("main_language") or "")
    language = language or str(metadata.get("kernelspec", {}).get("language") or "")
    for cell in cells:
        if cell["cell_type"] == "markdown":
            cell["source"] = divs.as_html(cell["source"])
        elif cell["cell_type"] == "code":
            _apply_options(cell)
            if (other := _other_language(cell["source"], language)) or cell["metadata"].get("eval") is False:
                if other:
                    remarks[f"code in {other} is shown, but cannot run: the kernel is one for {language}"] = None
                _make_static(cell, other or language)
    if any(cell["cell_type"] == "code" for cell in cells):
        metadata["language_info"] = {"name": language}
    if "kernelspec" not in metadata and (named := _KERNEL.search(front)):
        metadata["kernelspec"] = {"name": named[1]}
    return notebook, tuple(remarks)


def _read(text: str, extension: str) -> dict[str, Any]:
    # Importing takes a third of a second, which other notebooks should not pay.
    import jupytext  # noqa: PLC0415
    from jupytext.formats import read_format_from_metadata  # noqa: PLC0415

    try:
        name = read_format_from_metadata(text, extension) or jupytext.guess_format(text, extension)[0]
        if name not in _PROGRAMS:
            # Numbers and times in a header may become values that JSON lacks.
            made = jupytext.reads(text, {"extension": extension, "format_name": name})
            return dict(json.loads(json.dumps(made, default=str)))
    except Exception as error:  # the file is untrusted, and jupytext raises errors of many types
        words = next(iter(str(error).splitlines()), "")[:200] or type(error).__name__
        raise NotesError(f"jupytext cannot read the file: {words}") from error
    raise NotesError(f"the file is in a format that needs the program {name}: save it in another of jupytext's")


def _refuse(front: str, cells: Iterable[dict[str, Any]]) -> None:
    """Raise `NotesError` for documents that need more than cells."""
    if _SHINY.search(front):
        raise NotesError("it is a Shiny document, which needs a server of its own: remove `runtime: shiny`")
    for cell in cells:
        if "child" in cell["metadata"]:
            raise NotesError("a chunk includes another file (child=…): insert its text instead")
        for found in _SHORTCODE.finditer(cell["source"]):
            if found[1] in ("include", "embed"):
                raise NotesError(f"it includes another file ({{{{< {found[1]} … >}}}}): insert its text instead")


def _remarks(cells: Iterable[dict[str, Any]]) -> Iterable[str]:
    for cell in cells:
        if cell["cell_type"] != "markdown":
            continue
        if _INLINE.search(cell["source"]):
            yield "inline code (such as `r mean(x)`) is shown as code, not as its value"
        for found in _SHORTCODE.finditer(cell["source"]):
            if found[1] != "video":
                yield f"the shortcode {found[1]} is shown unprocessed"


def _apply_options(cell: dict[str, Any]) -> None:
    """Convert a chunk's options to tags. Hidden chunks run in knitr, too, so they are folded, not dropped.

    Options are in the chunk's head, which jupytext converts to tags and metadata, or in Quarto's `#| echo: false`.
    """
    metadata = cell["metadata"]
    tags = metadata.get("tags")
    tags = [str(tag).replace("remove_", "hide-") for tag in tags] if isinstance(tags, list) else []
    for key, value in _options(cell["source"]):
        off, on = value.lower() in _FALSE, value.lower() in _TRUE
        if key == "eval" and off:
            metadata["eval"] = False
        elif (key == "echo" and off) or (key == "code-fold" and not off):
            tags.append("hide-input")
        elif key == "include" and off:
            tags.append("hide-cell")
        elif (key == "output" and off) or (key == "results" and value.strip("\"'") == "hide"):
            tags.append("hide-output")
        elif key == "error" and on:
            tags.append("raises-exception")
    if metadata.get("error") is True:
        tags.append("raises-exception")
    metadata["tags"] = tags


def _options(source: str) -> Iterable[tuple[str, str]]:
    """Quarto's options: comments at the beginning of a cell."""
    at = 0
    while found := _OPTION.match(source, at):
        if found[1]:
            yield found[1].lower(), found[2]
        at = found.end()


def _other_language(source: str, language: str) -> str:
    """The language of a chunk that the notebook's kernel cannot run; "" for all others."""
    found = _MAGIC.match(source)
    name = found[1].lower() if found else ""
    kernel = find(language)
    is_run = kernel is not None and name in (*kernel.names, *kernel.magics)
    return name if name in _CHUNKS and not is_run else ""


def _make_static(cell: dict[str, Any], language: str) -> None:
    """Make a cell show its code without running it. It keeps its position."""
    source = _MAGIC.sub("", cell["source"], count=1)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", source)), default=0))
    cell["cell_type"] = "markdown"
    cell["source"] = f"{fence}{language.lower()}\n{source}\n{fence}"
