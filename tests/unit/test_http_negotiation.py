"""`Accept-Encoding` and `If-None-Match`, read in one place for everything that is served."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmpnb_py.core.http_negotiation import accepted_codings, choose_coding, entity_tags, is_not_modified


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
