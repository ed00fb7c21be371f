"""A notebook's page: what authors write is there, and what an attacker writes is harmless."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.engine_support import skip_or_fail
from tmpnb_py.core.errors import NotesError
from tmpnb_py.web.assets import source as script_source
from tmpnb_py.workshops.notes import embeds, page
from tmpnb_py.workshops.notes.interactive import Scripts, player, scripts_of
from tmpnb_py.workshops.notes.labels import spoken
from tmpnb_py.workshops.notes.model import Notes, dump, load
from tmpnb_py.workshops.notes.notebook import MAX_OUTPUT, MAX_PICTURE, MAX_SIZE, MAX_SOURCE, MAX_STREAM
from tmpnb_py.workshops.notes.outputs import INTERACTIVE as LABELLED
from tmpnb_py.workshops.notes.outputs import ONLY_THERE as LABELLED_TOO
from tmpnb_py.workshops.notes.page import MAX_RENDERED
from tmpnb_py.workshops.notes.terminal import shown

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"x" * 20).decode()
START = "knots/First knot.ipynb"
WORKSHOPS = Path(__file__).parents[2] / "workshop_image" / "workshops"

Cell = dict[str, Any]


def markdown(source: Any, **more: Any) -> Cell:
    return {"cell_type": "markdown", "metadata": {}, "source": source, **more}


def code(source: Any, outputs: Any = (), **metadata: Any) -> Cell:
    return {"cell_type": "code", "metadata": metadata, "source": source, "outputs": outputs, "execution_count": None}


INTERACTIVE, ONLY_THERE = spoken(LABELLED, str), spoken(LABELLED_TOO, str)


def make(*cells: Any, **metadata: Any) -> Notes:
    document = {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": list(cells)}
    made = page.make(json.dumps(document).encode(), start=START, pages={"loops/Loops.ipynb": "loops"})
    return dataclasses.replace(made, body=spoken(made.body, str))


class Tags(HTMLParser):
    """Every element of a page with its attributes. Fails where elements are not nested properly."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("br", "img", "hr", "col", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


# --- what authors write


def test_the_first_heading_is_the_title_and_others_have_addresses_like_jupyters() -> None:
    notes = make(
        markdown("# Knots & *loops*\n\nText."),
        markdown("# Part\n\n## Over and under\n\n## Over and under\n\n### `x` and $y$\n\n## tn-notes\n\n[up](#Part)"),
    )
    assert notes.title == "Knots & loops"
    assert [(one.level, one.anchor) for one in notes.headings] == [
        (2, "Part"),
        (2, "Over-and-under"),
        (2, "Over-and-under-2"),
        (3, "x-and-y"),
        (2, "section-tn-notes"),
    ]
    assert "<h1" not in notes.body
    assert '<h2 id="Over-and-under-2">' in notes.body
    assert Tags(notes.body).attributes("a")[0]["href"] == "#Part"


def test_tables_formulas_and_code() -> None:
    notes = make(
        markdown(
            "| a | b |\n|--:|---|\n| 1 | 2 |\n\n$x^2$ costs 5$ or 6$.\n\n$$\\frac{a}{b}$$\n\n```r\nx <- 'a<b'\n```"
        ),
        code("def f():\n    return '<b>'  # why", jupyter={"source_hidden": True}, tags=["solution"]),
        kernelspec={"name": "python3", "language": "python"},
    )
    tags = Tags(notes.body)
    assert tags.attributes("td")[0] == {"align": "right"}
    assert [one["class"] for one in tags.attributes("code") if one] == ["tn-latex", "tn-latex tn-display"]
    assert "costs 5$ or 6$." in notes.body
    assert '<span class="tn-s">&#x27;a&lt;b&#x27;\n</span>' in notes.body
    assert '<span class="tn-k">return </span>' in notes.body
    assert "Show a solution" in notes.body
    assert (notes.kernel, notes.language) == ("python3", "python")


FORMULAS = [
    ("$x$", 1),
    ("$5$", 1),
    ("($2x$)", 1),
    ("3$\\times$3 matrix", 1),
    ("a 3$\\times$3 by 3$\\times$5 matrix", 2),
    ("$2\\times$3", 1),
    ("10$\\mu$m", 1),
    ("10$^{-3}$ or 10$^6$", 2),
    ("$ x + y $", 1),
    ("$ x $, $x $ and $ x$.", 3),
    ("$ \\alpha $", 1),
    ("$\\alpha $ and", 1),
    ("H$_2$O", 1),
    ("$n$th, the $x$-axis, $x$/$y$, ($a$,$b$)", 6),
    ("$10$ and $20$, $5$-$10$", 4),
    ("about 5$-$6 or $<$5 or $\\approx$5", 3),
    ("3$x$ and 5$m$", 2),
    ("in 2020 $x=5$ and in 2021 $ y = 6 $", 2),
    ("$a = b,\nc = d$", 1),
    ("$\\text{if you and I}$", 1),
    ("| a |\n|---|\n| $x$ |", 1),
    ("# $x$ and 3$\\times$3", 0),  # the page's title, which is text
    ("inline $$x$$ too", 1),
    # a price and a formula
    ("it costs $5 and $x$ is free, $y = 3$", 2),
    ("$5 and $6 for $n$ days", 1),
    # money, and dollars that mean other things
    ("it costs $5 and $6", 0),
    ("$5 to $10", 0),
    ("$5-$10, $5\u2013$10, $5/$10, $5M-$10M", 0),
    ("US$5/US$6, US$5 and US$6", 0),
    ("$1,000 and $2,000.50", 0),
    ("I paid $20, you paid $30.", 0),
    ("I have $5 in US$", 0),
    ("$5 for file_a and $6 for file_b", 0),
    ("costs 5$ or 6$.", 0),
    ("5$, 6$; 5$/6$; 5$-6$", 0),
    ("5 $ or 6 $ each, 10 $ - 20 $", 0),
    ("in $ or in US$", 0),
    ("The $ sign and the $ symbol", 0),
    ("$HOME and $PATH, $MY_HOME and $MY_PATH", 0),
    ("$HOME/$USER", 0),
    ("\\$5 and \\$x\\$", 0),
    ("`$x$`", 0),
    ("$", 0),
    ("5 $", 0),
    ("$ $", 0),
]


@pytest.mark.parametrize(("source", "count"), FORMULAS)
def test_formulas_stand_in_dollars_and_prices_stay_prices(source: str, count: int) -> None:
    notes = make(markdown(source))
    assert notes.body.count('"tn-latex') == count, notes.body


def test_html_that_is_usual_in_notebooks_stays() -> None:
    notes = make(markdown("<details>\n<summary>More</summary>\n\n**bold** <kbd>X</kbd>\n\n</details>"))
    inside = "<summary>More</summary><p><strong>bold</strong> <kbd>X</kbd></p>"
    assert notes.body.replace("\n", "") == f'<div class="tn-text"><details>{inside}</details></div>'


def test_lists() -> None:
    notes = make(markdown("- a\n  1. b\n- c"))
    assert [tag for tag, _ in Tags(notes.body).found] == ["div", "ul", "li", "ol", "li", "li"]


def test_links_lead_to_pages_of_workshops_to_the_notebook_or_away() -> None:
    notes = make(
        markdown(
            "[a](../loops/Loops.ipynb#Part) [b](data/x%20y.csv) "
            "[c](https://example.org/?a=b&c=d) [d](mailto:a@example.org)"
        )
    )
    assert [one["href"] for one in Tags(notes.body).attributes("a")] == [
        "../loops/#Part",
        "../../spawn/lab/tree/knots/data/x%20y.csv",
        "https://example.org/?a=b&c=d",
        "mailto:a@example.org",
    ]
    assert all(one["rel"] == "noopener noreferrer" for one in Tags(notes.body).attributes("a"))


def test_pictures_are_attached_embedded_or_beside_the_notebook() -> None:
    notes = make(
        markdown(
            '![a](attachment:p.png) ![b](../art/knot%201.svg) <img src="x.PNG" width="20"> '
            f"![d](data:image/png;base64,{PNG})",
            attachments={"p.png": {"image/png": PNG}},
        ),
        code("plot()", [{"output_type": "display_data", "data": {"image/png": PNG, "text/plain": "<Figure>"}}]),
    )
    (name,) = notes.pictures  # the same picture three times
    assert [one["src"] for one in Tags(notes.body).attributes("img")] == [
        name,
        "files/art/knot%201.svg",
        "files/knots/x.PNG",
        name,
        name,
    ]
    assert notes.files == ("art/knot 1.svg", "knots/x.PNG")


def test_outputs_that_were_left_in() -> None:
    notes = make(
        code(
            "1",
            [
                {"output_type": "stream", "name": "stdout", "text": ["a\n", "<b>"]},
                {"output_type": "stream", "name": "stderr", "text": "careful"},
                {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["\x1b[31mE\x1b[0m: <v>\x07"]},
                {
                    "output_type": "execute_result",
                    "data": {"text/html": "<script>alert(1)</script>", "text/plain": "t"},
                },
            ],
        )
    )
    assert '<pre class="tn-stdout">a\n&lt;b&gt;</pre><pre class="tn-stderr">careful</pre>' in notes.body
    assert (
        '<pre class="tn-error"><span class="tn-ansi-red">E</span>: &lt;v&gt;</pre><pre class="tn-stdout">t</pre>'
        in notes.body
    )


def in_script(part: str, expression: str) -> Any:
    """What an expression of a page's script is, beside one of its parts."""
    node = shutil.which("node")
    if node is None:
        skip_or_fail("node is not installed (apt-get install npm)")
    script = f"{script_source(f'live/{part}.js')}\nconsole.log(JSON.stringify({expression}))"
    done = subprocess.run([str(node), "-e", script], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ({"ename": "", "evalue": "127"}, "exit status 127"),  # bash_kernel's
        ({"ename": "", "evalue": "it broke"}, "it broke"),
        ({"ename": "E", "evalue": ""}, "E"),
        ({"ename": "E", "evalue": "v"}, "E: v"),
        ({"ename": "E", "evalue": "1"}, "E: 1"),
        ({"ename": 5}, "error"),
    ],
)
def test_an_error_without_a_traceback_is_told_alike_saved_and_live(error: dict[str, Any], words: str) -> None:
    notes = make(code("1", [{"output_type": "error", "traceback": [], **error}]))
    assert f'<pre class="tn-error">{words}</pre>' in notes.body
    assert in_script("output", f"failureWords({json.dumps(error)})") == words


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (["\r 10%|#   | ", "\r 50%|##  | ", "\r100%|####| \n", "done"], "100%|####| \ndone"),
        ("Epoch 1\b2\b\b 3", "Epoch 3"),
        ("long\rgo", "gong"),
        ("long\r\x1b[Kgo", "go"),
        ("long\r\x1b[2Kgo", "go"),
        ("a\r\nb\r\n", "a\nb\n"),
        ("\b\r\bx\b", "x"),
        (
            "\x1b[1;31mred\x1b[0m\x07 \x1b]8;;https://evil.example\x07link\x1b]8;;\x1b\\\x1b",
            '<span class="tn-bold tn-ansi-red">red</span> link',
        ),
        ("é\t√\rE", "E\t√"),
    ],
)
def test_saved_progress_bars_end_as_they_ended_on_the_screen(text: Any, left: str) -> None:
    pieces = [{"output_type": "stream", "name": "stderr", "text": piece} for piece in text]  # a list, or characters
    for outputs in ([{"output_type": "stream", "name": "stderr", "text": text}], pieces):
        assert f'<pre class="tn-stderr">{left}</pre></div>' in make(code("1", outputs)).body
    assert f">{left}</pre>" in make(code("1", [{"output_type": "display_data", "data": {"text/plain": text}}])).body


def test_a_long_progress_bar_is_cut_after_it_was_drawn() -> None:
    text = "".join(f"\r{number:6}|{'#' * 60}" for number in range(10_000))
    body = make(code("1", [{"output_type": "stream", "text": text}])).body
    assert f">  9999|{'#' * 60}</pre>" in body


@pytest.mark.parametrize(
    "part", ["\ra", "\b", "a\b", "\r" + "x" * 30_000, "\x1b[", "\x1b]", "\x1b[K", "x\r" * 99 + "\n"]
)
def test_a_terminal_is_bounded_in_time_and_memory(part: str) -> None:
    text = part * (MAX_STREAM // len(part))
    began = time.process_time()
    left = shown(text)
    assert time.process_time() - began < 5
    assert len(left) <= len(text)


def displayed(**forms: Any) -> str:
    """What stands on the page of an output in these forms."""
    data = {f"text/{name}": text for name, text in forms.items()}
    body = make(code("x", [{"output_type": "display_data", "data": data}])).body
    return body.partition('<div class="tn-outputs">')[2].removesuffix("</div></div>")


def test_a_formula_says_more_than_its_picture() -> None:
    data = {"image/png": PNG, "text/latex": "$x$", "text/plain": "x"}
    for latex, is_drawn in (("$x$", True), ("\\begin{tabular}{l}x\\end{tabular}", False)):
        output = {"output_type": "display_data", "data": {**data, "text/latex": latex}}
        body = make(code("x", [output])).body
        assert ("tn-latex" in body, "<img" in body) == (is_drawn, not is_drawn)


def test_saved_markdown_is_the_pages_own_markdown() -> None:
    body = displayed(
        markdown="# Result\n\n**bold** $x^2$ <script>x</script> ![p](p.png) [a](javascript:x)",
        plain="<IPython.core.display.Markdown object>",
    )
    assert "<h4>Result</h4>" in body
    assert '<strong>bold</strong> <code class="tn-latex">x^2</code>' in body
    assert '<img alt="p" src="files/knots/p.png">' in body or '<img src="files/knots/p.png" alt="p">' in body
    assert "<script" not in body
    assert "href" not in body
    assert "IPython" not in body
    notes = make(
        markdown("# T\n\n## Part"),
        code("x", [{"output_type": "display_data", "data": {"text/markdown": "## Part\n\n## Other"}}]),
    )
    assert [one.anchor for one in notes.headings] == ["Part"]
    assert notes.body.count("id=") == 1


@pytest.mark.parametrize(
    ("latex", "count", "words"),
    [
        ("$\\displaystyle x^{2}$", 1, ""),
        ("$$\\frac{a}{b}$$", 1, ""),
        ("\\[x\\] and \\(y\\) & <z>", 2, " and "),
        ("\\begin{align*}a &= b \\\\ c &= d\\end{align*}", 1, ""),
        ("\\begin{tabular}{ll}\\textbf{a} & b\\end{tabular}", 0, "tabular"),
        ("no formula", 0, "no formula"),
        ("$" * 20_001, 0, "$$$"),
        ("\\[" * 9_000, 0, "\\["),
    ],
)
def test_saved_latex_is_a_formula_or_else_text(latex: str, count: int, words: str) -> None:
    for plain in ({}, {"plain": "<IPython.core.display.Latex object>"}):
        body = displayed(latex=latex, **plain)
        assert body.count('"tn-latex') == count
        assert words in body
        assert "IPython" not in body
    assert (">x**2</pre>" in displayed(latex=latex, plain="x**2")) == (count == 0)


PANDAS = """<div>
<style scoped>
    .dataframe tbody tr th:only-of-type {
        vertical-align: middle;
    }
    .dataframe thead th { text-align: right; }
</style>
<table border="1" class="dataframe">
  <thead><tr style="text-align: right;"><th></th><th>a</th></tr></thead>
  <tbody><tr><th>0</th><td onclick="x()">1</td></tr></tbody>
</table>
</div>"""
FACTOR = (
    "<style>\n.list-inline {list-style: none; margin:0; padding: 0}\n.list-inline>li {}\n</style>\n"
    "<ol class=list-inline><li>a</li></ol>\n\n<details>\n\t<summary style=display:list-item;cursor:pointer>\n\t\t"
    "<strong>Levels</strong>:\n\t</summary>\n\t<span style=white-space:pre-wrap>'a'</span>\n</details>"
)
STYLER = "<style>#T_1 { color: red }</style><table id='T_1'><tr><td style='color: red' id='x'>1</td></tr></table>"


def test_saved_tables_are_tables_and_other_html_is_its_plain_text() -> None:
    body = displayed(html=PANDAS, plain="   a\n0  1", markdown="no", latex="$no$")
    assert [tag for tag, _ in Tags(body).found][:5] == ["div", "div", "table", "thead", "tr"]
    assert Tags(body).attributes("tr")[0] == {"class": "tn-right"}
    assert "dataframe" not in body
    assert "onclick" not in body
    assert "<pre" not in body
    body = displayed(html=FACTOR, plain="[1] a\nLevels: a")
    assert '<ol class="tn-inline"><li>a</li></ol>' in body
    assert "<pre" not in body
    # What the page would show only in part.
    assert displayed(html=STYLER, plain="plain") == '<pre class="tn-stdout">plain</pre>'
    assert displayed(html=STYLER, markdown="*m*") == '<div class="tn-text">\n<p><em>m</em></p>\n</div>'
    assert displayed(html="<p>" + "x" * MAX_OUTPUT, plain="plain") == '<pre class="tn-stdout">plain</pre>'


def test_what_is_not_shown_takes_nothing_from_what_is() -> None:
    chart = {"text/html": STYLER + " " * (MAX_OUTPUT - len(STYLER)), "text/plain": "Figure()"}
    display = {"output_type": "display_data", "data": chart}
    body = make(code("1", [display, display, {"output_type": "stream", "text": "z" * 60_000}, display])).body
    assert body.count("Figure()") == 3
    assert body.count("z") == 60_000
    many = make(code("1", [display, *[{"output_type": "stream", "text": "z" * MAX_OUTPUT}, display] * 10])).body
    assert MAX_RENDERED < len(many) < MAX_RENDERED + 2 * MAX_OUTPUT


def test_a_page_has_a_size_that_a_browser_can_bear(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [code("+1" * 100, language="python") for _ in range(50)]
    whole = make(*cells, language_info={"name": "python"}).body
    assert len(whole) > 10 * 200 * 50, "colours make much of little"
    monkeypatch.setattr(page, "MAX_PAGE", len(whole) - 1)
    with pytest.raises(NotesError, match="the page would be larger"):
        make(*cells, language_info={"name": "python"})


@pytest.mark.parametrize(
    "name",
    [
        "IPython.core.display.HTML object",
        "pandas.io.formats.style.Styler at 0x7f00",
        "folium.folium.Map at 0xAB",
        None,
    ],
)
def test_html_that_has_no_plain_text_is_shown_as_far_as_is_safe(name: str | None) -> None:
    plain = {} if name is None else {"plain": f"<{name}>"}
    body = displayed(html=STYLER, **plain)
    assert body == '<div class="tn-html"><table><tbody><tr><td>1</td></tr></tbody></table></div>'
    assert displayed(html="<img src=//evil.example>", **plain) == ONLY_THERE
    assert displayed(html="<script>alert(1)</script>", **plain) == ""  # there is nothing to see of it
    assert 'href="https://example.org"' in displayed(html="<iframe src=https://example.org></iframe>", **plain)
    assert displayed(plain="<IPython.core.display.Javascript object>").startswith('<p class="tn-note">')
    assert (
        displayed(plain="<__main__.Knot at 0x7f00>") == '<pre class="tn-stdout">&lt;__main__.Knot at 0x7f00&gt;</pre>'
    )


FOLIUM = (
    '<div><span style="color:#565656">Make this Notebook Trusted to load map</span><iframe srcdoc="&lt;script '
    'src=&quot;https://cdn.example/leaflet.js&quot;&gt;&lt;/script&gt;"></iframe></div>'
)
WIDGET = {
    "application/vnd.jupyter.widget-view+json": {"model_id": "a"},
    "text/plain": "VBox(children=(IntSlider(),))",
}
HTMLWIDGET = "HTML widgets cannot be represented in plain text (need html)"
VEGALITE = {
    "application/vnd.vegalite.v6.json": {},
    "text/plain": "<VegaLite 6 object>\n\nIf you see this message, it …",
}
BOKEH = [
    {"text/html": '<a class="bk-notebook-logo"></a><span>Loading BokehJS ...</span>'},
    {"application/javascript": "load()", "application/vnd.bokehjs_load.v0+json": "load()"},
    {"text/html": '\n<div id="x" data-root-id="p1" style="display: contents;"></div>\n'},
    {"application/javascript": "draw()", "application/vnd.bokehjs_exec.v0+json": ""},
]


@pytest.mark.parametrize(
    "bundles",
    [
        [{"text/html": FOLIUM, "text/plain": "<folium.folium.Map at 0x7f>"}],
        [{"text/html": "<div id=a></div><script>x</script>" + "y" * MAX_OUTPUT, "text/plain": "alt.Chart(...)"}],
        [{"text/html": f"<html><script>{'x' * MAX_OUTPUT}</script><div>1</div></html>", "text/plain": HTMLWIDGET}],
        [{"application/vnd.plotly.v1+json": {"data": []}}],
        [WIDGET],
        [WIDGET, WIDGET],
        [VEGALITE],
        BOKEH,
        [{"text/html": "<script>library</script>\n"}, {"text/html": "<div></div><script>draw()</script>"}],
    ],
)
def test_what_only_scripts_draw_is_one_sentence(bundles: list[Any]) -> None:
    cell = code("x", [{"output_type": "display_data", "data": bundle} for bundle in bundles])
    body = make(cell).body
    assert body.partition('<div class="tn-outputs">')[2].removesuffix("</div></div>") == INTERACTIVE
    # Where the code is not published, nothing on the page can run it.
    hidden = {**cell, "metadata": {"tags": ["remove-input"]}}
    assert INTERACTIVE not in make(hidden).body
    assert "seen in the notebook only" in make(hidden).body


def test_what_prepares_for_outputs_after_it_is_told_alike_saved_and_live() -> None:
    told = {
        "<script>x</script>": True,
        " <!-- > --><STYLE>a > b</STYLE>\n<link rel='x'><meta charset='y'><script>x</script >": True,
        "<script>x</script>text": False,
        "<script>x</script><div></div>": False,
        "<script>x": False,
        "<script>x</script": False,
        "<!-- x": False,
        "<scripts></scripts><script>x</script>": False,
    }
    saved = [scripts_of({}, f"{html}{end}") is Scripts.PREPARE for html in told for end in ("", "\n")]
    live = in_script(
        "parts", f"{json.dumps([one + end for one in told for end in ('', chr(10))])}.map(isPreparation)"
    )
    assert saved == live == [answer for answer in told.values() for _ in range(2)]


def test_what_can_be_read_without_scripts_stays() -> None:
    shown = displayed(html="<style>x</style><div>m</div><script>x</script>", plain="LinearRegression()")
    assert shown == '<pre class="tn-stdout">LinearRegression()</pre>' + INTERACTIVE
    table = {"text/html": PANDAS, "application/vnd.dataresource+json": {}, "text/plain": "a"}
    assert "<table>" in make(code("x", [{"output_type": "display_data", "data": table}])).body


@pytest.mark.parametrize(("name", "kind", "ending"), [("audio", "audio/wav", "wav"), ("video", "video/mp4", "mp4")])
def test_saved_sound_is_played_from_a_file_of_the_page(name: str, kind: str, ending: str) -> None:
    data = base64.b64encode(b"RIFF" + bytes(200_000)).decode()
    html = (
        f'\n  <{name}  controls="controls" >\n  <source src="data:{kind};base64,{data}" type="{kind}" />\n</{name}>'
    )
    notes = make(
        code("x", [{"output_type": "display_data", "data": {"text/html": html, "text/plain": "<x.Audio object>"}}])
    )
    ((address, media),) = notes.pictures.items()
    assert f'<{name} src="{address}" controls' in notes.body
    assert address.endswith(f".{ending}")
    assert (media.type, len(media.data)) == (kind, 200_004)
    assert "<audio" not in displayed(html='<audio src="data:text/html;base64,AAAA"></audio>')
    assert "<audio" not in displayed(html='<audio src="https://evil.example/a.wav"></audio>')


@pytest.mark.parametrize(
    "piece", ["<script", "<script>", "<!--", "<audio <source ", "<audio ", "<link", " ", "data-root-id="]
)
def test_the_time_for_scripts_that_never_end_grows_with_their_number(piece: str) -> None:
    def seconds(count: int) -> float:
        began = time.perf_counter()
        scripts_of({}, piece * count)
        player(piece * count)
        return time.perf_counter() - began

    assert seconds(200_000) < 2


def test_what_a_live_script_loads_is_looked_for_in_little_time() -> None:
    text = """'js_urls = ["https:'.repeat(20_000)"""
    call = f"javascript({{ [BOKEH_LOAD]: '' }}, {text})"
    timed = f"(() => {{ const began = Date.now(); {call}; return Date.now() - began; }})()"
    assert in_script("parts", timed) < 2500  # milliseconds
    loads = """'js_urls = ["https://cdn.example/a.js", "https://cdn.example/b.js"];'"""
    assert in_script("parts", f"javascript({{ [BOKEH_LOAD]: '' }}, {loads}).script") == "js_urls = [];"


@pytest.mark.parametrize("source", ["<audio" + " " * 1900, ("<audio" + " " * 650) * 3, "<audio" + " >" * 900])
def test_the_time_for_a_player_that_plays_nothing_is_none(source: str) -> None:
    """There may be thousands of them in a notebook."""
    began = time.process_time()
    for _ in range(20):
        player(source)
    assert time.process_time() - began < 2


def test_a_player_may_say_much_before_what_it_plays() -> None:
    data = 'src="data:audio/wav;base64,UklGRg=="'
    for said in (f"<audio controls {data}>", f"<audio controls>\n<source type='audio/wav' {data}>"):
        assert player(said) == ("audio/wav", b"RIFF")


@pytest.mark.parametrize(
    ("metadata", "manifests", "language"),
    [
        ({}, "R", "R"),
        ({}, "R and Python", ""),  # the server's default kernel, as JupyterLab would take
        ({"kernelspec": {"name": "ir"}}, "Python", "ir"),
        ({"kernelspec": {"name": "conda-env-class-py"}}, "Python", "Python"),
        ({"kernelspec": {"name": "conda-env-class-py"}}, "Python and R", ""),
        ({"language_info": {"name": "r"}}, "Python", "r"),
    ],
)
def test_the_manifests_language_counts_where_the_notebook_names_none(
    metadata: Any, manifests: str, language: str
) -> None:
    data = json.dumps({"nbformat": 4, "metadata": metadata, "cells": [code("x <- function() 1")]}).encode()
    notes = page.make(data, start=START, pages={}, language=manifests)
    assert notes.language == language
    assert ("tn-n" in notes.body) == bool(language)


@pytest.mark.parametrize("path", sorted(WORKSHOPS.glob("*/*.ipynb")), ids=lambda path: path.stem)
def test_our_own_workshops(path: Path) -> None:
    notes = page.make(path.read_bytes(), start=str(path.relative_to(WORKSHOPS)), pages={})
    Tags(notes.body)
    assert notes.title
    assert len(notes.headings) >= 4
    assert notes.kernel
    assert "tn-held" not in notes.body
    assert load(dump(notes)) == notes


# --- what attackers write

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)></style></mglyph></table></mtext></math>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<a href='javascript:alert(1)'>x</a> <a href='java\tscript:alert(1)'>x</a> <a href=' &#1;javascript:x'>x</a>",
    "[x](javascript:alert(1)) [x](data:text/html,x) [x](vbscript:x) [x](//evil.example) [x](/user/x/) [x](\\\\evil)",
    "[x](..%2f..%2f..%2fapi) [x](../../../api/spawn) [x](https:evil) [x](%00) [x](%2f%2fevil.example)",
    "![x](https://evil.example/track.png) ![x](/api/stats) ![x](data:image/svg+xml,<svg/>) ![x](../../../etc/passwd)",
    "![x](attachment:none.png) ![x](data:image/png;base64,AAAA) ![x](.png/../../..)",
    "<form action=https://evil.example><input name=q><button formaction=javascript:alert(1)>x</button></form>",
    "<style>@import 'https://evil.example'</style><link rel=stylesheet href=//evil.example><base href=//evil>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'><object data=x></object><embed src=x>",
    "<p style='position:fixed' id='tn-notes' class='tn-cell' name='x' onclick='x()'>x</p>",
    '<div title="\n\n$\\text{" onmouseover="alert(1)}$\n\n">',
    "<div title='\n\n```\n' onmouseover='alert(1)\n```\n\n'>",
    '<span class="tn-held-0"></span><b title="<span class=tn-held-0></span>">$x$</b>',
    "<span title='&lt;span class=&quot;tn-held-0&quot;&gt;&lt;/span&gt;'>$\\text{<script>alert(1)</script>}$</span>",
    "$\\href{javascript:alert(1)}{x}$ $\\style{position:fixed}{x}$ $\\class{tn-cell}{x}$ $\\id{tn-notes}{x}$",
    "$\\text{</math><script>alert(1)</script>}$ $</math><img src=x onerror=alert(1)>$",
    '```"><script>alert(1)</script>\nx\n```',
    "</div></main><script>alert(1)</script><div>",
    "<!-- <script>alert(1)</script> --> <![CDATA[<script>alert(1)</script>]]> <?php x ?>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'></noscript>",
    "<textarea><img title='</textarea><img src=x onerror=alert(1)>'></textarea>",
    "<audio src=x autoplay></audio><video poster=//evil.example></video><source src=x>",
    "<details open ontoggle=alert(1)><summary>x</summary></details>",
    "<a id=x href=#x xlink:href=javascript:alert(1) target=_top ping=//evil.example>x</a>",
]
TAGS = "a abbr b br code details div em h2 h3 img li ol p pre span strong summary table tbody td th thead tr ul"
SAFE_TAGS = set(TAGS.split())
OURS = {"div": {"data-cell", "tabindex", "role", "aria-label"}, "h2": {"id"}}
SAFE_CLASSES = {
    "",
    "tn-text",
    "tn-cell",
    "tn-source",
    "tn-outputs",
    "tn-raw",
    "tn-latex",
    "tn-latex tn-display",
    "tn-wide",
    "tn-html",
    "tn-note",
    "tn-note tn-interactive",
    "tn-stdout",
}
SAFE_ATTRIBUTES = {"href", "src", "alt", "title", "rel", "class", "display", "open", "stretchy", "id"}


def assert_harmless(notes: Notes) -> None:
    tags = Tags(notes.body)
    for tag, attributes in tags.found:
        assert tag in SAFE_TAGS, tag
        assert set(attributes) <= SAFE_ATTRIBUTES | OURS.get(tag, set()), (tag, attributes)
        for name in ("href", "src"):
            value = attributes.get(name) or "#"
            others = ("https://",) if name == "href" else ()  # of other sites, nothing is loaded
            assert value.startswith(("#", "../../spawn/lab/tree/", "files/", "images/", *others)), value
            assert ".." not in value.removeprefix("../../spawn/lab/tree/")
        assert attributes.get("class", "") in SAFE_CLASSES
        assert not (attributes.get("id") or "").lower().startswith(("tn-", "main"))
    assert not any(place.startswith(("/", "..")) for place in notes.files)


@pytest.mark.parametrize("source", HOSTILE)
def test_hostile_markdown_is_harmless(source: str) -> None:
    notes = make(markdown(source), markdown(f"# {source}"), markdown("last"))
    assert_harmless(notes)
    assert notes.body.endswith('<div class="tn-text">\n<p>last</p>\n</div>')


@pytest.mark.parametrize("source", HOSTILE)
@pytest.mark.parametrize("kind", ["html", "markdown", "latex"])
def test_hostile_outputs_are_harmless(source: str, kind: str) -> None:
    for wanted in (source, f"<table><tr><td>1</td></tr></table>{source}", f"$x$ {source}"):
        outputs = [{"output_type": "display_data", "data": {f"text/{kind}": wanted}}]
        assert_harmless(make(markdown("$y$"), code("x", outputs), markdown("last")))


@pytest.mark.parametrize("source", HOSTILE)
def test_hostile_code_raw_text_and_outputs_are_escaped(source: str) -> None:
    output = {"output_type": "stream", "text": source, "name": source}
    notes = make(
        code(source), {"cell_type": "raw", "source": source}, code("1", [output]), language_info={"name": "r"}
    )
    assert {tag for tag, _ in Tags(notes.body).found} <= {"div", "pre", "code", "span"}


def test_values_of_the_wrong_type_are_left_out() -> None:
    wrong: Any
    for wrong in (None, 7, True, "x", [7, None], {"a": []}, ["x", ["y"]]):
        make(
            wrong,
            markdown(wrong, attachments=wrong),
            markdown("x", attachments={"a": wrong}),
            {"cell_type": wrong, "source": "x", "metadata": wrong},
            {"cell_type": "code", "source": wrong, "metadata": {"tags": wrong, "jupyter": wrong}, "outputs": wrong},
            code("x", [wrong, {"output_type": wrong}]),
            code("x", [{"output_type": "stream", "text": wrong}, {"output_type": "error", "traceback": wrong}]),
            code("x", [{"output_type": "display_data", "data": wrong}]),
            code("x", [{"output_type": "display_data", "data": {"image/png": wrong, "image/svg+xml": wrong}}]),
            kernelspec=wrong,
            language_info=wrong,
        )
    assert make(kernelspec={"name": "a b"}, language_info={"name": "<script>"}).kernel == ""
    assert make(markdown("\ud800 \x00 \x1b")).body  # what JSON can hold and UTF-8 cannot


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"[]",
        b"null",
        b'{"nbformat": 2, "worksheets": []}',
        b'{"nbformat": 4}',
        b'{"nbformat": 4, "cells": {}}',
        b"[" * 100_000,
        b" " * (MAX_SIZE + 1),
    ],
    ids=lambda data: data[:12].decode(errors="replace") + str(len(data)),
)
def test_what_is_no_notebook_is_refused_in_words(data: bytes) -> None:
    with pytest.raises(NotesError, match="notebook"):
        page.make(data, start=START, pages={})


def test_everything_is_bounded() -> None:
    huge = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(MAX_PICTURE)).decode()
    text = {"output_type": "stream", "text": "y" * 60_000}
    notes = make(
        code("x" * (MAX_SOURCE + 7)),
        code("1", [text] * 10),
        code("1", [{"output_type": "display_data", "data": {"image/png": huge}}]),
        markdown(f"![x](data:image/png;base64,{huge})"),
        markdown("".join(f"![x](p{number}.png)" for number in range(1000))),
        *[markdown("z")] * 5000,
    )
    assert notes.body.count("x" * MAX_SOURCE) == 1
    assert "x" * (MAX_SOURCE + 1) not in notes.body
    assert notes.body.count("y") <= MAX_OUTPUT
    assert notes.pictures == {}
    assert len(notes.files) == 200
    assert notes.body.count("<p>z</p>") == 1995


@pytest.mark.parametrize(
    "source",
    [
        "[" * 10_000,
        "![" * 5_000,
        "*a_ " * 5_000,
        "> " * 5_000 + "x",
        "<div>" * 5_000,
        "$" * 30_000,
        "`" * 20_001 + " x",
        "| a " * 5_000 + "\n" + "|--" * 5_000,
        "$" + "{" * 2_000 + "}" * 2_000 + "$",
        "$" + "\\frac{1}{" * 500 + "}" * 500 + "$",
        "- " * 2_000 + "x",
    ],
    ids=lambda source: source[:8],
)
def test_what_is_made_to_be_slow_or_deep_comes_to_an_end(source: str) -> None:
    Tags(make(markdown(source)).body)


# --- the process


def _process(arguments: bytes, data: bytes) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "tmpnb_py.workshops.notes"]
    return subprocess.run(command, input=arguments + b"\n" + data, capture_output=True, check=False, timeout=60)


def test_the_process_makes_the_same_page_and_says_why_there_is_none() -> None:
    data = json.dumps({"nbformat": 4, "cells": [markdown("# T\n\n![x](a.png)")]}).encode()
    done = _process(json.dumps({"start": START, "pages": {}}).encode(), data)
    assert done.returncode == 0, done.stderr
    assert load(done.stdout) == page.make(data, start=START, pages={})
    done = _process(json.dumps({"start": START, "pages": {}}).encode(), b"{}")
    assert (done.returncode, done.stdout) == (1, b"the file is not a notebook of format 3 or 4")


def test_the_orchestrator_does_not_load_what_the_process_works_with() -> None:
    heavy = {"nh3", "mdit_py_plugins", "markdown_it"}
    script = f"import sys, tmpnb_py.service.serve; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


# --- what authors hide, name and embed


@pytest.mark.parametrize(
    ("metadata", "there", "folded"),
    [
        ({"tags": ["remove-cell"]}, "", None),
        ({"tags": ["remove_cell"]}, "", None),
        ({"tags": ["remove-input"]}, "o", None),
        ({"tags": ["remove-output"]}, "s", None),
        ({"tags": ["remove-input", "remove-output"]}, "", None),
        ({"tags": ["hide-cell"]}, "so", "tn-hidden"),
        ({"tags": ["hide-input"]}, "so", "tn-fold-code"),
        ({"jupyter": {"source_hidden": True}}, "so", "tn-fold-code"),
        ({"hide_input": True}, "so", "tn-fold-code"),
        ({"tags": ["hide-output"]}, "so", "tn-fold-output"),
        ({"jupyter": {"outputs_hidden": True}}, "so", "tn-fold-output"),
        ({"collapsed": True}, "so", "tn-fold-output"),
        ({"tags": ["solution"], "jupyter": {"source_hidden": True}}, "so", "tn-hidden"),
        ({"tags": ["solution"]}, "so", None),
        ({"scrolled": True}, "so", None),
    ],
)
def test_what_a_teacher_hid_is_not_published(metadata: Any, there: str, folded: str | None) -> None:
    cell = code("secret_source", [{"output_type": "stream", "text": "visible_output"}])
    body = make({**cell, "metadata": metadata}).body
    assert ("secret_source" in body, "visible_output" in body) == ("s" in there, "o" in there)
    assert re.findall(r'<details class="([a-z-]+)"', body) == ([folded] if folded else [])
    if folded == "tn-fold-code":
        assert body.index("</details>") < body.index("visible_output")
    if folded == "tn-fold-output":
        assert body.index("secret_source") < body.index("<details")


def test_hidden_text_is_folded_and_removed_text_is_gone() -> None:
    cells = [
        {**markdown(f"text-{tag}"), "metadata": {"tags": [tag]}} for tag in ("hide-cell", "remove-cell", "other")
    ]
    body = make(*cells).body
    assert body.count("<details") == 1
    assert "text-hide-cell" in body
    assert "text-remove-cell" not in body
    assert "text-other" in body


def test_links_find_the_places_that_authors_name() -> None:
    notes = make(
        markdown(
            "[a](#d) [b](#n) [c](#my-heading) [d](#My-Heading) [e](#what's-new) [f](#nowhere) [g](#sp) [h](#dv)"
        ),
        markdown('<a class="anchor" id="d"></a>\n## Data'),
        markdown('<a name="n"></a>\n\ntext'),
        markdown("## My Heading\n\n## What's new?"),
        markdown('<span id="sp">x</span>\n\n<div id="dv">\n\ny\n\n</div>\n\n<h2 id="htmlh">H</h2>'),
        markdown('<a id="d"></a><a id="tn-open"></a><a id="MAIN"></a><a id="a b"></a>'),
    )
    links = re.findall(r'href="(#[^"]*)"', notes.body)
    assert links == ["#d", "#n", "#My-Heading", "#My-Heading", "#What%27s-new%3F", "#nowhere", "#sp", "#dv"]
    ids = re.findall(r' id="([^"]*)"', notes.body)
    assert ids == ["d", "Data", "n", "My-Heading", "What's-new?", "sp", "dv", "htmlh"]
    assert [heading.anchor for heading in notes.headings] == ["Data", "My-Heading", "What's-new?"]


def test_a_link_into_another_page_is_quoted_once() -> None:
    data = json.dumps({"nbformat": 4, "cells": [markdown("[x](b.ipynb#My%20part)")]}).encode()
    notes = page.make(data, start="a.ipynb", pages={"b.ipynb": "other"})
    assert 'href="../other/#My%20part"' in notes.body


@pytest.mark.parametrize(
    ("source", "made"),
    [
        ('<div class="alert alert-block alert-info x">i</div>', '<div class="alert alert-info">i</div>'),
        ('<img src="a.png" width="50%">', 'width="50%"'),
        ('<img src="a.png" width="200px">', 'width="200px"'),
        ('<img src="a.png" style="border: 0; width: 30%">', 'width="30%"'),
        ('<img src="a.png" width="100%;x">', '<img src="files/knots/a.png">'),
        ("<center>m</center>", "<center>m</center>"),
        ('<p align="right">r</p>', '<p align="right">r</p>'),
        ('<font color="red">c</font>', '<font color="red">c</font>'),
        ("- [ ] open\n- [x] done", "<li>\N{BALLOT BOX} open</li>\n<li>\N{BALLOT BOX WITH CHECK} done</li>"),
        ("see https://example.org/bare.", '<a href="https://example.org/bare" rel="noopener noreferrer">'),
        (
            '<iframe width="560" src="https://www.youtube.com/embed/dQw4w9WgXcQ" title="T"></iframe>',
            'href="https://www.youtube.com/watch?v=dQw4w9WgXcQ" rel="noopener noreferrer">Embedded page: T (www.',
        ),
        ('<video src="v.mp4"></video>', 'href="../../spawn/lab/tree/knots/v.mp4" rel="noopener noreferrer">Video'),
        ('<audio controls><source src="a.mp3"></audio>', ""),
        (
            "![a plot](https://example.org/p.png)",
            '<a href="https://example.org/p.png" rel="noopener noreferrer">Picture: a plot (example.org)</a>',
        ),
    ],
)  # fmt: skip
def test_what_notebooks_hold_beside_plain_markdown(source: str, made: str) -> None:
    assert made in make(markdown(source)).body


@pytest.mark.parametrize("host", ["a]b", "[::1", "a\u2100b"])
def test_a_picture_of_no_possible_host_does_not_take_the_page_along(host: str) -> None:
    body = make(markdown(f'<img src="https://{host}/p.png">\n\nMore text.')).body
    assert "Picture (p.png)</a>" in body
    assert "More text." in body


@pytest.mark.parametrize("piece", ["<a ", '<a "', "<iframe '", "<img x='<a ", '<video src=x "', "<source "])
def test_the_time_for_tags_that_never_end_grows_with_their_number(piece: str) -> None:
    assert _seconds(piece * (60_000 // len(piece))) < 1.0


def test_the_time_for_an_attribute_grows_with_its_length() -> None:
    assert _seconds(f"<img {'a' * 60_000}>") < 1.0
    assert _seconds(f"<img {'a ' * 30_000}>") < 1.0


def test_the_time_for_headings_that_are_alike_grows_with_their_number() -> None:
    began = time.process_time()
    notes = make(markdown("text"), *(markdown("# a\n" * 100) for _ in range(100)))
    assert time.process_time() - began < 5.0
    assert [heading.anchor for heading in notes.headings[:3]] == ["a", "a-2", "a-3"]
    assert len({heading.anchor for heading in notes.headings}) == 10_000


def _seconds(source: str) -> float:
    """Seconds of the processor."""
    began = time.process_time()
    embeds.instead(source)
    return time.process_time() - began


def test_a_front_matter_is_no_text_and_may_name_the_title() -> None:
    front = '---\ntitle: "Quarto: a document"\nformat: html\n---'
    for first in ({"cell_type": "raw", "source": front}, markdown(f"{front}\n\nText.")):
        notes = make(first, markdown("## Part"))
        assert notes.title == "Quarto: a document"
        assert "format" not in notes.body
    assert "Text." in notes.body
    assert make({"cell_type": "raw", "source": front}, markdown("# Own\n\nx")).title == "Own"
    assert "no front matter" in make(markdown("---\n\nno front matter")).body


def test_the_size_and_words_of_a_picture_are_kept() -> None:
    data = {"image/png": PNG}
    metadata = {"image/png": {"width": 300, "height": 200, "alt": 'A "plot"'}}
    body = make(code("x", [{"output_type": "display_data", "data": data, "metadata": metadata}])).body
    assert 'alt="A &quot;plot&quot;" width="300" height="200"' in body


def test_a_notebook_of_format_3() -> None:
    cells = [
        {"cell_type": "heading", "level": 1, "source": ["Old\n", " notebook"]},
        {"cell_type": "markdown", "source": "text"},
        {"cell_type": "code", "language": "python", "input": "def f(): pass", "collapsed": True, "outputs": [
            {"output_type": "stream", "stream": "stdout", "text": "printed"},
            {"output_type": "pyout", "text": "shown", "metadata": {}},
            {"output_type": "pyerr", "ename": "E", "evalue": "v", "traceback": ["trace"]},
            {"output_type": "display_data", "png": PNG},
        ]},
    ]  # fmt: skip
    document = {"nbformat": 3, "metadata": {"name": "x"}, "worksheets": [{"cells": cells}]}
    notes = page.make(json.dumps(document).encode(), start=START, pages={})
    assert (notes.title, notes.language) == ("Old notebook", "python")
    for part in ("text", '<span class="tn-k">def', "printed", "shown", "trace", "<img ", "tn-fold-output"):
        assert part in notes.body
    for wrong in (
        {},
        {"worksheets": 1},
        {"worksheets": [1, {"cells": [1, {}, {"cell_type": "code", "outputs": [1]}]}]},
    ):
        page.make(json.dumps({"nbformat": 3, **wrong}).encode(), start=START, pages={})
