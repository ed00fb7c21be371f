"""Carries formulas through Markdown, and renders them as elements that contain their source. Pure.

In browsers MathJax draws them (frontend/live/renderer.js); without scripts the source is readable. Before Markdown is
parsed, each formula is replaced by a word that no Markdown rule interprets. In text that word becomes a token of its
own; elsewhere, in code or an address, it is replaced by the original source again.
`frontend/live/sandboxed/markdown_worker.js` does the same for live outputs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import html
import re
from collections.abc import Callable, Iterator

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from tmpnb_py.workshops.notes.delimiters import Formula, in_latex, in_markdown

_TAG = r"<[A-Za-z/!?](?:[^<>\"']|\"[^\"]*\"|'[^']*')*+>"
_VERBATIM = re.compile(r"<(/?)(?:code|kbd|pre|samp|script|style|textarea)\b", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, slots=True)
class Masked:
    """A source with words instead of formulas. `word` matches them; its first group is the formula's number."""

    text: str
    formulas: tuple[Formula, ...]
    originals: tuple[str, ...]
    word: re.Pattern[str]

    @classmethod
    def of(cls, source: str) -> Masked:
        """Replace the formulas of a source."""
        formulas = tuple(in_markdown(source))
        if not formulas:
            return cls(source, (), (), re.compile(r"(?!)()"))
        # It depends on the whole source, so no author can write it, not even as a character reference or an escape.
        mark = int(hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()[:20], 16)
        parts, at = [], 0
        for number, formula in enumerate(formulas):
            parts += [source[at : formula.start], f"tnmath{mark}x{number}x"]
            at = formula.end
        originals = tuple(source[formula.start : formula.end] for formula in formulas)
        return cls("".join((*parts, source[at:])), formulas, originals, re.compile(rf"tnmath{mark}x([0-9]+)x"))

    def restored(self, text: str) -> str:
        """The text with its original formulas."""
        return self.word.sub(lambda found: self.originals[int(found[1])], text)

    def pieces(self, text: str) -> Iterator[str | Formula]:
        """Split the text into pieces of text and formulas."""
        for at, piece in enumerate(self.word.split(text)):
            if at % 2:
                yield self.formulas[int(piece)]
            elif piece:
                yield piece


def element(formula: Formula) -> str:
    """A formula as an HTML element that contains its source."""
    name = "tn-latex tn-display" if formula.display else "tn-latex"
    return f'<code class="{name}">{html.escape(formula.tex.strip())}</code>'


def paragraph(text: str) -> str:
    """Render a kernel's LaTeX (SymPy, IPython's Math and Latex) as HTML.

    "" if it has no formula, or has commands outside of formulas, which are no mathematics.
    """
    words, made, at = [], [""], 0
    for formula in in_latex(text):
        words.append(text[at : formula.start])
        made.append(element(formula))
        at = formula.end
    words.append(text[at:])
    if len(words) == 1 or any("\\" in one for one in words):
        return ""
    return f"<p>{''.join(before + html.escape(one) for before, one in zip(made, words, strict=True))}</p>"


def plugin(parser: MarkdownIt) -> None:
    """Make a parser turn formulas into tokens; its `env` must have the `Masked` source as "masked"."""
    parser.core.ruler.push("formulas", _rule)


def in_html(source: str, masked: Masked, hold: Callable[[Formula], str]) -> str:
    """Replace the words in HTML by formulas, except in tags and in verbatim text."""
    parts, verbatim = [], 0
    for at, piece in enumerate(re.split(f"({_TAG})", source, flags=re.DOTALL)):
        if at % 2 or verbatim > 0:
            parts.append(masked.restored(piece))
        else:
            parts += [one if isinstance(one, str) else hold(one) for one in masked.pieces(piece)]
        if at % 2 and (found := _VERBATIM.match(piece)) is not None:
            verbatim += -1 if found[1] else 1
    return "".join(parts)


def _rule(state: StateCore) -> None:
    masked: Masked = state.env["masked"]
    if not masked.formulas:
        return
    for token in state.tokens:
        if token.type == "inline":
            token.children = list(_inline(token.children or [], masked))
        elif token.type != "html_block":
            _restore(token, masked)


def _inline(children: list[Token], masked: Masked) -> Iterator[Token]:
    verbatim = 0
    for token in children:
        if token.type == "text" and verbatim <= 0:
            yield from map(_token, masked.pieces(token.content))
            continue
        if token.type == "html_inline" and (found := _VERBATIM.match(token.content)) is not None:
            verbatim += -1 if found[1] else 1
        _restore(token, masked)
        yield token


def _token(piece: str | Formula) -> Token:
    if isinstance(piece, str):
        return Token("text", "", 0, content=piece)
    return Token("formula", "code", 0, content=piece.tex, meta={"formula": piece})


def _restore(token: Token, masked: Masked) -> None:
    token.content = masked.restored(token.content)
    token.info = masked.restored(token.info)
    for name, value in token.attrs.items():
        if isinstance(value, str):
            token.attrs[name] = masked.restored(value)
    for child in token.children or ():  # a picture's alternative text
        _restore(child, masked)
