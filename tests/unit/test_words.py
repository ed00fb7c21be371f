"""Texts for visitors: all are marked, every language has them, and what translators write stays text."""

from __future__ import annotations

import ast
import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser

import jinja2
import pytest
from babel.messages import Catalog
from babel.messages.pofile import read_po
from jinja2 import nodes

from tests.words import (
    CATALOGUES,
    LAB,
    ROOT,
    SERVER,
    catalogue,
    extracted,
    forms,
    of_the_image,
    untranslated,
    updated,
)
from tmpnb_py.core.installation import PACKAGE
from tmpnb_py.web import assets
from tmpnb_py.web.templates import _Templates, around, templates
from tmpnb_py.words.tags import SOURCE, tags
from tmpnb_py.words.words import Words, filled, filled_markup, words

OTHERS = tags()[1:]
FRONTEND = PACKAGE / "frontend"
_SLOT = re.compile(r"\{/?[a-z_]+\}")
# What stands on pages in every language: names, and what one types.
_UNTRANSLATED = re.compile(
    r"JupyterLab|introduction-to-r|Tue 14:00-16:00|--allowed-hosts|TMPNB_ALLOWED_HOSTS=|allowed_hosts = |18:00"
)
_WORD = re.compile(r"[A-Za-z]{2,}")
# The macro `tongue` makes attributes, and the block `kind` names a class.
_NO_TEXT = re.compile(
    r"\{% macro tongue.*?endmacro %\}|\{% block kind %\}\w+|\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", re.DOTALL
)
_ATTRIBUTES = ("alt", "aria-label", "placeholder", "title")
# Calls whose strings are no texts for visitors, or are translated by the call.
_CALLS = {"_", "ngettext", "pgettext", "code", "around", "to", "start", "afresh", "for_class"}


# --- every text is marked


class _Visible(HTMLParser):
    """The words of a page that people see or hear."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._hidden = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "style"):
            self._hidden = tag
        self.found += [value or "" for name, value in attrs if name in _ATTRIBUTES]

    def handle_endtag(self, tag: str) -> None:
        if tag == self._hidden:
            self._hidden = ""

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.found.append(data)


PAGES = sorted(path.name for path in FRONTEND.glob("*.html"))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_words_beside_those_of_the_catalogues(name: str) -> None:
    without = _NO_TEXT.sub("", (FRONTEND / name).read_text())
    page = _Visible()
    page.feed(without)
    left = [_UNTRANSLATED.sub("", text) for text in page.found]
    assert [text.strip() for text in left if _WORD.search(text)] == []


@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_chooses_among_is_marked_too(name: str) -> None:
    tree = jinja2.Environment().parse((FRONTEND / name).read_text())
    found = [one for output in tree.find_all(nodes.Output) for one in _strings(output)]
    assert [text for text in found if re.search(r"[a-z]{2,} [a-z]{2,}|^[A-Z][a-z]+$", text)] == []


def _strings(node: nodes.Node) -> Iterator[str]:
    if isinstance(node, nodes.Call) and getattr(node.node, "name", getattr(node.node, "attr", "")) in _CALLS:
        return
    if isinstance(node, nodes.Const) and isinstance(node.value, str):
        yield node.value
    for child in node.iter_child_nodes():
        yield from _strings(child)


def test_messages_have_no_sentences_beside_those_of_the_catalogues() -> None:
    """Docstrings apart, a string with blanks in it is an argument of a function that translates or marks it."""
    tree = ast.parse((PACKAGE / "web" / "messages.py").read_text())
    known = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _called(node) in {"gettext", "ngettext", "pgettext", "to_translate"}
        for argument in node.args
        for inner in ast.walk(argument)
    }
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in known | docs
        and re.search(r"[a-z]{2,} [a-z]{2,}", node.value)
    ]
    assert found == []


def test_no_text_hides_in_an_f_string() -> None:
    """There no catalogue gets it: before Python 3.12 such a string is one token."""
    hidden = [
        f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(inner)}"
        for path in (*PACKAGE.rglob("*.py"), *SERVER.glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.JoinedStr)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Call)
        and _called(inner) in {"gettext", "ngettext", "pgettext", "to_translate"}
        and isinstance(inner.args[0], ast.Constant)
    ]
    assert hidden == []


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


# --- every language has it


@pytest.fixture(scope="module")
def texts() -> Catalog:
    return extracted()


@pytest.mark.parametrize("tag", OTHERS)
def test_a_catalogue_has_the_texts_that_there_are_and_no_other(tag: str, texts: Catalog) -> None:
    assert (CATALOGUES / f"{tag}.po").read_text(encoding="utf-8") == updated(tag, texts), "run python -m tests.words"


def test_german_is_complete() -> None:
    assert untranslated(catalogue("de")) == []


@pytest.mark.parametrize("tag", OTHERS)
def test_a_translation_has_the_places_of_its_text_and_no_markup(tag: str) -> None:
    for one in catalogue(tag):
        if not one.id or not any(forms(one.string)):
            continue
        *_, text = forms(one.id)  # of several forms the last has all places
        for form in forms(one.string):
            missing = set(_SLOT.findall(text)) ^ set(_SLOT.findall(form))
            assert missing <= ({"{count}"} if len(forms(one.id)) > 1 else set()), (text, form)
            for name in re.findall(r"\{/([a-z_]+)\}", form):
                assert form.index(f"{{{name}}}") < form.index(f"{{/{name}}}"), form
            assert not re.search(r"[<>&]|\{[^a-z/]", form), form
            assert form.strip() == form or not form.strip(), form


@pytest.mark.parametrize("tag", OTHERS)
def test_the_image_has_the_same_texts(tag: str) -> None:
    assert (LAB / f"words-{tag}.json").read_text(encoding="utf-8") == of_the_image(tag), "run python -m tests.words"
    assert json.dumps(list(OTHERS)) in (LAB / "words.js").read_text(), "TAGS in words.js"


def test_a_new_language_begins_with_every_text(texts: Catalog) -> None:
    made = updated("fr", texts)
    assert "Plural-Forms: " in made
    assert len(untranslated(_read(made, "fr"))) == len(texts)
    assert not (CATALOGUES / "fr.po").exists()


# --- what a text becomes


def _read(text: str, tag: str = "de") -> Catalog:
    return read_po(io.StringIO(text), locale=tag, abort_invalid=True)


def _words(*translations: tuple[str, str]) -> Words:
    made = Catalog(locale="de")
    for text, translation in translations:
        made.add(text, translation)
    return Words("de", made)


def test_values_are_in_their_places_and_nothing_else_is_looked_up() -> None:
    assert filled("{a} of {b}: {c}, {a.__class__}, {0}", {"a": 1, "b": "{a}"}) == "1 of {a}: {c}, {a.__class__}, {0}"


def test_a_translation_cannot_put_markup_into_a_page() -> None:
    evil = '<script>{name}</script> & "'
    environment = _Templates(_words(("Plain.", evil), ("With {name}.", evil), ("{a}In{/a}", "<b>{a}x{/a}")))
    page = environment.from_string(
        '<p title="{{ _("Plain.") }}">{{ _("Plain.") }}</p>{{ _("With {name}.", name=name) }}'
        '{{ _("{a}In{/a}", a=around("a", href=name)) }}'
    ).render(name='<i>"')
    assert "<script>" not in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert page.startswith('<p title="&lt;script&gt;{name}&lt;/script&gt; &amp; &#34;">&lt;script&gt;{name}')
    assert "&lt;script&gt;&lt;i&gt;&#34;&lt;/script&gt;" in page
    assert page.endswith('&lt;b&gt;<a href="&lt;i&gt;&#34;">x</a>')


def test_an_element_is_round_its_words() -> None:
    link = around("a", href="/x?a&b", class_="plain")
    assert filled_markup("See {a}this & that{/a}.", {"a": link}) == (
        'See <a href="/x?a&amp;b" class="plain">this &amp; that</a>.'
    )


def test_a_text_without_values_costs_a_page_nothing() -> None:
    """It is in the template's code already, in its language and escaped."""
    for tag in tags():
        environment = templates(tag)
        code = environment.compile(environment.loader.get_source(environment, "lost.html")[0], raw=True)  # type: ignore[union-attr]
        assert words(tag).gettext("Your place in line was given up") in code
        assert code.count("resolve_or_missing('_')") == 0


def test_numbers_and_plurals_are_the_languages_own() -> None:
    german = words("de")
    assert german.number(1.5) == "1,5"
    assert [german.ngettext("about one hour", "about {count} hours", n) for n in (1, 1.5, 2)] == [
        "etwa einer Stunde",
        "etwa 1,5 Stunden",
        "etwa 2 Stunden",
    ]
    assert german.plurals == {"one": 0, "other": 1}
    polish = Words("pl", Catalog(locale="pl"))
    assert polish.plurals == {"one": 0, "few": 1, "many": 2}


# --- scripts


def test_a_script_has_the_texts_that_it_shows_and_no_others() -> None:
    german = assets.page_script("copy.js", words("de"))
    assert '"Copy link": "Link kopieren"' in german
    assert "Workshops direkt" not in german
    assert "Link kopieren" not in assets.page_script("copy.js", words())


def test_what_closes_a_script_is_no_text_in_it() -> None:
    evil = Catalog(locale="de")
    evil.add("Copy link", "</script><!--", locations=[("tmpnb_py/frontend/copy.js", 0)])
    assert "</script" not in assets.page_script("copy.js", Words("de", evil))


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_scripts_choose_forms_as_the_catalogues_say() -> None:
    texts = {"one": ["eins", "{count} viele"], "a {b}": "{b}!{c}"}
    table = json.dumps({**assets.table(["visit.js"], words("de")), "texts": texts})
    shown = (
        'ngettext("one", "{count} many", 1), ngettext("one", "{count} many", 2000), _("a {b}", { b: "$&" }), '
        '_("none {x}"), _("constructor"), ngettext("x", "{count} y", 0)'
    )
    code = f"const WORDS = {table};\n{assets.script('words.js')}\nconsole.log(JSON.stringify([{shown}]))"
    done = subprocess.run(["node", "-e", code], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == ["eins", "2.000 viele", "$&!{c}", "none {x}", "constructor", "0 y"]


def test_the_source_needs_no_catalogue() -> None:
    assert not (CATALOGUES / f"{SOURCE}.po").exists()
    assert not list(ROOT.glob("tmpnb_py/**/*.mo"))
