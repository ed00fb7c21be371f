# ruff: noqa: ARG002 - the signatures are the protocol's
"""Base class for engines that keep no images."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import IO

from tmpnb_py.core.errors import EngineError, ImageMissingError
from tmpnb_py.core.models import ImageFacts
from tmpnb_py.engines.image_files import READ_LIMIT


class NoImageStore:
    """Implements `ImageStore` for engines that have nothing to build, load or save."""

    name = ""

    async def image(self, image: str) -> ImageFacts:
        """Raise `ImageMissingError`."""
        raise ImageMissingError(f"the engine {self.name} has no image {image}")

    async def read_image(
        self, image: ImageFacts, paths: Sequence[str], *, limit: int = READ_LIMIT
    ) -> dict[str, bytes]:
        """Nothing."""
        return {}

    async def image_exists(self, image: str) -> bool:
        """Never."""
        return False

    async def image_size(self, image: ImageFacts) -> int:
        """Unknown."""
        return 0

    def pull_image(self, image: str) -> AsyncGenerator[str, None]:
        """Raise `EngineError`, like all following methods."""
        raise self._refusal

    async def import_image(self, stream: AsyncIterator[bytes], repository: str, tag: str) -> None:
        raise self._refusal

    async def has_buildkit(self) -> bool:
        return False

    def build_image(
        self,
        context: IO[bytes],
        *,
        tag: str,
        build_args: Mapping[str, str],
        target: str | None,
        network: str | None,
        labels: Mapping[str, str],
        buildkit: bool = False,
    ) -> AsyncGenerator[str, None]:
        raise self._refusal

    def load_image(self, stream: AsyncIterator[bytes]) -> AsyncGenerator[str, None]:
        raise self._refusal

    def save_image(self, image: str) -> AsyncGenerator[bytes, None]:
        raise self._refusal

    async def tag_image(self, image: str, tag: str) -> None:
        raise self._refusal

    @property
    def _refusal(self) -> EngineError:
        return EngineError(f"the engine {self.name} keeps no images", remedy="use Docker for that")
