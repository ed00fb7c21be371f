r"""Finds mathematics in a text by its delimiters, and tells formulas from amounts of money. Pure.

JupyterLab extracts mathematics before it parses Markdown, so that `_`, `*`, `\\` and `|` keep their TeX meaning, and
puts it back afterwards. We use its delimiters: `$…$`, `$$…$$`, `\\(…\\)`, `\\[…\\]` and bare environments, none of
them across a blank line; and MathJax's `\ref` and `\eqref`, which need none.

Dollars differ. JupyterLab passes everything between two dollars to MathJax. So authors write `3$\times$3`, `10$\mu$m`
and `$ x + y $`, and "$5 and $6" becomes a formula. Pandoc's rule (https://pandoc.org/MANUAL.html#math, the extension
tex_math_dollars: no blank inside of either dollar, no digit after the closing one) keeps prices, but loses those
formulas. So text that only TeX has decides first; without any, a slightly wider version of Pandoc's rule decides.

`frontend/live/delimiters.js` does the same for live outputs; tests/unit/math_vectors.json tests both.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

MAX_LENGTH = 10_000  # characters of one formula
_MAX_STEPS = 200_000  # of searching for ends; beyond that, in a malicious text, formulas are ignored

_CODE = (
    r"(?P<fence>^[ \t>]*(?:(?:[-*+]|[0-9]{1,9}[.)])[ \t]+)?(?:`{3,}(?=[^`\n]*$)|~{3,}))|(?P<ticks>`+)"
    r"|(?P<brackets>\\\\[(\[])"
)
_NO_CODE = r"(?P<fence>(?!))|(?P<ticks>(?!))|(?P<brackets>\\[(\[])"
_OPENING, _LATEX_OPENING = (
    re.compile(
        first + r"|\\begin\{(?P<name>[A-Za-z]{1,20}\*?)\}|(?P<reference>\\(?:eq)?ref\{[^{}\n]{1,200}\})"
        r"|\\[^\n]|(?P<dollars>\$\$?)",
        re.MULTILINE,
    )
    for first in (_CODE, _NO_CODE)
)
# LaTeX's environments for text, which MathJax does not support.
_TEXT = (
    "center description document enumerate figure itemize longtable quotation quote table tabular tabularx verbatim"
)
_BLANK_LINE = re.compile(r"\n[ \t>]*\n")
_QUOTED = re.compile(r"[ \t]*>")

_COMMAND = re.compile(r"\\[A-Za-z]")
_SCRIPT = re.compile(r"[\^_{}]|^[=<>+*-]+$")  # also a lone sign: about 5$-$6
_OPERATOR = re.compile(r"[=<>+*/|!-]")
_WORDS = re.compile(r"\b[^\W\d_]{2,}\s+[^\W\d_]{2}")  # two of them in a row
_AMOUNT = re.compile(r"[0-9][0-9.,]*\s+[^\W\d_]{2}")  # 5 apples
_ENDS_OPEN = re.compile(r"[-\u2013\u2014/,;:(]$")  # joins this amount to the next one


@dataclasses.dataclass(frozen=True, slots=True)
class Formula:
    """A formula with its delimiters from `start` to `end` of a text. `tex` has only those of environments."""

    start: int
    end: int
    tex: str
    display: bool


def in_markdown(source: str) -> list[Formula]:
    """The formulas of a Markdown text, in order."""
    return list(_Search(source, is_markdown=True).formulas())


def in_latex(source: str) -> list[Formula]:
    r"""The formulas of a kernel's LaTeX output, in which every dollar, `\(` and `\[` is a delimiter."""
    return list(_Search(source, is_markdown=False).formulas())


class _Search:
    """One pass over a text."""

    def __init__(self, source: str, *, is_markdown: bool) -> None:
        self._source = source
        self._is_markdown = is_markdown
        self._steps = 0
        self._paragraph_end = -1

    def formulas(self) -> Iterator[Formula]:
        opening = _OPENING if self._is_markdown else _LATEX_OPENING
        at = 0
        while (found := opening.search(self._source, at)) is not None and self._steps < _MAX_STEPS:
            if found["ticks"]:
                at = self._after_code(found)
            elif found["fence"]:
                at = self._after_fence(found)
            elif (formula := self._formula(found)) is not None:
                yield formula
                at = formula.end
            else:
                at = found.start() + 1 if found["dollars"] else found.end()

    def _formula(self, found: re.Match[str]) -> Formula | None:
        start, opening = found.span()
        if found["reference"]:
            return Formula(start, opening, found[0], display=False)
        if found["name"] in _TEXT.split():
            return None
        if found["name"]:
            inside = self._end(opening, rf"\\end\{{{re.escape(found['name'])}\}}", found[0])
            return None if inside is None else Formula(start, inside[1], self._text(start, inside[1]), display=True)
        if found["dollars"]:
            return self._in_dollars(found)
        return self._in_brackets(found) if found["brackets"] else None  # anything else is escaped

    def _in_brackets(self, found: re.Match[str]) -> Formula | None:
        start, opening = found.span()
        closing = re.escape(found["brackets"].replace("(", ")").replace("[", "]"))
        inside = self._end(opening, closing)
        if inside is None:
            return None
        return Formula(start, inside[1], self._text(opening, inside[0]), display=found["brackets"].endswith("["))

    def _in_dollars(self, found: re.Match[str]) -> Formula | None:
        start, opening = found.span()
        is_double = found["dollars"] == "$$"
        inside = self._end(opening, r"\$\$" if is_double else r"\$")
        if inside is None:
            return None
        tex, after = self._text(opening, inside[0]), self._source[inside[1] : inside[1] + 1]
        before = self._source[max(0, start - 20) : start]
        if self._is_markdown and not is_double and not is_formula(before, tex, after):
            return None
        return Formula(start, inside[1], tex, display=is_double) if tex.strip() else None

    def _end(self, at: int, closing: str, nested: str = "") -> tuple[int, int] | None:
        """Find a formula's closing delimiter: the first outside of braces, or if braces do not match, the first."""
        parts = rf"(?P<closing>{closing})|(?P<nested>{re.escape(nested) or '(?!)'})|\\[^\n]|(?P<brace>[{{}}])"
        limit = min(at + MAX_LENGTH, self._end_of_paragraph(at))
        depth, first = 0, None
        for found in re.compile(parts).finditer(self._source, at, limit):
            self._steps += 1
            if found["closing"]:
                if depth <= 0:
                    return found.span()
                first = first or found.span()
                depth -= bool(nested)
            elif found["nested"] or found["brace"]:
                depth += -1 if found["brace"] == "}" else 1
        return first

    def _end_of_paragraph(self, at: int) -> int:
        if self._paragraph_end < at:
            found = _BLANK_LINE.search(self._source, at)
            self._paragraph_end = found.start() if found else len(self._source)
        return self._paragraph_end

    def _text(self, start: int, end: int) -> str:
        """The text without quotation marks (`>`), as a formula may be in a quotation."""
        text = self._source[start:end]
        if "\n" in text and _QUOTED.match(self._source, self._source.rfind("\n", 0, start) + 1):
            return re.sub(r"\n[ \t]*>", "\n", text)
        return text

    def _after_code(self, found: re.Match[str]) -> int:
        """Skip code: it ends at as many backticks as it begins with, in the same paragraph (CommonMark 0.31, 6.1)."""
        ticks = re.compile(rf"(?<!`){found['ticks']}(?!`)")
        self._steps += 20
        limit = min(found.end() + MAX_LENGTH, self._end_of_paragraph(found.end()))
        closing = ticks.search(self._source, found.end(), limit)
        return closing.end() if closing else found.end()

    def _after_fence(self, found: re.Match[str]) -> int:
        """Skip fenced code: it ends at a fence as long as the first, or with the text (CommonMark 0.31, 4.5)."""
        mark = found["fence"].lstrip(" \t>-*+0123456789.)")
        self._steps += 20
        closing = re.compile(rf"^[ \t>]*{mark}{mark[0]}*[ \t]*$", re.MULTILINE).search(self._source, found.end())
        return closing.end() if closing else len(self._source)


def is_formula(before: str, content: str, after: str) -> bool:
    """Whether the text between two dollars is a formula. `before` and `after` are the adjacent text."""
    inside = content.strip()
    if not inside:
        return False
    if _COMMAND.search(inside):
        return not (inside[0].isdigit() and after.isdigit() and content[-1].isspace())
    if _is_money(before, content, after):
        return False
    if content == inside:
        return True
    looks_like_one = len(inside) == 1 or _SCRIPT.search(inside) or _OPERATOR.search(inside)
    return bool(looks_like_one) and not _WORDS.search(inside)


def _is_money(before: str, content: str, after: str) -> bool:
    """Whether these dollars belong to amounts, or to names such as $HOME. `content` has no TeX command."""
    inside = content.strip()
    is_pair = inside[0].isdigit() and after.isdigit()  # $5 to $6
    opens_another = after.isalnum() and content[-1].isspace() and not content[0].isspace()  # $HOME and $PATH
    if is_pair or opens_another or _AMOUNT.match(inside):
        return True
    if _SCRIPT.search(inside):
        return False
    if after.isdigit() or (after.isalnum() and _ENDS_OPEN.search(inside)):
        return True
    before = before.rstrip() if content[0].isspace() else before
    return inside[-1].isdigit() and before[-1:].isdigit() and "=" not in inside  # 5$ or 6$
