"""Matching raw targets: what leads to a notebook, and that no spelling leads to another one."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tmpnb_py.core.links import Route, Targets, below_session

match = Targets().match

ID = "k3j9x0q2m5v7b1n8c4z6a0s9df"


@pytest.mark.parametrize(
    ("target", "path", "query", "passed_on"),
    [
        (b"/user/abc/", b"", b"", b"/user/abc/"),
        (b"/user/abc/lab", b"lab", b"", b"/user/abc/lab"),
        (b"/user/abc/lab?", b"lab", b"", b"/user/abc/lab?"),
        (b"/user/abc/lab?token=x", b"lab", b"token=x", b"/user/abc/lab?token=x"),
        (b"/user/abc/?a=1?b=2", b"", b"a=1?b=2", b"/user/abc/?a=1?b=2"),
        (b"/user/abc/lab/tree/a%20b.ipynb", b"lab/tree/a%20b.ipynb", b"", b"/user/abc/lab/tree/a%20b.ipynb"),
        (b"/user/abc/a//b", b"a//b", b"", b"/user/abc/a//b"),
        (b"/user/abc/a/", b"a/", b"", b"/user/abc/a/"),
        # Doubled slashes are collapsed right after the base path and nowhere else.
        (b"/user/abc//", b"", b"", b"/user/abc/"),
        (b"/user/abc//lab", b"lab", b"", b"/user/abc/lab"),
        (b"/user/abc////lab//x", b"lab//x", b"", b"/user/abc/lab//x"),
        (b"/user/abc//lab?", b"lab", b"", b"/user/abc/lab?"),
        (b"/user/abc//?next=//lab", b"", b"next=//lab", b"/user/abc/?next=//lab"),
        (b"/user/abc//lab?a=//b", b"lab", b"a=//b", b"/user/abc/lab?a=//b"),
        (b"/user/abc/lab?a=//b", b"lab", b"a=//b", b"/user/abc/lab?a=//b"),
        # And before it: the old thebe joins an address that ends in a slash to a path that begins with one.
        (b"//user/abc//api/kernels", b"api/kernels", b"", b"/user/abc/api/kernels"),
        (b"///user/abc/lab?a=//b", b"lab", b"a=//b", b"/user/abc/lab?a=//b"),
        # Nothing is resolved or decoded: it all belongs to abc, whatever the container makes of it.
        (b"/user/abc/../xyz/lab", b"../xyz/lab", b"", b"/user/abc/../xyz/lab"),
        (b"/user/abc//../xyz/lab", b"../xyz/lab", b"", b"/user/abc/../xyz/lab"),
        (b"/user/abc/..", b"..", b"", b"/user/abc/.."),
        (b"/user/abc/./", b"./", b"", b"/user/abc/./"),
        (b"/user/abc/%2e%2e/xyz/", b"%2e%2e/xyz/", b"", b"/user/abc/%2e%2e/xyz/"),
        (b"/user/abc/%2E%2E%2Fxyz/", b"%2E%2E%2Fxyz/", b"", b"/user/abc/%2E%2E%2Fxyz/"),
        (b"/user/abc/..%2fxyz/", b"..%2fxyz/", b"", b"/user/abc/..%2fxyz/"),
        (b"/user/abc/%2f/lab", b"%2f/lab", b"", b"/user/abc/%2f/lab"),
        (b"/user/abc/..;/xyz/", b"..;/xyz/", b"", b"/user/abc/..;/xyz/"),
        (b"/user/abc/;a=b", b";a=b", b"", b"/user/abc/;a=b"),
        (b"/user/abc/\\..\\xyz", b"\\..\\xyz", b"", b"/user/abc/\\..\\xyz"),
        (b"/user/abc/user/xyz/", b"user/xyz/", b"", b"/user/abc/user/xyz/"),
        (b"/user/abc/%00", b"%00", b"", b"/user/abc/%00"),
        (b"/user/abc/a\nb", b"a\nb", b"", b"/user/abc/a\nb"),  # never gets here: see is_origin_form
        (b"/user/abc/?\n", b"", b"\n", b"/user/abc/?\n"),
    ],
)
def test_below_the_base_path(target: bytes, path: bytes, query: bytes, passed_on: bytes) -> None:
    assert match(target) == Route("abc", path, query, passed_on)


@pytest.mark.parametrize(
    ("target", "query"),
    [(b"/user/abc", b""), (b"/user/abc?", b""), (b"/user/abc?q", b"q"), (b"/user/abc?/lab", b"/lab")],
)
def test_without_the_slash_there_is_no_path(target: bytes, query: bytes) -> None:
    assert match(target) == Route("abc", None, query, target)


@pytest.mark.parametrize(
    ("target", "path", "passed_on"),
    [
        (b"/%75ser/abc/lab", b"lab", b"/user/abc/lab"),
        (b"/%75%73%65%72/%61b%63/%75ser/%61?%61", b"%75ser/%61", b"/user/abc/%75ser/%61?%61"),
        (b"/user/%61%62c", None, b"/user/abc"),
        (b"/user/abc%30/../%2e%2e/lab", b"../%2e%2e/lab", b"/user/abc0/../%2e%2e/lab"),
        (b"//us%65r/abc//lab", b"lab", b"/user/abc/lab"),
    ],
)
def test_letters_that_are_encoded_without_need_are_themselves_up_to_the_id(
    target: bytes, path: bytes | None, passed_on: bytes
) -> None:
    """RFC 3986 §6.2.2.2; what follows the id is the container's, byte by byte."""
    route = match(target)
    assert route is not None
    assert (route.path, route.target) == (path, passed_on)
    assert match(route.target) == route


@pytest.mark.parametrize("session_id", [ID, "a", "0", "a" * 64, "user", "000"])
def test_ids(session_id: str) -> None:
    route = match(b"/user/%b/x" % session_id.encode())
    assert route is not None
    assert route.session_id == session_id


@pytest.mark.parametrize(
    "target",
    [
        b"",
        b"/",
        b"*",
        b"user/abc/",
        b"/user",
        b"/user/",
        b"/user?abc/",
        b"/user/?abc/",
        b"/user//abc/",
        b"/user//",
        b"/User/abc/",
        b"/USER/abc/",
        b"/users/abc/",
        b"/user/ABC/",
        b"/user/aBc/",
        b"/user/a-b/",
        b"/user/a_b/",
        b"/user/a.b/",
        b"/user/./abc/",
        b"/user/../abc/",
        b"/user/..",
        b"/user/%2561bc/",
        b"/user/%41bc/",
        b"/user/%61b%2d/",
        b"/user/%e9/",
        b"/user/%6/",
        b"/%75ser",
        b"/%2575ser/abc/",
        b"/%55ser/abc/",
        b"/%75ser%2fabc/",
        b"/%75ser/abc%2flab",
        b"/x/%75ser/abc/",
        b"/%78?/%75ser/abc/",
        b"%75ser/abc/",
        b"/user/abc%2f/",
        b"/user/abc%2flab",
        b"/user/abc%3flab",
        b"/user/abc;/",
        b"/user/abc;x=1/lab",
        b"/user/abc\\lab",
        b"/user\\abc/",
        b"/user/abc\n",
        b"/user/abc\x00/",
        b"/user/abc /",
        b"/user/abc#/",
        b"/user/" + "é".encode() + b"/",
        "/user/\u0661/".encode(),  # a digit elsewhere (str.isdigit), not here
        b"/user/" + b"a" * 65 + b"/",
        b"/x/user/abc/",
        b"//x/user/abc/",
        b"/x//user/abc/",
        b"/./user/abc/",
        b"/x/../user/abc/",
        b"http://a/user/abc/",
        b" /user/abc/",
    ],
)
def test_everything_else_is_our_own(target: bytes) -> None:
    assert match(target) is None


pieces = st.sampled_from(
    [
        b"/",
        b"//",
        b"user",
        b"abc",
        b"ABC",
        b"..",
        b".",
        b"%2e%2e",
        b"%2f",
        b"us%65r",
        b"%61bc",
        b"?",
        b"#",
        b";",
        b"\\",
        b"\n",
        b"a=b",
        b"\xff",
    ]
)
targets = st.one_of(
    st.binary(max_size=40),
    st.lists(pieces, max_size=10).map(b"".join),
    st.lists(pieces | st.binary(max_size=4), max_size=10).map(lambda parts: b"/user/abc/" + b"".join(parts)),
    st.lists(pieces | st.binary(max_size=4), max_size=10).map(lambda parts: b"/user/" + b"".join(parts)),
)


@given(targets)
@example(b"/user/abc//..//../xyz?//")
@example(b"/us%65r/%61bc/%61?%61")
def test_the_session_is_literally_what_stands_in_the_path(target: bytes) -> None:
    route = match(target)
    if route is None:
        return
    path, question, query = target.partition(b"?")
    parts = path.split(b"/")
    parts[1:3] = [unquote_to_bytes(part) for part in parts[1:3]]
    path = b"/".join(parts)
    assert parts[:2] == [b"", b"user"]
    assert parts[2] == route.session_id.encode()
    assert route.session_id.isalnum()
    assert route.session_id == route.session_id.lower()
    assert route.query == query
    assert (route.path is None) == (len(parts) == 3)
    if route.path is None:
        assert route.target == path + question + query
        return
    base = b"/user/%b/" % parts[2]
    assert route.target == base + route.path + question + query
    assert route.path == path.removeprefix(base).lstrip(b"/")
    again = match(route.target)
    assert again == route, "what the container gets belongs to the same session, and is stable"
    if not path.startswith(base + b"/"):
        assert route.target == path + question + query


@given(st.binary(max_size=30))
def test_below_a_base_path_every_target_matches(rest: bytes) -> None:
    route = match(b"/user/abc/" + rest)
    assert route is not None
    assert route.session_id == "abc"


def _targets() -> Targets:
    targets = Targets("/jupyter/")
    targets.know("/old/place/")
    return targets


def test_a_base_is_known_once() -> None:
    targets = _targets()
    targets.know("/old/place/")
    assert targets.match(b"/old/place/user/abc/") == _targets().match(b"/old/place/user/abc/")


@pytest.mark.parametrize(
    ("target", "path", "passed_on", "base"),
    [
        (b"/jupyter/user/abc/lab?x=1", b"lab", b"/jupyter/user/abc/lab?x=1", b"/jupyter/"),
        (b"/jupyter/user/abc", None, b"/jupyter/user/abc", b"/jupyter/"),
        (b"//jupyter//user/abc//lab?", b"lab", b"/jupyter/user/abc/lab?", b"/jupyter/"),
        (b"/jupyter/%75ser/a%62c/%6cab", b"%6cab", b"/jupyter/user/abc/%6cab", b"/jupyter/"),
        (b"/user/abc/lab", b"lab", b"/user/abc/lab", b"/"),  # the proxy in front took the base away
        (b"/old/place/user/abc/lab", b"lab", b"/old/place/user/abc/lab", b"/old/place/"),
        (b"/jupyter/user/abc/user/xyz/", b"user/xyz/", b"/jupyter/user/abc/user/xyz/", b"/jupyter/"),
        (b"/jupyter/user/abc/../xyz/", b"../xyz/", b"/jupyter/user/abc/../xyz/", b"/jupyter/"),
    ],
)  # fmt: skip
def test_below_the_base_of_the_service(target: bytes, path: bytes | None, passed_on: bytes, base: bytes) -> None:
    query = target.partition(b"?")[2]
    assert _targets().match(target) == Route("abc", path, query, passed_on, base)


@pytest.mark.parametrize(
    "target",
    [b"/jupyter/x/user/abc/", b"/jupyter/", b"/jupyter", b"/jupyteruser/abc/", b"/Jupyter/user/abc/",
     b"/old/user/abc/", b"/x/jupyter/user/abc/", b"/jupyter/jupyter/user/abc/", b"/jupyter%2fuser/abc/",
     b"/jupyter/../user/abc/"],
)  # fmt: skip
def test_below_no_base_it_is_our_own(target: bytes) -> None:
    assert _targets().match(target) is None


@pytest.mark.parametrize(
    "target", [b"/jupyter/user/abc/lab?x=//1", b"/user/abc/lab?x=//1", b"//old/place//user/abc//lab?x=//1"]
)
def test_a_target_moves_to_the_base_of_its_container(target: bytes) -> None:
    route = _targets().match(target)
    assert route is not None
    assert route.moved_to(b"/then/user/abc/") == b"/then/user/abc/lab?x=//1"


@pytest.mark.parametrize(
    ("target", "base", "rest"),
    [
        (b"/jupyter/api/stats?x", "/jupyter/", b"/api/stats?x"),
        (b"/jupyter/", "/jupyter/", b"/"),
        (b"/jupyter", "/jupyter/", b"/jupyter"),
        (b"/healthz", "/jupyter/", b"/healthz"),
        (b"/x", "/", b"/x"),
        (b"//x", "/", b"//x"),
    ],
)
def test_our_own_application_never_sees_the_base(target: bytes, base: str, rest: bytes) -> None:
    assert Targets(base).own(target, None) == rest


@pytest.mark.parametrize(
    ("path", "below"),
    [("/user/abc/lab/tree/a%20b", "lab/tree/a%20b"), ("/user/abc", ""), ("/user/abc/", ""), ("/user/abc//lab", "lab"),
     ("/us%65r/abc/lab", "lab"), ("/spawn/lab", ""), ("/user/A/lab", "")],
)  # fmt: skip
def test_what_follows_a_session(path: str, below: str) -> None:
    assert below_session(path) == below
