"""Every address of the service is made below its base, and nowhere but in `links`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import tmpnb_py
from tmpnb_py.core import links
from tmpnb_py.core.errors import SettingsError
from tmpnb_py.core.links import Links
from tmpnb_py.options.sources import read_settings

SOURCES = Path(tmpnb_py.__file__).parent
# The first part of each address that there is on the visitors' listener.
OURS = "api|assets|build|files|hub|info|lab|live\\.js|logo|notebooks|privacy|spawn|static|tree|user|v2|workshops"


@pytest.mark.parametrize(
    ("written", "base"),
    [("/", "/"), ("", "/"), ("/jupyter/", "/jupyter/"), ("jupyter", "/jupyter/"), ("/a/b-c_d.e", "/a/b-c_d.e/")],
)
def test_how_a_base_is_written(written: str, base: str) -> None:
    assert read_settings({"base_url": written}, {}).settings.base_url == base


@pytest.mark.parametrize(
    "written",
    ["/user/", "/a/user/", "/a//b/", "/../", "/a/./b/", "/a b/", "/a%20b/", "http://a/b/", "/é/", "/a?b/", "/{x}/",
     "/~a/", "/a;b/", "/" + 100 * "abc/"],
)  # fmt: skip
def test_what_is_no_base(written: str) -> None:
    with pytest.raises(SettingsError, match="is not a path for the service: write one such as /jupyter/"):
        read_settings({"base_url": written}, {})


def test_every_address_begins_with_the_base() -> None:
    at = Links("/jupyter/")
    wish = "lab/tree/a b.ipynb?x=1"
    made = [
        at.to("x"),
        at.launch(),
        at.launch(wish),
        at.launch_of(),
        at.launch_of(wish),
        at.waiting("1"),
        at.notes("k"),
    ]
    made += [at.waiting("1", wish), at.static("0"), links.session(at.base, "abc")]
    assert all(one.startswith("/jupyter/") for one in made)
    assert [one.replace("/jupyter/", "/", 1) for one in made] == [
        "/x", "/spawn", f"/spawn/{wish}", "/spawn", "/spawn?urlpath=lab%2Ftree%2Fa%20b.ipynb%3Fx%3D1",
        "/spawn/wait/1", "/workshops/k/", "/spawn/wait/1?path=lab%2Ftree%2Fa%20b.ipynb%3Fx%3D1", "/static/0",
        "/user/abc/",
    ]  # fmt: skip
    assert at.on("http://localhost:8000/") == "http://localhost:8000/jupyter/"
    assert Links().on("http://localhost:8000/") == "http://localhost:8000/"


@pytest.mark.parametrize("path", sorted(SOURCES.glob("frontend/**/*.*")), ids=lambda path: path.name)
def test_no_template_writes_an_address_of_its_own(path: Path) -> None:
    if path.name.startswith("operator"):  # of the other listener, which is always at its host's root
        return
    found = re.findall(rf"""(?:(?<!\$=)["'`(=]/(?:{OURS})\b|(?:href|src|action)="/|URL\("/").*""", path.read_text())
    assert found == []


@pytest.mark.parametrize("path", sorted(SOURCES.glob("web/**/*.py")), ids=lambda path: path.name)
def test_no_page_redirects_to_an_address_of_its_own(path: Path) -> None:
    found = re.findall(
        r"""(?:HTTP(?:Found|SeeOther|MovedPermanently)|see_other|href=|url=)\(?(?:request, )?f?["']/.*""",
        path.read_text(),
    )
    assert found == []


def test_only_links_spells_where_sessions_are() -> None:
    """So that a host name for each session changes a handful of files (docstrings may say `/user/<id>/`)."""
    spelled = {
        str(path.relative_to(SOURCES))
        for path in SOURCES.rglob("*.py")
        for text in _literals(ast.parse(path.read_text()))
        if re.search(r"(?<![a-z])user/", text)
    }
    assert spelled == {"core/links.py"}


def _literals(tree: ast.Module) -> Iterator[str]:
    """The strings of a module, bytes and the pieces of f-strings among them, but for docstrings."""
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in docstrings:
            if isinstance(node.value, str):
                yield node.value
            elif isinstance(node.value, bytes):
                yield node.value.decode("latin-1")
