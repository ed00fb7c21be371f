r"""LaTeX as MathML, which browsers draw by themselves: no script, no fonts from elsewhere. Pure.

The library's own text output is not escaped (`\text{<script>}`), and commands such as `\href` and `\style` put any
attribute on any element; so its tree is written out here, with the elements and attributes that formulas need.
"""

from __future__ import annotations

import html
import re
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert_to_element

MAX_LENGTH = 5000  # characters of one formula


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ELEMENTS = _words(
    "math mfrac mi mmultiscripts mn mo mover mpadded mphantom mprescripts mroot mrow ms mspace msqrt mstyle msub "
    "msubsup msup mtable mtd mtext mtr munder munderover none"
)
_ATTRIBUTES = _words(
    "accent accentunder columnalign columnlines columnspacing display displaystyle fence form height largeop "
    "linethickness lspace mathcolor mathsize mathvariant maxsize minsize movablelimits rowspacing rspace scriptlevel "
    "separator stretchy symmetric width"
)
_VALUE = re.compile(r"[A-Za-z0-9.#%+ -]{1,40}")
_DEEPEST = 60
# Environments of amsmath that the library reads as if they were one line, and those that look like them.
_ENVIRONMENT = re.compile(r"\\(begin|end)\{(aligned|eqnarray|gathered|gather|multline)\*?\}")
_INSTEAD = {"aligned": "align*", "eqnarray": "align*"}
_LONGEST_TEXT = 20_000  # characters of several formulas with text between them
_DELIMITED = re.compile(
    r"\$\$(?P<dollars>.{1,5000}?)\$\$|\$(?P<inline>[^$]{1,5000})\$"
    r"|\\\[(?P<brackets>.{1,5000}?)\\\]|\\\((?P<parentheses>.{1,5000}?)\\\)"
    r"|(?P<environment>\\begin\{(?:equation|align|gather|multline|eqnarray)\*?\}.{1,5000}?\\end\{[a-z]{1,9}\*?\})",
    re.DOTALL,
)


def formula(latex: str, *, display: bool) -> str:
    """A formula as HTML; what cannot be understood is shown as it was written."""
    source = latex.strip()
    if len(source) <= MAX_LENGTH:
        known = _ENVIRONMENT.sub(lambda found: f"\\{found[1]}{{{_INSTEAD.get(found[2], 'matrix')}}}", source)
        try:
            tree = convert_to_element(known, display="block" if display else "inline")
            return _write(tree, 0)
        except Exception:  # noqa: BLE001, S110 - the library raises all kinds of errors for broken formulas
            pass
    return f'<code class="tn-latex">{html.escape(source)}</code>'


def formulas(text: str) -> str:
    """What a kernel sent as LaTeX (SymPy, IPython's Math and Latex) as HTML.

    Formulas stand in MathJax's delimiters. "" where there are none, or where there are commands around them.
    """
    if len(text) > _LONGEST_TEXT:
        return ""
    parts: list[str] = []
    at = 0
    for found in _DELIMITED.finditer(text):
        before, at = text[at : found.start()], found.end()
        kind = found.lastgroup or ""
        parts += [before, formula(found[kind], display=kind not in ("inline", "parentheses"))]
    rest = [*parts[::2], text[at:]]
    if not parts or any("\\" in part for part in rest):
        return ""
    return "".join(html.escape(words) + made for words, made in zip(rest, [*parts[1::2], ""], strict=True))


def _write(element: Element, depth: int) -> str:
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    inside = html.escape(html.unescape(element.text or ""))
    inside += "".join(_write(child, depth + 1) + html.escape(html.unescape(child.tail or "")) for child in element)
    if element.tag not in _ELEMENTS:
        return inside
    kept = [
        (name, value) for name, value in element.attrib.items() if name in _ATTRIBUTES and _VALUE.fullmatch(value)
    ]
    attributes = "".join(f' {name}="{value}"' for name, value in kept)
    return f"<{element.tag}{attributes}>{inside}</{element.tag}>"
