"""The scripts that make code in a page live, each put together from the same parts into one file.

One function around all parts, in one file: it needs no loader, no second request and no permission of other sites'
policies for modules, and nothing of it is seen by the page that it is in. The parts are in `frontend/live/`, and
what runs in documents and workers without an origin in `frontend/live/sandboxed/`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from tmpnb_py.core import languages
from tmpnb_py.web.assets import Assets, Content, script, source
from tmpnb_py.web.respond import csp_hash
from tmpnb_py.workshops.notes import allowed

_PARTS = (
    *("base", "languages", "screen", "text", "parts", "frame", "comms", "formulas", "output"),
    *("service", "kernel", "highlight", "block", "runner", "lifetime", "cell"),
)

# A document that kernels' HTML is put into. It is of an opaque origin however it is opened (sandbox), and it
# can reach nothing: what its scripts need has to be in it.
_OUTPUT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "style-src 'unsafe-inline' data:; img-src data: blob:; font-src data:; media-src data: blob:; "
    "worker-src data: blob:; form-action 'none'; base-uri 'none'"
)
# The one round it, which holds nothing of a kernel's and sees to it that the other stays where it is. Its own script
# says to which address exactly; 'self' means nothing in a document without an origin.
_KEEPER_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "frame-src http: https:; form-action 'none'; base-uri 'none'"
)
# The pages that libraries work in, for texts of kernels and authors (see sandbox.js).
_SANDBOX_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src {}; worker-src blob:; style-src 'unsafe-inline'; "
    "form-action 'none'; base-uri 'none'"
)
# MathJax's extensions for TeX that JupyterLab has, those first that others build on.
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

# Scripts that outputs need in their frame, in their order. They are loaded by pages that show such an output only.
_OUTPUT_LIBRARIES = {
    "vega": ("vega/build/vega.min.js", "vega-lite/build/vega-lite.min.js", "vega-embed/build/vega-embed.min.js"),
    "widgets": (
        *("live/sandboxed/modules.js", "html-manager/dist/libembed-amd.js"),
        *("icons.js", "live/sandboxed/widgets.js"),
    ),
}
# Icons of controls by their weight: Font Awesome's, as html-manager's package brings them along.
_ICONS = {900: "1551f4f60c37af51121f.woff2", 400: "7a3337626410ca2f4071.woff2"}


def add_libraries(assets: Assets) -> Mapping[str, Sequence[str]]:
    """Offer what outputs may need; returns the paths of each library's scripts below the base of all addresses."""
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


def add_frame(assets: Assets) -> str:
    """Offer the frame for kernels' HTML; returns its path below the base of all addresses."""
    output = assets.add("output.html", _document("output", {}), _headers(_OUTPUT_POLICY))
    keeper = _document("keeper", {"OUTPUT": output.rpartition("/")[2]})
    return assets.add("keeper.html", keeper, _headers(_KEEPER_POLICY))


def add_renderer(assets: Assets) -> str:
    """Offer what draws mathematics and Markdown; returns the script's path below the base of all addresses.

    The libraries are in frames of their own, each of which is fetched when there is something for it to do.
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
    """Offer a page without an origin with a library in it: its policy admits its own script and its worker."""
    code = [*map(_vendored, libraries), *map(script, (*parts, f"live/sandboxed/{name}_worker.js"))]
    page = sandbox("\n".join(code), is_ordered=is_ordered)
    inline = page.partition("<script>")[2].rpartition("</script>")[0]
    return assets.add(f"{name}.html", page, _headers(_SANDBOX_POLICY.format(csp_hash(inline))))


def sandbox(code: str, *, is_ordered: bool) -> str:
    """The page for a worker's code. `is_ordered`: what its texts mean depends on those before."""
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


def notes_script(frame: str, scripts: Mapping[str, Any]) -> str:
    """The script of our own notes page. `scripts` is where those are that it loads when it needs them."""
    return _script(("framed", "work", "carry", "notes_bar", "notes"), {"FRAME": frame, **scripts, "UP": "../"})


def live_script(frame: str, scripts: Mapping[str, Any]) -> Content:
    """The script for other sites."""
    values = {"FRAME": frame, **scripts, "UP": "./", "STYLE": source("live/cell.css")}
    return Content.of(_script(("live",), values).encode(), "text/javascript")


def parent_script() -> Content:
    """The script for pages of other sites that show our notes in a frame."""
    return Content.of(script("live/parent.js").encode(), "text/javascript")


def _script(entry: Sequence[str], values: Mapping[str, Any]) -> str:
    parts = "\n".join(script(f"live/{name}.js") for name in (*_PARTS, *entry))
    constants = _constants({"LANGUAGES": languages.for_pages(), **values})
    return f'"use strict";\n(() => {{\n{constants}{parts}}})();\n'


def _constants(values: Mapping[str, Any]) -> str:
    return "".join(f"const {name} = {json.dumps(value)};\n" for name, value in values.items())
