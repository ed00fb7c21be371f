"""Which requests belong to a notebook. Pure; called once per request with the raw target.

What is matched is what is sent: what follows the id is never decoded, normalised or resolved, so there is no second
reading of it that could lead to another session. `/user/<id>/../<other>` belongs to `<id>`. Only letters and digits
that somebody encoded without need are themselves (RFC 3986 §6.2.2.2), up to the id: `/%75ser/<id>/` is `/user/<id>/`.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Collection, Iterable
from typing import NamedTuple

_USER = re.compile(rb"/*user/([a-z0-9]{1,64})(/[^?]*)?(?:\?(.*))?", re.DOTALL)
_ROOT = b"/"
_ABSOLUTE_FORM = re.compile(rb"(?i:https?)://([^/?#@]+)((?:[/?][!\"$-~]*)?)")
_ORIGIN_FORM = re.compile(rb"/[!\"$-~]*")  # no fragment


_NEEDLESSLY_ENCODED = re.compile(rb"%(3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa])")


class Route(NamedTuple):
    """A request for the notebook `session_id`.

    `path` is what follows `/user/<id>/`, raw, or None where the slash is missing; `target` is what the container
    gets; `query` is raw and without its question mark; `base` is the base that it stands below.
    """

    session_id: str
    path: bytes | None
    query: bytes
    target: bytes
    base: bytes = _ROOT

    def moved_to(self, base_path: bytes) -> bytes:
        """The same target below another base path, for a container that was started with that one."""
        return base_path + self.target[len(self.base) + len(b"user//") + len(self.session_id) :]


def is_origin_form(target: bytes) -> bool:
    """Whether the target has the usual form (RFC 9112 §3.2.1): `/path?query`."""
    return _ORIGIN_FORM.fullmatch(target) is not None


def split_absolute(target: bytes) -> tuple[bytes, bytes] | None:
    """The authority of a target in absolute form (RFC 9112 §3.2.2), and what follows it; None for any other form.

    No user's name is taken (RFC 9110 §4.2.4): it is there to deceive.
    """
    found = _ABSOLUTE_FORM.fullmatch(target)
    return None if found is None else (found[1], found[2])


def match(target: bytes, bases: Iterable[bytes] = (_ROOT,)) -> Route | None:
    """The notebook that a raw target is for, or None: everything else is the orchestrator's own.

    `bases` are the paths below which there are notebooks, with both slashes; the first that fits counts. Slashes
    doubled round the base and right after the notebook's own (old embedding clients make both) are collapsed.
    """
    if target.startswith(b"//"):
        target = b"/" + target.lstrip(b"/")
    for base in bases:
        if target.startswith(base) and (route := _below(target, base)) is not None:
            return route
    return None


def _below(target: bytes, base: bytes) -> Route | None:
    found = _USER.fullmatch(target, len(base))
    if found is None and b"%" in target:
        target = base + _with_plain_prefix(target[len(base) :])
        found = _USER.fullmatch(target, len(base))
    if found is None:
        return None
    session_id, path, query = found.group(1), found.group(2), found.group(3) or b""
    if path is not None:
        path = path.lstrip(b"/")
    if b"//" in target:
        target = b"%buser/%b" % (base, session_id)
        target += b"" if path is None else b"/" + path
        target += b"" if found.group(3) is None else b"?" + query
    return Route(session_id.decode(), path, query, target, base)


def below(target: bytes, base: bytes) -> bytes:
    """A raw target without the base before it. Whoever asks outside of it has a proxy in front that took it away."""
    return target[len(base) - 1 :] if base != _ROOT and target.startswith(base) else target


def _with_plain_prefix(rest: bytes) -> bytes:
    """What follows a base, with `user` and the id as letters and digits; all else of it is left as it is."""
    path, mark, query = rest.lstrip(b"/").partition(b"?")
    parts = path.split(b"/", 2)
    parts[:2] = [_NEEDLESSLY_ENCODED.sub(lambda found: bytes.fromhex(found[1].decode()), part) for part in parts[:2]]
    return b"/".join(parts) + mark + query


INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# What stands before a document's path, below a notebook's base path.
VIEWS = ("lab/tree/", "doc/tree/", "tree/", "notebooks/", "edit/", "files/", "voila/render/")
# Jupyter's own, by the first part of their path; an image may have others.
INTERFACES = ("lab", "tree", "notebooks", "files", "edit", "terminals", "consoles", "doc", "nbclassic", "git-pull")
DEFAULT_DOCUMENT = "lab"
_FETCHING = "git-pull"  # nbgitpuller's: it copies files from another place before it opens one
_LONGEST_WISH = 2000


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
