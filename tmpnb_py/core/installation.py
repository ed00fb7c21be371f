"""What this installation consists of: its own files, and engines of others that are installed beside it."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from tmpnb_py.core.errors import ImageBuildError

PACKAGE = Path(__file__).resolve().parents[1]
ENGINES_OF_OTHERS = "tmpnb_py.engines"  # the entry points that a package with an engine declares


def workshop_directory() -> Path:
    """Where the Dockerfile is: inside the installed package, or beside the package in a checkout."""
    for place in (PACKAGE / "workshop_image", PACKAGE.parent / "workshop_image"):
        if (place / "Dockerfile").is_file():
            return place
    raise ImageBuildError(
        "the directory workshop_image is not part of this installation",
        remedy="install tmpnb-py from its wheel or its repository, or name an --image that the engine has",
    )


def troubleshooting_url(section: str) -> str:
    """The address of a section of the troubleshooting page, in this installation's own copy.

    That is of this version, and there without a network: in the wheel, or beside the package in a checkout.
    """
    page = Path("docs", "troubleshooting.md")
    place = next((one / page for one in (PACKAGE, PACKAGE.parent) if (one / page).is_file()), PACKAGE / page)
    return f"{place.as_uri()}#{section}"


def engines_of_others() -> importlib.metadata.EntryPoints:
    """The engines that installed packages declare. Nothing of those packages is imported for it."""
    return importlib.metadata.entry_points(group=ENGINES_OF_OTHERS)
