"""Images as their layers: what a node gets to load, piece by piece. Pure.

This is for Docker's own image store; `manifests` is the same for containerd's, and `parcel` tells which it is.

An image travels layer by layer. Docker reads a layer only where it does not have it, so the archive for a step holds
one layer, on top of those that are there; what is there is kept by a partial image of our own making, until the next.
An id is the digest of the configuration, which lists the layers' digests; Docker checks each layer against its own.
So what a node has under an id is that image, whoever sent the pieces.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Sequence
from typing import Any

from tmpnb_py.core.errors import EngineError

MOST_LAYERS = 127  # Docker's own limit
CONFIG_LIMIT = 192 * 1024
LAYER_LIMIT = 1 << 37
DIGEST = r"sha256:[0-9a-f]{64}"
LONG_AGO = "1970-01-01T00:00:00Z"  # when partial images were made: as they are told by it, too

_PLATFORM = re.compile(r"[a-z0-9_]{1,32}")


def id_of(config: bytes) -> str:
    """The id of the image with this configuration."""
    return f"sha256:{hashlib.sha256(config).hexdigest()}"


def diff_ids_of(config: bytes) -> tuple[str, ...]:
    """The digests of an image's layers, the lowest first. Raises `EngineError` for what is no configuration."""
    found = parsed(config).get("rootfs")
    listed = found.get("diff_ids") if isinstance(found, dict) else None
    if not isinstance(listed, list) or not 0 < len(listed) <= MOST_LAYERS:
        raise EngineError(f"the image does not have 1 to {MOST_LAYERS} layers")
    if not all(isinstance(one, str) and re.fullmatch(DIGEST, one) for one in listed):
        raise EngineError("the image's configuration does not name its layers by digest")
    return tuple(listed)


def partial_config(config: bytes, count: int) -> bytes:
    """The configuration of an image of the `count` lowest layers, and of nothing else: it cannot run anything."""
    whole = parsed(config)
    platform = {name: str(whole.get(name, "")) for name in ("architecture", "os")}
    if not all(_PLATFORM.fullmatch(one) and one != "unknown" for one in platform.values()):
        raise EngineError("the image's configuration does not say for which machines it is")
    rootfs = {"type": "layers", "diff_ids": list(diff_ids_of(config)[:count])}
    made = {**platform, "config": {}, "created": LONG_AGO, "rootfs": rootfs}
    return json.dumps(made, separators=(",", ":"), sort_keys=True).encode()


def step_config(config: bytes, count: int) -> bytes:
    """What a node has after the step that brings it to `count` layers: a partial image, at last the whole one."""
    return config if count == len(diff_ids_of(config)) else partial_config(config, count)


def bundle(config: bytes, size: int) -> tuple[bytes, bytes]:
    """What goes before and behind the bytes of the topmost layer in an archive for `docker load`.

    It names no tag, so no name on the node changes its meaning. `size` 0 is an archive without any layer.
    """
    names = [f"{number}.tar" for number in range(len(diff_ids_of(config)))]
    name = f"{id_of(config).partition(':')[2]}.json"
    manifest = json.dumps([{"Config": name, "RepoTags": None, "Layers": names}]).encode()
    head = entry("manifest.json", manifest) + entry(name, config)
    if size:
        head += header(names[-1], size)
    return head, tail(size)


class ConfigImage:
    """An image by its configuration, whose digest is its id."""

    def __init__(self, image: str, config: bytes) -> None:
        """Raises `EngineError` where it is not that of `image`."""
        if id_of(config) != image:
            raise EngineError("the image's configuration is another one's")
        self.id, self.config = image, config
        self.diff_ids = diff_ids_of(config)

    def question(self) -> dict[str, Any]:
        """What tells a relay which image it is."""
        return {"image": self.id, "config": self.config.decode()}

    def step_id(self, count: int) -> str:
        """What a node has after the step that brings it to `count` layers."""
        return id_of(step_config(self.config, count))

    def check(self, count: int, size: int) -> None:  # noqa: ARG002 - no document says how large a layer is
        """Raise `EngineError` for a layer that the image does not have."""
        if not 0 < count <= len(self.diff_ids):
            raise EngineError(f"the image does not have {count} layers")

    def bundle(self, count: int, size: int) -> tuple[bytes, bytes]:
        """What goes before and behind the bytes of the layer `count` in an archive for `docker load`; no name."""
        return bundle(step_config(self.config, count), size)


def common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many of the lowest layers two images share."""
    count = 0
    for ours, theirs in zip(one, other, strict=False):
        if ours != theirs:
            break
        count += 1
    return count


def parsed(config: bytes) -> dict[str, Any]:
    """The JSON of a small document. Raises `EngineError`."""
    try:
        found = json.loads(config) if len(config) <= CONFIG_LIMIT else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise EngineError("the image's configuration is none, or too large")
    return found


def entry(name: str, content: bytes) -> bytes:
    """A file of an archive."""
    return header(name, len(content)) + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def tail(size: int) -> bytes:
    """What follows the last file of an archive, of so many bytes."""
    return bytes(-size % tarfile.BLOCKSIZE) + bytes(2 * tarfile.BLOCKSIZE)


def header(name: str, size: int) -> bytes:
    """What goes before a file's bytes in an archive."""
    found = tarfile.TarInfo(name)
    found.size, found.mode = size, 0o644
    return found.tobuf(tarfile.GNU_FORMAT)
