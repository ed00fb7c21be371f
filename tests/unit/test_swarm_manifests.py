"""Images of containerd's store as their layers: what is read of an archive, and what nodes get to load."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from typing import Any

import pytest

from tests.unit.test_swarm_layers import CONTENTS, config_of
from tmpnb_py.core.errors import EngineError
from tmpnb_py.engines.swarm.parcels import layers, manifests
from tmpnb_py.engines.swarm.parcels.archive import Archive
from tmpnb_py.engines.swarm.parcels.parcel import parcel_of

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def named(content: bytes, kind: str) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest(content), "size": len(content)}


def manifest_of(config: bytes, contents: tuple[bytes, ...] = CONTENTS, **more: Any) -> bytes:
    listed = [named(one, "application/vnd.oci.image.layer.v1.tar+gzip") for one in contents]
    made = {"config": named(config, "application/vnd.oci.image.config.v1+json"), "layers": listed, **more}
    return json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, **made}).encode()


CONFIG = config_of()
IMAGE = manifest_of(CONFIG)
UNKNOWN = config_of([digest(b"proof")], architecture="unknown", os="unknown")
PROOF = manifest_of(UNKNOWN, (b"proof",))
ROOT = json.dumps(
    {"schemaVersion": 2, "mediaType": INDEX, "manifests": [named(PROOF, MANIFEST), named(IMAGE, MANIFEST)]}
)


def saved(*blobs: bytes) -> Any:
    """As `docker save` writes it there."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the test's
    with tarfile.open(fileobj=file, mode="w") as tar:
        files = {f"blobs/{digest(one).replace(':', '/')}": one for one in blobs}
        config = f"blobs/{digest(CONFIG).replace(':', '/')}"
        listed: list[dict[str, Any]] = [{"Config": config, "RepoTags": None, "Layers": []}]
        for name, content in {**files, "manifest.json": json.dumps(listed).encode()}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return file


@pytest.mark.parametrize("root", [IMAGE, ROOT.encode()], ids=["a manifest", "an index"])
def test_what_docker_saves(root: bytes) -> None:
    with saved(root, IMAGE, CONFIG, PROOF, UNKNOWN, b"proof", *CONTENTS) as file:
        found = Archive(file, digest(root))
        assert found.parcel.id == digest(root)
        assert found.parcel.diff_ids == layers.diff_ids_of(CONFIG)
        for (offset, size), content in zip(found.layers, CONTENTS, strict=True):
            file.seek(offset)
            assert file.read(size) == content
        told = found.parcel.question()
        assert sorted(told["documents"]) == sorted({one.decode() for one in (root, IMAGE, CONFIG)})
        again = parcel_of(told["image"], "", told["documents"])
        assert [again.step_id(count) for count in (1, 2, 3)] == [found.parcel.step_id(count) for count in (1, 2, 3)]


@pytest.mark.parametrize("lacking", [IMAGE, CONFIG, CONTENTS[0]], ids=["manifest", "configuration", "layer"])
def test_what_an_archive_lacks(lacking: bytes) -> None:
    blobs = {ROOT.encode(), IMAGE, CONFIG, *CONTENTS} - {lacking}
    with saved(*blobs) as file, pytest.raises(EngineError):
        Archive(file, digest(ROOT.encode()))


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("has_content", [True, False])
def test_a_bundle_is_a_layout_without_names(count: int, has_content: bool) -> None:
    image = manifests.ManifestImage(digest(ROOT.encode()), [ROOT.encode(), IMAGE, CONFIG])
    content = CONTENTS[count - 1] if has_content else b""
    head, tail = image.bundle(count, len(content))
    with tarfile.open(fileobj=io.BytesIO(head + content + tail), mode="r:") as tar:
        files = {one.name: tar.extractfile(one).read() for one in tar}  # type: ignore[union-attr]
    assert json.loads(files.pop("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
    (top,) = json.loads(files.pop("index.json"))["manifests"]
    assert top.keys() == {"mediaType", "digest", "size"}, "no name"
    assert top["digest"] == image.step_id(count)
    assert all(f"blobs/{digest(one).replace(':', '/')}" == name for name, one in files.items())
    assert top["size"] == len(files[f"blobs/{top['digest'].replace(':', '/')}"])
    assert len(files) == (3 if count == 3 else 2) + has_content
    if count < 3:
        partial = json.loads(files[f"blobs/{top['digest'].replace(':', '/')}"])
        assert [one["digest"] for one in partial["layers"]] == [digest(one) for one in CONTENTS[:count]]
        config = json.loads(files[f"blobs/{partial['config']['digest'].replace(':', '/')}"])
        assert config["config"] == {}, "it runs nothing"


def test_layers_are_of_the_size_that_is_told() -> None:
    image = manifests.ManifestImage(digest(IMAGE), [IMAGE, CONFIG])
    image.check(1, len(CONTENTS[0]))
    image.check(1, 0)
    for count, size in ((0, 0), (4, 0), (1, 1)):
        with pytest.raises(EngineError):
            image.check(count, size)


def changed(**more: Any) -> bytes:
    return json.dumps({**json.loads(IMAGE), **more}).encode()


@pytest.mark.parametrize(
    "document",
    [
        b"{}", b"[]", b"x", changed(config=None), changed(layers=[]), changed(layers=json.loads(IMAGE)["layers"][:2]),
        changed(layers=[{"digest": "sha256:../..", "size": 1, "mediaType": MANIFEST}] * 3),
        changed(layers=[{**named(b"x", MANIFEST), "size": -1}] * 3), changed(layers=[named(b"x", "text/html")] * 3),
        changed(manifests=[named(PROOF, MANIFEST)]), changed(more="x" * layers.CONFIG_LIMIT),
    ],
)  # fmt: skip
def test_what_is_no_manifest(document: bytes) -> None:
    with pytest.raises(EngineError):
        manifests.ManifestImage(digest(document), [document, CONFIG])


def test_documents_of_another_image() -> None:
    with pytest.raises(EngineError, match="another one's"):
        manifests.ManifestImage(digest(b"other"), [IMAGE, CONFIG])
