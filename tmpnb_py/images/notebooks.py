"""Runs an image's notebooks from top to bottom through its server. For `image check --notebooks` and tests."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from tmpnb_py.images.results import NotebookTrial
from tmpnb_py.jupyter.client import NotebookClient, NotebookError, Outcome

CELL_SECONDS = 120.0
EXERCISE, RAISES = "exercise", "raises-exception"  # tags of cells: may be empty or unfinished; must fail

# Errors that kernels of other images only print, replying "ok"; and our bash kernel's note of a missing command.
_UNTOLD = (
    re.compile(r"^error: .*", re.MULTILINE),
    re.compile(r"^(?:.*: command not found|exit status 12[67])$", re.MULTILINE),
)


async def run_notebooks(
    client: NotebookClient,
    *,
    only: Callable[[str], bool] = lambda _: True,
    say: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[NotebookTrial]:
    """Run each notebook of a new home in turn, as `Run all` would."""
    for path in await find_notebooks(client):
        if only(path):
            say(f"running {path}")
            yield await run_notebook(client, path)


async def find_notebooks(client: NotebookClient, directory: str = "") -> list[str]:
    """Find the notebooks below a directory of the home."""
    found: list[str] = []
    entries: Any = await client.file(directory)
    for entry in sorted(entries, key=lambda one: str(one.get("path"))):
        if entry.get("type") == "notebook":
            found.append(str(entry["path"]))
        elif entry.get("type") == "directory":
            found += await find_notebooks(client, str(entry["path"]))
    return found


async def run_notebook(client: NotebookClient, path: str, *, seconds: float = CELL_SECONDS) -> NotebookTrial:
    """Run a notebook's code cells in order, and stop at the first failure. `seconds` bounds each cell.

    A cell tagged `raises-exception` may fail.
    """
    began = time.monotonic()
    problems: list[str] = []
    plots = count = 0
    try:
        notebook = await client.file(path)
        cells = [one for one in notebook["cells"] if one["cell_type"] == "code" and source_of(one).strip()]
        async with client.kernel(str(notebook["metadata"]["kernelspec"]["name"]), path=path) as kernel:
            for cell in cells:
                outcome = await kernel.run(source_of(cell), seconds=seconds)
                count += 1
                plots += outcome.has_plot
                if problem := problem_of(cell, outcome):
                    problems.append(f"cell {count}: {problem}: {source_of(cell).splitlines()[0][:80]}")
                    break
    except NotebookError as error:
        problems.append(f"cell {count + 1}: {error}")
    except (KeyError, TypeError) as error:
        problems.append(f"it is not a notebook of format 4: {error} is missing")
    return NotebookTrial(path, count, plots, time.monotonic() - began, tuple(problems))


def source_of(cell: Mapping[str, Any]) -> str:
    """A cell's text, which may also be a list of lines in this format."""
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def problem_of(cell: Mapping[str, Any], outcome: Outcome) -> str:
    """The error of a cell, reported or only printed; "" if there is none or the cell is meant to fail."""
    tags = (cell.get("metadata") or {}).get("tags") or []
    printed = next((found[0] for sign in _UNTOLD if (found := sign.search(outcome.text))), "")
    return "" if RAISES in tags else outcome.error or printed
