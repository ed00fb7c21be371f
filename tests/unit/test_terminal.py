"""One reading of terminal text for saved outputs (Python) and for what runs in the page (JavaScript)."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.engine_support import skip_or_fail
from tmpnb_py.web.assets import source
from tmpnb_py.workshops.notes import terminal

VECTORS = json.loads((Path(__file__).parent / "terminal_vectors.json").read_text())

# Writes each text in two pieces, broken at every place, and prints what is on the screen.
_HARNESS = """
const texts = JSON.parse(require("fs").readFileSync(0, "utf8"));
const made = texts.map((text) => Array.from(text)).map((text) => [...Array(text.length + 1).keys()].map((cut) => {
  let scrolled = [];
  const screen = new TerminalScreen((pieces) => scrolled.push(...pieces), () => { scrolled = []; });
  screen.write(text.slice(0, cut).join(""));
  screen.write(text.slice(cut).join(""));
  return joined([...scrolled, ...screen.content()]);
}));
console.log(JSON.stringify(made));
"""


def in_script(texts: list[str]) -> list[list[list[list[str]]]]:
    """For each text and each place to break it: the pieces that the page shows."""
    node = shutil.which("node")
    if node is None:
        skip_or_fail("node is not installed (apt-get install npm)")
    done = subprocess.run(
        [str(node), "-e", source("live/screen.js") + _HARNESS],
        input=json.dumps(texts), capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    found: list[list[list[list[str]]]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["what"]))
def test_saved(vector: dict[str, Any]) -> None:
    assert [list(run) for run in terminal.runs(vector["text"])] == vector["runs"]
    assert terminal.shown(vector["text"]) == "".join(text for text, _ in vector["runs"])


def test_live_wherever_the_text_is_broken() -> None:
    for vector, found in zip(VECTORS, in_script([vector["text"] for vector in VECTORS]), strict=True):
        assert all(runs == vector["runs"] for runs in found), vector["what"]


# What decides about columns and classes, rather than any character.
_PIECES = (
    "ab", "c\n", "\r", "\b", "\x1b[A", "\x1b[2B", "\x1b[3G", "\x1b[2;2H", "\x1b[K", "\x1b[1K", "\x1b[J",
    "\x1b[1J", "\x1b[2J", "\x1b[3J", "\x1b7", "\x1b8", "\x1b[31m", "\x1b[7m", "\x1b[m", "\x1b[48;5;30m",
    "\x1b(B", "\x1b]0;t\x07", "\x1bc", "\x1b[", "é🙂", "\u200d", "e\u0301", "\v", "\x1b[999C", "\x1b[s", "\x1b[u",
)  # fmt: skip


def test_both_read_anything_alike() -> None:
    chance = random.Random(1)
    texts = ["".join(chance.choices(_PIECES, k=chance.randrange(1, 14))) for _ in range(2000)]
    ours = [[list(run) for run in terminal.runs(text)] for text in texts]
    for text, mine, found in zip(texts, ours, in_script(texts), strict=True):
        assert found[-1] == mine, repr(text)


def test_lines_beyond_the_screen_cannot_be_changed() -> None:
    text = "".join(f"{number}\n" for number in range(150)) + "\x1b[500AX"
    left = terminal.shown(text).split("\n")
    assert left[51] == "X1"  # the first of the last hundred lines, the empty one at the end included
    assert (left[0], left[50], left[52], len(left)) == ("0", "50", "52", 151)
    assert in_script([text])[0][-1] == [list(run) for run in terminal.runs(text)]


@pytest.mark.parametrize(
    "piece", ["\x1b[20000Gx\n", "\x1b[20000C\vx", "\x1b[1;20000Hx", "\x1b7\x1b[9999CX\n\x1b8"], ids=repr
)
def test_what_the_cursor_skips_is_no_page_of_blanks(piece: str) -> None:
    text = piece * 300
    assert len(terminal.shown(text)) <= 300 * (terminal.MAX_SKIP + 2)
    assert in_script([text[:400]])[0][-1] == [list(run) for run in terminal.runs(text[:400])]


def test_a_line_that_was_erased_is_not_filled_again_up_to_the_cursor() -> None:
    text = "a" * 19_990 + "\x1b[2Kx"
    assert len(terminal.shown(text)) == terminal.MAX_SKIP + 1
    assert terminal.shown("a" * 1000 + "\x1b[900Gx") == "a" * 899 + "x" + "a" * 100


@pytest.mark.parametrize("piece", ["\u0301", "\u200da", "\u200d\U0001f642"], ids=ascii)
def test_what_stands_in_one_place_is_bounded_and_nothing_of_it_is_lost(piece: str) -> None:
    text = "x" + piece * 100
    assert terminal.shown(f"\x1b[m{text}") == text
    assert len(terminal.shown(f"{text}\r\x1b[K")) == 0
    assert len(terminal.shown(f"{text}\r \x1b[K")) == 1
    assert len(terminal.shown(f"{text}\b\x1b[K")) >= len(text) - 2 * terminal.MAX_PLACE
    for one in (f"{text}\b\x1b[K", f"{text}\ry"):
        assert in_script([one])[0][-1] == [list(run) for run in terminal.runs(one)]


def test_pieces_are_cut_by_their_characters() -> None:
    assert terminal.cut([("abc", "x"), ("def", ""), ("g", "y")], 4) == [("abc", "x"), ("d", "")]
