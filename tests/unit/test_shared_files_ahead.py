"""What of an image's files a browser may fetch ahead: only what is shared, and whatever the image says."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmpnb_py.shared_files.ahead import Ahead, read
from tmpnb_py.shared_files.tree import SharedFile, Tree

TREE = Tree(
    {
        "static/lab/main.1f.js": SharedFile("a" * 64, 10),
        "static/lab/core.2e.js": SharedFile("b" * 64, 1000),
        "static/lab/page.css": SharedFile("c" * 64, 20),
        "static/lab/logo.svg": SharedFile("d" * 64, 20),
        "static/lab/a b.js": SharedFile("e" * 64, 20),
        "lab/extensions/@o/p/static/remote.js": SharedFile("f" * 64, 500),
    }
)


def said(page: object, notebook: object = None) -> tuple[str, ...]:
    found = read(json.dumps({"page": page, "notebook": notebook}).encode(), TREE, "/static/0/")
    assert found.url == "/static/0/"
    return found.page


def test_the_largest_come_first_and_each_once() -> None:
    page = ["static/lab/main.1f.js?v=1f", "static/lab/core.2e.js?v=2e", "static/lab/core.2e.js?v=2e"]
    notebook = ["static/lab/page.css", "lab/extensions/@o/p/static/remote.js"]
    content = json.dumps({"page": page, "notebook": notebook, "more": 1}).encode()
    assert read(content, TREE, "/static/0/") == Ahead(
        "/static/0/", ("static/lab/core.2e.js?v=2e", "static/lab/main.1f.js?v=1f"), tuple(reversed(notebook))
    )


@pytest.mark.parametrize(
    "address",
    [
        "static/lab/none.js",
        "static/lab/logo.svg",
        "static/lab/a b.js",
        "/static/lab/main.1f.js",
        "../static/lab/main.1f.js",
        "static/lab/main.1f.js?v=x&token=1",
        "static/lab/main.1f.js#a",
        "https://elsewhere.example/static/lab/main.1f.js",
        "//elsewhere.example/main.js",
        "static/lab/main.1f.js\n",
        'static/lab/main.1f.js"',
        "",
        7,
        None,
        ["static/lab/main.1f.js"],
    ],
)
def test_nothing_but_plain_addresses_of_shared_scripts_and_styles(address: object) -> None:
    assert said([address]) == ()
    assert said([address, "static/lab/page.css"]) == ("static/lab/page.css",)


@pytest.mark.parametrize("page", [None, 7, "static/lab/main.1f.js", {"static/lab/main.1f.js": 1}, ["x"] * 101])
def test_what_is_no_short_list_is_an_empty_one(page: object) -> None:
    assert said(page) == ()


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"7", b"[" * 30_000])
def test_what_cannot_be_read_says_nothing(content: bytes) -> None:
    assert read(content, TREE, "/x/") == Ahead("/x/")


@given(st.lists(st.one_of(st.text(max_size=40), st.integers(), st.sampled_from(sorted(TREE.files))), max_size=10))
def test_whatever_an_image_says(page: list[object]) -> None:
    for one in said(page):
        assert one.partition("?")[0] in TREE.files
        assert not set(one) & set(" \"'<>&\\\n")
