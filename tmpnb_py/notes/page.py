"""A notebook as the content of a page: title, table of contents, HTML. Pure."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping

from tmpnb_py.notes.code import highlight, is_known
from tmpnb_py.notes.links import Links
from tmpnb_py.notes.markdown import Markdown
from tmpnb_py.notes.model import Notes
from tmpnb_py.notes.notebook import Cell, Notebook, parse
from tmpnb_py.notes.outputs import render

MAX_RENDERED = 300_000  # characters of the HTML of one cell's outputs, with which nothing further is shown


def make(data: bytes, *, start: str, pages: Mapping[str, str], language: str = "") -> Notes:
    """Make a page of a notebook file. `start` and `pages` are as in `Links`. Raises `NotesError`.

    `language` is the workshop's, in the words of its manifest: it counts where the file names neither a language nor
    a kernel, and only if it is the name of one language ("Python and R" is none).
    """
    notebook = parse(data)
    language = notebook.language or (language if not notebook.kernel and is_known(language) else "")
    links = Links(start, pages)
    markdown = Markdown(links, language)
    title, cells = _titled(notebook, markdown)
    body = "\n".join(_cell(cell, markdown, language) for cell in cells)
    return Notes(
        title=title,
        kernel=notebook.kernel,
        language=language,
        headings=tuple(markdown.headings),
        body=body,
        files=tuple(sorted(links.files)),
        pictures=links.pictures,
    )


def _titled(notebook: Notebook, markdown: Markdown) -> tuple[str, tuple[Cell, ...]]:
    """The heading that the notebook begins with becomes the page's."""
    if not notebook.cells or notebook.cells[0].kind != "markdown":
        return "", notebook.cells
    title, rest = markdown.title(notebook.cells[0].source)
    return title, (dataclasses.replace(notebook.cells[0], source=rest), *notebook.cells[1:])


def _cell(cell: Cell, markdown: Markdown, language: str) -> str:
    if cell.kind == "markdown":
        made = markdown.render(cell.source, cell.attachments)
        return f'<div class="tn-text">\n{made}</div>' if made.strip() else ""
    if cell.kind == "raw":
        return f'<pre class="tn-raw">{html.escape(cell.source)}</pre>' if cell.source.strip() else ""
    if not cell.source.strip() and not cell.outputs:
        return ""
    may_fail = " data-may-fail" if "raises-exception" in cell.tags else ""
    outputs = _outputs(cell, markdown)
    made = (
        f'<div class="tn-cell" data-cell="{cell.number}"{may_fail}>'
        f'<pre class="tn-source"><code>{highlight(cell.source, language)}</code></pre>'
        f'<div class="tn-outputs">{outputs}</div></div>'
    )
    if cell.hidden:
        words = "Show a solution" if "solution" in cell.tags else "Show the code"
        return f'<details class="tn-hidden"><summary>{words}</summary>{made}</details>'
    return made


def _outputs(cell: Cell, markdown: Markdown) -> str:
    """What a cell left, in all no more than a page can bear."""
    made, size = [], 0
    for output in cell.outputs:
        if size > MAX_RENDERED:
            break
        made.append(render(output, markdown))
        size += len(made[-1])
    return "".join(made)
