"""Languages that people speak, and the direction in which they are written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmpnb_py.core.errors import ManifestError
from tmpnb_py.core.language_tags import direction, has_rtl, is_tag
from tmpnb_py.workshops import manifest
from tmpnb_py.workshops.notes.labels import spoken
from tmpnb_py.workshops.notes.model import dump, load
from tmpnb_py.workshops.notes.page import make


@pytest.mark.parametrize(
    ("tag", "runs"),
    [
        ("de", "ltr"),
        ("en-GB", "ltr"),
        ("zh-Hans-CN", "ltr"),
        ("es-419", "ltr"),
        ("de-1996", "ltr"),
        ("ar", "rtl"),
        ("AR-eg", "rtl"),
        ("he", "rtl"),
        ("fa-IR", "rtl"),
        ("ur", "rtl"),
        ("ps", "rtl"),
        ("yi", "rtl"),
        ("ckb", "rtl"),
        ("ar-Latn", "ltr"),  # the script counts before the language
        ("az-Arab", "rtl"),
        ("en-x-class", "ltr"),
    ],
)
def test_a_tag_says_in_which_direction_its_text_runs(tag: str, runs: str) -> None:
    assert is_tag(tag)
    assert direction(tag) == runs


@pytest.mark.parametrize(
    "text", ["", "german", "Deutsch", "d", "de_DE", "de-", "R", "de DE", 'de" x="', "de\n", "a" * 99]
)
def test_what_is_no_tag(text: str) -> None:
    assert not is_tag(text)
    assert direction(text) == ""


@given(st.text(max_size=60))
def test_whatever_is_a_tag_is_safe_in_an_attribute(text: str) -> None:
    if is_tag(text):
        assert text.replace("-", "").isalnum()
        assert text.isascii()


def test_letters_tell_where_nobody_says_so() -> None:
    assert has_rtl("Python هي لغة")
    assert has_rtl("שלום")
    assert not has_rtl("naïve Straße 日本語")


def notebook(*cells: object, **metadata: object) -> bytes:
    entries = [
        {"cell_type": "markdown", "source": cell, "metadata": {}} if isinstance(cell, str) else cell for cell in cells
    ]
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": entries}).encode()


CODE = {"cell_type": "code", "source": "x <- 1", "metadata": {"jupyter": {"source_hidden": True}}, "outputs": []}


def test_a_notebook_names_its_language_before_the_manifest_does() -> None:
    def lang(data: bytes, manifests: str = "") -> str:
        return load(dump(make(data, start="a.ipynb", pages={}, lang=manifests))).lang

    front = '---\ntitle: "Knoten"\nlang: de-AT\n---\n\n# Text'
    assert lang(notebook(front)) == "de-AT"
    assert lang(notebook({"cell_type": "raw", "source": front}), "fr") == "de-AT"
    assert lang(notebook("# Text", lang="pl")) == "pl"
    assert lang(notebook("# Text"), "fr") == "fr"
    assert lang(notebook("# Text")) == ""
    for wrong in ("python", "no tag", 7, None, 'x" onload="'):
        assert lang(notebook("# Text", lang=wrong), "fr") == "fr"


def test_text_runs_as_its_language_says_and_code_left_to_right() -> None:
    body = make(notebook("# عقد", "نص `x <- 1`", CODE, lang="ar"), start="a.ipynb", pages={}).body
    assert '<div class="tn-text">' in body  # as the page
    assert 'data-cell="2" dir="ltr"' in body
    assert '<summary lang="de">SHOW THE CODE</summary>' in spoken(body, str.upper, "de")
    body = make(notebook("One", "نص", CODE), start="a.ipynb", pages={}).body
    assert body.count('dir="auto"') == 1
    assert '<div class="tn-cell" data-cell="2">' in body
    translated = {"cell_type": "markdown", "source": "Ein Text", "metadata": {"lang": "de"}}
    body = make(notebook("One", translated, lang="ar"), start="a.ipynb", pages={}).body
    assert '<div class="tn-text" lang="de" dir="ltr">' in body


def test_an_author_can_say_so_of_a_part() -> None:
    body = make(
        notebook('A <span lang="fr" dir="rtl">mot</span> <i lang="x y" dir="up">z</i>'), start="a", pages={}
    ).body
    assert '<span lang="fr" dir="rtl">mot</span> <i>z</i>' in body


def test_a_manifest_says_it_with_a_tag() -> None:
    text = manifest.EXAMPLE + 'lang = "he"\n'
    found = manifest.parse(text)
    assert (found.workshops[0].lang, found.workshops[0].direction) == ("he", "rtl")
    assert manifest.parse(manifest.dump(found)) == found
    assert "lang =" not in manifest.dump(manifest.parse(manifest.EXAMPLE))  # what is older reads it, too
    with pytest.raises(ManifestError, match='lang cannot be "German": write the tag of the language'):
        manifest.parse(manifest.EXAMPLE + 'lang = "German"\n')
