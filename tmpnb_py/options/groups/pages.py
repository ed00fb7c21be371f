"""How the pages look, and what they say in the operator's name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator

from tmpnb_py.core.branding import ACCENT, TITLE
from tmpnb_py.options import values
from tmpnb_py.options.declaration import Group, Reload, Tables, option
from tmpnb_py.words.tags import AUTO


class PageOptions(Group):
    """What the operator gives the pages."""

    title: ClassVar[str] = "Look of the pages"

    site_title: Annotated[str, AfterValidator(values.read_title)] = option(
        TITLE, "Name of the service, in the head of each page.", reload=Reload.AT_ONCE
    )
    site_logo: Annotated[Path | None, BeforeValidator(values.read_file)] = option(
        None,
        "Logo beside the name: an SVG, PNG, JPEG or WebP file of at most 256 KiB.",
        unset="none",
        reload=Reload.AT_ONCE,
    )
    language: Annotated[str, AfterValidator(values.read_language)] = option(
        AUTO,
        "Language of the pages: `en`, `de`, or `auto` for the one that each browser prefers.",
        reload=Reload.AT_ONCE,
    )
    accent_color: Annotated[str, AfterValidator(values.read_color)] = option(
        ACCENT,
        "Colour of buttons and links (#rrggbb); made lighter or darker where it would be illegible.",
        reload=Reload.AT_ONCE,
    )
    announcement: Annotated[str, AfterValidator(values.read_words)] | None = option(
        None, "Text above each page; addresses in it become links.", unset="none", reload=Reload.AT_ONCE
    )
    site_footer: Annotated[str, AfterValidator(values.read_words)] | None = option(
        None,
        "Text below each page, such as who runs the service; addresses in it become links.",
        unset="none",
        reload=Reload.AT_ONCE,
    )
    privacy_notice: Annotated[str, AfterValidator(values.read_words)] | None = option(
        None,
        "Text of the page /privacy, which each page then links to; an empty line ends a paragraph.",
        unset="none",
        reload=Reload.AT_ONCE,
    )
    workshops_file: Annotated[Path | None, BeforeValidator(values.read_file)] = option(
        None,
        "TOML file with the workshops of the first page, in the format of an image's own manifest.",
        unset="those of the image",
        reload=Reload.AT_ONCE,
        tables=Tables.OWN,
    )
    remember_sessions: bool = option(
        True,
        "Whether a cookie remembers a visitor's running notebooks, so that the pages lead back to them.",
        reload=Reload.AT_ONCE,
    )
