"""The content of a page of notes, and its serialisation between processes. Pure, and light to import."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping

from tmpnb_py.workshops.notes.notebook import Picture


@dataclasses.dataclass(frozen=True, slots=True)
class Heading:
    """A heading with its anchor."""

    level: int
    anchor: str
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Notes:
    """The content of a page of notes.

    `files` are the places, among the workshops, of pictures on the page; `pictures` are those in the notebook itself,
    by relative URL. `remarks` tell the author what cannot be shown as intended. `lang` tags the language of the text
    ("" if not given); `language` is the kernel's.
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
    """Read what `dump` wrote."""
    fields = json.loads(data)
    headings = tuple(Heading(*heading) for heading in fields.pop("headings"))
    pictures = {name: Picture(kind, base64.b64decode(text)) for name, (kind, text) in fields.pop("pictures").items()}
    fields |= {name: tuple(fields[name]) for name in ("files", "remarks")}
    return Notes(**fields, headings=headings, pictures=pictures)
