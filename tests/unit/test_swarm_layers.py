"""Images as their layers: archives that are read, and those that nodes get to load."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from typing import Any

import pytest

from tmpnb_py.core.errors import EngineError
from tmpnb_py.engines.swarm.parcels import layers
from tmpnb_py.engines.swarm.parcels.archive import Archive

CONTENTS = (b"lowest" * 200, b"same", b"same")
DIFF_IDS = tuple(f"sha256:{hashlib.sha256(one).hexdigest()}" for one in CONTENTS)


def config_of(diff_ids: Any = DIFF_IDS, **more: Any) -> bytes:
    rootfs = {"type": "layers", "diff_ids": diff_ids}
    made = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]}, "rootfs": rootfs, **more}
    return json.dumps(made).encode()


def archive(config: bytes, entries: dict[str, bytes | str], names: list[str]) -> Any:
    """As `docker save` writes it; a string is a link."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the test's
    with tarfile.open(fileobj=file, mode="w") as tar:
        listed = [{"Config": "c.json", "RepoTags": None, "Layers": names}]
        for name, content in {**entries, "c.json": config, "manifest.json": json.dumps(listed).encode()}.items():
            entry = tarfile.TarInfo(name)
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                tar.addfile(entry)
            else:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return file


def test_what_docker_saves() -> None:
    entries: dict[str, bytes | str] = {
        "b/layer.tar": "../a/layer.tar", "a/layer.tar": CONTENTS[1], "c/layer.tar": CONTENTS[0],
    }  # fmt: skip
    with archive(config_of(), entries, ["c/layer.tar", "a/layer.tar", "b/layer.tar"]) as file:
        found = Archive(file, layers.id_of(config_of()))
        assert (found.parcel.question()["config"], found.parcel.diff_ids) == (config_of().decode(), DIFF_IDS)
        for (offset, size), content in zip(found.layers, CONTENTS, strict=True):
            file.seek(offset)
            assert file.read(size) == content


@pytest.mark.parametrize(
    ("entries", "names"),
    [({"a": b"x"}, ["a"]), ({"a": b"x"}, ["a", "b", "c"]), ({"a": "b", "b": "a"}, ["a", "a", "a"])],
    ids=["lacks layers", "names none", "a circle"],
)
def test_what_is_no_archive_of_the_image(entries: dict[str, bytes | str], names: list[str]) -> None:
    with archive(config_of(), entries, names) as file, pytest.raises(EngineError):
        Archive(file, layers.id_of(config_of()))


def test_a_file_that_is_no_archive() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"no archive" * 1000)
        with pytest.raises(EngineError, match="cannot be read"):
            Archive(file, layers.id_of(config_of()))


@pytest.mark.parametrize(
    "config",
    [
        b"", b"[]", b"{}", b'{"rootfs": []}', config_of([]), config_of(["sha256:1"]), config_of([1]),
        config_of([DIFF_IDS[0]] * 128), config_of(["../../etc"]), config_of(more="x" * layers.CONFIG_LIMIT),
    ],
)  # fmt: skip
def test_what_is_no_configuration(config: bytes) -> None:
    with pytest.raises(EngineError):
        layers.diff_ids_of(config)


def test_partial_images_are_the_same_for_everybody_and_run_nothing() -> None:
    one = layers.partial_config(config_of(), 2)
    assert one == layers.partial_config(config_of(), 2)
    assert layers.diff_ids_of(one) == DIFF_IDS[:2]
    assert json.loads(one)["config"] == {}
    assert layers.step_config(config_of(), 3) == config_of()
    assert layers.step_config(config_of(), 2) == one
    with pytest.raises(EngineError, match="which machines"):
        layers.partial_config(config_of(os="../x"), 1)


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 512, b"x" * 1000])
def test_a_bundle_holds_the_topmost_layer_and_names_nothing(content: bytes) -> None:
    head, tail = layers.bundle(config_of(), len(content))
    with tarfile.open(fileobj=io.BytesIO(head + content + tail), mode="r:") as tar:
        (listed,) = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
        assert listed["RepoTags"] is None
        assert tar.extractfile(listed["Config"]).read() == config_of()  # type: ignore[union-attr]
        assert listed["Config"] == f"{hashlib.sha256(config_of()).hexdigest()}.json"
        assert listed["Layers"] == ["0.tar", "1.tar", "2.tar"]
        there = [name for name in tar.getnames() if name in listed["Layers"]]
        assert there == (["2.tar"] if content else [])
        if content:
            assert tar.extractfile("2.tar").read() == content  # type: ignore[union-attr]


def test_what_images_share() -> None:
    assert layers.common(DIFF_IDS, DIFF_IDS) == 3
    assert layers.common(DIFF_IDS, [DIFF_IDS[0], "other", DIFF_IDS[2]]) == 1
    assert layers.common(DIFF_IDS, []) == 0
