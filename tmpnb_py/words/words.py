"""Texts in one language. Pages, messages and scripts get theirs from a `Words`; catalogues are read once.

A text has places in braces, `{name}`, for values, and pairs such as `{a}…{/a}` round words that get an element. What
a translator writes is text wherever it goes: on pages it is escaped, and markup comes from the values alone. Places
are replaced by name, so no translation reaches further than a value's own form.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import gettext
import io
import re
from collections.abc import Iterable, Mapping

import markupsafe
from babel import Locale
from babel.dates import format_date
from babel.messages import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal

from tmpnb_py.core.http_negotiation import choose_language
from tmpnb_py.core.language_tags import direction
from tmpnb_py.words.tags import AUTO, FOLDER, SOURCE, tags

_SLOT = re.compile(r"\{(/?)([a-z_]+)\}")
_COUNTED = 200  # numbers among which each plural form of a language occurs
_LOCALES = {SOURCE: "en_GB"}  # whose dates begin with the day, as all of ours
Forms = str | list[str]


@dataclasses.dataclass(frozen=True, slots=True)
class Around:
    """An element round some words of a text: `{a}…{/a}`."""

    opening: markupsafe.Markup
    closing: markupsafe.Markup


def filled(text: str, values: Mapping[str, object]) -> str:
    """A text with its values, as plain text. Other braces stay as they are."""
    if not values:
        return text
    return _SLOT.sub(lambda found: str(values.get(found[2], found[0])), text)


def filled_markup(text: str, values: Mapping[str, object]) -> markupsafe.Markup:
    """A text with its values, as HTML: all is escaped but values that are markup, and the elements of pairs."""

    def piece(found: re.Match[str]) -> str:
        value = values.get(found[2], found[0])
        if isinstance(value, Around):
            return value.closing if found[1] else value.opening
        return markupsafe.escape(value)

    return markupsafe.Markup(_SLOT.sub(piece, str(markupsafe.escape(text))))  # noqa: S704  (escaped, piece by piece)


class Words:
    """The texts of one language, with its forms of plurals, dates and numbers. Immutable."""

    def __init__(self, tag: str, catalogue: Catalog | None = None) -> None:
        """`tag` is of BCP 47. Without a catalogue texts are shown as they are."""
        self.tag = tag
        self.direction = direction(tag)
        self.attributes = markupsafe.Markup(' lang="{}" dir="{}"').format(tag, self.direction)  # of an element in it
        self._locale = Locale.parse(_LOCALES.get(tag, tag), sep="_" if tag in _LOCALES else "-")
        self._catalogue = catalogue
        self._texts = _compiled(catalogue) if catalogue is not None else gettext.NullTranslations()

    def gettext(self, text: str, /, **values: object) -> str:
        """A text, with its values."""
        return filled(self._texts.gettext(text), values)

    def ngettext(self, one: str, several: str, count: float, /, **values: object) -> str:
        """A text that depends on a number. `{count}` is that number unless it is given in another form."""
        return filled(self._texts.ngettext(one, several, _whole(count)), {"count": self.number(count), **values})

    def pgettext(self, context: str, text: str, /, **values: object) -> str:
        """A text whose meaning depends on where it stands: `context` tells translators."""
        return filled(self._texts.pgettext(context, text), values)

    def number(self, value: float) -> str:
        """A number in the language's form; whole ones without separators, as they are short."""
        return str(value) if isinstance(value, int) else str(format_decimal(value, locale=self._locale))

    def date(self, moment: datetime.datetime, pattern: str) -> str:
        """A date by a pattern of CLDR (UTS 35, "Date Format Patterns"), which is a text that is translated, too."""
        return format_date(moment, pattern, self._locale)

    def of_files(self, names: Iterable[str]) -> dict[str, Forms]:
        """The translated texts of some source files, for scripts, by text; U+0004 parts a context from it."""
        wanted = set(names)
        return {
            f"{one.context}\x04{_key(one.id)}" if one.context else _key(one.id): _forms(one.string)
            for one in self._catalogue or ()
            if one.id and any(name in wanted for name, _ in one.locations)
        }

    @property
    def plurals(self) -> Mapping[str, int]:
        """Which of a text's forms belongs to each plural category of CLDR, those of browsers' `Intl.PluralRules`."""
        if self._catalogue is None:
            return {"one": 0, "other": 1}
        choose = gettext.c2py(self._catalogue.plural_expr)
        return {self._locale.plural_form(number): choose(number) for number in reversed(range(_COUNTED))}


def _whole(count: float) -> int:
    """The number that chooses a plural form: what is not whole counts as several."""
    return int(count) if count == int(count) else _COUNTED


def _key(text: str | tuple[str, ...] | list[str]) -> str:
    return text if isinstance(text, str) else text[0]


def _forms(text: str | tuple[str, ...] | list[str] | None) -> Forms:
    return text or "" if isinstance(text, str | None) else list(text)


def _compiled(catalogue: Catalog) -> gettext.GNUTranslations:
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


@functools.cache
def words(tag: str = SOURCE) -> Words:
    """The texts of a language that there is. Read at the first use."""
    if tag == SOURCE:
        return Words(SOURCE)
    text = (FOLDER / f"{tag}.po").read_text(encoding="utf-8")
    return Words(tag, read_po(io.StringIO(text), locale=tag.replace("-", "_"), abort_invalid=True))


def chosen(option: str, accept_language: str) -> Words:
    """The texts for somebody: those that the operator chose, or with `auto` those that the browser prefers."""
    return words(choose_language(accept_language, tags()) if option == AUTO else option)
