"""Text as a terminal leaves it: carriage returns and backspaces applied, as progress bars use them. Pure.

The same as `templates/live/text.js` does for what runs in the page, without colours. Each character is written once,
and a line that can still be overwritten is bounded, so time and memory grow with the text's length only.
"""

from __future__ import annotations

import re

MAX_LINE = 20_000  # characters of one line that can still be overwritten

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
# ECMA-48: control sequences (5.4), operating system commands (8.3.89), and short ones; then text up to the next.
_PART = re.compile(
    r"\x1b\[[0-?]*[ -/]*(?P<final>[@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-Z\\-_=>]"
    r"|(?P<moves>[\r\n\b])|(?P<text>[^\x00-\x08\x0a-\x1f\x7f]+)|."
)


def shown(text: str) -> str:
    """What is left on the screen."""
    if not _CONTROL.search(text):
        return text
    screen = _Screen()
    for part in _PART.finditer(text):
        if part["text"]:
            screen.put(part["text"])
        elif part["moves"]:
            screen.move(part["moves"])
        elif part["final"] == "K":
            screen.erase()
    return screen.content()


class _Screen:
    """Lines that are complete, and the one that is written to. `_column` is never beyond that line's end."""

    def __init__(self) -> None:
        self._done: list[str] = []
        self._line: list[str] = []
        self._column = 0

    def put(self, text: str) -> None:
        """Write over what is there."""
        while text:
            now, text = text[: MAX_LINE - self._column], text[MAX_LINE - self._column :]
            self._line[self._column : self._column + len(now)] = now
            self._column += len(now)
            if self._column >= MAX_LINE:
                self._end_line("")

    def move(self, character: str) -> None:
        """A line feed, a carriage return or a backspace."""
        if character == "\n":
            self._end_line("\n")
        else:
            self._column = 0 if character == "\r" else max(0, self._column - 1)

    def erase(self) -> None:
        """Erase the line from here on (EL)."""
        del self._line[self._column :]

    def content(self) -> str:
        """All that there is."""
        return "".join([*self._done, *self._line])

    def _end_line(self, end: str) -> None:
        self._done.append("".join(self._line) + end)
        self._line, self._column = [], 0
