"""Recognises saved outputs that need scripts, which pages do not take from notebooks, and sound and video. Pure.

It decides what is shown instead of an output, but nothing about security: `Markdown.html` does that. Time is linear
in the source's length.
"""

from __future__ import annotations

import base64
import binascii
import enum
import re
from collections.abc import Mapping
from typing import Any

MAX_MEDIA = 4 * 1024 * 1024  # bytes
# Audio and video types that browsers play, with their file extensions.
MEDIA = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/mpeg": "mp3",
    "audio/ogg": "oga",
    "audio/flac": "flac",
    "audio/mp4": "m4a",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "video/ogg": "ogv",
}

_LOADS = "application/vnd.bokehjs_load.v0+json"
_DRAWS = re.compile(r"application/(?:javascript|vnd\.(?!tmpnb\.)[\w.+-]+json)")
_SCRIPTS = re.compile(r"<(?:script|iframe|object|embed)\b", re.IGNORECASE)
_PREPARES = re.compile(r"\s*(?:<(!--|script\b|style\b|link\b|meta\b))?", re.IGNORECASE)
_BOKEH = re.compile(r"""class="bk-(?:notebook-)?logo""")  # "Loading BokehJS ...", which would stay for ever
_PLAYER = re.compile(
    r"<(?:audio|video)\b(?:[^<>]{0,500}>\s{0,100}<source\b)?[^<>]{0,500}?\bsrc=[\"']data:((?:audio|video)/[a-z0-9-]{1,20});base64,",
    re.IGNORECASE,
)
# Texts that name an object without saying what it shows.
_SAYS_NOTHING = re.compile(
    r"<[\w.]+(?: object)?(?: at 0x[0-9a-fA-F]+)?>|[\w.]+\(\.\.\.\)|HTML widgets cannot be represented in plain text.*"
)


class Scripts(enum.Enum):
    """An output's relation to scripts."""

    NONE = "none"
    DRAW = "draw"
    PREPARE = "prepare"  # prepares later outputs, and is not visible itself


def scripts_of(bundle: Mapping[str, Any], html: str) -> Scripts:
    """Classify a MIME bundle; `html` is its complete HTML."""
    if _LOADS in bundle or _BOKEH.search(html[:20_000]):
        return Scripts.PREPARE
    if any(_DRAWS.fullmatch(kind) for kind in bundle) and (not html.strip() or _SCRIPTS.search(html)):
        return Scripts.DRAW
    if "data-root-id=" in html[:1000] and len(html) < 1000:  # Bokeh's placeholder for what the next output draws
        return Scripts.PREPARE
    if not _SCRIPTS.search(html):
        return Scripts.NONE
    return Scripts.PREPARE if _is_preparation(html) else Scripts.DRAW


def is_name_only(text: str) -> bool:
    """Whether a plain text only names an object."""
    return _SAYS_NOTHING.fullmatch(text.strip()) is not None


def player(html: str) -> tuple[str, bytes] | None:
    """The media type and data of an `<audio>` or `<video>` element that contains all of its data."""
    found = _PLAYER.search(html[:2000])
    if found is None or found[1].lower() not in MEDIA:
        return None
    encoded = html[found.end() : found.end() + MAX_MEDIA * 4 // 3 + 100]
    end = re.search(r"[\"']", encoded)
    try:
        data = base64.b64decode(encoded[: end.start()], validate=True) if end else b""
    except (binascii.Error, ValueError):
        return None
    return (found[1].lower(), data) if data else None


def _is_preparation(html: str) -> bool:
    """Whether HTML consists only of scripts and the like, as in frontend/live/parts.js."""
    lower, at = html.lower(), 0
    while (found := _PREPARES.match(lower, at)) and found[1]:
        name = found[1]
        end = "-->" if name == "!--" else f"</{name}" if name in ("script", "style") else ""
        at = lower.find(end, found.end())
        at = lower.find(">", at) if at >= 0 else -1
        if at < 0:
            return False
        at += 1
    return found is not None and found.end() == len(lower)
