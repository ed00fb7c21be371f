"""Applies control functions of ECMA-48 like a terminal, as progress bars and colours use them. Pure.

`frontend/live/screen.js` does the same for live outputs; `tests/unit/terminal_vectors.json` tests both. Only the last
`HEIGHT` lines can be changed, and the lengths of lines, of cursor moves and of combined characters are bounded, so
that time and memory are linear in the text's length. Unknown control functions are ignored with their parameters
(ECMA-48, 5.4 and 5.6; ECMA-35, 13.2.1).
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Sequence

HEIGHT = 100  # lines that can still be overwritten
MAX_LINE = 20_000  # characters of one line
MAX_SKIP = 300  # columns that the cursor can move beyond the text: wider than any terminal
MAX_PLACE = 32  # characters in one cell of the screen; the longest emoji have 15

Run = tuple[str, str]  # a text, and the names of its style classes

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# Control sequences, control strings (OSC, DCS, APC, PM, SOS), escape sequences; then text up to the next control.
_PART = re.compile(
    r"\x1b\[(?P<parameters>[0-?]*)[ -/]*(?P<final>[@-~])?|\x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*(?P<escape>[0-~])?|(?P<moves>[\r\n\b\v\f])|(?P<text>[^\x00-\x08\x0a-\x1f\x7f-\x9f]+)|."
)
_WITHOUT_WIDTH = ("Mn", "Me", "Cf")  # general categories of the Unicode standard
_JOINER = "\N{ZERO WIDTH JOINER}"
_COLOURS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")


def shown(text: str) -> str:
    """The final content of the screen, without styles."""
    return "".join(part for part, _ in runs(text))


def runs(text: str) -> list[Run]:
    """The final content of the screen, in pieces of one style."""
    if not _CONTROL.search(text):
        return [(text, "")] if text else []
    screen = _Screen()
    for part in _PART.finditer(text):
        if part["text"]:
            screen.put(part["text"])
        elif part["moves"]:
            screen.move(part["moves"])
        elif part["final"]:
            screen.control(part["final"], part["parameters"])
        elif part["escape"]:
            screen.escape(part["escape"])
    return screen.content()


def cut(pieces: list[Run], limit: int) -> list[Run]:
    """The first `limit` characters."""
    kept: list[Run] = []
    for text, style in pieces:
        if limit <= 0:
            break
        kept.append((text[:limit], style))
        limit -= len(text)
    return kept


@dataclasses.dataclass(frozen=True, slots=True)
class _Style:
    """A character's style (ECMA-48, 8.3.117). Colours are names of the page's own, readable in light and dark."""

    effects: frozenset[str] = frozenset()
    colour: str = ""
    ground: str = ""

    @property
    def classes(self) -> str:
        """The names of the style's classes."""
        names = [f"tn-{name}" for name in ("bold", "dim", "italic", "underline", "strike") if name in self.effects]
        colour, ground = self.colour, self.ground
        if "inverse" in self.effects:
            colour, ground = ground, colour or "text"
        names += [f"tn-ansi-{colour}"] if colour else []
        return " ".join([*names, *([f"tn-ground-{ground}"] if ground else [])])

    def coloured(self, name: str, *, ground: bool) -> _Style:
        """The style with another colour or background; "" for the default."""
        return dataclasses.replace(self, ground=name) if ground else dataclasses.replace(self, colour=name)


_ON = {1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike", 21: "underline"}
_OFF = {22: {"bold", "dim"}, 23: {"italic"}, 24: {"underline"}, 27: {"inverse"}, 29: {"strike"}}


def _restyled(style: _Style, parameters: str) -> _Style:
    """The style after SELECT GRAPHIC RENDITION, ignoring unknown parameters."""
    if parameters[:1] in ("<", "=", ">", "?"):
        return style  # private use: xterm's key modifiers, for example
    codes = [[int(one) if one.isdigit() else 0 for one in code.split(":")] for code in parameters[:200].split(";")]
    while codes:
        code, *details = codes.pop(0)
        if code in (38, 48):
            if not details:  # the usual spelling: separated like the other parameters
                count = {5: 2, 2: 4}.get(codes[0][0] if codes else 0, 1)
                details, codes = [one[0] for one in codes[:count]], codes[count:]
            style = style.coloured(_named(details), ground=code == 48)
        else:
            style = _changed(style, code, is_on=details[:1] != [0])
    return style


def _changed(style: _Style, code: int, *, is_on: bool) -> _Style:
    if code == 0:
        style = _Style()
    elif code in _ON and is_on:
        style = dataclasses.replace(style, effects=style.effects | {_ON[code]})
    elif code in _ON or code in _OFF:
        style = dataclasses.replace(style, effects=style.effects - _OFF.get(code, {_ON.get(code, "")}))
    elif code // 10 in (3, 4, 9, 10) and code % 10 < 8:
        style = style.coloured(_COLOURS[code % 10], ground=code // 10 in (4, 10))
    elif code in (39, 49):
        style = style.coloured("", ground=code == 49)
    return style


def _named(details: list[int]) -> str:
    """The page's colour nearest to one of 256, or to an RGB value (ITU-T T.416, 13.1.8)."""
    kind, *values = details or [0]
    if kind == 5 and values:
        return _of_256(values[0])
    if kind == 2 and len(values) >= 3:
        return _nearest(*values[-3:] if len(values) < 5 else values[1:4])
    return ""


def _of_256(number: int) -> str:
    if number < 16:
        return _COLOURS[number % 8]
    if number < 232:
        red, green, blue = ((number - 16) // 36, (number - 16) // 6 % 6, (number - 16) % 6)
        return _nearest(red * 51, green * 51, blue * 51)
    return "black" if number < 244 else "white"


def _nearest(*levels: int) -> str:
    low, high = min(levels), max(levels)
    if high - low < 40:
        return "black" if high < 128 else "white"
    return _COLOURS[sum(1 << bit for bit, level in enumerate(levels) if 2 * level > low + high)]


class _Line:
    """Characters with their classes. `end` separates the line from the next one."""

    __slots__ = ("characters", "classes", "end")

    def __init__(self) -> None:
        self.characters: list[str] = []
        self.classes: list[str] = []
        self.end = "\n"

    def write(self, column: int, text: Sequence[str], classes: str) -> None:
        if (gap := column - len(self.characters)) > 0:
            self.characters += " " * gap
            self.classes += [""] * gap
        self.characters[column : column + len(text)] = text
        self.classes[column : column + len(text)] = [classes] * len(text)

    def truncate(self, column: int) -> None:
        del self.characters[column:], self.classes[column:]

    def runs(self) -> list[Run]:
        """The line in pieces of one style."""
        starts = [0] + [at for at in range(1, len(self.classes)) if self.classes[at] != self.classes[at - 1]]
        ends = [*starts[1:], len(self.characters)]
        return [("".join(self.characters[a:b]), self.classes[a]) for a, b in zip(starts, ends, strict=True) if b > a]


class _Screen:
    """Completed lines, and the last lines, which can still be changed."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._done: list[Run] = []
        self._lines = [_Line()]
        self._row = self._column = 0
        self._style = _Style()
        self._kept = (0, 0)

    def put(self, text: str) -> None:
        """Write text at the cursor, overwriting."""
        self._column = min(self._column, max(MAX_SKIP, len(self._lines[self._row].characters)))
        classes = self._style.classes
        places: Sequence[str] = text if text.isascii() else self._places(text)
        while places:
            now, places = places[: MAX_LINE - self._column], places[MAX_LINE - self._column :]
            self._lines[self._row].write(self._column, now, classes)
            self._column += len(now)
            if self._column >= MAX_LINE:
                self._lines[self._row].end = ""
                self.move("\n")

    def _places(self, text: str) -> list[str]:
        """Split a text into the cells that it fills; zero-width characters join the one before them."""
        places: list[str] = []
        line = self._lines[self._row].characters
        for character in text:
            if places and _joins(places[-1], character):
                places[-1] += character
            elif not places and 0 < self._column <= len(line) and _joins(line[self._column - 1], character):
                line[self._column - 1] += character
            else:
                places.append(character)
        return places

    def move(self, character: str) -> None:
        """Execute a line feed, carriage return, backspace, or a vertical tab or form feed, which keep the column."""
        if character in "\n\v\f":
            self._to(self._row + 1, 0 if character == "\n" else self._column)
        else:
            self._column = 0 if character == "\r" else max(0, self._column - 1)

    def control(self, final: str, parameters: str) -> None:
        """Execute a control sequence."""
        if final == "m":
            self._style = _restyled(self._style, parameters)
            return
        numbers = [int(one) for one in parameters.split(";") if one.isdigit() and len(one) < 6]
        first = numbers[0] if numbers else 0
        if final in "JK":
            self._erase(first, whole=final == "J")
        elif final in "su" and not parameters:
            self.escape("7" if final == "s" else "8")
        elif final in "Hf":
            self._to_line(first - 1, (numbers[1] if len(numbers) > 1 else 1) - 1)
        else:
            self._walk(final, max(1, first))

    def escape(self, final: str) -> None:
        """Execute an escape sequence: save or restore the position, or reset (DECSC, DECRC, RIS)."""
        if final == "7":
            self._kept = self._row, self._column
        elif final == "8":
            self._to_line(*self._kept)
        elif final == "c":
            self._reset()

    def content(self) -> list[Run]:
        """The whole content."""
        made = list(self._done)
        for line in self._lines:
            made += [*line.runs(), (line.end, "")]
        return _joined(made[:-1])

    def _walk(self, final: str, count: int) -> None:
        """Move the cursor by `count`, or to a column or line."""
        match final:
            case "A" | "F":
                self._to_line(self._row - count, 0 if final == "F" else self._column)
            case "B" | "E" | "e":
                self._to_line(self._row + count, 0 if final == "E" else self._column)
            case "C" | "a":
                self._to_line(self._row, self._column + count)
            case "D":
                self._to_line(self._row, self._column - count)
            case "G" | "`":
                self._to_line(self._row, count - 1)
            case "d":
                self._to_line(count - 1, self._column)

    def _to_line(self, row: int, column: int) -> None:
        """Move to a line that can still be changed, without scrolling."""
        self._to(min(max(0, row), HEIGHT - 1), min(max(0, column), MAX_LINE - 1))

    def _to(self, row: int, column: int) -> None:
        while row >= len(self._lines):
            self._lines.append(_Line())
        while len(self._lines) > HEIGHT:
            line = self._lines.pop(0)
            self._done += [*line.runs(), (line.end, "")]
            row -= 1
        self._row, self._column = row, column

    def _erase(self, what: int, *, whole: bool) -> None:
        """Erase to the end (0), from the start (1) or all (2) of the line or screen; 3 includes completed lines."""
        line = self._lines[self._row]
        if what == 0:
            line.truncate(self._column)
        elif what == 1:
            line.write(0, " " * min(self._column + 1, len(line.characters)), "")
        else:
            line.truncate(0)
        if whole:
            if what in (1, 2, 3):
                for one in self._lines[: self._row]:
                    one.truncate(0)
            if what in (0, 2, 3):
                del self._lines[self._row + 1 :]
            if what == 3:
                self._done.clear()


def _joins(before: str, character: str) -> bool:
    """Whether a character joins the one before it."""
    if character.isascii() or len(before) >= MAX_PLACE:
        return False
    return unicodedata.category(character) in _WITHOUT_WIDTH or before.endswith(_JOINER)


def _joined(pieces: list[Run]) -> list[Run]:
    """Merge adjacent pieces of the same style."""
    made: list[tuple[list[str], str]] = []
    for text, classes in pieces:
        if not text:
            continue
        if made and (made[-1][1] == classes or text == "\n"):  # styles are invisible at a line's end
            made[-1][0].append(text)
        else:
            made.append(([text], "" if text == "\n" else classes))
    return [("".join(texts), classes) for texts, classes in made]
