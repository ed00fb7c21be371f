"""The workshops of the current image, read from its manifest once per image. Used by the pages and the metrics."""

from __future__ import annotations

import urllib.parse
from pathlib import Path

import structlog

from tmpnb_py.core.backoff import Attempts
from tmpnb_py.core.errors import EngineError, ManifestError, TooLargeError
from tmpnb_py.core.models import ImageFacts
from tmpnb_py.engines.base import Engine
from tmpnb_py.pools.metrics import NO_WORKSHOP, OTHER_WORKSHOP
from tmpnb_py.workshops.manifest import MAX_SIZE, Manifest, parse, read_file

_log = structlog.get_logger(__name__)


class Catalogue:
    """The workshops of the landing page: from the operator's file if there is one, else from the image.

    `own` is the operator's manifest. An image's manifest is empty until it has been read, and if it has none. `image`
    is the image that was read, None before.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._attempts = Attempts()
        self._read = ""
        self._of_image = Manifest()
        self.own: Manifest | None = None
        self.image: ImageFacts | None = None

    def read_own(self, path: Path | None) -> None:
        """Show the operator's list, or the image's if there is none. Raises `ManifestError`, and changes nothing."""
        self.own = None if path is None else read_file(path)

    @property
    def manifest(self) -> Manifest:
        """The workshops to show."""
        return self._of_image if self.own is None else self.own

    def has_read(self, image: ImageFacts) -> bool:
        """Whether the workshops of this image are known, or do not matter."""
        return self.own is not None or self._read == image.image_id

    @property
    def is_known(self) -> bool:
        """Whether the workshops have been read yet."""
        return bool(self._read) or self.own is not None

    async def learn(self, image: ImageFacts) -> None:
        """Read the image's manifest once. An invalid one must not stop notebooks: it is only logged."""
        if image.image_id == self._read or not self._attempts.is_due(image.image_id):
            return
        try:
            self._of_image = await self._manifest(image)
        except ManifestError as error:
            self._of_image = Manifest()
            _log.error("manifest_broken", image=image.image, error=error.message, remedy=error.remedy)
        except EngineError as error:
            again = self._attempts.failed(image.image_id)
            _log.warning("manifest_unread", image=image.image, error=error.message, retry_in=again)
            return
        self._attempts.succeeded(image.image_id)
        self._read = image.image_id
        self.image = image

    async def _manifest(self, image: ImageFacts) -> Manifest:
        if not image.workshops:
            return Manifest()
        place = image.workshops
        remedy = "set the label org.tmpnb.workshops to the manifest, a file of at most 256 KiB"
        try:
            files = await self._engine.read_image(image, [place], limit=MAX_SIZE)
        except TooLargeError as error:
            raise ManifestError(f"{place} is larger than {MAX_SIZE // 1024} KiB", remedy=remedy) from error
        if place in files:
            return parse(files[place], source=place)
        if files:
            raise ManifestError(f"{place} is a directory", remedy=remedy)
        return Manifest()

    def kernel_of(self, target: str) -> str:
        """The kernel of the workshop that a document (a relative reference) belongs to; "" if unknown."""
        path = urllib.parse.unquote(target.partition("?")[0])
        workshops = self.manifest.workshops
        found = next((one for one in workshops if path.endswith(f"/{one.start}")), None)
        found = found or self.manifest.find(self.workshop_of(target))
        return "" if found is None else found.kernel

    def workshop_of(self, target: str) -> str:
        """The short name of the workshop that a document (a relative reference) belongs to.

        `OTHER_WORKSHOP` where that is none of those known, `NO_WORKSHOP` where it is no document in a folder.
        """
        parts = urllib.parse.unquote(target.partition("?")[0]).split("/")
        known = {workshop.slug for workshop in self.manifest.workshops}
        found = next((part for part in parts if part in known), None)
        return found or (OTHER_WORKSHOP if len(parts) > 1 else NO_WORKSHOP)
