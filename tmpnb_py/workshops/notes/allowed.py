"""The HTML allowed from authors' and kernels' Markdown. Light to import: `web` passes it to renderer.js, too."""

from __future__ import annotations

_TAGS = (
    "a abbr b blockquote br caption center cite code col colgroup dd del details dfn div dl dt em figcaption figure "
    "font h1 h2 h3 h4 h5 h6 hr i img ins kbd li mark ol p pre q s samp small span strong sub summary sup table tbody "
    "td tfoot th thead tr u ul var wbr"
)
TAGS = _TAGS.split()
EVERYWHERE = ["dir", "lang", "title"]  # attributes of any element
ATTRIBUTES = {
    "a": ["href", "title"],
    "abbr": ["title"],
    "details": ["open"],
    "img": ["src", "alt", "title", "width", "height"],
    "ol": ["start"],
    "div": ["align"],
    "font": ["color"],
    "p": ["align"],
    "td": ["align", "colspan", "rowspan"],
    "th": ["align", "colspan", "rowspan", "scope"],
}
_NUMBER = "[0-9]{1,4}"
_SIZE = "[0-9]{1,4}(?:px)?|[0-9]{1,3}%"
FORMS = {  # attributes' values, as patterns that Python and browsers read alike
    **dict.fromkeys(("colspan", "rowspan", "start"), _NUMBER),
    "lang": "[a-zA-Z]{2,3}(?:-[a-zA-Z0-9]{1,8}){0,4}",
    "dir": "ltr|rtl|auto",
    **dict.fromkeys(("width", "height"), _SIZE),
    "color": "[a-zA-Z]{3,20}|#[0-9a-fA-F]{3,6}",
}
_BOXES = ["alert", "alert-info", "alert-success", "alert-warning", "alert-danger"]  # Bootstrap's, as in Jupyter
CLASSES = {
    "div": ["tn-wide", *_BOXES],
    "p": _BOXES,
    **{tag: ["tn-right"] for tag in ("tr", "th", "td")},  # see `outputs`
    **{tag: ["tn-inline", "tn-pairs"] for tag in ("ol", "ul", "dl")},
}
DRAWN_CLASSES = {**CLASSES, "code": ["tn-latex", "tn-display"]}  # what renderer.js finds in the worker's HTML
