"""Paths of documents in a notebook, below its base path: as links carry them and as Jupyter takes them. Pure.

A visitor's *wish* is such a path ("lab/tree/a b.ipynb?x=1") as it comes in a link, from anybody; `document_target`
makes a relative URL of it that leads nowhere but into the visitor's own notebook.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Collection
from pathlib import PurePosixPath

from tmpnb_py.core.languages import LANGUAGES

BLANK = "lab?blank"  # JupyterLab, in which our images' extension makes a new notebook at once
# Text that is a notebook in one of jupytext's formats. The image opens the same (its server's tmpnb_texts.py).
TEXT_NOTEBOOKS = (".rmd", ".qmd", ".md", *(one.suffix.lower() for one in LANGUAGES if one.suffix))
INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# What stands before a document's path, below a notebook's base path.
VIEWS = ("lab/tree/", "doc/tree/", "tree/", "notebooks/", "edit/", "files/", "voila/render/")
# Jupyter's own, by the first part of their path; an image may have others.
INTERFACES = ("lab", "tree", "notebooks", "files", "edit", "terminals", "consoles", "doc", "nbclassic", "git-pull")
DEFAULT_DOCUMENT = "lab"
_FETCHING = "git-pull"  # nbgitpuller's: it copies files from another place before it opens one
_LONGEST_WISH = 2000


def is_text_notebook(place: str) -> bool:
    """Whether a file is, by its name, text that can be a notebook."""
    return PurePosixPath(place).suffix.lower() in TEXT_NOTEBOOKS


def document(place: str) -> str:
    """The wish that opens a workshop's document, by its place in `~/work`. Text opens as a notebook."""
    return f"lab/tree/{urllib.parse.quote(place)}" + ("?factory=Notebook" if is_text_notebook(place) else "")


def document_target(wish: str, interfaces: Collection[str] | None = INTERFACES) -> str:
    """A visitor's wish ("lab/tree/a b.ipynb?x=1") as a relative reference below a base path, percent-encoded.

    `interfaces` are those that it may be for; None lets all in. Raises `ValueError` for whatever could lead anywhere
    but below the visitor's own notebook: a redirect is made of this. A wish may come percent-encoded or not; it is
    never decoded more than once. Slashes that are doubled (MyST's links have them) count as one, as in any path of
    a file; none is left before the first name, so nothing of it can be taken for a host.
    """
    path, _, query = wish.strip().partition("?")
    path = plain_path(path)
    if len(wish) > _LONGEST_WISH:
        raise ValueError(f"the path is longer than {_LONGEST_WISH} characters")
    if any(ord(char) < 32 or ord(char) == 127 for char in path) or "\\" in path:
        raise ValueError("the path has characters that no document's path has")
    parts = path.split("/")
    if "." in parts or ".." in parts:
        raise ValueError('the path must not have "." or ".." as parts')
    if path and interfaces is not None and parts[0] not in interfaces:
        *others, last = dict.fromkeys(interfaces)
        raise ValueError(f"the path must begin with {', '.join(others)} or {last}")
    target = urllib.parse.quote(path or DEFAULT_DOCUMENT, safe="/@:!$&'()*+,;=~")
    query = urllib.parse.quote(query.partition("#")[0], safe="/?@:!$&'()*+,;=~%")
    return f"{target}?{query}" if query else target


def needs_network(target: str) -> bool:
    """Whether a target of `document_target` fetches something before it opens."""
    return target.partition("?")[0].partition("/")[0] == _FETCHING


def plain_path(path: str) -> str:
    """The path of a wish as it names files: decoded once, with no slash at its beginning and none doubled."""
    return re.sub("/{2,}", "/", urllib.parse.unquote(path)).lstrip("/")


def document_of(path: str) -> str:
    """The document of a wish's path (without its query): what follows the view; "" for what names none."""
    path = plain_path(path)
    return next((path.removeprefix(view) for view in VIEWS if path.startswith(view)), "")


def placed(wish: str, folder: str) -> str:
    """A wish whose document is relative to a folder, as one that is relative to where the file browser begins.

    What names no document at all opens the folder; what is in the folder already stays as it is. A wish for no
    interface of Jupyter's (`rstudio/`) is none for a document. `folder` "" is where the file browser begins.
    """
    raw, mark, query = wish.partition("?")
    path = plain_path(raw)
    whole = f"{path}/" if path in ("lab", "lab/tree", "tree") else path
    view = next((one for one in VIEWS if whole.startswith(one)), "lab/" if whole == "lab/" else None)
    if not folder or view is None:
        return wish
    document = whole.removeprefix(view)
    if not f"{document}/".startswith(f"{folder}/"):
        document = f"{folder}/{document}".rstrip("/")
    return urllib.parse.quote(f"{'lab/tree/' if view == 'lab/' else view}{document}") + mark + query


_WORKSPACE = re.compile(r"(lab|doc)/workspaces/[^/]+(?=/|$)")


def wish_of_address(path: str) -> str:
    """What somebody's notebook shows at a path below its base, as a wish for a notebook of one's own.

    `path` is raw, without its query, which may hold a token. A workspace (JupyterLab makes one for each further
    window) is its own visitor's.
    """
    return _WORKSPACE.sub(r"\1", path.lstrip("/"), count=1)
