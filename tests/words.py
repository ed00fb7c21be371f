"""Texts for visitors, and the catalogues of their translations. As a program it updates the catalogues:

    python -m tests.words        all that there are, with what scripts of the image need
    python -m tests.words fr     the same, and a new one for French

Texts that are new are empty then, until somebody translates them; those that nothing uses any more are taken out.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from babel.messages import Catalog
from babel.messages.extract import extract
from babel.messages.pofile import read_po, write_po

from tmpnb_py.core.installation import PACKAGE
from tmpnb_py.words.tags import SOURCE, tags
from tmpnb_py.words.words import words

ROOT = PACKAGE.parent
CATALOGUES = PACKAGE / "words" / "catalogues"
SERVER = ROOT / "workshop_image" / "server"
LAB = ROOT / "workshop_image" / "labextension" / "static"
KEYWORDS = {
    "gettext": None,
    "to_translate": None,
    "ngettext": (1, 2),
    "pgettext": ((1, "c"), 2),
}
_HEADER = "# Texts of tmpnb-py in {language}.\n# `python -m tests.words` updates this file (CONTRIBUTING.md).\n#"
# What would change with each update, and nobody reads.
_DATED = tuple(
    f'"{name}'
    for name in (
        "POT-Creation",
        "PO-Revision",
        "Generated-By",
        "Last-Translator",
        "Language-Team",
        "Report",
        "Project",
    )
)
_WIDTH = 110


def sources() -> Iterator[tuple[str, Path]]:
    """The files with texts for visitors: how each is read, and where it is."""
    frontend = PACKAGE / "frontend"
    for path in (*sorted(PACKAGE.rglob("*.py")), *sorted(SERVER.glob("*.py"))):
        text = path.read_text(encoding="utf-8")
        if any(f"{name}(" in text for name in KEYWORDS):  # most have none, and reading all takes seconds
            yield "python", path
    for path in sorted([*frontend.rglob("*.js"), *LAB.glob("*.js")]):
        yield "javascript", path
    for path in sorted(frontend.glob("*.html")):
        yield "jinja2.ext:babel_extract", path


def extracted() -> Catalog:
    """All texts, with the files that have each."""
    found = Catalog(project="tmpnb-py")
    for method, path in sources():
        name = path.relative_to(ROOT).as_posix()
        with path.open("rb") as file:
            options = {"encoding": "utf-8", "trim_blocks": "true", "silent": "false", "parse_template_string": "true"}
            keywords = KEYWORDS if method == "python" else {**KEYWORDS, "_": None}
            for _, text, comments, context in extract(method, file, keywords, ("For translators:",), options):
                found.add(text, locations=[(name, 0)], auto_comments=comments, context=context)
    return found


def catalogue(tag: str) -> Catalog:
    """The translations into a language, as the file has them."""
    text = (CATALOGUES / f"{tag}.po").read_text(encoding="utf-8")
    return read_po(io.StringIO(text), locale=tag.replace("-", "_"), abort_invalid=True)


def untranslated(translations: Catalog) -> list[str]:
    """The texts that a catalogue lacks, or has in fewer forms than its language."""
    return [str(one.id) for one in translations if one.id and not all(forms(one.string))]


def forms(text: object) -> tuple[str, ...]:
    """A text's forms: several where it depends on a number."""
    return tuple(map(str, text)) if isinstance(text, tuple | list) else (str(text or ""),)


def updated(tag: str, texts: Catalog) -> str:
    """A catalogue with the texts that there are now, as a file."""
    made = catalogue(tag) if (CATALOGUES / f"{tag}.po").exists() else Catalog(locale=tag.replace("-", "_"))
    made.update(texts, no_fuzzy_matching=True, update_header_comment=False)
    made.obsolete.clear()
    made.header_comment = _HEADER.format(language=made.locale.english_name if made.locale else tag)
    made.fuzzy = False
    file = io.BytesIO()
    for one in made:
        one.locations = sorted({(name, 0) for name, _ in one.locations})  # lines would change with each commit
    write_po(file, made, width=_WIDTH, sort_output=True, ignore_obsolete=True, include_lineno=False)
    lines = file.getvalue().decode().splitlines()
    return "\n".join(line for line in lines if not line.startswith(_DATED)) + "\n"


def of_the_image(tag: str) -> str:
    """What the scripts and the server of the image need in a language, as a file of theirs."""
    texts = words(tag)
    files = [path.relative_to(ROOT).as_posix() for _, path in sources() if "workshop_image" in path.parts]
    made = {"tag": tag, "dir": texts.direction, "plurals": dict(texts.plurals), "texts": texts.of_files(files)}
    return json.dumps(made, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def main(new: list[str]) -> None:
    """Update all catalogues, and begin new ones."""
    texts = extracted()
    for tag in sorted({*tags(), *new} - {SOURCE}):
        (CATALOGUES / f"{tag}.po").write_text(updated(tag, texts), encoding="utf-8")
        print(f"{tag}: {len(texts)} texts, {len(untranslated(catalogue(tag)))} to translate")
    tags.cache_clear()
    words.cache_clear()
    for tag in tags()[1:]:
        (LAB / f"words-{tag}.json").write_text(of_the_image(tag), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
