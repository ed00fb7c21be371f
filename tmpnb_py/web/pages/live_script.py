"""The scripts that make code in a page runnable, each bundled into one file from the parts in `frontend/live/`.

One function wraps all parts in one file, so a page needs no loader and no second request, other sites' policies need
not allow modules, and nothing leaks into the page's globals. What runs in documents and workers
without an origin is in `frontend/live/sandboxed/`.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from tmpnb_py.core import languages
from tmpnb_py.web.assets import Assets, Content, script, source, spoken, table
from tmpnb_py.web.respond import csp_hash
from tmpnb_py.words.tags import SOURCE, tags
from tmpnb_py.words.words import Words, words
from tmpnb_py.workshops.notes import allowed

_PARTS = (
    *("base", "languages", "screen", "text", "parts", "frame", "comms", "formulas", "output"),
    *("service", "kernel", "highlight", "block", "runner", "lifetime", "cell"),
)

# For the document that shows HTML from kernels. Its origin is opaque however it is opened (sandbox), and it can reach
# nothing: what its scripts need has to be in it.
_OUTPUT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "style-src 'unsafe-inline' data:; img-src data: blob:; font-src data:; media-src data: blob:; "
    "worker-src data: blob:; form-action 'none'; base-uri 'none'"
)
# For the frame round it, which has no content of a kernel's and keeps the inner one from navigating. Its own script
# names the exact URL; 'self' matches nothing in a document without an origin.
_KEEPER_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "frame-src http: https:; form-action 'none'; base-uri 'none'"
)
# For the pages in which libraries process texts of kernels and authors (see sandbox.js).
_SANDBOX_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src {}; worker-src blob:; style-src 'unsafe-inline'; "
    "form-action 'none'; base-uri 'none'"
)
# The TeX extensions of MathJax that JupyterLab has, in the order of their dependencies.
_EXTENSIONS = (
    "enclose empheq amscd bbox boldsymbol braket bussproofs cancel cases centernot color colortbl extpfeil gensymb "
    "mathtools mhchem tagformat textcomp units upgreek verb"
)
_SANDBOXES: Mapping[str, dict[str, Any]] = {
    "math": {
        "libraries": [
            *(f"mathjax/{name}.js" for name in ("startup", "core", "adaptors/liteDOM", "input/tex", "output/svg")),
            "mathjax-tex-font/svg.js",
            *(f"mathjax/input/tex/extensions/{name}.js" for name in _EXTENSIONS.split()),
        ],
        "is_ordered": True,
    },
    "markdown": {
        "libraries": ["markdown-it/dist/markdown-it.min.js"],
        "parts": ["live/delimiters.js"],
        "is_ordered": False,
    },
}

# Scripts that outputs need in their frame, in this order; only pages with such an output load them.
_OUTPUT_LIBRARIES = {
    "vega": ("vega/build/vega.min.js", "vega-lite/build/vega-lite.min.js", "vega-embed/build/vega-embed.min.js"),
    "widgets": (
        *("live/sandboxed/modules.js", "html-manager/dist/libembed-amd.js"),
        *("icons.js", "live/sandboxed/widgets.js"),
    ),
}
# Font Awesome's icons for controls by their weight; html-manager's package contains them.
_ICONS = {900: "1551f4f60c37af51121f.woff2", 400: "7a3337626410ca2f4071.woff2"}


@dataclasses.dataclass(frozen=True, slots=True)
class Bundle:
    """The files of notes pages, and those that other sites' pages load. The same for every service.

    `notes_style` and `notes_scripts`, one for each language, are paths below the base of all URLs.
    """

    assets: Assets
    notes_style: str
    notes_scripts: Mapping[str, str]
    live: Content
    parent: Content


@functools.cache
def bundle() -> Bundle:
    """Put all of them together, once."""
    assets = Assets()
    frame = _add_frame(assets)
    scripts = {"RENDERER": _add_renderer(assets), "LIBRARIES": _add_libraries(assets)}
    return Bundle(
        assets,
        assets.add("notes.css", source("style.css") + source("live/cell.css") + source("notes.css")),
        {tag: assets.add("notes.js", _notes_script(words(tag), frame, scripts)) for tag in tags()},
        _live_script(assets, frame, scripts),
        _parent_script(),
    )


def _add_libraries(assets: Assets) -> Mapping[str, Sequence[str]]:
    """Serve the libraries for outputs. Returns the paths of each one's scripts below the base of all URLs."""
    return {name: [_add(assets, path) for path in paths] for name, paths in _OUTPUT_LIBRARIES.items()}


def _add(assets: Assets, path: str) -> str:
    if path == "icons.js":
        return assets.add(path, _icons())
    return assets.add(path.rpartition("/")[2], script(path) if path.startswith("live/") else _vendored(path))


def _icons() -> str:
    files = resources.files("tmpnb_py") / "vendor" / "html-manager" / "dist"
    icons = [
        (weight, f"data:font/woff2;base64,{base64.b64encode((files / name).read_bytes()).decode()}")
        for weight, name in _ICONS.items()
    ]
    return f"window.tmpnbIcons = {json.dumps(icons)};\n"


def _add_frame(assets: Assets) -> str:
    """Serve the frame for HTML from kernels. Returns its path below the base of all URLs."""
    output = assets.add("output.html", _document("output", {}), _headers(_OUTPUT_POLICY))
    keeper = _document("keeper", {"OUTPUT": output.rpartition("/")[2]})
    return assets.add("keeper.html", keeper, _headers(_KEEPER_POLICY))


def _add_renderer(assets: Assets) -> str:
    """Serve the script that renders mathematics and Markdown. Returns its path below the base of all URLs.

    The libraries run in frames of their own, which are fetched when they are needed.
    """
    frames = {name: _add_sandbox(assets, name, **parts).rpartition("/")[2] for name, parts in _SANDBOXES.items()}
    values = {
        "FRAMES": frames,
        "STYLE": source("live/formulas.css"),
        "TAGS": allowed.TAGS,
        "EVERYWHERE": allowed.EVERYWHERE,
        "ATTRIBUTES": allowed.ATTRIBUTES,
        "FORMS": allowed.FORMS,
        "CLASSES": allowed.DRAWN_CLASSES,
    }
    return assets.add("renderer.js", _constants(values) + script("live/delimiters.js") + script("live/renderer.js"))


def _add_sandbox(
    assets: Assets, name: str, *, libraries: Sequence[str], parts: Sequence[str] = (), is_ordered: bool
) -> str:
    """Serve a page without an origin that runs a library. Its policy allows its own script and worker only."""
    code = [*map(_vendored, libraries), *map(script, (*parts, f"live/sandboxed/{name}_worker.js"))]
    page = sandbox("\n".join(code), is_ordered=is_ordered)
    inline = page.partition("<script>")[2].rpartition("</script>")[0]
    return assets.add(f"{name}.html", page, _headers(_SANDBOX_POLICY.format(csp_hash(inline))))


def sandbox(code: str, *, is_ordered: bool) -> str:
    """The page for a worker's code. `is_ordered`: a text's meaning depends on those before it."""
    return _document("sandbox", {"ORDERED": is_ordered, "SOURCE": code})


def _document(name: str, values: Mapping[str, Any]) -> str:
    """A document of `live/sandboxed/` with its script in it, and constants before that."""
    constants = _constants(values).replace("<", "\\u003c")
    page = source(f"live/sandboxed/{name}.html")
    return page.replace("SCRIPT", f'"use strict";\n{constants}{script(f"live/sandboxed/{name}.js")}')


def _vendored(name: str) -> str:
    return (resources.files("tmpnb_py") / "vendor" / name).read_text(encoding="utf-8")


def _headers(policy: str) -> dict[str, str]:
    return {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer", "X-DNS-Prefetch-Control": "off"}


def _notes_script(texts: Words, frame: str, scripts: Mapping[str, Any]) -> str:
    """The script of our own notes pages. `scripts` names those that it loads when it needs them."""
    entry = ("framed", "work", "carry", "messages", "notes_bar", "notes")
    values = _constants({"LANGUAGES": languages.for_pages(), "FRAME": frame, **scripts, "UP": "../"})
    code = _joined("place", *_PARTS, *entry)
    return f'"use strict";\n(() => {{\n{spoken(_files(*_PARTS, *entry, "renderer"), texts)}{values}{code}}})();\n'


def _live_script(assets: Assets, frame: str, scripts: Mapping[str, Any]) -> Content:
    """The script for other sites' pages. What it shows is fetched first, where the page is not in English."""
    names = _files(*_PARTS, "live", "renderer")
    tongues = {tag: assets.add("words.json", json.dumps(table(names, words(tag)))) for tag in tags() if tag != SOURCE}
    values = {"LANGUAGES": languages.for_pages(), "FRAME": frame, **scripts, "STYLE": source("live/cell.css")}
    begin = f"inTongue(() => {{\n{_constants(values)}{_joined(*_PARTS, 'live')}}});\n"
    first = _constants({"UP": "./", "TONGUES": {SOURCE: None, **tongues}}) + _joined("place", "tongue")
    code = f'"use strict";\n(() => {{\n{spoken((), words())}{first}{begin}}})();\n'
    return Content.of(code.encode(), "text/javascript")


def _files(*parts: str) -> list[str]:
    return [f"live/{name}.js" for name in parts]


def _joined(*parts: str) -> str:
    return "\n".join(map(script, _files(*parts)))


def _parent_script() -> Content:
    """The script for other sites' pages that show our notes in a frame."""
    return Content.of(script("live/parent.js").encode(), "text/javascript")


def _constants(values: Mapping[str, Any]) -> str:
    return "".join(f"const {name} = {json.dumps(value)};\n" for name, value in values.items())
