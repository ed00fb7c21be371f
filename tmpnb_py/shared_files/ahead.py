"""Decides which of an image's shared files a browser may fetch ahead, while its visitor gets a notebook. Pure.

The image says it in a shared file, which is as hostile as the rest of it: whatever it names must be a script or style
sheet that is shared, spelled plainly, so that a page of ours can do nothing with it but fetch what every page of such
a notebook fetches.
"""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

from tmpnb_py.shared_files.tree import Tree, content_type

NAME = "static/lab/tmpnb-ahead.json"
MAX_SIZE = 32 * 1024  # bytes of that file
_MOST = 100  # names of a list
_ADDRESS = re.compile(r"([A-Za-z0-9@_.-]+(?:/[A-Za-z0-9@_.-]+)+)(?:\?v=[0-9a-f]{1,64})?")
_KINDS = ("text/javascript", "text/css")


@dataclasses.dataclass(frozen=True, slots=True)
class Ahead:
    """Addresses below `url`, the largest first: what JupyterLab needs, and what a notebook in it needs besides.

    Little can be fetched while a notebook is ready at once, and of small files the most time is waiting for answers.
    """

    url: str = ""
    page: tuple[str, ...] = ()
    notebook: tuple[str, ...] = ()


def read(content: bytes, tree: Tree, url: str) -> Ahead:
    """What an image's file says; a list that is not as it should be is taken as empty."""
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        return Ahead(url)
    lists = said if isinstance(said, dict) else {}
    return Ahead(url, _addresses(lists.get("page"), tree), _addresses(lists.get("notebook"), tree))


def _addresses(said: Any, tree: Tree) -> tuple[str, ...]:
    if not isinstance(said, list) or len(said) > _MOST:
        return ()
    names = {one: _name(one) for one in said if isinstance(one, str)}
    sizes = {one: tree.files[name].size for one, name in names.items() if name in tree.files}
    return tuple(sorted(sizes, key=sizes.__getitem__, reverse=True))


def _name(address: str) -> str:
    """The name of the file that an address is of; "" if it is not one to fetch."""
    found = _ADDRESS.fullmatch(address)
    return found[1] if found and (content_type(found[1]) or "").startswith(_KINDS) else ""
