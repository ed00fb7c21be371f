"""Converts boxes of Quarto, Pandoc and MyST Markdown (`::: {.callout-note}`, ```` ```{note} ````) to HTML. Pure."""

from __future__ import annotations

import dataclasses
import re

# Linear time: trailing blanks and signs are stripped, not matched.
_FENCE = re.compile(r" {0,3}(:{3,}|`{3,}|~{3,})[ \t]*(.*)$")
_DIRECTIVE = re.compile(r"\{([a-z-]+)\}[ \t]*(.*)$")
_VIDEO = re.compile(r"\{\{<\s*video\s+[\"']?([^\s\"'>]{1,1000}+)[^>\n]{0,500}>\}\}")
_TITLE = re.compile(r"""title=["']([^"']*)["']""")
_HEADING = re.compile(r"#{1,6}[ \t]+(.*)$")
# The names of Jupyter's own boxes (`alert alert-info`).
_KINDS = {
    "note": "info", "seealso": "info", "hint": "success", "tip": "success", "warning": "warning",
    "caution": "warning", "attention": "warning", "important": "danger", "danger": "danger", "error": "danger",
}  # fmt: skip


@dataclasses.dataclass(slots=True)
class _Open:
    """An open fence: what closes it, and whether it became a box, is code, or is dropped."""

    mark: str
    is_box: bool = False
    is_code: bool = False
    waits_for_title: bool = False


def as_html(source: str) -> str:
    """Convert boxes to HTML. Other divs are replaced by their content; code is unchanged."""
    out: list[str] = []
    stack: list[_Open] = []
    for line in source.split("\n"):
        fence = _FENCE.match(line)
        rest = fence[2].rstrip(" \t") if fence is not None else ""
        top = stack[-1] if stack else None
        if top is not None and fence is not None and _closes(top, fence[1], rest):
            stack.pop()
            out += [line] if top.is_code else ["", "</div>", ""] if top.is_box else [""]
        elif top is not None and top.is_code:
            out.append(line)
        elif fence is not None and fence[1][0] == ":" and not rest:
            out.append("")  # it closes a div of another cell
        elif fence is not None:
            stack.append(_opened(fence[1], rest, line, out))
        else:
            out.append(_line(line, top))
    out += ["\n</div>" for one in stack if one.is_box]
    return "\n".join(out)


def _closes(top: _Open, mark: str, rest: str) -> bool:
    return not rest and mark[0] == top.mark[0] and (mark[0] == ":" or len(mark) >= len(top.mark))


def _opened(mark: str, rest: str, line: str, out: list[str]) -> _Open:
    """Open a fence, and append the line's replacement to `out`."""
    kind, title = _box(mark, rest)
    if kind:
        out += ["", f'<div class="alert alert-{kind}">', "", *([f"**{title}**", ""] if title else [])]
        return _Open(mark, is_box=True, waits_for_title=not title)
    if mark[0] == ":":
        out.append("")
        return _Open(mark)
    out.append(line)
    return _Open(mark, is_code=True)


def _box(mark: str, rest: str) -> tuple[str, str]:
    """The kind of box and its title; "" if it is none."""
    if directive := _DIRECTIVE.match(rest):
        return _KINDS.get(directive[1], ""), directive[2]
    if mark[0] != ":":
        return "", ""
    title = _TITLE.search(rest)
    names = re.findall(r"[a-z]+", rest.partition(" ")[0].removeprefix("{."))
    known = [name for name in names if name in _KINDS] if "callout" in rest or len(names) == 1 else []
    return (_KINDS[known[0]], title[1] if title else "") if known else ("", "")


def _line(line: str, top: _Open | None) -> str:
    if top is not None and top.waits_for_title and line.strip():
        top.waits_for_title = False
        if heading := _HEADING.match(line):
            title = heading[1].rstrip("#").rstrip(" \t")
            return f"**{title}**\n"
    return _VIDEO.sub(r"<\1>", line)
