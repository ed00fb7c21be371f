"""docs/engines.md against the matrix that long tests measure: the same columns and rows, and rows that tests hold."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.engines import matrix
from tests.engines.matrix import FEATURES, KINDS, NO, PARTLY, REFUSED, ROOT, UNTRIED, YES


def test_the_table_has_the_columns_and_rows_that_are_measured() -> None:
    table = matrix.table()
    assert list(table) == [kind.title for kind in KINDS.values()]
    assert all(tuple(column) == tuple(FEATURES) for column in table.values())
    for kind in KINDS.values():
        assert set(table[kind.title].values()) == ({REFUSED} if kind.refusal else set(table[kind.title].values()))
        assert set(table[kind.title].values()) <= {YES, PARTLY, UNTRIED, REFUSED}


def test_every_row_has_tests_that_are_there_and_run() -> None:
    files = {path.partition("::")[0] for kind in KINDS.values() for path in kind.tests}
    defined = "".join((ROOT / file).read_text() for file in files)
    for row, tests in FEATURES.items():
        for test in tests:
            assert re.search(rf"^(async )?def {test}\(", defined, re.MULTILINE), f"{row}: no test {test}"
    for path in {path for kind in KINDS.values() for path in kind.tests if "::" in path}:
        file, _, test = path.partition("::")
        assert f"def {test}(" in (ROOT / file).read_text(), path


ROW = "Ports"
ONE, TWO = FEATURES[ROW]
PASSED, SKIPPED = "", "<skipped/>"


@pytest.mark.parametrize(
    ("ends", "cell"),
    [
        ([(ONE, PASSED), (TWO, PASSED)], YES),
        ([(ONE, PASSED), (TWO, "<failure/>")], NO),
        ([(ONE, "<error/>"), (TWO, SKIPPED)], NO),
        ([(ONE, PASSED), (TWO, SKIPPED)], PARTLY),
        ([(ONE, PASSED)], PARTLY),
        ([(ONE, PASSED), (ONE, SKIPPED), (TWO, PASSED)], PARTLY),
        ([(ONE, SKIPPED), (TWO, SKIPPED)], UNTRIED),
        ([], UNTRIED),
    ],
)
def test_a_cell_says_how_its_tests_ended(ends: list[tuple[str, str]], cell: str) -> None:
    cases = "".join(f'<testcase name="{name}[{number}]">{end}</testcase>' for number, (name, end) in enumerate(ends))
    assert matrix.cells(f"<testsuite>{cases}</testsuite>")[ROW] == cell


def said() -> Iterator[str]:
    """What the program may say of an engine: the texts of its engines, and what is constant in those with values."""
    for path in (ROOT / "tmpnb_py" / "engines").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_what_the_page_says_that_one_sees_is_what_the_program_says() -> None:
    _, _, text = matrix.TABLE.read_text().partition("\n## What you see where something is missing\n")
    first = [line.split("|")[1] for line in text.partition("\n## ")[0].splitlines() if line.startswith("| ")][1:]
    quoted = [quote for cell in first for quote in re.findall(r"`([^`]+)`", cell)]
    assert len(quoted) >= len(first) > 5
    all_said = list(said())
    assert [quote for quote in quoted if not any(quote in one for one in all_said)] == []
