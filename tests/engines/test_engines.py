"""The table of docs/engines.md says what was measured with each engine."""

from __future__ import annotations

import pytest

from tests.engines import matrix
from tests.engines.matrix import KINDS


@pytest.mark.engine
@pytest.mark.long
@pytest.mark.timeout(2500)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_an_engine_does_what_the_table_says(kind: matrix.Kind) -> None:
    """The contract suite, tests of whole services, and so its column."""
    assert matrix.observed(kind) == matrix.table()[kind.title]
