"""End-to-end tests: the whole service, from outside."""

import pytest

pytest.register_assert_rewrite("tests.e2e.service", "tests.e2e.jupyter", "tests.e2e.inprocess")
