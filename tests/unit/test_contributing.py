"""What contributors read is so: the commands exist, git's hooks run `tests/run`, and links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.conftest import SLOW_FILES

ROOT = Path(__file__).parents[2]
RUN = (ROOT / "tests" / "run").read_text()
MODES = set(re.findall(r"^#   tests/run (--\w+) ", RUN, re.MULTILINE))
PAGES = ("CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "RELEASING.md")


def test_the_page_tells_every_mode_of_the_test_command() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    assert {"--long", "--fast", "--checks"} == MODES == set(re.findall(r"`tests/run (--\w+)`", page))


def test_the_hooks_run_what_the_test_command_runs() -> None:
    entries = re.findall(r"^ +entry: (.*)$", (ROOT / ".pre-commit-config.yaml").read_text(), re.MULTILINE)
    assert [shlex.split(entry) for entry in entries] == [["tests/run", "--checks"], ["tests/run", "--fast"]]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_and_folder_is_there(page: str) -> None:
    text = (ROOT / page).read_text()
    for target, _, anchor in (link.partition("#") for link in re.findall(r"\]\((?!http)([^)]+)\)", text)):
        titles = re.findall(r"^#+ (.*)$", (ROOT / target).read_text(), re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
        assert not anchor or anchor in slugs, (target, anchor)
    for path in re.findall(r"`((?:tests|packaging|\.ci|tmpnb_py)/[\w./]*)`", text):
        assert (ROOT / path).exists(), path


def test_slow_files_are_there() -> None:
    missing = [name for name in SLOW_FILES if not (ROOT / "tests" / "unit" / name).is_file()]
    assert not missing, "tests/conftest.py names them"
