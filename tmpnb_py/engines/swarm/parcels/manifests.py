"""Images of containerd's store, which newer Docker engines use, as their layers. Pure; the counterpart of `layers`.

There an image's id is the digest of a manifest, or of an index of manifests, and a layer is a blob that the manifest
names by its own digest, compressed or not: two engines have the same image under the same id only if they have the
very same blobs. So these documents travel, with the blobs, and what is loaded is an OCI image layout
(https://github.com/opencontainers/image-spec/blob/main/image-layout.md). containerd stores a blob under the digest
that it has, so a blob that is not what the manifest names is missing, and the image is not whole.

The steps are those of `layers`: a partial image of our own making keeps what has arrived until the next layer is
there.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tmpnb_py.core.errors import EngineError
from tmpnb_py.engines.swarm.parcels import layers

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_TYPE = re.compile(r"application/vnd\.(?:oci\.image|docker)\.[a-z0-9.+-]{1,80}")
MOST_DOCUMENTS = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Blob:
    """What a manifest says of a blob."""

    type: str
    digest: str
    size: int

    @property
    def path(self) -> str:
        """Where it is in a layout."""
        return f"blobs/{self.digest.replace(':', '/')}"

    @property
    def descriptor(self) -> dict[str, Any]:
        """As documents of the OCI write it."""
        return {"mediaType": self.type, "digest": self.digest, "size": self.size}


class ManifestImage:
    """An image by its documents: its manifest, its configuration, and the index that names the manifest, if any."""

    def __init__(self, image: str, documents: Sequence[bytes]) -> None:
        """Raises `EngineError` where the documents are not those of `image`."""
        self.id = image
        by_digest = {layers.id_of(one): one for one in documents}
        if image not in by_digest or sum(map(len, documents)) > layers.CONFIG_LIMIT:
            raise EngineError("the image's documents are another one's, or too large")
        self.documents = tuple(documents)
        self._root = layers.parsed(by_digest[image])
        self._manifest = _manifest_of(self._root, by_digest)
        self.config = by_digest[_blob(self._manifest.get("config")).digest]
        self.diff_ids = layers.diff_ids_of(self.config)
        self.blobs = tuple(_blob(one) for one in _listed(self._manifest.get("layers")))
        if len(self.blobs) != len(self.diff_ids):
            raise EngineError("the image's manifest lacks layers")

    def question(self) -> dict[str, Any]:
        """What tells a relay which image it is."""
        return {"image": self.id, "documents": tuple(one.decode() for one in self.documents)}

    def step_id(self, count: int) -> str:
        """What a node has after the step that brings it to `count` layers: a partial image, at last the whole one."""
        return self.id if count == len(self.diff_ids) else layers.id_of(self._partial(count)[0])

    def check(self, count: int, size: int) -> None:
        """Raise `EngineError` for a layer that the image does not have."""
        if not 0 < count <= len(self.blobs) or size not in (0, self.blobs[count - 1].size):
            raise EngineError(f"the image does not have {count} layers, or one of another size")

    def bundle(self, count: int, size: int) -> tuple[bytes, bytes]:
        """What goes before and behind the bytes of the layer `count` in an archive for `docker load`; no name."""
        whole = count == len(self.diff_ids)
        documents = self.documents if whole else self._partial(count)
        root = self._root if whole else self._manifest
        kind = _type(root.get("mediaType") or _GUESSES["manifests" in root])
        top = Blob(kind, self.step_id(count), len(next(one for one in documents if self._is(one, count))))
        index = json.dumps({"schemaVersion": 2, "manifests": [top.descriptor]}).encode()
        head = layers.entry("oci-layout", _LAYOUT) + layers.entry("index.json", index)
        for one in documents:
            head += layers.entry(f"blobs/{layers.id_of(one).replace(':', '/')}", one)
        if size:
            head += layers.header(self.blobs[count - 1].path, size)
        return head, layers.tail(size)

    def _is(self, document: bytes, count: int) -> bool:
        return layers.id_of(document) == self.step_id(count)

    def _partial(self, count: int) -> tuple[bytes, bytes]:
        """Manifest and configuration of the `count` lowest layers."""
        config = layers.partial_config(self.config, count)
        told = Blob(_blob(self._manifest["config"]).type, layers.id_of(config), len(config))
        made = {
            "schemaVersion": 2,
            "mediaType": _type(self._manifest.get("mediaType") or _GUESSES[False]),
            "config": told.descriptor,
            "layers": [one.descriptor for one in self.blobs[:count]],
        }
        return json.dumps(made, separators=(",", ":"), sort_keys=True).encode(), config


_GUESSES = {False: "application/vnd.oci.image.manifest.v1+json", True: "application/vnd.oci.image.index.v1+json"}


def documents_of(image: str, read: Mapping[str, bytes], there: Mapping[str, Any]) -> tuple[bytes, ...]:
    """The documents of `image` among the small blobs of an archive, `read`, by digest; `there` are all its blobs.

    Of an index, the first manifest of which everything is there: an engine saves what is for machines as it is.
    Raises `EngineError`.
    """
    if image not in read:
        raise EngineError("the engine's archive does not hold the image's manifest")
    root = layers.parsed(read[image])
    if "manifests" not in root:
        return (read[image], read[_config_of(root, read, there)])
    for one in _listed(root["manifests"]):
        digest = _blob(one).digest
        if digest in read:
            try:
                config = _config_of(layers.parsed(read[digest]), read, there)
                layers.partial_config(read[config], 1)  # what attests an image is none
            except EngineError:
                continue
            return (read[image], read[digest], read[config])
    raise EngineError("the engine's archive holds no image for this kind of machine")


def _config_of(manifest: Mapping[str, Any], read: Mapping[str, bytes], there: Mapping[str, Any]) -> str:
    config = _blob(manifest.get("config")).digest
    wanted = [_blob(one).digest for one in _listed(manifest.get("layers"))]
    if config not in read or not all(one in there for one in wanted):
        raise EngineError("the engine's archive of the image lacks layers")
    return config


def _manifest_of(root: Mapping[str, Any], by_digest: Mapping[str, bytes]) -> Mapping[str, Any]:
    """The manifest among the documents that the image's root names, or that it is."""
    digests = [_blob(one).digest for one in _listed(root["manifests"])] if "manifests" in root else []
    found = [layers.parsed(by_digest[one]) for one in digests if one in by_digest] if digests else [root]
    if len(found) != 1 or _blob(found[0].get("config")).digest not in by_digest:
        raise EngineError("the image's documents are not one manifest and its configuration")
    return found[0]


def _blob(listed: Any) -> Blob:
    digest, size = (listed.get("digest"), listed.get("size")) if isinstance(listed, dict) else (None, None)
    if not isinstance(digest, str) or not re.fullmatch(layers.DIGEST, digest):
        raise EngineError("the image's manifest does not name its parts by digest")
    if not isinstance(size, int) or not 0 <= size <= layers.LAYER_LIMIT:
        raise EngineError("the image's manifest does not say how large its parts are")
    return Blob(_type(listed.get("mediaType")), digest, size)


def _type(found: Any) -> str:
    if not isinstance(found, str) or not (_TYPE.fullmatch(found) or found == "application/vnd.in-toto+json"):
        raise EngineError("the image's manifest has parts of an unknown kind")
    return found


def _listed(found: Any) -> list[Any]:
    if not isinstance(found, list) or not 0 < len(found) <= layers.MOST_LAYERS:
        raise EngineError(f"the image's manifest does not have 1 to {layers.MOST_LAYERS} parts")
    return found
