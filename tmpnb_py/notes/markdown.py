"""Markdown as safe HTML. Pure.

HTML in Markdown is common in notebooks (<kbd>, <details>), so it is not escaped but sanitised, together with what
Markdown itself made, as a whole: a tag may open in one block and close in another. What is made here and needs no
sanitising (formulas, coloured code) stands aside meanwhile: an empty element with a number holds its place. Such an
element cannot be forged into an attribute, as quotes in those are escaped by then.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.tasklists import tasklists_plugin

from tmpnb_py.notes import dollars, embeds
from tmpnb_py.notes.code import highlight
from tmpnb_py.notes.links import Links
from tmpnb_py.notes.math import formula
from tmpnb_py.notes.model import Heading
from tmpnb_py.notes.notebook import Picture

MAX_MARKDOWN = 100_000  # characters of one cell
_TAGS = (
    "a abbr b blockquote br caption center cite code col colgroup dd del details dfn div dl dt em figcaption figure "
    "font h1 h2 h3 h4 h5 h6 hr i img ins kbd li mark ol p pre q s samp small span strong sub summary sup table tbody "
    "td tfoot th thead tr u ul var wbr"
)
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_ATTRIBUTES = {
    "a": {"href", "title"},
    "abbr": {"title"},
    "details": {"open"},
    "img": {"src", "alt", "title", "width", "height"},
    "ol": {"start"},
    "div": {"align"},
    "font": {"color"},
    "p": {"align"},
    "td": {"align", "colspan", "rowspan"},
    "th": {"align", "colspan", "rowspan", "scope"},
}
_OUTPUT_CLASSES = {  # see `outputs`
    **{tag: {"tn-right"} for tag in ("tr", "th", "td")},
    **{tag: {"tn-inline", "tn-pairs"} for tag in ("ol", "ul", "dl")},
}
_NUMBER = re.compile(r"[0-9]{1,4}")
_FORMS = {  # of attributes' values
    **dict.fromkeys(("colspan", "rowspan", "start"), _NUMBER),
    **dict.fromkeys(("width", "height"), re.compile(r"[0-9]{1,4}(?:px)?|[0-9]{1,3}%")),
    "color": re.compile(r"[a-zA-Z]{3,20}|#[0-9a-fA-F]{3,6}"),
    "lang": re.compile(r"[a-zA-Z]{2,3}(?:-[a-zA-Z0-9]{1,8}){0,4}"),
    "dir": re.compile("ltr|rtl|auto"),
}
_ANCHOR = re.compile(r"[^\s\"'<>]{1,100}")
_BOXES = ("alert", "alert-info", "alert-success", "alert-warning", "alert-danger")  # Bootstrap's, as in Jupyter
_HELD = re.compile(r'<span class="tn-held-([0-9]+)"></span>')
_WIDE = '<div class="tn-wide">'
_WIDE_AND_REACHABLE = '<div class="tn-wide" tabindex="0" role="region" aria-label="Table">'


@dataclasses.dataclass(slots=True)
class Markdown:
    """Renders a notebook's Markdown cells one after the other. `headings` are those so far.

    `anchors` are the addresses inside of the page, in their order: headings' own, and those that authors gave.
    """

    links: Links
    language: str = ""
    headings: list[Heading] = dataclasses.field(default_factory=list)
    anchors: dict[str, None] = dataclasses.field(default_factory=dict)
    _held: list[str] = dataclasses.field(default_factory=list)
    _given: set[str] = dataclasses.field(default_factory=set)
    _numbers: dict[str, Iterator[int]] = dataclasses.field(default_factory=dict)  # for headings that are alike
    _parser: MarkdownIt | None = None

    def render(self, source: str, attachments: Mapping[str, Picture], *, is_output: bool = False) -> str:
        """A cell's HTML, which is safe to stand in a page. Headings of an output are none of the page's."""
        parser = self._parser = self._parser or self._make_parser()
        self._held.clear()
        tokens = parser.parse(source[:MAX_MARKDOWN])
        if is_output:
            _lower_headings(tokens)
        else:
            self._mark_headings(tokens)
        _align_by_attribute(tokens)
        made = embeds.instead(parser.renderer.render(tokens, parser.options, {}))
        return self._released(self._sanitised(made, attachments, with_anchors=not is_output))

    def html(self, source: str) -> str:
        """HTML that a cell left, as safe as the page's text."""
        self._held.clear()
        return self._sanitised(source, {})

    def title(self, source: str) -> tuple[str, str]:
        """A heading of the first level with which the source begins, as text ("" = none), and what is after it."""
        parser = self._parser = self._parser or self._make_parser()
        tokens = parser.parse(source[:MAX_MARKDOWN])
        if len(tokens) < 3 or tokens[0].tag != "h1" or tokens[0].map is None:
            return "", source
        lines = source.splitlines(keepends=True)
        return _plain(tokens[1]), "".join(lines[tokens[0].map[1] :])

    def _make_parser(self) -> MarkdownIt:
        parser = MarkdownIt("gfm-like", {"html": True})  # bare addresses become links, too
        parser.use(dollarmath_plugin, double_inline=True).use(tasklists_plugin)
        parser.inline.ruler.at("math_inline", dollars.rule())
        for name, rule in (
            ("math_inline", self._math),
            ("math_inline_double", self._math),
            ("math_block", self._math),
            ("math_block_label", self._math),
            ("fence", self._fence),
            ("table_open", lambda *_: f"{_WIDE}<table>"),
            ("table_close", lambda *_: "</table></div>"),
        ):
            parser.renderer.rules[name] = rule  # type: ignore[attr-defined]  # the protocol leaves it out
        return parser

    # --- what stands aside while the rest is sanitised

    def _math(self, tokens: Sequence[Token], at: int, *_: object) -> str:
        return self._hold(formula(tokens[at].content, display=tokens[at].type != "math_inline"))

    def _fence(self, tokens: Sequence[Token], at: int, *_: object) -> str:
        language = tokens[at].info.strip().partition(" ")[0]
        return f"<pre><code>{self._hold(highlight(tokens[at].content, language))}</code></pre>\n"

    def _hold(self, made: str) -> str:
        self._held.append(made)
        return f'<span class="tn-held-{len(self._held) - 1}"></span>'

    def _released(self, clean: str) -> str:
        clean = clean.replace(_WIDE, _WIDE_AND_REACHABLE)
        return _HELD.sub(lambda found: self._held[int(found[1])], clean)

    # --- sanitising

    def _sanitised(self, made: str, attachments: Mapping[str, Picture], *, with_anchors: bool = False) -> str:
        def checked(tag: str, name: str, value: str) -> str | None:
            if name == "id":
                return self._own_anchor(tag, value) if with_anchors else None
            if name == "href":
                return self.links.href(value)
            if name == "src":
                return self.links.picture(value, attachments)
            return value if name not in _FORMS or _FORMS[name].fullmatch(value) else None

        return nh3.clean(
            made,
            tags=set(_TAGS.split()),
            clean_content_tags={"script", "style", "template", "noscript", "svg", "math"},
            attributes={tag: {"id", "lang", "dir", *_ATTRIBUTES.get(tag, ())} for tag in _TAGS.split()},
            attribute_filter=checked,
            # Looked at by `Links`, which makes other addresses of all but the first three.
            url_schemes={"http", "https", "mailto", "data", "attachment"},
            allowed_classes={
                "span": {f"tn-held-{number}" for number in range(len(self._held))},
                "div": {"tn-wide", *_BOXES},
                "p": set(_BOXES),
                **_OUTPUT_CLASSES,
            },
            link_rel="noopener noreferrer",
        )

    # --- headings

    def _mark_headings(self, tokens: Sequence[Token]) -> list[Heading]:
        """Give each heading an address as Jupyter does (blanks become dashes). None is of the page's own level."""
        found: list[Heading] = []
        for opening, inline, closing in zip(tokens, tokens[1:], tokens[2:], strict=False):
            if opening.type != "heading_open" or opening.level:
                continue
            level = max(2, int(opening.tag[1]))
            text = _plain(inline)
            heading = Heading(level, self._anchor(text), text)
            opening.tag = closing.tag = f"h{level}"
            opening.attrs["id"] = heading.anchor
            self.headings.append(heading)
            self.anchors[heading.anchor] = None
            self._given.add(heading.anchor)
            found.append(heading)
        return found

    def _own_anchor(self, tag: str, value: str) -> str | None:
        """An address that the author gave to a place; each counts once, as in browsers the first one does."""
        if tag in _HEADINGS and value in self._given:
            self._given.discard(value)  # a heading's, which is in `anchors` already
            return value
        if not _ANCHOR.fullmatch(value) or _is_reserved(value) or value in self.anchors:
            return None
        self.anchors[value] = None
        return value

    def _anchor(self, text: str) -> str:
        base = re.sub(r"\s+", "-", text.strip())[:100] or "section"
        if _is_reserved(base):
            base = f"section-{base}"
        if base not in self.anchors:
            return base
        numbers = self._numbers.setdefault(base, itertools.count(2))
        return next(name for number in numbers if (name := f"{base}-{number}") not in self.anchors)


def _is_reserved(anchor: str) -> bool:
    """Whether it is one of the names that the page's own parts have."""
    return anchor.lower() == "main" or anchor.lower().startswith("tn-")


def _plain(inline: Token) -> str:
    """A heading's words."""
    parts = [
        child.content
        for child in inline.children or ()
        if child.type in ("text", "code_inline", "math_inline", "text_special")
    ]
    return "".join(parts).strip()


def _lower_headings(tokens: Sequence[Token]) -> None:
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{max(4, int(token.tag[1]))}"


def _align_by_attribute(tokens: Sequence[Token]) -> None:
    """The page's policy has no room for styles in attributes."""
    for token in tokens:
        if token.type in ("td_open", "th_open") and isinstance(style := token.attrs.pop("style", None), str):
            token.attrs["align"] = style.removeprefix("text-align:")
