"""The workshops of today's image, read from its own manifest once per image. Asked by the pages and the metrics."""

from __future__ import annotations

import structlog

from tmpnb_py.engines.base import Engine
from tmpnb_py.errors import EngineError, ManifestError
from tmpnb_py.manifest import MAX_SIZE, Manifest, parse
from tmpnb_py.models import ImageFacts

_log = structlog.get_logger(__name__)


class Catalogue:
    """What the landing page offers. `manifest` is empty until an image was read, and for one that has none."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._read = ""
        self.manifest = Manifest()

    async def learn(self, image: ImageFacts) -> None:
        """Read the image's manifest unless that was done. A broken one must not stop notebooks: it is logged."""
        if image.image_id == self._read:
            return
        try:
            self.manifest = await self._manifest(image)
        except ManifestError as error:
            self.manifest = Manifest()
            _log.error("manifest_broken", image=image.image, error=error.message, remedy=error.remedy)
        except EngineError as error:
            _log.warning("manifest_unread", image=image.image, error=error.message)
            return  # the next round asks again
        self._read = image.image_id

    async def _manifest(self, image: ImageFacts) -> Manifest:
        if not image.workshops:
            return Manifest()
        files = await self._engine.read_image(image, [image.workshops], limit=MAX_SIZE + 1)
        if image.workshops not in files:
            return Manifest()
        return parse(files[image.workshops], source=image.workshops)

    def slugs(self) -> frozenset[str]:
        """The workshops' short names."""
        return frozenset(workshop.slug for workshop in self.manifest.workshops)
