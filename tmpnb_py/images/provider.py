"""Building the default image when `serve` finds it missing, so that one command is enough."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from tmpnb_py.core.errors import TmpnbError
from tmpnb_py.engines.base import ImageStore
from tmpnb_py.images.build import BuildStep, build

_log = structlog.get_logger(__name__)


class ImageProvider:
    """Builds one image once, on request. A failed build is not repeated: its cause is shown."""

    def __init__(self, engine: ImageStore, tag: str) -> None:
        self._engine = engine
        self._tag = tag
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Request the build: the image is missing."""
        self._asked.set()

    async def run(self, built: Callable[[], None]) -> None:
        """Wait for the request, build, and call `built`."""
        await self._asked.wait()
        _log.info("image_build", image=self._tag, hint="the default image is missing; building it takes minutes")
        try:
            result = await build(self._engine, tag=self._tag, ca_bundle=None, report=self._report)
        except TmpnbError as error:
            _log.error("image_build_failed", image=self._tag, error=error.message, remedy=error.remedy)
            return
        _log.info("image_built", image=self._tag, duration=round(result.seconds, 1))
        built()

    def _report(self, step: BuildStep) -> None:
        place = f"{step.index}/{step.total}" if step.total else ""
        _log.info("image_build_step", step=step.text[:200], layer=place, duration=round(step.seconds, 1))
