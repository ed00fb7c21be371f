"""Where mathematics is in Markdown and in LaTeX; browsers' side of it is tests/e2e/test_math_pages.py."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_notes import Tags, displayed, make, markdown
from tmpnb_py.workshops.notes.delimiters import in_latex, in_markdown

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "math_vectors.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["source"])[:30])
def test_formulas_are_found_by_jupyterlabs_rules(vector: dict[str, Any]) -> None:
    found = in_markdown(vector["source"])
    assert [[one.tex, one.display] for one in found] == vector["formulas"]


def test_markdown_leaves_formulas_alone_and_formulas_leave_markdown_alone() -> None:
    body = make(
        markdown(
            "| a | b |\n|---|---|\n| $P(A|B)$ | $|x|$ |\n\n**$a_1$ bold** *and $b_1 * c_1$* [$l$]($m$.csv)\n\n"
            "![$alt$](p.png)\n\n    $indented$\n\n<div title='$t$'>$h_1$ <code>$v$</code></div>\n\n"
            "text <b>$i_1$</b> <kbd>$k$</kbd> tnmath0x0x\n\n```$info$\n$code$\n```\n\n$x^2$\n==="
        )
    ).body
    code = ["P(A|B)", "|x|", "a_1", "b_1 * c_1", "l", "h_1", "i_1", "x^2"]
    for text in code:
        assert f'<code class="tn-latex">{text}</code>' in body, body
    assert body.count("tn-latex") == len(code)
    assert len(Tags(body).attributes("td")) == 2
    for kept in (
        'alt="$alt$"',
        "$indented$",
        "<code>$v$</code>",
        "<kbd>$k$</kbd>",
        "$code$",
        "tnmath0x0x",
        "%24m%24.csv",
    ):
        assert kept in body, (kept, body)
    assert body.count("tnmath") == 1


@pytest.mark.parametrize(
    "word", ["tnmath&#48;x0x", "tnmath&#48;x99x", "<http://x/tnmath%30x99x>", "[a](tnmath&#48;x99x)"]
)
def test_nobody_can_write_what_holds_the_place_of_a_formula(word: str) -> None:
    """A long one could be had thousands of times, by short words; where one is not there, no page is made."""
    body = make(markdown(f"$x^2$ {word}")).body
    assert body.count("x^2") == 1
    assert re.search("tnmath(?:0|%30)x", body)


def test_a_title_keeps_the_formulas_that_follow_it() -> None:
    notes = make(markdown("# The $x$\n\n$y_1$ and $z_1$"))
    assert notes.title == "The x"
    assert notes.body.count("tn-latex") == 2


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("$\\displaystyle x$ and $5 and $6", [("\\displaystyle x", False), ("5 and ", False)]),
        (
            "\\(a\\) \\[b\\] \\begin{align*}c\\end{align*}",
            [("a", False), ("b", True), ("\\begin{align*}c\\end{align*}", True)],
        ),
        ("\\\\(a\\\\)", []),
        ("`$x$`", [("x", False)]),
    ],
)
def test_kernels_latex_has_every_delimiter_of_mathjax(source: str, expected: list[tuple[str, bool]]) -> None:
    assert [(one.tex, one.display) for one in in_latex(source)] == expected


def test_the_source_of_a_formula_is_escaped() -> None:
    body = displayed(latex="$<script>alert(1)</script> & x$", plain="x")
    assert '<code class="tn-latex">&lt;script&gt;alert(1)&lt;/script&gt; &amp; x</code>' in body


@pytest.mark.parametrize(
    "source",
    [
        "$ {" * 30_000,
        "\\begin{a}" * 11_000,
        "\\begin{a}\\begin{b}{" * 5_000,
        "\\\\(" * 30_000,
        "".join("`" * number + " " for number in range(440)),
        "~~~ x\n" * 15_000,
        "<!-- $x$ " * 10_000,
        "<a \"$x$ '" * 10_000,
        "$x$ " * 25_000,
    ],
    ids=lambda source: str(source)[:12],
)
def test_looking_for_formulas_comes_to_an_end(source: str) -> None:
    began = time.process_time()
    make(markdown(source))
    assert time.process_time() - began < 8
