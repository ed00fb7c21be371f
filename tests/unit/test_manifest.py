"""The workshops' manifest: what it may hold, and how mistakes are told."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmpnb_py.core.errors import ManifestError
from tmpnb_py.core.installation import workshop_directory
from tmpnb_py.workshops import manifest
from tmpnb_py.workshops.manifest import EXAMPLE, Manifest, Workshop


def workshop(slug: str = "a", **changes: object) -> Workshop:
    values = {
        "slug": slug,
        "title": "A",
        "language": "R",
        "description": "About A.",
        "duration": 60,
        "start": f"{slug}/A.ipynb",
    }
    return Workshop.model_validate(values | changes)


def test_the_example_is_right() -> None:
    (one,) = manifest.parse(EXAMPLE).workshops
    assert (one.slug, one.duration, one.start) == (
        "introduction-to-r",
        60,
        "introduction-to-r/Introduction to R.ipynb",
    )


def test_our_own_is_right() -> None:
    own = manifest.parse((workshop_directory() / "workshops" / manifest.MANIFEST_NAME).read_bytes())
    assert own.workshops


def test_an_empty_one_is_a_manifest() -> None:
    assert manifest.parse("# nothing yet\n") == Manifest()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ('slug = "A b"', 'slug cannot be "A b": write lower-case letters, digits and single dashes'),
        ('title = ""', 'title cannot be "": write one line'),
        ('title = "a\\nb"', "title cannot be"),
        (f'description = "{"x" * 301}"', "description cannot be"),
        ('duration = "90 min"', 'duration cannot be "90 min": write the minutes as a whole number'),
        ("duration = 0", "duration cannot be 0"),
        ("duration = true", "duration cannot be true"),
        ('start = "/etc/passwd"', 'start cannot be "/etc/passwd": write the document that opens'),
        ('start = "../x.ipynb"', "start cannot be"),
        ('start = "."', "start cannot be"),
        ('start = "a\\\\b.ipynb"', "start cannot be"),
        ("titel = 1", '"titel" is unknown: did you mean title?'),
        ("zzz = 1", '"zzz" is unknown'),
    ],
)
def test_a_wrong_value_is_told_with_what_to_write(change: str, told: str) -> None:
    key = change.partition(" = ")[0]
    lines = [change if line.startswith(f"{key} =") else line for line in EXAMPLE.splitlines()]
    text = "\n".join(lines if change in lines else [*lines, change])
    with pytest.raises(ManifestError) as caught:
        manifest.parse(text, source="here.toml")
    assert told in caught.value.message
    assert caught.value.message.startswith("here.toml: workshop 1 (")


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ManifestError) as caught:
        manifest.parse('[[workshop]]\nslug = "a"\n[[workshop]]\ntitle = "B"\n')
    lines = caught.value.message.splitlines()
    assert len(lines) == 10
    assert lines[0].startswith('workshops.toml: workshop 1 ("a"): title is missing: write one line')
    assert lines[-1].startswith("workshops.toml: workshop 2: start is missing")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[workshop]", "is not TOML"),
        (b"\xff\xfe", "is not UTF-8"),
        ("[workshop]\nslug = 'a'", "workshop is not a list"),
        ("workshop = [1]", "workshop 1: is not a table"),
        ("[[workshops]]", "unknown: workshops"),
        (EXAMPLE + EXAMPLE, "two workshops have the slug introduction-to-r"),
        ("#" * (manifest.MAX_SIZE + 1), "is larger than 256 KiB"),
        ("a = " + "[" * 5000, "is not TOML"),
    ],
)
def test_what_is_no_manifest(text: str | bytes, told: str) -> None:
    with pytest.raises(ManifestError, match=told):
        manifest.parse(text)


def test_long_and_hostile_values_are_told_shortly() -> None:
    with pytest.raises(ManifestError) as caught:
        manifest.parse('[[workshop]]\nslug = "\\u001b[31m' + "x" * 5000 + '"\n')
    assert "\x1b" not in caught.value.message
    assert max(map(len, caught.value.message.splitlines())) < 300


def test_what_is_merged_in_comes_first_and_in_its_own_order() -> None:
    old = Manifest(workshops=(workshop("a"), workshop("b")))
    new = Manifest(workshops=(workshop("c"), workshop("b", title="New")))
    merged = old.merged(new)
    assert [one.slug for one in merged.workshops] == ["c", "b", "a"]
    assert (found := merged.find("b")) is not None
    assert found.title == "New"


GERMAN = """
lang = "en"
[workshop.translations.de]
title = "Einführung in R"
description = "Vektoren, Tabellen und erste Diagramme, mit Übungen."
[workshop.translations.pt-BR]
title = "Introdução ao R"
description = "Vetores e gráficos."
"""


@pytest.mark.parametrize(
    ("languages", "title"),
    [
        ("de-AT,de;q=0.9,en;q=0.5", "Einführung in R"),
        ("en;q=0.2, pt-br;q=0.9", "Introdução ao R"),
        ("en-GB, de", "Introduction to R"),
        ("fr", "Introduction to R"),
        ("", "Introduction to R"),
        ("de", "Einführung in R"),
    ],
)
def test_a_reader_gets_the_language_that_they_prefer(languages: str, title: str) -> None:
    (one,) = manifest.parse(EXAMPLE + GERMAN).workshops
    found = one.for_reader(languages)
    assert found.title == title
    assert found.lang == {"Ein": "de", "Int": "en" if "Introduction" in title else "pt-BR"}[title[:3]]
    assert (found.description == one.description) == (found.lang == "en")
    assert found.slug == one.slug


def test_without_translations_everybody_reads_the_same() -> None:
    (one,) = manifest.parse(EXAMPLE).workshops
    assert one.for_reader("de") is one


TRANSLATED = EXAMPLE + GERMAN


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (TRANSLATED.replace('title = "Einf', 'titel = "Einf'), 'translations "de": title is missing: write one line'),
        (TRANSLATED.replace('title = "Einf', 'titel = "Einf'), 'translations "de": "titel" is unknown: did you mean'),
        (TRANSLATED.replace('"Einführung in R"', '""'), 'translations "de": title cannot be "": write one line'),
        (TRANSLATED.replace(".pt-BR", ".pt_BR"), 'translations "pt_BR": is no language tag, such as "de" or "pt-BR"'),
        (EXAMPLE + 'lang = "en"\ntranslations = "de"', 'translations cannot be "de": write at most 50 tables like ['),
        (
            EXAMPLE + 'lang = "en"\ntranslations.de = "R"',
            'translations cannot be {"de": "R"}: write at most 50 tables',
        ),
        (TRANSLATED.replace('lang = "en"', ""), "translations need to know what they translate: write the tag of"),
        (
            TRANSLATED.replace(".pt-BR", ".EN"),
            "translations have a language twice, or that of the workshop itself: en",
        ),
        (
            TRANSLATED.replace(".pt-BR", ".DE"),
            "translations have a language twice, or that of the workshop itself: de",
        ),
    ],
)
def test_a_wrong_translation_is_told_with_what_to_write(text: str, told: str) -> None:
    with pytest.raises(ManifestError) as caught:
        manifest.parse(text)
    assert f'workshops.toml: workshop 1 ("introduction-to-r"): {told}' in caught.value.message


def test_translations_are_bounded() -> None:
    many = "".join(f'translations.x-{number} = {{ title = "A", description = "B" }}\n' for number in range(51))
    with pytest.raises(ManifestError, match="at most 50"):
        manifest.parse(f'{EXAMPLE}lang = "en"\n{many.replace(".x-", ".de-x-")}')


LINES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=40)


@given(title=LINES, description=LINES)
def test_what_is_written_is_read_again(title: str, description: str) -> None:
    told = {"de-AT": {"title": title, "description": description}}
    first = workshop("a", title=title, description=description, lang="en", translations=told)
    whole = Manifest(workshops=(first, workshop("b")))
    assert manifest.parse(manifest.dump(whole)) == whole


@given(st.binary(max_size=200))
def test_nothing_but_a_manifest_error_is_raised(data: bytes) -> None:
    with contextlib.suppress(ManifestError):
        manifest.parse(data)


def test_workshops_with_and_without_translations_are_keys() -> None:
    """Pages that are made once are kept by their workshop."""
    (plain,), (same,), (other,) = (manifest.parse(text.encode()).workshops for text in (EXAMPLE, EXAMPLE, TRANSLATED))
    assert {plain: 1}[same] == 1
    assert len({plain, same, other}) == 2
