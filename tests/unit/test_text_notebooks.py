"""Text that is a notebook: R Markdown, Quarto and jupytext's formats as notes, and as notebooks of the server."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.image_modules import load
from tmpnb_py.core.document_paths import TEXT_NOTEBOOKS, document
from tmpnb_py.core.errors import NotesError
from tmpnb_py.core.installation import workshop_directory
from tmpnb_py.workshops.notes import divs, texts
from tmpnb_py.workshops.notes.labels import spoken
from tmpnb_py.workshops.notes.model import Notes
from tmpnb_py.workshops.notes.model import dump as dumped
from tmpnb_py.workshops.notes.model import load as loaded
from tmpnb_py.workshops.notes.page import make

RMD = """\
---
title: "Means, and more"
author: A. Teacher
---

```{r setup, include=FALSE}
library(stats)
```

# First

It is `r mean(c(1, 2))`.

```{r}
x <- 1
```

```{r plot, echo=FALSE, error=TRUE}
plot(x)
```

```{r, eval=FALSE}
stop("never")
```

```{python}
print("other")
```
"""
QMD = """\
---
title: Quarto
jupyter: python3
---

::: {.callout-tip}
## Mind
Read it *twice*.
:::

{{< video https://example.org/v >}}

```{python}
#| label: fig-a
#| echo: false
1 + 1
```

```{python}
#| eval: false
1 / 0
```
"""
PERCENT = """\
# ---
# jupyter:
#   kernelspec: {name: python3, display_name: Python 3, language: python}
# ---

# %% [markdown]
# # A script

# %% tags=["hide-input"]
print(1)
"""
MYST = """\
---
kernelspec: {name: python3, display_name: Python 3, language: python}
---

# A book

```{warning} Careful
Hot.
```

```{code-cell} ipython3
print(2)
```
"""
PANDOC = """\
---
jupyter:
  jupytext:
    text_representation:
      extension: .md
      format_name: pandoc
---

x
"""


def notes(text: str, name: str) -> Notes:
    return make(text.encode(), start=f"a/{name}", pages={})


def test_r_markdown_is_read_with_its_options() -> None:
    page = notes(RMD, "x.Rmd")
    assert (page.title, page.language, page.kernel) == ("Means, and more", "R", "")
    assert [heading.text for heading in page.headings] == ["First"]
    assert "A. Teacher" not in page.body
    # What knitr does not show runs all the same, so it is there, closed.
    assert '<summary>Show this example</summary><div class="tn-cell" data-cell="1">' in spoken(page.body, str)
    assert '<div class="tn-cell" data-cell="3"><pre' in page.body
    assert '<div class="tn-cell" data-cell="4" data-may-fail><details class="tn-fold-code">' in page.body
    # What is not to run, or cannot, is shown only.
    assert page.body.count("data-cell=") == 3
    assert "never" in page.body
    assert "other" in page.body
    assert "%%python" not in page.body
    assert len(page.remarks) == 2
    assert "as code, not as its value" in page.remarks[0]
    assert "python" in page.remarks[1]
    assert loaded(dumped(page)) == page


def test_quarto_is_read_with_its_options_and_boxes() -> None:
    page = notes(QMD, "x.qmd")
    assert (page.title, page.language, page.kernel) == ("Quarto", "python", "python3")
    assert (
        '<div class="alert alert-success">\n<p><strong>Mind</strong></p>\n<p>Read it <em>twice</em>.</p>' in page.body
    )
    assert 'href="https://example.org/v"' in page.body
    assert ":::" not in page.body
    assert '<div class="tn-cell" data-cell="2"><details class="tn-fold-code">' in page.body
    assert page.body.count("data-cell=") == 1
    assert page.remarks == ()


@pytest.mark.parametrize(("text", "name", "title"), [(PERCENT, "x.py", "A script"), (MYST, "x.md", "A book")])
def test_other_formats_of_jupytext(text: str, name: str, title: str) -> None:
    page = notes(text, name)
    assert (page.title, page.language, page.kernel) == (title, "python", "python3")
    assert page.body.count("data-cell=") == 1
    if name.endswith(".md"):
        assert '<div class="alert alert-warning">' in page.body


@pytest.mark.parametrize(
    ("text", "name", "told"),
    [
        (RMD.replace("author:", "runtime: shiny\nauthor:"), "x.Rmd", "Shiny"),
        (RMD.replace("{r plot,", '{r plot, child="b.Rmd",'), "x.Rmd", "another file"),
        (QMD + "\n{{< include b.qmd >}}\n", "x.qmd", "another file"),
        (
            PANDOC,
            "x.md",
            "program pandoc",
        ),
        ("# ---\n# jupyter:\n#   kernelspec: {name: [}\n# ---\n", "x.py", "cannot read"),
        ("x" * (texts.MAX_TEXT + 1), "x.md", "larger than 2 MiB"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_words(text: str, name: str, told: str) -> None:
    with pytest.raises(NotesError, match=told):
        notes(text, name)


def test_what_is_no_text() -> None:
    with pytest.raises(NotesError, match="UTF-8"):
        make(b"\xff\xfe", start="x.md", pages={})


def test_a_shortcode_that_is_not_known_is_told() -> None:
    assert notes("a {{< kbd Ctrl >}}\n", "x.qmd").remarks == ("the shortcode kbd is shown unprocessed",)


@pytest.mark.parametrize(
    ("source", "made"),
    [
        ("```\n::: note\n```", "```\n::: note\n```"),
        ("::: columns\na\n:::", "\na\n"),
        (":::", ""),
        ("```python\n{note}\n```", "```python\n{note}\n```"),
    ],
)
def test_boxes_and_what_looks_like_them(source: str, made: str) -> None:
    assert divs.as_html(source) == made


def test_a_box_that_another_cell_closes_is_closed() -> None:
    assert divs.as_html("::: {.callout-note}\na").count("</div>") == 1


@pytest.mark.parametrize(
    "source",
    [
        "::: a" + " " * 100_000 + "b",
        "::: {.callout-note}\n# a" + "#" * 100_000 + "b",
        "::: {.callout-note}\n# a" + " #" * 50_000 + "b",
        ("{{< video " + "a" * 1500) * 70,
    ],
    ids=lambda source: str(source)[:12],
)
def test_looking_for_boxes_comes_to_an_end(source: str) -> None:
    began = time.process_time()
    divs.as_html(source)
    assert time.process_time() - began < 4


def test_looking_for_another_language_comes_to_an_end() -> None:
    began = time.process_time()
    notes("```{r}\n%%" + "a" * 150_000 + "\n```\n", "x.Rmd")
    assert time.process_time() - began < 4


def test_what_ends_a_heading_is_not_its_text() -> None:
    for heading, title in (("## a b ## ", "a b ##"), ("## a b  ##", "a b"), ("# a\t", "a")):
        assert f"**{title}**\n" in divs.as_html(f"::: {{.callout-note}}  \n{heading}\n:::  "), heading


def test_links_open_text_as_a_notebook() -> None:
    assert document("a b/x.py") == "lab/tree/a%20b/x.py?factory=Notebook"
    assert document("a b/x.ipynb") == "lab/tree/a%20b/x.ipynb"


# ---- the image's own server


class Kernels:
    def get_all_specs(self) -> dict[str, Any]:
        return {"ir": {"spec": {"language": "R", "display_name": "R"}}}


def manager(root: Path) -> Any:
    pytest.importorskip("jupyter_server")
    return load("tmpnb_texts").TextNotebooks(root_dir=str(root))


def test_the_server_knows_the_same_kinds_of_text() -> None:
    pytest.importorskip("jupyter_server")
    module = load("tmpnb_texts")
    assert set(module.EXTENSIONS) == set(TEXT_NOTEBOOKS)
    assert module.PROGRAMS == texts._PROGRAMS
    script = (workshop_directory() / "labextension" / "static" / "remoteEntry.js").read_text()
    script = script[script.index("function openTextAsNotebooks") :].partition("\n  }\n")[0]
    lists = re.findall(r"extensions: \[([^\]]+)\]", script)
    assert {one.lower() for found in lists for one in re.findall(r'"([^"]+)"', found)} == set(TEXT_NOTEBOOKS)


@pytest.mark.parametrize(("text", "name"), [(RMD, "x.Rmd"), (QMD, "x.qmd"), ("print(1)\n", "x.py")])
async def test_the_server_opens_it_as_the_notes_show_it_and_saves_it_as_it_was(
    tmp_path: Path, text: str, name: str
) -> None:
    text = text.replace("{r, ", "{r ")  # jupytext's own way to write it
    (tmp_path / name).write_text(text)
    contents = manager(tmp_path)
    found = await contents.get(name, type="notebook")
    here = texts._read(text, ".Rmd" if name != "x.py" else ".py")
    assert [cell["source"] for cell in found["content"]["cells"]] == [cell["source"] for cell in here["cells"]]
    saved = await contents.save({"type": "notebook", "format": "json", "content": found["content"]}, name)
    assert saved["type"] == "notebook"
    assert (tmp_path / name).read_text() == text
    plain = await contents.get(name)
    assert (plain["type"], plain["content"]) == ("file", text)


async def test_the_server_names_the_kernel(tmp_path: Path) -> None:
    contents = manager(tmp_path)
    module = load("tmpnb_texts")
    notebook = await asyncio.to_thread(module.read, RMD, ".Rmd")
    from types import SimpleNamespace  # noqa: PLC0415

    stand_in = SimpleNamespace(parent=SimpleNamespace(kernel_spec_manager=Kernels()))
    type(contents)._name_kernel(stand_in, notebook)
    assert notebook.metadata["kernelspec"]["name"] == "ir"


async def test_the_server_says_what_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "x.md").write_text(PANDOC)
    with pytest.raises(Exception, match="needs the program pandoc"):
        await manager(tmp_path).get("x.md", type="notebook")
