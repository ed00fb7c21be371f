"""docs/engines.md against the matrix that long tests measure: the same columns and rows, and rows that tests hold."""

from __future__ import annotations

import re

import pytest

from tests.engines import matrix
from tests.engines.matrix import DEFAULT, FEATURES, KINDS, NO, REFUSED, ROOT, UNTRIED, YES


def test_the_table_has_the_columns_and_rows_that_are_measured() -> None:
    table = matrix.table()
    assert list(table) == [DEFAULT, *(kind.title for kind in KINDS.values())]
    assert all(tuple(column) == tuple(FEATURES) for column in table.values())
    assert set(table[DEFAULT].values()) == {YES}, "all tests that run by default hold this column"
    for kind in KINDS.values():
        assert set(table[kind.title].values()) == ({REFUSED} if kind.refusal else set(table[kind.title].values()))
        assert set(table[kind.title].values()) <= {YES, UNTRIED, REFUSED}


def test_every_row_has_tests_that_are_there_and_run() -> None:
    files = {path.partition("::")[0] for kind in KINDS.values() for path in kind.tests}
    defined = "".join((ROOT / file).read_text() for file in files)
    for row, tests in FEATURES.items():
        for test in tests:
            assert re.search(rf"^(async )?def {test}\(", defined, re.MULTILINE), f"{row}: no test {test}"
    for path in {path for kind in KINDS.values() for path in kind.tests if "::" in path}:
        file, _, test = path.partition("::")
        assert f"def {test}(" in (ROOT / file).read_text(), path


@pytest.mark.parametrize(
    ("inside", "cell"),
    [
        ("", YES),
        ("<failure/>", NO),
        ("<error/>", NO),
        ("<skipped/>", UNTRIED),
        (None, UNTRIED),
    ],
)
def test_a_cell_says_how_its_tests_ended(inside: str | None, cell: str) -> None:
    case = "" if inside is None else f'<testcase name="test_a_container_by_port[docker]">{inside}</testcase>'
    other = '<testcase name="test_a_container_by_port[fake]"><skipped/></testcase>'
    assert matrix.cells(f"<testsuite>{case}{other}</testsuite>")["Ports"] == cell
