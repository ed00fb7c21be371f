r"""Which dollars stand around a formula, and which are money. Pure; used by the Markdown renderer.

JupyterLab hands MathJax whatever stands between two dollars, which is why authors write `3$\times$3`, `10$\mu$m` and
`$ x + y $`, and why there "$5 and $6" is a formula. Pandoc's rule (https://pandoc.org/MANUAL.html#math, the extension
tex_math_dollars: no blank inside of either dollar, no digit after the closing one) keeps prices, but loses those. So
what only TeX has decides first, and Pandoc's rule, a little wider, decides where there is none of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from markdown_it.rules_inline import StateInline
from mdit_py_plugins.dollarmath.index import math_inline_dollar

from tmpnb_py.notes.math import MAX_LENGTH

Rule = Callable[[StateInline, bool], bool]

_COMMAND = re.compile(r"\\[A-Za-z]")
_SCRIPT = re.compile(r"[\^_{}]|^[=<>+*-]+$")  # also a lone sign: about 5$-$6
_OPERATOR = re.compile(r"[=<>+*/|!-]")
_WORDS = re.compile(r"\b[^\W\d_]{2,}\s+[^\W\d_]{2}")  # two of them in a row
_AMOUNT = re.compile(r"[0-9][0-9.,]*\s+[^\W\d_]{2}")  # 5 apples
_ENDS_OPEN = re.compile(r"[-\u2013\u2014/,;:(]$")  # what joins this amount to the next one


def rule() -> Rule:
    """The parser's rule for inline formulas: the plugin's own, for what is one."""
    anything = math_inline_dollar(allow_space=True, allow_digits=True, allow_double=True)

    def dollars(state: StateInline, silent: bool) -> bool:
        start = state.pos
        if not anything(state, True):
            return False
        end, state.pos = state.pos, start
        is_double = state.src.startswith("$$", start)
        before, content = state.src[max(0, start - 20) : start], state.src[start + 1 : end - 1]
        if not is_double and not is_formula(before, content, state.src[end : end + 1]):
            return False
        return anything(state, silent)

    return dollars


def is_formula(before: str, content: str, after: str) -> bool:
    """Whether the text between two dollars is a formula. `before` and `after` are what stands next to them."""
    inside = content.strip()
    if not inside or len(content) > MAX_LENGTH:
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
    """Whether these dollars belong to amounts, or to names such as $HOME. `content` has no command of TeX."""
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
