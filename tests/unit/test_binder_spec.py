"""What a BinderHub client asks for, and the workshop that it gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmpnb_py.core.binder_spec import Spec, choose, read, read_rule, rules

WORKSHOPS = ("introduction-to-r", "introduction-to-python")


@pytest.mark.parametrize(
    ("provider", "raw", "expected"),
    [
        ("gh", "org/repo/main", Spec("gh", "org/repo", "main")),
        ("gh", "org/repo", Spec("gh", "org/repo", "")),
        ("gh", "repo", Spec("gh", "repo", "")),
        ("gh", "org/repo/feature/x", Spec("gh", "org/repo", "feature/x")),
        ("gh", "org/repo/feature%2Fx", Spec("gh", "org/repo", "feature/x")),
        ("gh", "org/repo.git/HEAD", Spec("gh", "org/repo", "HEAD")),
        ("gist", "user/0123abc/HEAD", Spec("gist", "user/0123abc", "HEAD")),
        ("gl", "group%2Fsub%2Frepo/HEAD", Spec("gl", "group/sub/repo", "HEAD")),
        (
            "git",
            "https%3A%2F%2Fgit.example%2Forg%2Frepo.git/a/b",
            Spec("git", "https://git.example/org/repo", "a/b"),
        ),
        ("zenodo", "10.5281/zenodo.3242074", Spec("zenodo", "10.5281/zenodo.3242074", "")),
        ("gh", "org/r%C3%A9po/HEAD", Spec("gh", "org/répo", "HEAD")),
    ],
)
def test_reading(provider: str, raw: str, expected: Spec) -> None:
    assert read(provider, raw) == expected


@pytest.mark.parametrize(
    ("provider", "raw"),
    [
        ("gh", ""),
        ("gh", "/"),
        ("gh", "org//HEAD"),
        ("GH", "org/repo"),
        ("g h", "org/repo"),
        ("", "org/repo"),
        ("gh", "org/re%0Apo/HEAD"),
        ("gh", "org/repo/%00"),
        ("gh", "org/%FF/HEAD"),
        ("gh", "a/" + "b" * 1000),
    ],
)
def test_what_is_no_spec(provider: str, raw: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (of several kinds, UnicodeDecodeError among them)
        read(provider, raw)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        # By name: the repository's, else the ref's.
        ("gh/anybody/introduction-to-r/HEAD", "introduction-to-r"),
        ("gh/anybody/Introduction-To-R/HEAD", "introduction-to-r"),
        ("gh/anybody/workshops/introduction-to-python", "introduction-to-python"),
        ("gh/anybody/introduction-to-r/introduction-to-python", "introduction-to-r"),
        # By the operator's rules, the closest first; these come before names.
        ("gh/org/course/HEAD", "introduction-to-python"),
        ("gh/Org/Course/HEAD", "introduction-to-python"),
        ("gh/org/course/2024", "introduction-to-r"),
        ("gh/org/course/introduction-to-r", "introduction-to-python"),
        ("gh/org/plain/HEAD", ""),
        ("gh/org/removed/HEAD", "gone"),
        # Nobody knows.
        ("gl/org/course/HEAD", None),
        ("gh/org/other/HEAD", None),
        ("gh/introduction-to-r/other/HEAD", None),
    ],
)
def test_choosing(asked: str, expected: str | None) -> None:
    known = rules(
        (
            "gh/org/course=introduction-to-python",
            "gh/org/course/2024=introduction-to-r",
            "gh/org/plain",
            "gh/org/removed=gone",
        )
    )
    provider, _, raw = asked.partition("/")
    assert choose(read(provider, raw), known, WORKSHOPS) == expected


def test_a_rule_for_everything_comes_last() -> None:
    known = rules(("*=introduction-to-python",))
    assert choose(Spec("gh", "a/introduction-to-r", ""), known, WORKSHOPS) == "introduction-to-r"
    assert choose(Spec("gh", "a/b", ""), known, WORKSHOPS) == "introduction-to-python"
    assert choose(Spec("gh", "a/b", ""), rules(("*",)), ()) == ""


@pytest.mark.parametrize(
    "rule",
    [
        "*",
        "*=intro",
        "gh/org/repo",
        "gh/org/repo/ref=a-b",
        "git/https://h/org/r=x",
        "gh/a/b=x@r",
        "gh/a/b=@r",
        "*=@r",
    ],
)
def test_rules(rule: str) -> None:
    assert read_rule(rule) == rule


@pytest.mark.parametrize(
    "rule", ["", "gh", "gh/", "org/repo=", "gh/a b", "gh/a=B", "gh/a=b=c", "gh/a=-b", "/a/b", "gh/a=@", "gh/a=x@"]
)
def test_what_is_no_rule(rule: str) -> None:
    with pytest.raises(ValueError, match="is not a repository: write gh/org/repo"):
        read_rule(rule)


@given(st.text(), st.text())
def test_nothing_but_a_value_error(provider: str, raw: str) -> None:
    try:
        spec = read(provider, raw)
    except ValueError:
        return
    assert spec.repo
    assert str(spec).startswith(f"{provider}/")
    assert choose(spec, {}, ("nothing",)) in (None, "nothing")
