"""The table at the end: what each bomb did to the neighbour."""

from __future__ import annotations

import pytest

from tests.attacks.bombs.scene import HEADER, Figures

_FIGURES = pytest.StashKey[list[Figures]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_FIGURES] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if found := config.stash[_FIGURES]:
        terminalreporter.section("bombs: the neighbour's cells")
        for line in (HEADER, *(one.line() for one in found)):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> list[Figures]:
    """Where to note what a bomb did."""
    return pytestconfig.stash[_FIGURES]
