"""Text that is a notebook (R Markdown, Quarto, jupytext's formats) opens as one, and is saved as text again.

It extends Jupyter Server's contents manager for these files. jupytext's own contents manager imports jupytext at each
server's start; this one does when the first such file is opened. The notes pages read these files in the same way
(`tmpnb_py/workshops/notes/texts.py`), so that their cells match the notebook's.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from tornado.web import HTTPError

# Quarto's own converter is a program that is not here. Its cells are written like R Markdown's.
EXTENSIONS = {
    ".rmd": ".Rmd",
    ".qmd": ".Rmd",
    ".md": ".md",
    ".py": ".py",
    ".r": ".R",
    ".jl": ".jl",
    ".sh": ".sh",
}
PROGRAMS = ("pandoc", "quarto", "marimo")  # jupytext runs them for the formats of these names


def extension(path: str) -> str:
    """jupytext's name of the file's format; "" if it cannot be a notebook."""
    return EXTENSIONS.get(PurePath(path).suffix.lower(), "")


def read(text: str, kind: str) -> Any:
    """Convert a text to a notebook. Raises `ValueError` if it cannot be one here."""
    import jupytext  # noqa: PLC0415 - see above
    from jupytext.formats import read_format_from_metadata  # noqa: PLC0415

    name = read_format_from_metadata(text, kind) or jupytext.guess_format(text, kind)[0]
    if name in PROGRAMS:
        raise ValueError(f"its format needs the program {name}")
    return jupytext.reads(text, {"extension": kind, "format_name": name})


def written(notebook: Any, kind: str) -> str:
    """Convert a notebook to text, in the format that it was read in."""
    import jupytext  # noqa: PLC0415 - see above

    said = notebook.metadata.get("jupytext", {}).get("text_representation", {})
    known = {"format_name": said["format_name"]} if said.get("extension") == kind and "format_name" in said else {}
    return str(jupytext.writes(notebook, {"extension": kind, **known}))


class TextNotebooks(AsyncLargeFileManager):
    """A contents manager that serves text files as notebooks on request."""

    async def _read_notebook(
        self, os_path: str, as_version: int = 4, capture_validation_error: Any = None, raw: bool = False
    ) -> Any:
        kind = extension(os_path)
        if not kind:
            return await super()._read_notebook(os_path, as_version, capture_validation_error, raw)
        answer = await self._read_file(os_path, "text", raw)
        try:
            notebook = read(answer[0], kind)
        except Exception as error:
            raise HTTPError(400, f"{PurePath(os_path).name} cannot be read as a notebook: {error}") from error
        self._name_kernel(notebook)
        return (notebook, answer[2]) if raw else notebook

    async def _save_notebook(self, os_path: str, nb: Any, capture_validation_error: Any = None) -> None:
        kind = extension(os_path)
        if kind:
            await self._save_file(os_path, written(nb, kind), "text")
        else:
            await super()._save_notebook(os_path, nb, capture_validation_error)

    async def save(self, model: dict[str, Any], path: str = "") -> dict[str, Any]:
        """Save, and report the type that was saved, which a text file's name does not tell."""
        kind = model.get("type")
        saved: dict[str, Any] = await super().save(model, path)
        return {**saved, "type": "notebook"} if kind == "notebook" and extension(path) else saved

    def _name_kernel(self, notebook: Any) -> None:
        """Name the language's kernel, so that JupyterLab does not ask for it."""
        language = notebook.metadata.get("jupytext", {}).get("main_language")
        if "kernelspec" in notebook.metadata or not language or self.parent is None:
            return
        from jupytext.languages import same_language  # noqa: PLC0415

        for name, found in self.parent.kernel_spec_manager.get_all_specs().items():
            spec = found["spec"]
            if same_language(str(spec["language"]), language):
                shown = {"name": name, "display_name": spec["display_name"], "language": language}
                notebook.metadata["kernelspec"] = shown
                return
