"""What of HTTP's grammar the proxy accepts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmpnb_py.proxy.strictness import is_origin_form


@pytest.mark.parametrize(
    "target",
    [b"/", b"//", b"/user/abc/lab?x=1", b"//host/x", b"/a%20b", b"/~!$&'()*+,;=:@\"<>[]{}|\\^`", b"/x?http://a/"],
)
def test_origin_form(target: bytes) -> None:
    assert is_origin_form(target)


@pytest.mark.parametrize(
    "target",
    [
        b"",
        b"*",
        b"x",
        b"a:443",
        b"http://a/",
        b"?x",
        b"/ ",
        b"/a b",
        b"/a\tb",
        b"/a\r\nX: y",
        b"/\n",
        b"/\x00",
        b"/\x7f",
        b"/\x80",
        b"/" + "é".encode(),
        b"/#",
        b"/a?b#c",
        b"/a\n",
    ],
)
def test_not_origin_form(target: bytes) -> None:
    assert not is_origin_form(target)


@given(st.binary(max_size=40) | st.binary(max_size=20).map(lambda rest: b"/x" + rest))
def test_origin_form_is_visible_ascii_from_a_slash_on(target: bytes) -> None:
    visible = all(0x21 <= byte <= 0x7E and byte != ord("#") for byte in target)
    assert is_origin_form(target) == (target.startswith(b"/") and visible)
