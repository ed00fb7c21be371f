"""Renders Markdown as safe HTML. Pure.

HTML in Markdown is common in notebooks (<kbd>, <details>), so it is not escaped but sanitised, together with the HTML
from Markdown, as a whole: a tag may open in one block and close in another. Our own HTML that needs no sanitising
(formulas, highlighted code) is replaced meanwhile by an empty element with a number. Such a placeholder cannot be
forged inside an attribute, as quotes there are escaped by then.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.tasklists import tasklists_plugin

from tmpnb_py.workshops.notes import allowed, embeds, labels, math
from tmpnb_py.workshops.notes.code import highlight
from tmpnb_py.workshops.notes.links import LinkRewriter
from tmpnb_py.workshops.notes.math import Masked
from tmpnb_py.workshops.notes.model import Heading
from tmpnb_py.workshops.notes.notebook import Picture

MAX_MARKDOWN = 100_000  # characters of one cell
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_ANCHOR = re.compile(r"[^\s\"'<>]{1,100}")
_HELD = re.compile(r'<span class="tn-held-([0-9]+)"></span>')
_WIDE = '<div class="tn-wide">'
_WIDE_AND_REACHABLE = f'<div class="tn-wide" tabindex="0" role="region" aria-label="{labels.label(labels.TABLE)}">'


@dataclasses.dataclass(slots=True)
class Markdown:
    """Renders a notebook's Markdown cells in turn. `headings` are those so far.

    `anchors` are the anchors of the page in order: those of headings, and the authors' own.
    """

    links: LinkRewriter
    language: str = ""
    headings: list[Heading] = dataclasses.field(default_factory=list)
    anchors: dict[str, None] = dataclasses.field(default_factory=dict)
    _held: list[str] = dataclasses.field(default_factory=list)
    _given: set[str] = dataclasses.field(default_factory=set)
    _numbers: dict[str, Iterator[int]] = dataclasses.field(default_factory=dict)  # for headings with the same text
    _parser: MarkdownIt | None = None

    def render(self, source: str, attachments: Mapping[str, Picture], *, is_output: bool = False) -> str:
        """Render a cell as safe HTML. An output's headings do not become headings of the page."""
        parser = self._parser = self._parser or self._make_parser()
        self._held.clear()
        env = {"masked": Masked.of(source[:MAX_MARKDOWN])}
        tokens = parser.parse(env["masked"].text, env)
        if is_output:
            _lower_headings(tokens)
        else:
            self._mark_headings(tokens)
        _align_by_attribute(tokens)
        made = embeds.instead(parser.renderer.render(tokens, parser.options, env))
        return self._released(self._sanitised(made, attachments, with_anchors=not is_output))

    def html(self, source: str) -> str:
        """Sanitise HTML from an output as strictly as the page's text."""
        self._held.clear()
        return self._sanitised(source, {})

    def title(self, source: str) -> tuple[str, str]:
        """Split a level-one heading off the beginning of the source: its text ("" if none), and the rest."""
        parser = self._parser = self._parser or self._make_parser()
        masked = Masked.of(source[:MAX_MARKDOWN])
        tokens = parser.parse(masked.text, {"masked": masked})
        if len(tokens) < 3 or tokens[0].tag != "h1" or tokens[0].map is None:
            return "", source
        lines = masked.text.splitlines(keepends=True)
        return _plain(tokens[1]), masked.restored("".join(lines[tokens[0].map[1] :]))

    def _make_parser(self) -> MarkdownIt:
        parser = MarkdownIt("gfm-like", {"html": True})  # links bare URLs, too
        parser.use(tasklists_plugin).use(math.plugin)
        for name, rule in (
            ("formula", self._formula),
            ("html_block", self._html),
            ("fence", self._fence),
            ("table_open", lambda *_: f"{_WIDE}<table>"),
            ("table_close", lambda *_: "</table></div>"),
        ):
            parser.renderer.rules[name] = rule  # type: ignore[attr-defined]  # missing in the protocol
        return parser

    # --- placeholders while the rest is sanitised

    def _formula(self, tokens: Sequence[Token], at: int, *_: object) -> str:
        return self._hold(math.element(tokens[at].meta["formula"]))

    def _html(self, tokens: Sequence[Token], at: int, _options: object, env: Mapping[str, Masked]) -> str:
        return math.in_html(tokens[at].content, env["masked"], lambda formula: self._hold(math.element(formula)))

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
            return value if name not in allowed.FORMS or re.fullmatch(allowed.FORMS[name], value) else None

        return nh3.clean(
            made,
            tags=set(allowed.TAGS),
            clean_content_tags={"script", "style", "template", "noscript", "svg", "math"},
            attributes={tag: {"id", *allowed.EVERYWHERE, *allowed.ATTRIBUTES.get(tag, ())} for tag in allowed.TAGS},
            attribute_filter=checked,
            # `LinkRewriter` checks and rewrites all but the first three.
            url_schemes={"http", "https", "mailto", "data", "attachment"},
            allowed_classes={
                "span": {f"tn-held-{number}" for number in range(len(self._held))},
                **{tag: set(classes) for tag, classes in allowed.CLASSES.items()},
            },
            link_rel="noopener noreferrer",
        )

    # --- headings

    def _mark_headings(self, tokens: Sequence[Token]) -> list[Heading]:
        """Give each heading an anchor as Jupyter does (blanks become dashes), and lower it below the page's title."""
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
        """An author's own anchor. Only the first of a name counts, as in browsers."""
        if tag in _HEADINGS and value in self._given:
            self._given.discard(value)  # a heading's, already in `anchors`
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
    """Whether an element of the page itself uses this name."""
    return anchor.lower() == "main" or anchor.lower().startswith("tn-")


def _plain(inline: Token) -> str:
    """A heading's plain text."""
    parts = [
        child.content
        for child in inline.children or ()
        if child.type in ("text", "code_inline", "formula", "text_special")
    ]
    return "".join(parts).strip()


def _lower_headings(tokens: Sequence[Token]) -> None:
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{max(4, int(token.tag[1]))}"


def _align_by_attribute(tokens: Sequence[Token]) -> None:
    """Replace alignment styles, as the page's content security policy forbids style attributes."""
    for token in tokens:
        if token.type in ("td_open", "th_open") and isinstance(style := token.attrs.pop("style", None), str):
            token.attrs["align"] = style.removeprefix("text-align:")
