"""The scripts that make code in a page live, each put together from the same parts into one file.

One function around all parts, in one file: it needs no loader, no second request and no permission of other sites'
policies for modules, and nothing of it is seen by the page that it is in. The parts are in `templates/live/`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from tmpnb_py.web.assets import Assets, Content, source

_PARTS = (
    *("base", "screen", "text", "rich", "frame", "comms", "output"),
    *("service", "kernel", "highlight", "block", "runner", "cell"),
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

# Scripts that outputs need in their frame, in their order. They are loaded by pages that show such an output only.
_LIBRARIES = {
    "vega": ("vega/build/vega.min.js", "vega-lite/build/vega-lite.min.js", "vega-embed/build/vega-embed.min.js"),
    "widgets": ("live/modules.js", "html-manager/dist/libembed-amd.js", "icons.js", "live/widgets.js"),
}
# Icons of controls by their weight: Font Awesome's, as html-manager's package brings them along.
_ICONS = {900: "1551f4f60c37af51121f.woff2", 400: "7a3337626410ca2f4071.woff2"}


def add_libraries(assets: Assets) -> Mapping[str, Sequence[str]]:
    """Offer what outputs may need; returns the paths of each library's scripts below the base of all addresses."""
    return {name: [_add(assets, path) for path in paths] for name, paths in _LIBRARIES.items()}


def _add(assets: Assets, path: str) -> str:
    if path == "icons.js":
        return assets.add(path, _icons())
    if path.startswith("live/"):
        return assets.add(path.removeprefix("live/"), source(path))
    return assets.add_vendored(path)


def _icons() -> str:
    files = resources.files("tmpnb_py") / "vendor" / "html-manager" / "dist"
    icons = [
        (weight, f"data:font/woff2;base64,{base64.b64encode((files / name).read_bytes()).decode()}")
        for weight, name in _ICONS.items()
    ]
    return f"window.tmpnbIcons = {json.dumps(icons)};\n"


def add_frame(assets: Assets) -> str:
    """Offer the frame for kernels' HTML; returns its path below the base of all addresses."""
    output = assets.add("output.html", source("live/output.html"), _headers(_OUTPUT_POLICY))
    keeper = source("live/keeper.html").replace("OUTPUT", output.rpartition("/")[2])
    return assets.add("keeper.html", keeper, _headers(_KEEPER_POLICY))


def _headers(policy: str) -> dict[str, str]:
    return {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer", "X-DNS-Prefetch-Control": "off"}


def notes_script(frame: str, libraries: Mapping[str, Sequence[str]]) -> str:
    """The script of our own notes page."""
    return _script("notes", {"FRAME": frame, "LIBRARIES": libraries, "UP": "../"})


def live_script(frame: str, libraries: Mapping[str, Sequence[str]]) -> Content:
    """The script for other sites."""
    values = {"FRAME": frame, "LIBRARIES": libraries, "UP": "./", "STYLE": source("live/cell.css")}
    return Content.of(_script("live", values).encode(), "text/javascript")


def _script(entry: str, values: Mapping[str, Any]) -> str:
    constants = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in values.items())
    parts = "\n".join(source(f"live/{name}.js") for name in (*_PARTS, entry))
    return f'"use strict";\n(() => {{\n{constants}{parts}}})();\n'
