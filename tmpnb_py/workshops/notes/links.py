"""Rewrites a notebook's links and pictures for its page. Pure.

A notebook cannot choose paths of this service's own URLs, and no picture is loaded from other sites, so that reading
notes does not reveal the reader to them.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import posixpath
import re
import urllib.parse
from collections.abc import Iterable, Mapping

from tmpnb_py.workshops.notes.interactive import MEDIA
from tmpnb_py.workshops.notes.notebook import MAX_PICTURE, PICTURES, SVG, Picture, is_picture

MAX_FILES = 200  # of a notebook that are read from the image
EXTENSIONS = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "svg": SVG,
}
_SUFFIX = {**MEDIA, **{kind: extension for extension, kind in reversed(EXTENSIONS.items())}}
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")
_INSIDE = "#" + urllib.parse.quote("\ue000")  # marks links within the page until all its anchors are known
_DATA = re.compile(r"data:(image/[a-z+]{1,20});base64,([A-Za-z0-9+/=%\s]+)")


def media_type(path: str) -> str | None:
    """A picture's type by its name; None if it is none."""
    return EXTENSIONS.get(path.rpartition(".")[2].lower())


@dataclasses.dataclass(slots=True)
class LinkRewriter:
    """Rewrites references, and collects what the page will need.

    `start` is the notebook's place among the workshops; `pages` are the slugs of workshops with pages by their
    places. `files` are places of pictures beside the notebook, `pictures` those inside it by their new names.
    """

    start: str
    pages: Mapping[str, str] = dataclasses.field(default_factory=dict)
    files: set[str] = dataclasses.field(default_factory=set)
    pictures: dict[str, Picture] = dataclasses.field(default_factory=dict)

    def href(self, reference: str) -> str | None:
        """A link's address on the page; None if it must not lead anywhere."""
        reference = _clean(reference)
        if reference.startswith("#"):
            return _INSIDE + urllib.parse.quote(urllib.parse.unquote(reference[1:]), safe="")
        if re.match(r"(https?://[^/]|mailto:)", reference, re.IGNORECASE):
            return reference
        reference, _, fragment = reference.partition("#")
        place = self._place(reference)
        if place is None:
            return None
        if place in self.pages:
            anchor = urllib.parse.quote(urllib.parse.unquote(fragment))
            return f"../{self.pages[place]}/" + (f"#{anchor}" if anchor else "")
        return "../../spawn/lab/tree/" + urllib.parse.quote(place)  # from workshops/<slug>/

    @staticmethod
    def resolved(body: str, anchors: Iterable[str]) -> str:
        """Resolve links within the page to its anchors, even if they are spelled slightly differently.

        Jupyter keeps a heading's capitals and punctuation; GitHub and others, for which authors write, do not.
        """
        known = set(anchors)
        alike: dict[str, str] = {}
        for anchor in anchors:
            alike.setdefault(_loosely(anchor), anchor)

        def lead(found: re.Match[str]) -> str:
            wanted = urllib.parse.unquote(found[1])
            anchor = wanted if wanted in known else alike.get(_loosely(wanted), wanted)
            return f'href="#{urllib.parse.quote(anchor, safe="")}"'

        return re.sub(rf'href="{_INSIDE}([^"]*)"', lead, body)

    def picture(self, reference: str, attachments: Mapping[str, Picture]) -> str | None:
        """A picture's address on the page; None if it is not shown."""
        reference = _clean(reference)
        if reference.startswith("attachment:"):
            attached = attachments.get(urllib.parse.unquote(reference.removeprefix("attachment:")))
            return None if attached is None else self.keep(attached)
        if (inline := _DATA.fullmatch(reference)) is not None:
            embedded = _decoded(inline[1], inline[2])
            return None if embedded is None else self.keep(embedded)
        place = self._place(reference.partition("#")[0].partition("?")[0])
        if place is None or media_type(place) is None or len(self.files | {place}) > MAX_FILES:
            return None
        self.files.add(place)
        return file_name(place)

    def keep(self, picture: Picture) -> str:
        """Keep a picture that is in the notebook itself, and return its address."""
        name = f"images/{hashlib.sha256(picture.data).hexdigest()[:16]}.{_SUFFIX[picture.type]}"
        self.pictures[name] = picture
        return name

    def _place(self, reference: str) -> str | None:
        """Resolve a relative reference to a place among the workshops."""
        if not reference or reference.startswith("/") or "\\" in reference or _SCHEME.match(reference):
            return None
        path = urllib.parse.unquote(reference)
        if any(ord(char) < 32 or ord(char) == 127 for char in path) or "\\" in path or path.startswith("/"):
            return None
        place = posixpath.normpath(posixpath.join(posixpath.dirname(self.start), path))
        return None if place in (".", "..") or place.startswith(("../", "/")) else place


def _loosely(anchor: str) -> str:
    """An anchor without the characters that authors of links omit."""
    return re.sub(r"[^\w]+", "-", anchor).strip("-").casefold()


def file_name(place: str) -> str:
    """The relative address of a picture beside the notebook."""
    return "files/" + urllib.parse.quote(place)


def _clean(reference: str) -> str:
    """Strip outer blanks, tabs and line ends, as browsers do (WHATWG URL, 4.4)."""
    return re.sub(r"[\t\r\n]", "", reference).strip("\x00 " + "".join(map(chr, range(1, 32))))


def _decoded(kind: str, encoded: str) -> Picture | None:
    if kind not in (*PICTURES, SVG) or len(encoded) > MAX_PICTURE * 4 // 3:
        return None
    try:
        data = base64.b64decode(urllib.parse.unquote(encoded), validate=True)
    except (binascii.Error, ValueError):
        return None
    return Picture(kind, data) if is_picture(kind, data) else None
