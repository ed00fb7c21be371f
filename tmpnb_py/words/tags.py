"""Which languages there are, and the mark on texts. Apart from the texts, as most of the program needs none."""

from __future__ import annotations

import functools
from importlib import resources

SOURCE = "en"  # of the texts themselves
AUTO = "auto"
FOLDER = resources.files("tmpnb_py") / "words" / "catalogues"


def to_translate(text: str) -> str:
    """Mark a text that is translated where it is used."""
    return text


@functools.cache
def tags() -> tuple[str, ...]:
    """The languages that there are, English first."""
    names = sorted(one.name for one in FOLDER.iterdir() if one.name.endswith(".po"))
    return (SOURCE, *(name.removesuffix(".po") for name in names))
