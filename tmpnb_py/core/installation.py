"""Where this installation has its own files."""

from __future__ import annotations

from pathlib import Path

from tmpnb_py.core.errors import ImageBuildError

PACKAGE = Path(__file__).resolve().parents[1]


def workshop_directory() -> Path:
    """Where the Dockerfile is: inside the installed package, or beside the package in a checkout."""
    for place in (PACKAGE / "workshop_image", PACKAGE.parent / "workshop_image"):
        if (place / "Dockerfile").is_file():
            return place
    raise ImageBuildError(
        "the directory workshop_image is not part of this installation",
        remedy="install tmpnb-py from its wheel or its repository, or name an --image that the engine has",
    )
