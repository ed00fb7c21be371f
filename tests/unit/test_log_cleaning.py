"""What a container wrote, made fit for an operator's terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmpnb_py.core.log_cleaning import clean_lines

TOKEN = "3f1c9ab8d2e74c05"


def clean(line: str, *secrets: str) -> str:
    """One cleaned line, "" where nothing remains."""
    return "".join(clean_lines([line], secrets))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("plain text", "plain text"),
        ("größer → ok 🎉", "größer → ok 🎉"),
        ("  trimmed\t", "trimmed"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[1;38;5;208mbold\x1b[m end", "bold end"),
        ("\x1b[?25lhidden\x1b[?25h", "hidden"),
        ("\x1b[2J\x1b[1;1Hcleared", "cleared"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]52;c;cm0gLXJm\x07pasted", "pasted"),
        ("\x1b]0;never ended", ""),
        ("\x1bMup", "up"),
        ("\x1b", ""),
        ("a\x1b", "a"),
        ("\x1bcreset", "creset"),
        ("\x1b\x1b[0m[31mnested", "[31mnested"),
        ("\x9b31m8-bit", "31m8-bit"),
        ("a\rb", "a b"),
        ("a\nb\x0bc\x0cd", "a b c d"),
        ("bell\x07back\x08nul\x00del\x7f", "bell back nul del"),
        ("\u202eright to left\u202c", "right to left"),
        ("zero\u200bwidth\ufeff", "zero width"),
        ("line\u2028separator", "line separator"),
        ("half a surrogate \ud800", "half a surrogate"),
        ("", ""),
        (" \t\x00", ""),
    ],
)
def test_escapes_and_control_characters(line: str, expected: str) -> None:
    assert clean(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("http://localhost:8888/lab?token=abc123", "http://localhost:8888/lab?token=[removed]"),
        ("http://localhost:8888/?token=abc123&x=1", "http://localhost:8888/?token=[removed]&x=1"),
        ("GET /api?x=1&token=abc 200", "GET /api?x=1&token=[removed] 200"),
        ("?access_token=abc", "?access_token=[removed]"),
        ("TOKEN = abc", "TOKEN = [removed]"),
        ("token: abc, user: me", "token: [removed], user: me"),
        ('{"token": "abc", "user": "me"}', '{"token": "[removed]", "user": "me"}'),
        ("c.ServerApp.token = 'abc'", "c.ServerApp.token = '[removed]'"),
        ("Password=hunter2;x", "Password=[removed];x"),
        ("AWS_SECRET=abc", "AWS_SECRET=[removed]"),
        ("token=a password=b", "token=[removed] password=[removed]"),
        ("the token is missing", "the token is missing"),
        ("3 tokens: fine", "3 tokens: fine"),
        ("token=", "token="),
        ("\x1b[1mtoken\x1b[0m=abc", "token=[removed]"),
    ],
)
def test_tokens_of_any_kind(line: str, expected: str) -> None:
    assert clean(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        TOKEN,
        f"Authorization: token {TOKEN}",
        f"{TOKEN}{TOKEN}",
        f"/user/x/lab?t={TOKEN}#",
        f"{TOKEN[:5]}\x1b[1m{TOKEN[5:]}",
        "x" * 395 + TOKEN,
        f"token={TOKEN}",
    ],
)
def test_the_known_token_is_removed_wherever_it_stands(line: str) -> None:
    cleaned = clean(line, TOKEN)
    assert TOKEN not in cleaned
    assert TOKEN[:5] not in cleaned


def test_several_secrets_and_none() -> None:
    assert clean("a one b two c", "one", "two") == "a [removed] b [removed] c"
    assert clean("a server without a token", "") == "a server without a token"


def test_lines_without_content_are_left_out_and_the_others_keep_their_order() -> None:
    assert clean_lines(["b", "", "\x1b[0m", "  ", "a", "a"]) == ("b", "a", "a")
    assert clean_lines([]) == ()
    assert clean_lines(iter(["one token", "another"]), iter(["one", "another"])) == ("[removed] token", "[removed]")


@pytest.mark.parametrize(("length", "expected"), [(399, 399), (400, 400), (401, 400), (100_000, 400)])
def test_length(length: int, expected: int) -> None:
    cleaned = clean("x" * length)
    assert len(cleaned) == expected
    assert cleaned.endswith("…") == (length > 400)


def test_length_counts_what_is_shown() -> None:
    assert clean("\x1b[31m" * 200 + "x" * 400) == "x" * 400


parts = st.sampled_from(
    ["\x1b", "\x1b[", "\x1b]", "0;", "31m", "\x07", "\x1b\\", "\x9b", "token=", TOKEN, "\u202e", "\r\n", " "]
)
hostile = st.lists(parts | st.characters(exclude_categories=[]) | st.text(max_size=5), max_size=30).map("".join)


@given(st.lists(hostile, max_size=4))
def test_whatever_is_written_is_safe_to_print(lines: list[str]) -> None:
    cleaned = clean_lines(lines, [TOKEN])
    assert len(cleaned) <= len(lines)
    for line in cleaned:
        assert line.isprintable()
        assert 0 < len(line) <= 400
        assert TOKEN not in line
        assert line == line.strip()
        line.encode()


@given(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=50))
def test_ordinary_text_stays_as_it_is(line: str) -> None:
    assert clean(line) == line


@pytest.mark.timeout(30)
@pytest.mark.parametrize("part", ["\x1b]", "\x1b[", "token ", "token" + " " * 50, "token='", "\x1b]0;"])
def test_no_line_takes_long(part: str) -> None:
    assert len(clean(part * (500_000 // len(part)), TOKEN)) <= 400
