"""How the operator wants pages to look, as the options and the files that they name say."""

from __future__ import annotations

from tmpnb_py.core.branding import Branding, read_logo
from tmpnb_py.options.settings import Settings


def read_branding(settings: Settings, *, is_preview: bool = False) -> Branding:
    """Name, logo, colour and texts of the pages. Raises `SettingsError` where the logo cannot be read."""
    return Branding(
        title=settings.site_title,
        logo=read_logo(settings.site_logo),
        accent=settings.accent_color,
        announcement=settings.announcement or "",
        footer=settings.site_footer or "",
        privacy=settings.privacy_notice or "",
        is_preview=is_preview,
    )
