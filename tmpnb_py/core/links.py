"""The addresses of this service: how each is made, below the path that the service has on its host. Pure.

Pages, API and engines take their addresses from here: the base (`--base-url`) is put before them in this one place.
`routes` reads what is made here; our own application never sees the base, as the proxy takes it away.

A notebook's address is part of what its container was started with: its server answers below that path and no other.
So a container keeps the base that it has, whatever the service is started with later.
"""

from __future__ import annotations

import dataclasses
import re
import urllib.parse
from pathlib import PurePosixPath

from tmpnb_py.core.languages import LANGUAGES

ROOT = "/"
USER = "user"
STATIC = "static"
BLANK = "lab?blank"  # JupyterLab, in which our images' extension makes a new notebook at once
# Text that is a notebook in one of jupytext's formats. The image opens the same (its server's tmpnb_texts.py).
TEXT_NOTEBOOKS = (".rmd", ".qmd", ".md", *(one.suffix.lower() for one in LANGUAGES if one.suffix))

_SEGMENT = r"(?!\.\.?/)[A-Za-z0-9._-]+"
_BASE = re.compile(rf"/(?:{_SEGMENT}/){{0,8}}")


def is_base(text: str) -> bool:
    """Whether this can be the base of addresses: `/`, or plain names with a slash on both sides.

    None of them is `user`: where a notebook's id stands in a path must be certain.
    """
    return _BASE.fullmatch(text) is not None and len(text) <= 200 and USER not in text.split("/")


def session(base: str, container_id: str) -> str:
    """The path below which a notebook's server lives, with both slashes."""
    return f"{base}{USER}/{container_id}/"


def opened(session_path: str, target: str, token: str) -> str:
    """A document in a notebook, with the token that lets its visitor's browser in."""
    url = session_path + target
    return f"{url}{'&' if '?' in target else '?'}token={token}" if token else url


def is_text_notebook(place: str) -> bool:
    """Whether a file is, by its name, text that can be a notebook."""
    return PurePosixPath(place).suffix.lower() in TEXT_NOTEBOOKS


def document(place: str) -> str:
    """A workshop's document below a notebook's base path, by its place in `~/work`. Text opens as a notebook."""
    return f"lab/tree/{urllib.parse.quote(place)}" + ("?factory=Notebook" if is_text_notebook(place) else "")


@dataclasses.dataclass(frozen=True, slots=True)
class Links:
    """The service's own addresses. `base` is the path of the first page, with both slashes."""

    base: str = ROOT

    def on(self, host_url: str) -> str:
        """The first page on a host, whose URL ends in a slash."""
        return host_url + self.base.removeprefix("/")

    def to(self, path: str) -> str:
        """Any page or file, by its path below the base."""
        return self.base + path

    def launch(self, wish: str = "") -> str:
        """The launch page of a document; `wish` is its path as it stands in a link."""
        return f"{self.base}spawn/{wish}" if wish else f"{self.base}spawn"

    def launch_of(self, wish: str = "") -> str:
        """The same with the wish as a parameter, which may hold anything."""
        return f"{self.base}spawn" + (f"?urlpath={_quoted(wish)}" if wish else "")

    def waiting(self, ticket_id: str, wish: str = "") -> str:
        """Where a ticket's visitor waits; the wish is in it for the case that the place is lost."""
        return f"{self.base}spawn/wait/{ticket_id}" + (f"?path={_quoted(wish)}" if wish else "")

    def notes(self, slug: str) -> str:
        """A workshop to read."""
        return f"{self.base}workshops/{slug}/"

    def static(self, digest: str) -> str:
        """Where the shared static files of an image are, without a slash at the end."""
        return f"{self.base}{STATIC}/{digest}"


def _quoted(wish: str) -> str:
    return urllib.parse.quote(wish, safe="")
