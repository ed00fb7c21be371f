"""Our own words within notes, which are rendered once for readers of all languages. Pure.

A label stands in the page as it is in English, between two characters that no font shows. Who shows the page replaces
them. An author who writes those characters gets a label translated, or nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tmpnb_py.words.tags import to_translate

PART, CODE, OUTPUT = to_translate("Show this part"), to_translate("Show the code"), to_translate("Show the output")
SOLUTION, EXAMPLE = to_translate("Show a solution"), to_translate("Show this example")
ONLY_THERE = to_translate("This output can be seen in the notebook only.")
INTERACTIVE = to_translate("This output is interactive: it appears when the example runs.")
DRAWN = to_translate("What this cell drew")
SOUND, FILM = to_translate("Sound that this cell made"), to_translate("Video that this cell made")
PAGE, FILE, VIDEO = to_translate("Embedded page"), to_translate("Embedded file"), to_translate("Video")
RECORDING, PICTURE, TABLE = to_translate("Recording"), to_translate("Picture"), to_translate("Table")

_BEGIN, _END, _TAG = "\ue001", "\ue002", "\ue003"
_LABEL = re.compile(f"{_BEGIN}([^{_BEGIN}{_END}<>]*){_END}")
LANG = f' lang="{_TAG}"'  # of a label in notes of another language


def label(text: str) -> str:
    """A label in a page."""
    return f"{_BEGIN}{text}{_END}"


def spoken(body: str, translated: Callable[[str], str], tag: str = "en") -> str:
    """The page in its reader's language. `translated` gets a label, or what an author wrote like one, as HTML."""
    return _LABEL.sub(lambda found: translated(found[1]), body).replace(_TAG, tag)
