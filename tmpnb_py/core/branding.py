"""How the pages look: the operator's name, logo, colour and words. Made from the options at start and on a reload.

The accent may be any colour; what is drawn with it is made darker or lighter until it can be read on the pages'
light and dark grounds (WCAG 2.2, 1.4.3: at least 4.5 to 1).
"""

from __future__ import annotations

import colorsys
import dataclasses
import hashlib
from pathlib import Path

from tmpnb_py.core.errors import SettingsError

ACCENT = "#0b5fa5"
TITLE = "Live notebooks"

# The grounds of style.css that the accent is written on, the hardest one of each scheme.
_LIGHT_GROUND, _DARK_GROUND = "#f1f2ef", "#23282f"
_CONTRAST = 4.5
_STEPS = 50
_MOST_BYTES = 256 * 1024
_TYPES = {
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
}

Rgb = tuple[float, float, float]


@dataclasses.dataclass(frozen=True, slots=True)
class Logo:
    """A picture for the head of each page; `digest` changes with it."""

    content_type: str
    data: bytes
    digest: str


@dataclasses.dataclass(frozen=True, slots=True)
class Branding:
    """What the operator chose. Texts are plain, "" for none.

    `is_preview`: the pages show a folder that is being written, and follow it (`web/preview.py`).
    """

    title: str = TITLE
    logo: Logo | None = None
    accent: str = ACCENT
    announcement: str = ""
    footer: str = ""
    privacy: str = ""
    is_preview: bool = False

    @property
    def has_usual_title(self) -> bool:
        """Whether the operator gave none: then it is in the reader's language."""
        return self.title == TITLE

    @property
    def style(self) -> str:
        """The colours, as rules that follow those of style.css; "" for the colours that it has itself."""
        if self.accent == ACCENT:
            return ""
        light, dark = readable(self.accent, _LIGHT_GROUND), readable(self.accent, _DARK_GROUND)
        return (
            f":root{{--accent:{light};--on-accent:{ink_on(light)}}}"
            f"@media (prefers-color-scheme:dark){{:root{{--accent:{dark};--on-accent:{ink_on(dark)}}}}}"
        )


def read_logo(path: Path | None) -> Logo | None:
    """The operator's picture. Raises `SettingsError`."""
    if path is None:
        return None
    content_type = _TYPES.get(path.suffix.lower())
    if content_type is None:
        raise SettingsError(f"site_logo: {path} is no SVG, PNG, JPEG or WebP", remedy="Its name must end so.")
    try:
        with path.open("rb") as stream:
            data = stream.read(_MOST_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"site_logo: {path} cannot be read: {error.strerror or error}") from error
    if not 0 < len(data) <= _MOST_BYTES:
        raise SettingsError(f"site_logo: {path} is empty, or larger than {_MOST_BYTES // 1024} KiB")
    return Logo(content_type, data, hashlib.sha256(data).hexdigest()[:16])


def readable(color: str, ground: str) -> str:
    """The colour, or the nearest of its hue that can be read on this ground."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*_parse(color))
    target = 0.0 if _luminance(_parse(ground)) > 0.5 else 1.0
    for step in range(_STEPS + 1):
        lighter = lightness + (target - lightness) * step / _STEPS
        shown = color if step == 0 else _format(colorsys.hls_to_rgb(hue, lighter, saturation))
        if contrast(shown, ground) >= _CONTRAST:
            break
    return shown


def ink_on(color: str) -> str:
    """White or near black, whichever reads better on this colour."""
    return max(("#ffffff", "#0c1118"), key=lambda ink: contrast(ink, color))


def contrast(one: str, other: str) -> float:
    """The ratio of two colours' luminances (WCAG 2.2, "contrast ratio"), from 1 to 21."""
    lighter, darker = sorted((_luminance(_parse(one)), _luminance(_parse(other))), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(rgb: Rgb) -> float:
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in rgb)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _parse(color: str) -> Rgb:
    red, green, blue = (int(color[start : start + 2], 16) / 255 for start in (1, 3, 5))
    return red, green, blue


def _format(rgb: Rgb) -> str:
    return "#" + "".join(f"{round(one * 255):02x}" for one in rgb)
