"""What `docker save` wrote: an image's documents, and where its layers are in the file. Used by the orchestrator."""

from __future__ import annotations

import io
import json
import tarfile

from tmpnb_py.core.errors import EngineError
from tmpnb_py.engines.swarm.parcels import layers, manifests
from tmpnb_py.engines.swarm.parcels.parcel import Parcel


class Archive:
    """An archive that `docker save` wrote, with its layers where they are in the file."""

    def __init__(self, file: io.BufferedRandom, image: str) -> None:
        """Raises `EngineError` for what is no archive of `image`."""
        self._file = file
        file.seek(0)
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                entries = {one.name: one for one in tar}
                listed = json.loads(self._read(_target(entries, "manifest.json")))[0]
                config = self._read(_target(entries, str(listed["Config"])))
                if layers.id_of(config) == image:
                    self.parcel: Parcel = layers.ConfigImage(image, config)
                    self.layers = [_place(_target(entries, str(one))) for one in listed["Layers"]]
                else:
                    self.parcel, self.layers = self._of_blobs(image, entries)
        except (tarfile.TarError, ValueError, KeyError, TypeError) as error:
            raise EngineError(f"the engine's archive of the image cannot be read: {error}") from error
        if len(self.layers) != len(self.parcel.diff_ids):
            raise EngineError("the engine's archive of the image lacks layers")

    def _of_blobs(
        self, image: str, entries: dict[str, tarfile.TarInfo]
    ) -> tuple[manifests.ManifestImage, list[tuple[int, int]]]:
        prefix = "blobs/sha256/"
        blobs = {f"sha256:{name[len(prefix) :]}": one for name, one in entries.items() if name.startswith(prefix)}
        small = {digest: self._read(one) for digest, one in blobs.items() if one.size <= layers.CONFIG_LIMIT}
        found = manifests.ManifestImage(image, manifests.documents_of(image, small, blobs))
        return found, [_place(blobs[one.digest]) for one in found.blobs]

    def _read(self, entry: tarfile.TarInfo) -> bytes:
        offset, size = _place(entry)
        if size > layers.CONFIG_LIMIT:
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
