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
        self._turn = asyncio.Lock()
        self._is_built: bool | None = None  # None before it was tried

    def ask(self) -> None:
        """Request the build: the image is missing."""
        self._asked.set()

    async def run(self, built: Callable[[], None]) -> None:
        """Wait for the request, build, and call `built`. Of several pools that wait, one builds for all."""
        await self._asked.wait()
        async with self._turn:
            if self._is_built is None:
                self._is_built = await self._built()
        if self._is_built:
            built()

    async def _built(self) -> bool:
        _log.info("image_build", image=self._tag, hint="the default image is missing; building it takes minutes")
        try:
            result = await build(self._engine, tag=self._tag, ca_bundle=None, report=self._report)
        except TmpnbError as error:
            _log.error("image_build_failed", image=self._tag, error=error.message, remedy=error.remedy)
            return False
        _log.info("image_built", image=self._tag, duration=round(result.seconds, 1))
        return True

    def _report(self, step: BuildStep) -> None:
        place = f"{step.index}/{step.total}" if step.total else ""
        _log.info("image_build_step", step=step.text[:200], layer=place, duration=round(step.seconds, 1))
