"""Documents to hand in: what JupyterLab's menu offers to save a notebook as can be saved, and R Markdown is rendered.

In the workshop image with its default limits, but for the CPU's.
"""

from __future__ import annotations

import base64
import io
import struct
import zipfile
import zlib
from collections.abc import AsyncIterator
from typing import Any, cast

import pypdf
import pytest
from playwright.async_api import Page, expect

from tests.e2e.jupyter import Notebook
from tests.e2e.service import Service
from tests.integration.browser_support import MILLISECONDS, browser, picture

pytestmark = pytest.mark.engine

NAME = "Hausaufgabe für Müller"
MENU = ["Asciidoc", "HTML", "LaTeX", "Markdown", "PDF", "ReStructured Text", "Executable Script", "Reveal.js Slides"]
TEXT = r"""# Größe und Länge

Inline $\hat\beta = (X^\top X)^{-1}X^\top y$, and a price of 5 dollars.

\begin{align} a &= b \label{one} \\ &= \text{für} \end{align}

| Größe | $P(A|B)$ |
|---|--:|
| Länge | 12.5 |

مرحبا 你好 こんにちは 안녕하세요
"""
R_MARKDOWN = """---
title: "Häufigkeit"
output: pdf_document
---

# Über R

$$\\int_0^1 x^2\\,dx$$

```{r}
cat(6 * 7)
plot(1:3)
```
"""


def png() -> str:
    """A red dot."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    parts = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)) + chunk(
        b"IDAT", zlib.compress(b"\0\xff\0\0")
    )
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + parts + chunk(b"IEND", b"")).decode()


def document() -> dict[str, Any]:
    """A notebook with one of each kind of thing that teachers have in them."""
    table = "<table><tr><td>Straße</td></tr></table>"
    widget = {"text/html": "<div id='w'></div><script>run()</script>", "text/plain": "Figure()"}
    data = [{"text/plain": "x", "image/png": png()}, {"text/html": table, "text/plain": "x"}, widget]
    outputs: list[dict[str, Any]] = [{"output_type": "display_data", "data": one, "metadata": {}} for one in data]
    outputs.append({"output_type": "stream", "name": "stdout", "text": "Grüße\n"})
    code = {"cell_type": "code", "id": "b", "metadata": {}, "source": "print('Grüße')  # ja", "execution_count": 1}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    language = {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"}
    return {
        "cells": [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": TEXT}, {**code, "outputs": outputs}],
        "metadata": {"kernelspec": kernel, "language_info": language},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


@pytest.fixture
async def notebook(lab: Service) -> AsyncIterator[Notebook]:
    """A session with the document in it, ended afterwards."""
    async with lab.http() as client:
        notebook = Notebook.of(client, await lab.spawn(client))
        body = {"type": "notebook", "content": document()}
        await notebook.call("PUT", f"api/contents/{NAME}.ipynb", body, status=201)
        yield notebook
        async with client.delete(f"/api/sessions/{notebook.id}", headers=notebook.headers):
            pass


def read(pdf: bytes) -> tuple[str, pypdf.PdfReader]:
    """The text of a PDF, and the PDF."""
    reader = pypdf.PdfReader(io.BytesIO(pdf))
    return "\n".join(page.extract_text() for page in reader.pages), reader


def figures(reader: pypdf.PdfReader) -> set[str]:
    """What its pictures say to those who do not see them."""
    found = set()
    for number in range(1, cast("int", reader.trailer["/Size"])):
        one = reader.get_object(number)
        if isinstance(one, pypdf.generic.DictionaryObject) and "/Alt" in one:
            found.add(str(one["/Alt"]))
    return found


def written(saved: bytes) -> str:
    """The document, which comes in an archive where it has pictures."""
    if not zipfile.is_zipfile(io.BytesIO(saved)):
        return saved.decode()
    with zipfile.ZipFile(io.BytesIO(saved)) as archive:
        return archive.read(archive.namelist()[0]).decode()


@pytest.mark.timeout(240)
async def test_whatever_is_offered_can_be_saved(notebook: Notebook) -> None:
    """And a PDF has what the notebook has: words of all scripts, tables, pictures, formulas, what is left out."""
    offered = await notebook.call("GET", "api/nbconvert")
    assert {"html", "pdf", "latex", "markdown", "script"} <= offered.keys()
    saved = {}
    for name in offered:
        path = notebook.url(f"nbconvert/{name}/{NAME}.ipynb?download=true")
        async with notebook.client.get(path, headers=notebook.headers) as response:
            saved[name] = await response.read()
            assert response.status == 200, (name, saved[name][-1000:])
    for name in ("html", "markdown", "rst", "asciidoc"):
        assert "Größe und Länge" in written(saved[name]), name
    text, reader = read(saved["pdf"])
    wanted = ("Größe und Länge", "Grüße", "Straße", "12.5", "你好", "こんにちは", "안녕하세요", "only a browser")
    assert [one for one in wanted if one not in text] == []
    assert {r"\hat\beta = (X^\top X)^{-1}X^\top y"} <= figures(reader)
    assert "\\" not in text  # no formula is left as its source
    assert reader.metadata is not None
    assert reader.metadata.title == NAME


@pytest.mark.timeout(240)
async def test_r_makes_documents(notebook: Notebook) -> None:
    """R Markdown as HTML and as PDF, widgets as one file."""
    await notebook.call(
        "PUT", "api/contents/t.Rmd", {"type": "file", "format": "text", "content": R_MARKDOWN}, status=201
    )
    kernel = (await notebook.call("POST", "api/kernels", {"name": "ir"}, status=201))["id"]
    code = (
        'rmarkdown::render("t.Rmd", quiet = TRUE); rmarkdown::render("t.Rmd", "html_document", quiet = TRUE)\n'
        'widget <- suppressMessages(plotly::plot_ly(x = 1:3, y = 1:3, type = "bar"))\n'
        'htmlwidgets::saveWidget(widget, "w.html", selfcontained = TRUE)\n'
        'cat(file.exists("w_files"), list.files(pattern = "[.](pdf|html)$", all.files = TRUE))'
    )
    assert (await notebook.run(code, kernel)).splitlines()[-1] == "FALSE t.html t.pdf w.html"
    files = {}
    for name in ("t.html", "t.pdf"):
        model = await notebook.call("GET", f"api/contents/{name}?format=base64&type=file")
        files[name] = base64.b64decode(model["content"])
    assert "<h1" in files["t.html"].decode()
    assert "Häufigkeit" in files["t.html"].decode()
    text, reader = read(files["t.pdf"])
    assert [one for one in ("Häufigkeit", "Über R", "cat(6 * 7)", "42") if one not in text] == []
    assert any(r"\int_0^1" in one for one in figures(reader))
    assert sum(len(page.images) for page in reader.pages) > 0


async def open_menu(page: Page) -> None:
    await page.get_by_role("menuitem", name="File", exact=True).click()
    await page.locator(".lm-Menu-item", has_text="Save and Export Notebook As").click()


@pytest.mark.browser
@pytest.mark.timeout(240)
async def test_the_menu_offers_what_works(lab: Service, notebook: Notebook) -> None:
    async with browser(viewport={"width": 1280, "height": 800}, accept_downloads=True) as context:
        context.set_default_timeout(MILLISECONDS)
        page = await context.new_page()
        await page.goto(f"{lab.url.rstrip('/')}{notebook.url(f'lab/tree/{NAME}.ipynb')}?token={notebook.token}")
        await expect(page.get_by_role("button", name="Python 3 | Idle")).to_be_visible()
        await open_menu(page)
        entries = page.locator(".lm-Menu").last.locator(".lm-Menu-itemLabel")
        await expect(entries.filter(has_text="PDF")).to_be_visible()
        await picture(page, "lab-export")
        assert await entries.all_inner_texts() == MENU
        await page.keyboard.press("Escape")
        await page.keyboard.press("Escape")
        # The tab that opens for it closes by itself as soon as it is a download.
        await open_menu(page)
        async with context.expect_event("response", lambda one: "/nbconvert/" in one.url) as answered:
            await page.get_by_role("menuitem", name="PDF", exact=True).click()
        response = await answered.value
        assert response.status == 200
        assert response.headers["content-type"].startswith("application/pdf")
