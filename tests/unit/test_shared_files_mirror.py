"""A front end's copy of shared files: what is kept, for how long, and what is refused."""

from __future__ import annotations

import gzip
import hashlib

import brotli
import pytest

from tmpnb_py.shared_files.mirror import Mirror, checked, unpacked
from tmpnb_py.shared_files.shared import Content, Found
from tmpnb_py.shared_files.store import LostFileError
from tmpnb_py.shared_files.tree import SharedFile, Tree

PACK = {"gzip": gzip.compress, "br": brotli.compress, "": bytes}


def entry_of(body: bytes) -> SharedFile:
    return SharedFile(hashlib.sha256(body).hexdigest(), len(body))


def tree_of(**files: bytes) -> Tree:
    return Tree({name: entry_of(body) for name, body in files.items()})


def forms_of(*bodies: bytes, form: str = "") -> dict[str, dict[str, Content]]:
    return {entry_of(body).sha256: {form: Content(PACK[form](body))} for body in bodies}


@pytest.mark.parametrize("form", ["gzip", "br", ""])
@pytest.mark.parametrize("size", [0, 1, 70_000])
def test_a_content_that_is_what_it_says_is_taken(form: str, size: int) -> None:
    body = b"x" * size
    assert checked(entry_of(body), form, PACK[form](body)).body == PACK[form](body)


@pytest.mark.parametrize("form", ["gzip", "br", ""])
def test_nothing_else_is_taken(form: str) -> None:
    body = b"the file" * 100
    packed = PACK[form](body)
    for wrong in (
        PACK[form](body + b"!"),
        PACK[form](body[:-1] + b"!"),
        packed[: len(packed) // 2],
        packed + b"!",
        b"",
        b"\x1f\x8b garbage" * 10,
    ):
        with pytest.raises(ValueError, match="content"):
            checked(entry_of(body), form, wrong)


@pytest.mark.parametrize("form", ["gzip", "br"])
def test_a_bomb_is_not_unpacked(form: str) -> None:
    """No more than was listed, however much is in it."""
    bomb = PACK[form](bytes(50_000_000))
    with pytest.raises(ValueError, match="another length"):
        unpacked(bomb, form, 1000)


async def test_forms_are_served_as_they_are_and_the_plain_one_is_made() -> None:
    mirror, body = Mirror(), b"text " * 1000
    tree = tree_of(a=body)
    fresh = forms_of(body, form="gzip")
    fresh[entry_of(body).sha256]["br"] = Content(brotli.compress(body))
    assert mirror.put(tree, fresh, offered=[tree.digest])
    found = mirror.find(tree.digest, "a")
    assert found is not None
    assert found.codings == ("br", "gzip")
    assert (await mirror.content(found, "gzip")).body == gzip.compress(body)
    assert (await mirror.content(found, "")).body == body
    assert await mirror.size(found, "") == len(body)
    assert await mirror.size(found, "br") == len(brotli.compress(body))
    assert mirror.find(tree.digest, "b") is None
    assert mirror.find("0" * 32, "a") is None


async def test_what_is_not_offered_any_more_stays_until_its_room_is_needed() -> None:
    mirror = Mirror(limit=30)
    first, second, third = tree_of(a=b"x" * 10), tree_of(a=b"y" * 10), tree_of(a=b"z" * 20)
    assert mirror.put(first, forms_of(b"x" * 10), offered=[first.digest])
    assert mirror.put(second, forms_of(b"y" * 10), offered=[second.digest])
    mirror.offered([second.digest])
    found = mirror.find(first.digest, "a")
    assert isinstance(found, Found)
    assert mirror.put(third, forms_of(b"z" * 20), offered=[second.digest, third.digest])
    assert (mirror.has(first.digest), mirror.has(second.digest), mirror.has(third.digest)) == (False, True, True)
    assert mirror.used == 30
    with pytest.raises(LostFileError):  # a visitor who asked just before
        await mirror.content(found, "")
    assert not mirror.put(first, forms_of(b"x" * 10), offered=[first.digest, second.digest, third.digest])
    assert mirror.used == 30


def test_contents_are_kept_once_and_as_long_as_a_tree_has_them() -> None:
    mirror = Mirror(limit=25)
    old, new = tree_of(a=b"same 10 by", b=b"1234567890"), tree_of(a=b"same 10 by", c=b"0987654321")
    assert mirror.put(old, forms_of(b"same 10 by", b"1234567890"), offered=[old.digest])
    assert mirror.used == 20
    assert mirror.put(new, forms_of(b"0987654321"), offered=[new.digest])
    assert (mirror.used, len(mirror)) == (20, 1), "the old tree went, and what both have stayed"
    assert mirror.forms(entry_of(b"same 10 by"))
    with pytest.raises(ValueError, match="not whole"):
        mirror.put(old, {}, offered=[old.digest])
