"""Renders a saved output as HTML. Pure.

Kernels send an output in several forms, and JupyterLab shows the richest that it trusts. Here nothing is trusted:
HTML is sanitised like the page's own text, and preferred only if sanitising keeps all of it, as for a table.
Otherwise Markdown, formulas and plain text say more than the remains.
"""

from __future__ import annotations

import dataclasses
import html
import re

from tmpnb_py.workshops.notes import embeds, labels
from tmpnb_py.workshops.notes.interactive import MEDIA, Scripts, is_name_only
from tmpnb_py.workshops.notes.markdown import Markdown
from tmpnb_py.workshops.notes.math import paragraph
from tmpnb_py.workshops.notes.notebook import Output, Picture

_ELEMENT = re.compile(r"<[^>]*>")
ONLY_THERE = f'<p class="tn-note">{labels.label(labels.ONLY_THERE)}</p>'
# If the page can run the cell, notes.js adds a button.
INTERACTIVE = f'<p class="tn-note tn-interactive">{labels.label(labels.INTERACTIVE)}</p>'

# Styles that pandas and IRkernel send with tables and lists, as in frontend/live/output.js. The page's own styles
# replace them.
_NEEDLESS = "text-align: ?(?:left|center);?|display:list-item;cursor:pointer|white-space: ?pre-wrap;?"
_USUAL = (
    (re.compile(r"<style(?: scoped)?>\s*\.(?:dataframe|list-inline|dl-inline)[^<]*</style>"), ""),
    (re.compile(r""" style=("?)text-align: ?right;?\1(?=[\s>])"""), ' class="tn-right"'),
    (re.compile(rf""" style=("?)(?:{_NEEDLESS})\1(?=[\s>])"""), ""),
    (re.compile(r""" class=(["']?)list-inline\1(?=[\s>])"""), ' class="tn-inline"'),
    (re.compile(r""" class=(["']?)dl-inline\1(?=[\s>])"""), ' class="tn-inline tn-pairs"'),
)
_SIMPLE = (
    "a b br caption code dd details div dl dt em h1 h2 h3 h4 h5 h6 hr i li ol p pre small span strong sub summary "
    "sup table tbody td tfoot th thead tr ul"
)
_TAG = re.compile(r"<([a-zA-Z][^\s/>]*)")
_STYLED = re.compile(r"\sstyle\s*=", re.IGNORECASE)


def render(output: Output, markdown: Markdown) -> str:
    """Render an output as safe HTML."""
    if output.picture is not None:  # JupyterLab ranks Markdown and LaTeX above pictures
        shown = _player if output.picture.type in MEDIA else _image
        return _text(output, markdown) or shown(output.picture, markdown)
    if output.scripts is not Scripts.NONE:
        return _scripted(output, markdown)
    made = _rich(output, markdown) if output.kind == "display" else ""
    return made or _pre(output)


def _image(picture: Picture, markdown: Markdown) -> str:
    named = picture.alt or labels.label(labels.DRAWN)
    source, alt = (html.escape(text) for text in (markdown.links.keep(picture), named))
    sizes = "".join(
        f' {name}="{size}"' for name, size in (("width", picture.width), ("height", picture.height)) if size
    )
    return f'<img src="{source}" alt="{alt}"{sizes} loading="lazy">'


def _player(media: Picture, markdown: Markdown) -> str:
    name, words = ("audio", labels.SOUND) if media.type.startswith("audio/") else ("video", labels.FILM)
    source = html.escape(markdown.links.keep(media))
    return f'<{name} src="{source}" controls preload="metadata" aria-label="{labels.label(words)}"></{name}>'


def _scripted(output: Output, markdown: Markdown) -> str:
    """Replace a scripted output by a sentence, after the part that is readable without scripts."""
    said = INTERACTIVE if output.scripts is Scripts.DRAW else ""
    if made := _text(output, markdown):
        return made + said
    if said and "<script" not in output.html.lower():  # a frame with another site's page
        made = _visible(markdown.html(embeds.instead(output.html)))
        if "<a " in made:
            return made
    is_text = (output.html or not said) and output.text.strip() and not is_name_only(output.text)
    return (_pre(output) if is_text else "") + said


def _rich(output: Output, markdown: Markdown) -> str:
    """Render a display's best form; "" if that is its plain text."""
    source = _usual(output.html)
    if output.html and _is_simple(source) and (made := _visible(markdown.html(source))):
        return made
    if made := _text(output, markdown):
        return made
    has_text = output.text and not is_name_only(output.text)
    return "" if has_text else _instead(output, markdown.html(source))


def _text(output: Output, markdown: Markdown) -> str:
    """Render its Markdown or mathematics like the page's text; "" if it has none."""
    if output.markdown:
        return f'<div class="tn-text">\n{markdown.render(output.markdown, {}, is_output=True)}</div>'
    if output.latex and (made := paragraph(output.latex)):
        return f'<div class="tn-text">{made}</div>'
    return ""


def _instead(output: Output, sanitised: str) -> str:
    """What to show for a display without a meaningful text; "" if there is only its name."""
    if output.latex:
        return _pre(dataclasses.replace(output, terminal=((output.latex, ""),)))
    only_there = ONLY_THERE if output.html or output.text.startswith("<IPython.") else ""
    return _visible(sanitised) or only_there


def _usual(source: str) -> str:
    for pattern, instead in _USUAL:
        source = pattern.sub(instead, source)
    return source


def _is_simple(source: str) -> bool:
    """Whether sanitising keeps everything visible. Makes no security decision."""
    return {tag.lower() for tag in _TAG.findall(source)} <= set(_SIMPLE.split()) and not _STYLED.search(source)


def _visible(made: str) -> str:
    return f'<div class="tn-html">{made}</div>' if "<img " in made or _ELEMENT.sub("", made).strip() else ""


def _pre(output: Output) -> str:
    name = {"error": "tn-error", "stderr": "tn-stderr"}.get(output.kind, "tn-stdout")
    pieces = [
        f'<span class="{classes}">{html.escape(text)}</span>' if classes else html.escape(text)
        for text, classes in output.terminal
    ]
    return f'<pre class="{name}">{"".join(pieces)}</pre>'
