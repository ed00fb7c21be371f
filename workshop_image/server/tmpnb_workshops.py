"""Selects the workshops that can run here: those whose kernel and Python packages are installed.

`python tmpnb_workshops.py DIRECTORY` prints their manifest; with `--prune` it removes the others from the
directory. With `--cold` the manifest says that no kernels are to be started ahead, as suits a small image. Run by the
image's Dockerfile, and by tmpnb-py's local engine with its notebooks' Python.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MANIFEST = "workshops.toml"
KERNELS = Path(sys.prefix, "share", "jupyter", "kernels")


def runnable(directory: Path, kernels: Path = KERNELS) -> dict[str, str]:
    """The start documents that can run here, each with its original entry in the manifest."""
    return {start: text for start, text in _entries(directory).items() if not lacking(directory / start, kernels)}


def lacking(start: Path, kernels: Path = KERNELS) -> str:
    """The missing requirement of a document; "" if there is none."""
    if start.suffix != ".ipynb":
        return ""
    notebook: Any = json.loads(start.read_bytes())
    kernel = str(notebook["metadata"]["kernelspec"]["name"])
    if not (kernels / kernel / "kernel.json").is_file():
        return f"the kernel {kernel}"
    if kernel == "python3":
        return next((f"the package {name}" for name in _imports(notebook) if not importlib.util.find_spec(name)), "")
    return ""


def cold(entry: str) -> str:
    """An entry of the manifest that wants no kernel to be started before a visitor comes."""
    kept = re.sub(r"(?m)^(?:warm|preload) *=.*\n", "", entry)
    return re.sub(r"(?m)^(slug *=.*\n)", r'\1warm = "none"\n', kept, count=1)


def _entries(directory: Path) -> dict[str, str]:
    text = (directory / MANIFEST).read_text()
    parts = re.split(r"(?m)^(?=\[\[workshop\]\])", text)[1:]
    return {tomllib.loads(part)["workshop"][0]["start"]: part for part in parts}


def _imports(notebook: Any) -> Iterator[str]:
    """The packages that a notebook's cells import. Ignores cells with IPython commands."""
    for cell in notebook["cells"]:
        try:
            tree = ast.parse("".join(cell["source"])) if cell["cell_type"] == "code" else None
        except SyntaxError:
            continue
        for node in ast.walk(tree) if tree else ():
            if isinstance(node, ast.Import):
                yield from (name.name.partition(".")[0] for name in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.partition(".")[0]


def prune(directory: Path, kernels: Path = KERNELS, *, is_cold: bool = False) -> None:
    """Remove workshops that cannot run from the manifest, and their documents from the directory."""
    kept = runnable(directory, kernels)
    for start in _entries(directory).keys() - kept.keys():
        (directory / start).unlink()
    for folder in [one for one in directory.iterdir() if one.is_dir()]:
        if not any((directory / start).is_relative_to(folder) for start in kept):
            shutil.rmtree(folder)
    (directory / MANIFEST).write_text("".join(map(cold, kept.values()) if is_cold else kept.values()))


def main() -> None:
    """Run the command line."""
    directory, options = Path(sys.argv[1]), sys.argv[2:]
    is_cold = "--cold" in options
    if "--prune" in options:
        prune(directory, is_cold=is_cold)
    else:
        entries = runnable(directory).values()
        print("".join(map(cold, entries) if is_cold else entries), end="")


if __name__ == "__main__":
    main()
