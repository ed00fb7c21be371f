"""The workshops' manifest, `workshops.toml`: the workshops that the landing page shows. Pure.

It is read from untrusted images and from authors' folders. Every mistake is reported in a `ManifestError` that names
the workshop, the key, and what to write instead.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Self

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import ErrorDetails

from tmpnb_py.core import languages, warm
from tmpnb_py.core.errors import ManifestError
from tmpnb_py.core.http_negotiation import choose_language
from tmpnb_py.core.language_tags import direction, is_tag

MANIFEST_NAME = "workshops.toml"
MAX_SIZE = 256 * 1024  # bytes; a manifest of a thousand workshops is smaller
EXAMPLE = """\
[[workshop]]
slug = "introduction-to-r"
title = "Introduction to R"
language = "R"
description = "Vectors, data frames and first plots, with exercises."
duration = 60
start = "introduction-to-r/Introduction to R.ipynb"
"""

_MOST_PRELOADED = 16  # packages of one workshop
_MOST_TRANSLATIONS = 50  # of one workshop
_OF_TRANSLATION = 3  # parts of the place of a mistake in one
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")
_WRITE = {
    "slug": 'lower-case letters, digits and single dashes, such as slug = "introduction-to-r"',
    "title": 'one line of at most 100 characters, such as title = "Introduction to R"',
    "language": 'one line of at most 40 characters, such as language = "R"',
    "description": "one line of at most 300 characters",
    "duration": "the minutes as a whole number from 1 to 1440, such as duration = 60",
    "lang": 'the tag of the language that it is written in, such as lang = "de" or "pt-BR" (BCP 47), or omit it',
    "start": 'the document that opens, relative to the manifest, such as start = "introduction-to-r/Start.ipynb"',
    "warm": 'the kernel that its notebooks use, such as warm = "ir", or warm = "none", or omit it',
    "preload": 'the packages to load in that kernel, such as preload = ["tidyverse"], at most 16, or omit it',
    "translations": "at most 50 tables like [workshop.translations.de], each with title and description, or omit it",
}


def _one_line(text: str) -> str:
    text = text.strip()
    if not text or _CONTROL.search(text):
        raise ValueError("is empty or has more than one line")
    return text


def _relative(text: str) -> str:
    path = PurePosixPath(text)
    if not text or _CONTROL.search(text) or "\\" in text or path.is_absolute() or ".." in path.parts:
        raise ValueError("is not a path inside the folder")
    if str(path) == ".":
        raise ValueError("names no document")
    return str(path)


def _tongue(text: str) -> str:
    if not is_tag(text):
        raise ValueError('is no language tag, such as "de" or "pt-BR"')
    return text


def _kernel(text: str) -> str:
    if not warm.is_kernel(text):
        raise ValueError("is no kernel's name")
    return text


def _package(text: str) -> str:
    if not warm.is_package(text):
        raise ValueError("is no package's name")
    return text


_Line = AfterValidator(_one_line)
_Slug = StringConstraints(max_length=64, pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
_Title = Annotated[str, Field(max_length=100), _Line]
_Description = Annotated[str, Field(max_length=300), _Line]
_Tag = Annotated[str, AfterValidator(_tongue)]


class Translation(BaseModel):
    """What a workshop is called in another language."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    title: _Title
    description: _Description


class Workshop(BaseModel):
    """One workshop. `duration` is in minutes; `start` is a path relative to the manifest and to `~/work`.

    `language` is the programming language; `lang` tags the language of the text, "" if not given, and `translations`
    has others by their tags. `warm` is the kernel that may be started before a visitor comes, "" for the one that
    the language tells, "none" for none; `preload` are packages that are loaded in it then.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    slug: Annotated[str, _Slug]
    title: _Title
    language: Annotated[str, Field(max_length=40), _Line]
    description: _Description
    duration: Annotated[int, Field(ge=1, le=1440)]
    start: Annotated[str, Field(max_length=400), AfterValidator(_relative)]
    lang: _Tag = ""
    warm: Annotated[str, AfterValidator(_kernel)] = ""
    # Strict models take a tuple, and TOML has lists.
    preload: Annotated[
        tuple[Annotated[str, AfterValidator(_package)], ...], Field(strict=False, max_length=_MOST_PRELOADED)
    ] = ()
    translations: Annotated[dict[_Tag, Translation], Field(max_length=_MOST_TRANSLATIONS)] = {}

    @model_validator(mode="after")
    def _other_languages(self) -> Self:
        """Readers get what they prefer among all languages, so each needs its name, once."""
        if self.translations and not self.lang:
            raise ValueError(f"translations need to know what they translate: write {_WRITE['lang']}")
        if twice := _twice(tag.lower() for tag in (self.lang, *self.translations)):
            raise ValueError(f"translations have a language twice, or that of the workshop itself: {twice[0]}")
        return self

    def __hash__(self) -> int:
        """Its translations are a dictionary, which has no hash; equal workshops have equal ones all the same."""
        return hash((self.slug, self.title, self.start, tuple(sorted(self.translations))))

    def for_reader(self, languages: str) -> Workshop:
        """The same in the language that its reader prefers, as `Accept-Language` says it; "" says nothing."""
        found = choose_language(languages, (self.lang, *self.translations)) if self.translations else self.lang
        if found == self.lang:
            return self
        told = self.translations[found]
        return self.model_copy(update={"title": told.title, "description": told.description, "lang": found})

    @property
    def is_cold(self) -> bool:
        """Whether it wants no kernel to be started before a visitor comes."""
        return self.warm == warm.NONE

    @property
    def kernel(self) -> str:
        """The kernel that its notebooks use, as far as the manifest tells; "" if unknown."""
        if self.warm and not self.is_cold:
            return self.warm
        language = languages.find(self.language)
        return language.kernel if language is not None else ""

    @property
    def direction(self) -> str:
        """The direction of its text: "ltr", "rtl", or "" if not given."""
        return direction(self.lang)


class Manifest(BaseModel):
    """The workshops in display order."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    workshops: tuple[Workshop, ...] = ()

    def find(self, slug: str) -> Workshop | None:
        """The workshop with this slug; None if there is none."""
        return next((one for one in self.workshops if one.slug == slug), None)

    def merged(self, other: Manifest) -> Manifest:
        """The other manifest's workshops, followed by those of this one with other slugs."""
        kept = tuple(one for one in self.workshops if other.find(one.slug) is None)
        return Manifest(workshops=other.workshops + kept)


def parse(data: bytes | str, *, source: str = MANIFEST_NAME) -> Manifest:
    """Parse a manifest. Raises `ManifestError` with all mistakes; `source` names the file in messages."""
    if len(data) > MAX_SIZE:
        raise ManifestError(f"{source} is larger than {MAX_SIZE // 1024} KiB")
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        document = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise ManifestError(f"{source} is not UTF-8 text: {error.reason}", remedy="save it as UTF-8") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ManifestError(
            f"{source} is not TOML: {error}", remedy=f"it should look like this:\n{EXAMPLE}"
        ) from error
    return _validate(_entries(document, source), source)


def read_file(path: Path) -> Manifest:
    """Read an operator's own list of workshops. Raises `ManifestError`."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_SIZE + 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ManifestError(f"{path} cannot be read: {reason}", remedy="check the option workshops_file") from error
    return parse(data, source=str(path))


def _entries(document: dict[str, Any], source: str) -> list[Any]:
    entries = document.pop("workshop", [])
    if document:
        unknown = ", ".join(sorted(document))
        raise ManifestError(f"{source}: unknown: {unknown}", remedy="each workshop begins with a line [[workshop]]")
    if not isinstance(entries, list):
        raise ManifestError(f"{source}: workshop is not a list", remedy="write [[workshop]] with two brackets")
    return entries


def _validate(entries: list[Any], source: str) -> Manifest:
    problems: list[str] = []
    workshops: list[Workshop] = []
    for number, entry in enumerate(entries, start=1):
        try:
            workshops.append(Workshop.model_validate(entry))
        except pydantic.ValidationError as error:
            problems += [f"{source}: workshop {_name(number, entry)}: {one}" for one in _explain(error, entry)]
    problems += [f"{source}: two workshops have the slug {slug}" for slug in _twice(one.slug for one in workshops)]
    if problems:
        raise ManifestError("\n".join(problems), remedy="fix these in the manifest, and try again")
    return Manifest(workshops=tuple(workshops))


def _name(number: int, entry: Any) -> str:
    slug = entry.get("slug") if isinstance(entry, dict) else None
    return f"{number} ({_short(slug)})" if isinstance(slug, str) else str(number)


def _explain(error: pydantic.ValidationError, entry: Any) -> Iterable[str]:
    for detail in error.errors(include_url=False):
        place = [str(part) for part in detail["loc"]]
        if place[:1] == ["translations"] and len(place) == _OF_TRANSLATION:
            tag, key = place[1:]
            yield f"translations {_short(tag)}: {_mistake(key, detail, entry['translations'][tag])}"
        else:
            yield _mistake(place[0] if place else "", detail, entry)


def _mistake(key: str, detail: ErrorDetails, entry: Any) -> str:
    """What is wrong with a key of a table."""
    if detail["type"] == "missing":
        return f"{key} is missing: write {_WRITE[key]}"
    if detail["type"] == "extra_forbidden":
        close = difflib.get_close_matches(key, _WRITE, n=1)
        return f"{_short(key)} is unknown" + (f": did you mean {close[0]}?" if close else "")
    if key in _WRITE:
        return f"{key} cannot be {_short(entry[key])}: write {_WRITE[key]}"
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"])
    return "is not a table of keys and values"


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _twice(values: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    return sorted({value for value in values if value in seen or seen.add(value)})  # type: ignore[func-returns-value]


def dump(manifest: Manifest) -> str:
    """The manifest as TOML without empty values. (A JSON string is a TOML string, too.)"""
    parts = []
    for workshop in manifest.workshops:
        values = workshop.model_dump(exclude_defaults=True, exclude={"translations"})
        parts.append(_table("[[workshop]]", values))
        for tag, told in workshop.translations.items():
            parts.append(_table(f"[workshop.translations.{tag}]", told.model_dump()))
    return "\n".join(parts)


def _table(heading: str, values: Mapping[str, object]) -> str:
    lines = (f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())
    return "\n".join([heading, *lines, ""])
