"""Shared files on disk: what survives, what is forgotten, and that an image's names never become paths."""

from __future__ import annotations

import gzip
import io
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import brotli
import pytest

from tmpnb_py.shared_files import compress, store
from tmpnb_py.shared_files.store import KEPT_TREES, Store
from tmpnb_py.shared_files.tree import Tree

SCRIPT = b"console.log('hello, hello, hello, hello');\n" * 40
FONT = bytes(range(256))


def _tree(shared: Store, files: dict[str, bytes]) -> Tree:
    return Tree(shared.add(files))


def test_what_was_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    shared = Store(tmp_path / "s")
    tree = _tree(shared, {"a/x.js": SCRIPT, "a/f.woff2": FONT})
    shared.keep(tree, "sha256:1")
    shared.keep(tree, "sha256:2")
    again = Store(tmp_path / "s")
    assert again.load() == {"sha256:1": tree, "sha256:2": tree}
    script, font = (tree.files[name].sha256 for name in ("a/x.js", "a/f.woff2"))
    assert again.codings(script) == ("gzip",)
    assert gzip.decompress(again.read(script, "gzip")) == again.read(script, "") == SCRIPT
    assert again.codings(font) == ()
    assert again.read(font, "") == FONT


def test_equal_contents_are_kept_once(tmp_path: Path) -> None:
    shared = Store(tmp_path)
    shared.add({"a.js": SCRIPT, "b.js": SCRIPT})
    shared.add({"c.js": SCRIPT})
    assert len(list((tmp_path / "files").iterdir())) == 1


def test_what_a_thread_is_adding_goes_too(tmp_path: Path) -> None:
    """A service that is stopped cannot cancel it."""
    shared = Store(tmp_path / "static" / "pool")
    files = {f"{number}.js": SCRIPT + str(number).encode() for number in range(2000)}
    with ThreadPoolExecutor() as pool:
        adding = pool.submit(shared.add, files)
        while not list(tmp_path.glob("static/pool/files/*.gz")):
            time.sleep(0.001)
        shared.remove()
        assert isinstance(adding.exception(60), OSError)
    assert list(tmp_path.iterdir()) == []


def test_what_no_kept_tree_has_is_forgotten(tmp_path: Path) -> None:
    shared = Store(tmp_path)
    first = _tree(shared, {"a.js": SCRIPT})
    shared.keep(first, "old")
    for number in range(KEPT_TREES):
        by_image = shared.keep(_tree(shared, {"a.js": SCRIPT + bytes([number])}), f"image{number}")
    assert first not in by_image.values()
    assert len(list((tmp_path / "trees").iterdir())) == KEPT_TREES
    assert len(list((tmp_path / "files").iterdir())) == KEPT_TREES


def test_a_crash_leaves_nothing_behind(tmp_path: Path) -> None:
    shared = Store(tmp_path)
    shared.keep(_tree(shared, {"a.js": SCRIPT}), "image")
    before = sorted(tmp_path.rglob("*"))
    shared.add({"b.js": SCRIPT * 2})
    (tmp_path / "files" / f"{'0' * 64}.gz.new").write_bytes(b"half")
    (tmp_path / "trees" / f"{'0' * 32}.json").write_text("{")
    (tmp_path / "trees" / f"{'1' * 32}.json").write_text('{"images": [], "files": {"a.js": ["x", 1]}}')
    half_done = sorted(tmp_path.rglob("*"))
    assert list(Store(tmp_path).load(tidy=False)) == ["image"]  # it may be another process's work
    assert sorted(tmp_path.rglob("*")) == half_done
    assert list(Store(tmp_path).load()) == ["image"]
    assert sorted(tmp_path.rglob("*")) == before


def test_names_never_become_paths(tmp_path: Path) -> None:
    shared = Store(tmp_path / "s")
    shared.keep(_tree(shared, {"../../evil.js": SCRIPT, "/etc/evil.js": SCRIPT, "..": FONT}), "../../image")
    assert {path.name for path in tmp_path.iterdir()} == {"s"}
    assert {path.name for path in (tmp_path / "s").iterdir()} == {"files", "trees"}
    names = [path.name.partition(".")[0] for path in (tmp_path / "s").rglob("*.*")]
    assert all(set(name) <= set("0123456789abcdef") for name in names)


def test_removing_takes_the_pools_directory_only(tmp_path: Path) -> None:
    for pool in ("mine", "other"):
        Store(tmp_path / "static" / pool).add({"a.js": SCRIPT})
    store.remove(tmp_path / "static" / "mine")
    assert [path.name for path in (tmp_path / "static").iterdir()] == ["other"]
    store.remove(tmp_path / "static" / "other")
    store.remove(tmp_path / "static" / "other")
    assert list(tmp_path.iterdir()) == []


def test_the_compressing_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = Store(tmp_path)
    tree = _tree(
        shared, {"a.js": SCRIPT, "tiny.js": b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "f.woff2": FONT}
    )
    wanted = shared.lacks_brotli(tree)
    assert len(wanted) == 2
    monkeypatch.setattr(sys, "argv", ["compress", str(shared.files)])
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{one}\n" for one in [*wanted, "0" * 64])))
    monkeypatch.setattr(os, "nice", lambda _: 0)
    compress.main()
    assert capsys.readouterr().out.split() == [*wanted, "0" * 64]
    assert shared.lacks_brotli(tree) == []
    script = tree.files["a.js"].sha256
    assert shared.codings(script) == ("br", "gzip")
    assert brotli.decompress(shared.read(script, "br")) == SCRIPT


@pytest.mark.parametrize("damage", [b"", b"\x1f\x8b\x08\x00", gzip.compress(SCRIPT[:-1])])
@pytest.mark.parametrize("name", ["a/x.js", "a/f.woff2"])
def test_a_file_that_was_damaged_is_not_served_and_an_empty_one_is_written_anew(
    tmp_path: Path, name: str, damage: bytes
) -> None:
    files = {"a/x.js": SCRIPT, "a/f.woff2": FONT}
    shared = Store(tmp_path)
    sha256 = _tree(shared, files).files[name].sha256
    (path,) = (tmp_path / "files").glob(f"{sha256}*")
    path.write_bytes(damage)
    with pytest.raises(OSError, match=r"damaged|gzip"):
        shared.read(sha256, "")
    if not damage:
        shared.add(files)
        assert shared.read(sha256, "") == files[name]
