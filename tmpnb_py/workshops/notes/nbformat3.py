"""Upgrades notebooks of format 3, which IPython wrote until 2015, to format 4. Pure.

https://nbformat.readthedocs.io/en/latest/changelog.html documents the changes. These few lines replace the library
`nbformat`, which also validates, and takes longer to import than a page takes to render. Invalid parts are dropped
here or refused by `notebook`, which reads the result.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_KINDS = {
    "text": "text/plain",
    "html": "text/html",
    "svg": "image/svg+xml",
    "png": "image/png",
    "jpeg": "image/jpeg",
    "latex": "text/latex",
    "json": "application/json",
    "javascript": "application/javascript",
}


def upgraded(document: dict[str, Any]) -> dict[str, Any]:
    """Upgrade a notebook to format 4. Several worksheets, which no program ever wrote, are joined."""
    sheets = document.get("worksheets")
    entries = [
        cell
        for sheet in (sheets if isinstance(sheets, list) else [])
        if isinstance(sheet, dict) and isinstance(sheet.get("cells"), list)
        for cell in sheet["cells"]
        if isinstance(cell, dict)
    ]
    language = next((one["language"] for one in entries if isinstance(one.get("language"), str)), "")
    return {
        "nbformat": 4,
        "metadata": {"language_info": {"name": language}},
        "cells": [_cell(entry) for entry in entries],
    }


def _cell(entry: dict[str, Any]) -> dict[str, Any]:
    kind, metadata = entry.get("cell_type"), entry.get("metadata")
    if kind == "code":
        collapsed = {"collapsed": True} if entry.get("collapsed") is True else {}
        return {
            "cell_type": "code",
            "metadata": {**(metadata if isinstance(metadata, dict) else {}), **collapsed},
            "source": entry.get("input"),
            "outputs": list(_outputs(entry.get("outputs"))),
        }
    if kind == "heading":
        level, source = entry.get("level"), entry.get("source")
        text = "".join(map(str, source)) if isinstance(source, list) else str(source)
        marks = "#" * (level if isinstance(level, int) and 1 <= level <= 6 else 1)
        return {"cell_type": "markdown", "metadata": metadata, "source": f"{marks} {' '.join(text.split())}"}
    return {"cell_type": kind, "metadata": metadata, "source": entry.get("source")}


def _outputs(entries: Any) -> Iterable[dict[str, Any]]:
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, dict):
            continue
        kind = entry.get("output_type")
        if kind == "stream":
            yield {"output_type": "stream", "name": entry.get("stream"), "text": entry.get("text")}
        elif kind == "pyerr":
            yield {**entry, "output_type": "error"}
        elif kind in ("pyout", "display_data"):
            data = {name: entry[short] for short, name in _KINDS.items() if short in entry}
            yield {"output_type": "display_data", "data": data, "metadata": entry.get("metadata")}
