"""Lines of JSON on a connection, bounded in length, and bytes of a known number after one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pydantic

from tmpnb_py.core.errors import EngineError

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]

LIMIT = 512 * 1024  # bytes of a line; the longest is a list of a node's notebooks, or 64 KiB of a log
CHUNK_SECONDS = 60.0
WRITE_SECONDS = 10.0
_CHUNK = 256 * 1024


class RelayAwayError(EngineError):
    """The relay of a node does not answer; its notebooks may live on."""


def line_of(message: pydantic.BaseModel | dict[str, Any]) -> bytes:
    """A message as it is sent."""
    if isinstance(message, pydantic.BaseModel):
        return message.model_dump_json(exclude_defaults=True).encode() + b"\n"
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


async def drained(writer: asyncio.StreamWriter) -> None:
    """Wait until most of what was written is sent. Raises `TimeoutError` where the other side takes too little."""
    async with asyncio.timeout(WRITE_SECONDS):
        await writer.drain()


async def read_line(reader: asyncio.StreamReader) -> bytes:
    """A line, b"" at the end of the connection. Raises `RelayAwayError` for one that is cut off or too long."""
    try:
        line = await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise RelayAwayError("a message was cut off") from error
        return b""
    except asyncio.LimitOverrunError as error:
        raise RelayAwayError("a message is too long") from error
    return line


async def read_exactly(reader: asyncio.StreamReader, size: int) -> AsyncGenerator[bytes, None]:
    """So many bytes in chunks. Raises `RelayAwayError` where fewer come, or none for a long time."""
    while size:
        try:
            async with asyncio.timeout(CHUNK_SECONDS):
                chunk = await reader.read(min(_CHUNK, size))
        except TimeoutError as error:
            raise RelayAwayError("nothing more came") from error
        if not chunk:
            raise RelayAwayError("it was cut off")
        size -= len(chunk)
        yield chunk
