"""Syntax highlighting with classes for a style sheet. Pure."""

from __future__ import annotations

import html

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Keyword, Literal, Name, Number, Operator, String, _TokenType, is_token_subtype
from pygments.util import ClassNotFound

from tmpnb_py.core.languages import find_runnable

# Pygments has eighty kinds of token, but people can only tell about five colours apart.
_CLASSES = (
    (Comment.Preproc, "k"),
    (Comment, "c"),
    (String, "s"),
    (Number, "n"),
    (Literal, "n"),
    (Operator.Word, "k"),
    (Keyword.Constant, "n"),
    (Keyword, "k"),
    (Name.Builtin, "f"),
    (Name.Function, "f"),
    (Name.Decorator, "f"),
)


def highlight(source: str, language: str) -> str:
    """The source as HTML; only escaped if the language is unknown."""
    lexer = _lexer(language)
    if lexer is None:
        return html.escape(source)
    parts: list[str] = []
    open_class = ""
    for kind, text in lexer.get_tokens(source):
        name = open_class if text.isspace() else _class_of(kind)  # blanks need neither a colour nor a new element
        if name != open_class:
            parts.append(("</span>" if open_class else "") + (f'<span class="tn-{name}">' if name else ""))
            open_class = name
        parts.append(html.escape(text))
    return "".join(parts) + ("</span>" if open_class else "")


def is_known(language: str) -> bool:
    """Whether Pygments knows this language."""
    return _lexer(language) is not None


def _class_of(kind: _TokenType) -> str:
    return next((name for ancestor, name in _CLASSES if is_token_subtype(kind, ancestor)), "")


def _lexer(language: str) -> Lexer | None:
    known = find_runnable(language)
    try:
        return get_lexer_by_name(known.name if known else language.lower(), stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None
