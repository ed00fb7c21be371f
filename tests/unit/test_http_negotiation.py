"""`Accept-Encoding`, `Accept-Language` and `If-None-Match`, read in one place for everything that is served."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmpnb_py.core.http_negotiation import (
    accepted_codings,
    choose_coding,
    choose_language,
    entity_tags,
    is_not_modified,
    wanted_part,
)


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("BR;q=0, GZIP ; q=0.5", "gzip"),
        ("br;q=0.000,gzip;q=0", ""),
        ("br;q=0.5, gzip", "gzip"),
        ("*", "br"),
        ("*;q=0", ""),
        ("br;q=0, *", "gzip"),
        ("identity", ""),
        ("identity, *;q=0", ""),
        ("identity;q=1, gzip;q=0.5", ""),
        ("identity;q=0.5, gzip;q=0.5", "gzip"),
        ("identity;q=0, gzip;q=0.1", "gzip"),
        ("identity;q=0", ""),  # nothing acceptable is there, and the content as it is better than 415
        ("", ""),
        ("br;q=nonsense, gzip;q=2, ,", ""),
        ("br;q=1.0001", ""),
    ],
)
def test_the_coding_that_the_client_prefers(header: str, coding: str) -> None:
    assert choose_coding(header, ("br", "gzip")) == coding


def test_weights_by_name() -> None:
    assert accepted_codings("GZIP;q=0.25, br ,*; q=0") == {"gzip": 0.25, "br": 1.0, "*": 0.0}


@pytest.mark.parametrize(
    ("header", "has_it"),
    [
        ('"x"', True),
        ('W/"x"', True),
        ('"y", W/"x"', True),
        ('"a,b","x"', True),
        ("*", True),
        (" * ", True),
        ('"y"', False),
        ('"*"', False),
        ("x", False),
        ('"x', False),
        ("", False),
    ],
)
def test_whether_the_client_has_it(header: str, has_it: bool) -> None:
    assert is_not_modified(header, '"x"') is has_it
    assert is_not_modified(header, 'W/"x"') is has_it


def test_a_tag_may_hold_a_comma() -> None:
    assert entity_tags('"a,b", W/"c"') == ['"a,b"', 'W/"c"']


@given(st.text(max_size=60))
def test_any_header_is_read(header: str) -> None:
    assert choose_coding(header, ("br", "gzip")) in ("", "br", "gzip")
    assert is_not_modified(header, '"x"') in (True, False)


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("de", "de"),
        ("DE-ch-1996", "de"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("en-GB,en;q=0.9,de;q=0.8", "en"),
        ("fr-FR, de;q=0.2, en;q=0.1", "de"),
        ("fr", "en"),  # nothing acceptable is there, and a page that can be read is better than 406
        ("de;q=0", "en"),
        ("de;q=0.000, *", "en"),
        ("en;q=0, *;q=0.1", "de"),
        ("*", "en"),
        ("*, de;q=0.1", "en"),
        ("de;q=0.5, en;q=0.5", "de"),
        ("pt-BR", "pt-BR"),
        ("pt-br-x-any", "pt-BR"),
        ("pt", "en"),  # lookup shortens what is asked for, not what there is
        ("x, de;q=2, de;q=0.1234, de q=1, ;, d\u00e9, en;q=0.1", "en"),
        ("de-", "en"),
        (", ,de", "de"),
        ("fr," * 49 + "de", "de"),
        ("fr," * 50 + "de", "en"),
        ("a" * 5000, "en"),
    ],
)
def test_a_language_is_chosen_as_rfc_9110_and_4647_say(header: str, language: str) -> None:
    assert choose_language(header, ("en", "de", "pt-BR")) == language


@given(st.text(), st.lists(st.sampled_from(["en", "de", "de-CH", "*", "fr"]), max_size=5))
def test_any_header_gives_a_language_that_there_is(text: str, wanted: list[str]) -> None:
    assert choose_language(",".join([*wanted, text]), ("en", "de")) in ("en", "de")


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("bytes=3-", (3, 10)),
        ("bytes=3-3", (3, 4)),
        ("bytes=0-99", (0, 10)),
        ("bytes=9-", (9, 10)),
        ("bytes=10-", None),
        ("bytes=4-3", None),
        ("bytes=-3", None),
        ("bytes=1-2,4-5", None),
        ("lines=1-2", None),
        ("", None),
    ],
)
def test_who_has_another_part_of_the_same_may_ask_for_one(wanted: str, part: tuple[int, int] | None) -> None:
    assert wanted_part(wanted, '"x-br"', '"x-br"', 10) == part
    for other in ("", '"x"', 'W/"x-br"', "Mon, 30 Nov 2026 20:00:00 GMT"):
        assert wanted_part(wanted, other, '"x-br"', 10) is None
    assert wanted_part(wanted, 'W/"x"', 'W/"x"', 10) is None
