"""The table of languages: what it promises, and that there is no second one."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pygments.lexers import get_lexer_by_name

import tmpnb_py
from tmpnb_py.cli.commands import sizing
from tmpnb_py.core import languages
from tmpnb_py.core.installation import workshop_directory
from tmpnb_py.core.languages import BASH, GNUPLOT, LANGUAGES, OCTAVE, PYTHON, Language, R, find, find_runnable, title
from tmpnb_py.workshops.notes.code import highlight

PACKAGE = Path(tmpnb_py.__file__).parent
TABLE = PACKAGE / "core" / "languages.py"
# Names that are words of other things, too, so that only the rest can be looked for.
AMBIGUOUS = {"r", "sh", "py", "shell", "console"}
# Where a language's name may stand beside the table, and why.
ALLOWED = {
    "engines/local/sandbox.py": {"gnuplot"},  # a directory of the system's, which a notebook there may read
    "service/upgrade/old.py": {"bash", "zsh"},  # shells that start the service
}


def test_no_name_means_two_languages() -> None:
    names = [name for one in LANGUAGES for name in (*one.names, *one.dialects, *one.transcripts)]
    assert len(names) == len(set(names))
    assert all(name == name.lower() for name in names)


@pytest.mark.parametrize(
    ("name", "language"),
    [("R", R), ("ir", R), ("python3", PYTHON), ("IPython", PYTHON), ("sh", BASH), ("matlab", None), ("cobol", None)],
)
def test_a_language_is_found_by_its_names(name: str, language: Language | None) -> None:
    assert find(name) is language


def test_a_dialect_runs_in_the_kernel_of_its_language_and_keeps_its_own_title() -> None:
    assert find_runnable("MATLAB") is OCTAVE
    assert title("matlab") == "Matlab"
    assert [title(name) for name in ("ir", "gnuplot", "sas", "")] == ["R", "gnuplot", "Sas", ""]


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda one: one.name)
def test_pygments_knows_each_and_its_expressions_are_valid(language: Language) -> None:
    assert get_lexer_by_name(language.name)
    syntax = language.syntax
    for expression in (syntax.comment, syntax.string, syntax.prompt, syntax.continuation):
        re.compile(expression)
    assert re.match(syntax.string, '"a\\"b" c')
    assert not set(language.magics) & set(language.names)


def test_an_alias_is_coloured_as_its_language_and_a_transcript_as_pygments_does() -> None:
    assert highlight("x <- 1 # a", "rlang") == highlight("x <- 1 # a", "r") != "x &lt;- 1 # a"
    assert highlight("$ ls", "console") != highlight("$ ls", "bash")


def test_the_pages_get_all_that_their_scripts_need() -> None:
    table = json.loads(json.dumps(languages.for_pages()))
    assert list(table) == [one.name for one in LANGUAGES]
    assert table["r"]["names"][:2] == ["r", "ir"]
    assert table["r"]["indent"] == 2


def test_each_kernel_of_the_image_is_in_the_table_with_its_title_and_cost() -> None:
    specs = workshop_directory() / "kernels"
    kernels = {one.parent.name: json.loads(one.read_text()) for one in specs.glob("*/kernel.json")}
    known = {one.kernel: one for one in LANGUAGES if one.kernel}
    assert set(kernels) == set(known) == set(sizing.KERNELS)
    for name, spec in kernels.items():
        assert spec["language"].lower() == known[name].name
        assert spec["display_name"].startswith(known[name].title)
    assert GNUPLOT.cost is sizing.KERNELS["gnuplot"]


def test_no_other_module_names_a_language() -> None:
    names = {name.lower() for one in LANGUAGES for name in (*one.names, *one.dialects, *one.transcripts)} - AMBIGUOUS
    found = {}
    for path in sorted(PACKAGE.rglob("*")):
        place = str(path.relative_to(PACKAGE))
        if path == TABLE or place.startswith("vendor/") or path.suffix not in (".py", ".js"):
            continue
        said = {text.lower() for text in _literals(path)} & names - ALLOWED.get(place, set())
        if said:
            found[place] = said
    assert not found, "core/languages.py is the one table: ask it"


def _literals(path: Path) -> Iterator[str]:
    """Every string, and in scripts every key of an object."""
    text = path.read_text()
    if path.suffix == ".py":
        return (str(one.value) for one in ast.walk(ast.parse(text)) if isinstance(one, ast.Constant))
    code = re.sub(r"^\s*//.*|/\*.*?\*/", "", text, flags=re.MULTILINE | re.DOTALL)
    return (one[1] or one[2] for one in re.finditer(r"""["'`]([\w-]+)["'`]|\b([A-Za-z]\w*)\s*:""", code))
