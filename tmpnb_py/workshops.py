"""Which workshops the home-made image has, as far as this installation's own copy of their manifest tells."""

from __future__ import annotations

import tomllib

from tmpnb_py.errors import ImageBuildError
from tmpnb_py.image import workshop_directory

_MOST = 100  # labels of a metric


def known_slugs() -> tuple[str, ...]:
    """The workshops' short names; () where there is no manifest that can be read."""
    try:
        text = (workshop_directory() / "workshops" / "workshops.toml").read_text(encoding="utf-8")
        entries = tomllib.loads(text).get("workshop", [])
        return tuple(str(entry["slug"]) for entry in entries)[:_MOST]
    except (ImageBuildError, OSError, ValueError, LookupError, TypeError, AttributeError):
        return ()
