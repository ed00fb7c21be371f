"""Files of ours, as they are sent: thousands may be asked for by those who do not read them."""

from __future__ import annotations

import os
from typing import Any, cast

import pytest
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload
from aiohttp.test_utils import make_mocked_request

from tmpnb_py.web.assets import PIECE, Content, answer


class Reader:
    """Takes what is written."""

    def __init__(self) -> None:
        self.pieces: list[Any] = []

    async def write(self, piece: Any) -> None:
        self.pieces.append(piece)


@pytest.mark.parametrize("size", [0, 1, PIECE, 10 * PIECE + 1])
async def test_what_a_reader_does_not_take_is_not_copied(size: int) -> None:
    content = Content.of(os.urandom(size), "text/javascript")
    body = answer(make_mocked_request("GET", "/"), content, {}).body
    assert isinstance(body, Payload)
    assert body.size == size
    reader = Reader()
    await body.write(cast(AbstractStreamWriter, reader))
    assert b"".join(reader.pieces) == content.body
    assert all(one.obj is content.body and len(one) <= PIECE for one in reader.pieces)
