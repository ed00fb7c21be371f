"""Notebooks that are text (R Markdown, Quarto, jupytext's formats), as notebooks of format 4. Pure.

jupytext reads them, as it does in the image when JupyterLab opens one (`workshop_image/server/tmpnb_texts.py`): so a
cell has the same number and source here and there. Called in the process for notes only, as jupytext is slow to
import and its time for a hostile file has no bound of its own.
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
# Quarto's own way to a notebook is a program that the image lacks. Its cells are written as R Markdown's are.
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
    """The notebook, and what its author should know of it. Raises `NotesError` for what cannot be one."""
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
                    remarks[f"code in {other} is shown, and cannot run: the kernel is one for {language}"] = None
                _make_static(cell, other or language)
    if any(cell["cell_type"] == "code" for cell in cells):
        metadata["language_info"] = {"name": language}
    if "kernelspec" not in metadata and (named := _KERNEL.search(front)):
        metadata["kernelspec"] = {"name": named[1]}
    return notebook, tuple(remarks)


def _read(text: str, extension: str) -> dict[str, Any]:
    # A third of a second, which notebooks need not wait for.
    import jupytext  # noqa: PLC0415
    from jupytext.formats import read_format_from_metadata  # noqa: PLC0415

    try:
        name = read_format_from_metadata(text, extension) or jupytext.guess_format(text, extension)[0]
        if name not in _PROGRAMS:
            # What is made of numbers and of times in a header may be no JSON.
            made = jupytext.reads(text, {"extension": extension, "format_name": name})
            return dict(json.loads(json.dumps(made, default=str)))
    except Exception as error:  # the file is anybody's, and jupytext's errors are of many kinds
        words = next(iter(str(error).splitlines()), "")[:200] or type(error).__name__
        raise NotesError(f"jupytext cannot read the file: {words}") from error
    raise NotesError(f"the file is in a format that needs the program {name}: save it in another of jupytext's")


def _refuse(front: str, cells: Iterable[dict[str, Any]]) -> None:
    """Raises `NotesError` for what is more than a text with cells."""
    if _SHINY.search(front):
        raise NotesError("it is a Shiny document, which needs a server of its own: take out `runtime: shiny`")
    for cell in cells:
        if "child" in cell["metadata"]:
            raise NotesError("a chunk takes in another file (child=…): put its text in place of it")
        for found in _SHORTCODE.finditer(cell["source"]):
            if found[1] in ("include", "embed"):
                raise NotesError(f"it takes in another file ({{{{< {found[1]} … >}}}}): put its text in place of it")


def _remarks(cells: Iterable[dict[str, Any]]) -> Iterable[str]:
    for cell in cells:
        if cell["cell_type"] != "markdown":
            continue
        if _INLINE.search(cell["source"]):
            yield "code within a line (such as `r mean(x)`) is shown as code, not as its value"
        for found in _SHORTCODE.finditer(cell["source"]):
            if found[1] != "video":
                yield f"the shortcode {found[1]} is shown as it is written"


def _apply_options(cell: dict[str, Any]) -> None:
    """Let a chunk's options be tags. What knitr does not show runs all the same, so it is folded, not left out.

    Options stand in the chunk's head, which jupytext has made tags and metadata of, or as Quarto's `#| echo: false`.
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
    """Quarto's options, which are comments at the beginning of a cell."""
    at = 0
    while found := _OPTION.match(source, at):
        if found[1]:
            yield found[1].lower(), found[2]
        at = found.end()


def _other_language(source: str, language: str) -> str:
    """The language of a chunk that the notebook's kernel does not speak; "" for all others."""
    found = _MAGIC.match(source)
    name = found[1].lower() if found else ""
    kernel = find(language)
    is_run = kernel is not None and name in (*kernel.names, *kernel.magics)
    return name if name in _CHUNKS and not is_run else ""


def _make_static(cell: dict[str, Any], language: str) -> None:
    """Code that is shown, and not run. The cell keeps its place."""
    source = _MAGIC.sub("", cell["source"], count=1)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", source)), default=0))
    cell["cell_type"] = "markdown"
    cell["source"] = f"{fence}{language.lower()}\n{source}\n{fence}"
