"""An image as it travels to nodes, layer by layer, and what a relay is told of it.

Which image store an engine has shows in what an id is the digest of: the image's configuration in Docker's own store
(`layers`), a manifest in containerd's (`manifests`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from tmpnb_py.engines.swarm.parcels import layers, manifests


class Parcel(Protocol):
    """An image by its documents, in the form that one kind of store has for it."""

    id: str
    diff_ids: tuple[str, ...]

    def question(self) -> dict[str, Any]:
        """What tells a relay which image it is."""

    def step_id(self, count: int) -> str:
        """The id of what a node has after the step that brings it to `count` layers."""

    def check(self, count: int, size: int) -> None:
        """Raise `EngineError` for a layer that the image does not have."""

    def bundle(self, count: int, size: int) -> tuple[bytes, bytes]:
        """What goes before and behind the bytes of the layer `count` in an archive for `docker load`; no name."""


def parcel_of(image: str, config: str, documents: Sequence[str]) -> Parcel:
    """What a relay is told. Raises `EngineError` where the documents are not the image's."""
    if documents:
        return manifests.ManifestImage(image, [one.encode() for one in documents])
    return layers.ConfigImage(image, config.encode())
