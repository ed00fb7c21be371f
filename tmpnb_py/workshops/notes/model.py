"""What a page is made of, and its way from one process to another. Pure, and light to import."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping

from tmpnb_py.workshops.notes.notebook import Picture


@dataclasses.dataclass(frozen=True, slots=True)
class Heading:
    """A heading with the address of its own that it got."""

    level: int
    anchor: str
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Notes:
    """What a page is made of.

    `files` are places among the workshops of pictures that the page shows; `pictures` those out of the notebook
    itself, by their addresses relative to the page. `remarks` tell the author what is not
    shown as it is meant. `lang` tags the language that the text is written in ("" = not said), as distinct from
    `language`, which is the kernel's.
    """

    title: str
    kernel: str
    language: str
    headings: tuple[Heading, ...]
    body: str
    files: tuple[str, ...] = ()
    pictures: Mapping[str, Picture] = dataclasses.field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    lang: str = ""


def dump(notes: Notes) -> bytes:
    """As JSON."""
    pictures = {
        name: [picture.type, base64.b64encode(picture.data).decode()] for name, picture in notes.pictures.items()
    }
    headings = [dataclasses.astuple(heading) for heading in notes.headings]
    fields = {field.name: getattr(notes, field.name) for field in dataclasses.fields(notes)}
    return json.dumps({**fields, "headings": headings, "pictures": pictures}).encode()


def load(data: bytes) -> Notes:
    """What `dump` wrote."""
    fields = json.loads(data)
    headings = tuple(Heading(*heading) for heading in fields.pop("headings"))
    pictures = {name: Picture(kind, base64.b64decode(text)) for name, (kind, text) in fields.pop("pictures").items()}
    fields |= {name: tuple(fields[name]) for name in ("files", "remarks")}
    return Notes(**fields, headings=headings, pictures=pictures)
