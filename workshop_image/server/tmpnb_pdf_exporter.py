"""`pdf` as nbconvert's exporter, without TeX: for JupyterLab's menu and for `jupyter nbconvert`.

nbconvert uses the first entry point of a name, so this directory must come before the installed packages in
`sys.path` (see `etc/`), with `tmpnb_pdf-1.0.dist-info` in it. `tmpnb_pdf` renders the pages in a separate process.
"""

from __future__ import annotations

import html
import re
import subprocess
import sys
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

from jinja2 import pass_context
from nbconvert.exporters import Exporter, HTMLExporter
from nbconvert.exporters.exporter import ResourcesDict
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from pygments.formatters import HtmlFormatter
from traitlets import default

PROGRAM = Path(__file__).with_name("tmpnb_pdf.py")
_SECONDS = 600  # half a CPU sets about twenty pages in that time
_RUNS = ("<script", "<iframe", "<video", "<audio")
_ROW = re.compile(r"^[ \t]*\|.*$", re.MULTILINE)
_FORMULA = re.compile(r"(?<!\\)\$[^$\n]+\$")
_SCREEN_ONLY = '<p class="tmpnb-note">An output is left out here that only a browser can show.</p>'
_PAGE = """<!doctype html>
<html lang="{language}"><head><meta charset="utf-8"><title>{title}</title><style>{colours}</style></head>
<body>{body}</body></html>"""


class PdfError(Exception):
    """No PDF was created; the message tells why."""


class _Renderer(IPythonRenderer):  # type: ignore[misc]
    """Writes formulas in pandoc's form, so that one program draws those of notebooks and of R Markdown."""

    def inline_math(self, body: str) -> str:
        return f'<span class="math inline">\\({html.escape(body)}\\)</span>'

    def block_math(self, body: str) -> str:
        return f'<span class="math display">\\[{html.escape(body)}\\]</span>'

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")


class _Pages(HTMLExporter):  # type: ignore[misc]
    """Renders the notebook as the body of an HTML page, with marked formulas."""

    template_name = "basic"
    exclude_anchor_links = True
    exclude_input_prompt = True
    exclude_output_prompt = True

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        attachments = context.get("cell", {}).get("attachments", {})
        renderer = _Renderer(escape=False, attachments=attachments, exclude_anchor_links=True, **self.lexer_options)
        return str(MarkdownWithMath(renderer=renderer).render(_ROW.sub(_without_bars, source)))


def _without_bars(row: re.Match[str]) -> str:
    """Keep the bar of `$P(A|B)$` from ending a table's cell."""
    return _FORMULA.sub(lambda formula: formula[0].replace("|", r"\vert "), row[0])


class PdfExporter(Exporter):  # type: ignore[misc]
    """Exports a notebook as PDF."""

    export_from_notebook = "PDF"
    output_mimetype = "application/pdf"

    @default("file_extension")
    def _file_extension_default(self) -> str:
        return ".pdf"

    def from_notebook_node(
        self, nb: NotebookNode, resources: dict[str, Any] | None = None, **options: Any
    ) -> tuple[bytes, ResourcesDict]:
        """Export the notebook. Raises `PdfError`."""
        pages = _Pages(config=self.config, parent=self)
        body, told = pages.from_notebook_node(_for_paper(nb), resources, **options)
        metadata = told["metadata"]
        page = _PAGE.format(
            language=html.escape(pages.language_code),
            title=html.escape(str(metadata.get("name") or "Notebook")),
            colours=HtmlFormatter(style="default").get_style_defs(".highlight"),
            body=body,
        )
        told["output_extension"] = ".pdf"
        return _printed(page, metadata.get("path") or "."), told


def _for_paper(notebook: NotebookNode) -> NotebookNode:
    """A copy of the notebook with printable outputs."""
    copy = deepcopy(notebook)
    for cell in copy.cells:
        for output in cell.get("outputs", ()):
            if "data" in output:
                _still(output.data)
    return copy


def _still(data: dict[str, Any]) -> None:
    """Remove interactive forms, or replace them by a note; convert formulas to Markdown."""
    data.pop("application/javascript", None)
    runs = data.pop("application/vnd.jupyter.widget-view+json", None) is not None
    if any(mark in data.get("text/html", "").lower() for mark in _RUNS):
        del data["text/html"]
        runs = True
    if "text/latex" in data and "text/html" not in data:
        data.setdefault("text/markdown", data["text/latex"])
    if runs and not any(kind.startswith("image/") for kind in data):
        data["text/html"] = _SCREEN_ONLY


def _printed(page: str, directory: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="tmpnb-pdf-") as place:
        source, target = Path(place, "page.html"), Path(place, "page.pdf")
        source.write_text(page, encoding="utf-8")
        try:
            done = subprocess.run(  # noqa: S603 - our own command line
                [sys.executable, str(PROGRAM), str(source), str(target), directory],
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise PdfError("this notebook is too long to become a PDF here: save it as HTML") from None
        if done.returncode < 0:
            raise PdfError("there is too little memory here for this PDF: shut kernels down, or save as HTML")
        if done.returncode:
            raise PdfError((done.stderr.strip().splitlines() or ["the PDF could not be made"])[-1])
        return target.read_bytes()
