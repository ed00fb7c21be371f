"""Images as their layers: what a node gets to load, piece by piece. Pure; used on both sides of the relays.

An image travels layer by layer. Docker reads a layer only where it does not have it, so the archive for a step holds
one layer, on top of those that are there; what is there is kept by a partial image of our own making, until the next.
An id is the digest of the configuration, which lists the layers' digests; Docker checks each layer against its own.
So what a node has under an id is that image, whoever sent the pieces.
"""

from __future__ import annotations

import hashlib
import io
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

_PLATFORM = re.compile(r"[a-z0-9_]{1,32}")


def id_of(config: bytes) -> str:
    """The id of the image with this configuration."""
    return f"sha256:{hashlib.sha256(config).hexdigest()}"


def diff_ids_of(config: bytes) -> tuple[str, ...]:
    """The digests of an image's layers, the lowest first. Raises `EngineError` for what is no configuration."""
    found = _parsed(config).get("rootfs")
    listed = found.get("diff_ids") if isinstance(found, dict) else None
    if not isinstance(listed, list) or not 0 < len(listed) <= MOST_LAYERS:
        raise EngineError(f"the image does not have 1 to {MOST_LAYERS} layers")
    if not all(isinstance(one, str) and re.fullmatch(DIGEST, one) for one in listed):
        raise EngineError("the image's configuration does not name its layers by digest")
    return tuple(listed)


def partial_config(config: bytes, count: int) -> bytes:
    """The configuration of an image of the `count` lowest layers, and of nothing else: it cannot run anything."""
    parsed = _parsed(config)
    platform = {name: str(parsed.get(name, "")) for name in ("architecture", "os")}
    if not all(_PLATFORM.fullmatch(one) for one in platform.values()):
        raise EngineError("the image's configuration does not say for which machines it is")
    rootfs = {"type": "layers", "diff_ids": list(diff_ids_of(config)[:count])}
    made = {**platform, "config": {}, "created": "1970-01-01T00:00:00Z", "rootfs": rootfs}
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
    head = _entry("manifest.json", manifest) + _entry(name, config)
    if size:
        head += _header(names[-1], size)
    return head, bytes(-size % tarfile.BLOCKSIZE) + bytes(2 * tarfile.BLOCKSIZE)


def common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many of the lowest layers two images share."""
    count = 0
    for ours, theirs in zip(one, other, strict=False):
        if ours != theirs:
            break
        count += 1
    return count


def _parsed(config: bytes) -> dict[str, Any]:
    try:
        found = json.loads(config) if len(config) <= CONFIG_LIMIT else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise EngineError("the image's configuration is none, or too large")
    return found


def _entry(name: str, content: bytes) -> bytes:
    return _header(name, len(content)) + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def _header(name: str, size: int) -> bytes:
    found = tarfile.TarInfo(name)
    found.size, found.mode = size, 0o644
    return found.tobuf(tarfile.GNU_FORMAT)


class Archive:
    """An archive that `docker save` wrote, with its layers where they are in the file."""

    def __init__(self, file: io.BufferedRandom) -> None:
        """Raises `EngineError` for what is no archive of one image."""
        self._file = file
        file.seek(0)
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                entries = {one.name: one for one in tar}
                (listed,) = json.loads(self._read(_target(entries, "manifest.json")))
                self.config = self._read(_target(entries, str(listed["Config"])))
                self.layers = [_place(_target(entries, str(one))) for one in listed["Layers"]]
        except (tarfile.TarError, ValueError, KeyError, TypeError) as error:
            raise EngineError(f"the engine's archive of the image cannot be read: {error}") from error
        self.diff_ids = diff_ids_of(self.config)
        if len(self.layers) != len(self.diff_ids):
            raise EngineError("the engine's archive of the image lacks layers")

    def _read(self, entry: tarfile.TarInfo) -> bytes:
        offset, size = _place(entry)
        if size > CONFIG_LIMIT:
            raise EngineError(f"the image's {entry.name} is too large")
        self._file.seek(offset)
        return self._file.read(size)

    @property
    def number(self) -> int:
        """The file's descriptor, to read at places of it."""
        return self._file.fileno()


def _target(entries: dict[str, tarfile.TarInfo], name: str) -> tarfile.TarInfo:
    """An entry by its name, or what it is a link to: `docker save` writes equal layers once."""
    for _ in range(4):
        entry = entries[name]
        if not entry.issym():
            return entry
        parts: list[str] = name.split("/")[:-1]
        for part in entry.linkname.split("/"):
            parts = parts[:-1] if part == ".." else [*parts, part]
        name = "/".join(parts)
    raise KeyError(name)


def _place(entry: tarfile.TarInfo) -> tuple[int, int]:
    return entry.offset_data, entry.size
