"""Documents' paths in links: what they open, and that none leads out of the visitor's notebook."""

from __future__ import annotations

import pytest

from tmpnb_py.core.document_paths import document_target, placed


@pytest.mark.parametrize(
    ("wish", "target"),
    [
        ("lab/tree//x.ipynb", "lab/tree/x.ipynb"),
        ("/lab/tree///a//b.ipynb?x=//y", "lab/tree/a/b.ipynb?x=//y"),
        ("lab%2Ftree%2F%2Fx.ipynb", "lab/tree/x.ipynb"),
        ("//lab", "lab"),
        ("lab/tree/a%252F%252Fb", "lab/tree/a%252F%252Fb"),
        ("lab/tree//", "lab/tree/"),
    ],
)
def test_a_doubled_slash_names_the_same_document(wish: str, target: str) -> None:
    assert document_target(wish) == target


@pytest.mark.parametrize(
    "wish",
    ["//evil.example/lab", "/\\evil.example", "lab//../x", "lab/./x", "lab/tree//%2e%2E/x", "lab\\..\\x",
     "%2F%2Fevil.example", "https://evil.example/lab", "lab%00", "lab/\tx"],
)  # fmt: skip
def test_no_document_is_elsewhere(wish: str) -> None:
    with pytest.raises(ValueError, match="the path"):
        document_target(wish)


@pytest.mark.parametrize(
    ("wish", "placed_in_knots"),
    [
        ("lab/tree/x.ipynb", "lab/tree/knots/x.ipynb"),
        ("lab/tree//x.ipynb", "lab/tree/knots/x.ipynb"),
        ("lab/tree/a%20b/c.ipynb?reset", "lab/tree/knots/a%20b/c.ipynb?reset"),
        ("tree/x", "tree/knots/x"),
        ("notebooks/x", "notebooks/knots/x"),
        ("voila/render/x", "voila/render/knots/x"),
        ("lab", "lab/tree/knots"),
        ("lab/", "lab/tree/knots"),
        ("tree/", "tree/knots"),
        ("lab/tree/knots/x", "lab/tree/knots/x"),
        ("lab/tree/knots", "lab/tree/knots"),
        ("lab/tree/knots2/x", "lab/tree/knots/knots2/x"),
        ("lab/workspaces/auto", "lab/workspaces/auto"),
        ("rstudio/", "rstudio/"),
        ("git-pull?repo=x", "git-pull?repo=x"),
    ],
)
def test_a_document_of_a_folder(wish: str, placed_in_knots: str) -> None:
    assert placed(wish, "knots") == placed_in_knots
    assert placed(wish, "") == wish
