"""Renders a notebook as the content of a page: title, table of contents, HTML. Pure."""

from __future__ import annotations

import dataclasses
import html
import itertools
from collections.abc import Mapping

from tmpnb_py.core.document_paths import is_text_notebook
from tmpnb_py.core.errors import NotesError
from tmpnb_py.core.language_tags import direction, has_rtl
from tmpnb_py.workshops.notes import labels
from tmpnb_py.workshops.notes.code import highlight, is_known
from tmpnb_py.workshops.notes.links import LinkRewriter
from tmpnb_py.workshops.notes.markdown import Markdown
from tmpnb_py.workshops.notes.model import Notes
from tmpnb_py.workshops.notes.notebook import Cell, Notebook, Part, read
from tmpnb_py.workshops.notes.outputs import INTERACTIVE, ONLY_THERE, render

MAX_PAGE = 32 * 1024 * 1024  # characters of all cells' HTML; highlighting alone makes 20 of one
MAX_RENDERED = 300_000  # characters of one cell's outputs as HTML, after which no further ones are shown


def make(data: bytes, *, start: str, pages: Mapping[str, str], language: str = "", lang: str = "") -> Notes:
    """Render a notebook file as a page. `start` and `pages` are as in `LinkRewriter`. Raises `NotesError`.

    `language` is the manifest's: it is used if the file names neither a language nor a kernel that is named after
    one, and only if it is the name of one language ("Python and R" is none). `lang` is the manifest's tag of the
    text's language, used if the file names none.
    """
    notebook = read(data, start)
    language = notebook.language or next((one for one in (notebook.kernel, language) if is_known(one)), "")
    links = LinkRewriter(start, pages)
    markdown = Markdown(links, language)
    lang = notebook.lang or lang
    if is_text_notebook(start) and notebook.title:  # its headings are sections
        title, cells = notebook.title, notebook.cells
    else:
        title, cells = _titled(notebook, markdown)
    body = "\n".join(_cell(cell, markdown, language, lang) for cell in cells if Part.CELL not in cell.removed)
    if len(body) > MAX_PAGE:
        raise NotesError(f"the page would be larger than {MAX_PAGE >> 20} MiB")
    body = links.resolved(body, markdown.anchors)
    return Notes(
        title=title or notebook.title,
        kernel=notebook.kernel,
        language=language,
        headings=tuple(markdown.headings),
        body=body,
        files=tuple(sorted(links.files)),
        pictures=links.pictures,
        remarks=notebook.remarks,
        lang=lang,
    )


def _titled(notebook: Notebook, markdown: Markdown) -> tuple[str, tuple[Cell, ...]]:
    """Move the heading at the notebook's beginning to the page's title."""
    cells = tuple(itertools.dropwhile(lambda cell: not cell.source.strip() and not cell.outputs, notebook.cells))
    if not cells or cells[0].kind != "markdown":
        return "", cells
    title, rest = markdown.title(cells[0].source)
    return title, (dataclasses.replace(cells[0], source=rest), *cells[1:])


def _cell(cell: Cell, markdown: Markdown, language: str, lang: str) -> str:
    if cell.kind == "code":
        return _code(cell, markdown, language, lang)
    if cell.kind == "markdown":
        made = markdown.render(cell.source, cell.attachments)
        made = f'<div class="tn-text"{_spoken(cell, lang)}>\n{made}</div>' if made.strip() else ""
    else:
        made = f'<pre class="tn-raw">{html.escape(cell.source)}</pre>' if cell.source.strip() else ""
    return _fold("tn-hidden", labels.PART, made, lang) if made and cell.folded else made


def _spoken(cell: Cell, lang: str) -> str:
    """The attributes for a text's language and direction.

    A declared language counts for the whole page, and a cell's own for the cell. Without any, the first letter
    decides the direction.
    """
    if cell.lang and cell.lang != lang:
        return f' lang="{cell.lang}" dir="{direction(cell.lang)}"'
    return ' dir="auto"' if not lang and has_rtl(cell.source) else ""


def _code(cell: Cell, markdown: Markdown, language: str, lang: str) -> str:
    """Render a code cell. Removed parts are not in the page; readers can open folded ones."""
    outputs = "" if Part.OUTPUT in cell.removed else _outputs(cell, markdown)
    if Part.INPUT in cell.removed:  # unpublished code cannot run here either
        outputs = outputs.replace(INTERACTIVE, ONLY_THERE)
        return f'<div class="tn-left"{_ltr(lang)}><div class="tn-outputs">{outputs}</div></div>' if outputs else ""
    if not cell.source.strip() and not outputs:
        return ""
    is_solution = "solution" in cell.tags and Part.INPUT in cell.folded  # its output would reveal the solution
    source = f'<pre class="tn-source"><code>{highlight(cell.source, language)}</code></pre>'
    if Part.INPUT in cell.folded and not is_solution:
        source = _fold("tn-fold-code", labels.CODE, source, lang)
    shown = f'<div class="tn-outputs">{outputs}</div>'
    if Part.OUTPUT in cell.folded and outputs:
        shown = _fold("tn-fold-output", labels.OUTPUT, shown, lang)
    may_fail = " data-may-fail" if "raises-exception" in cell.tags else ""
    made = f'<div class="tn-cell" data-cell="{cell.number}"{may_fail}{_ltr(lang)}>{source}{shown}</div>'
    if is_solution:
        return _fold("tn-hidden", labels.SOLUTION, made, lang)
    return _fold("tn-hidden", labels.EXAMPLE, made, lang) if Part.CELL in cell.folded else made


def _ltr(lang: str) -> str:
    """Code is written left to right in any text."""
    return ' dir="ltr"' if direction(lang) == "rtl" else ""


def _fold(name: str, words: str, made: str, lang: str) -> str:
    """A part that readers can open. The label is ours, in the page's language."""
    ours = labels.LANG if lang else ""
    return f'<details class="{name}"><summary{ours}>{labels.label(words)}</summary>{made}</details>'


def _outputs(cell: Cell, markdown: Markdown) -> str:
    """Render a cell's outputs up to the limit."""
    made, size = [], 0
    for output in cell.outputs:
        if size > MAX_RENDERED:
            break
        shown = render(output, markdown)
        if shown == INTERACTIVE and shown in made:  # shown only once
            continue
        made.append(shown)
        size += len(shown)
    return "".join(made)
