"""The import graph of the package: no circles between files, whatever is imported for types only included."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

import pytest

import tmpnb_py
from tmpnb_py.core.installation import PACKAGE


def _modules() -> dict[str, ast.Module]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text())
    return found


def _imported(tree: ast.Module, modules: dict[str, ast.Module]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == tmpnb_py.__name__:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in modules else node.module


def test_no_files_import_each_other_in_a_circle() -> None:
    modules = _modules()
    graph = {name: set(_imported(tree, modules)) - {tmpnb_py.__name__} for name, tree in modules.items()}
    assert "tmpnb_py.proxy.exchange" in graph["tmpnb_py.proxy.client"]
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"these import each other: {' -> '.join(error.args[1])}")
