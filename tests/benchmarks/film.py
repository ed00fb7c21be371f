"""A filmstrip of a page: what was to be seen at which moment, as pictures and as a page of them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import html
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from playwright.async_api import CDPSession, Error

_FORMAT = {"format": "jpeg", "quality": 60, "maxWidth": 640, "maxHeight": 360, "everyNthFrame": 1}
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 14px sans-serif }}
figure {{ display: inline-block; margin: 4px }}
img {{ width: 320px; border: 1px solid #999 }}
</style>
<h1>{title}</h1><p>{told}</p>{figures}</html>
"""


@contextlib.asynccontextmanager
async def recorded(session: CDPSession, place: Path | None) -> AsyncIterator[list[tuple[float, bytes]]]:
    """The frames that the browser draws, each with its unix time; nothing at all is done without a place.

    Recording takes time from the page: what is filmed is not what is measured.
    """
    frames: list[tuple[float, bytes]] = []
    answering: set[asyncio.Task[Any]] = set()

    def take(event: dict[str, Any]) -> None:
        frames.append((event["metadata"]["timestamp"], base64.b64decode(event["data"])))
        task = asyncio.ensure_future(session.send("Page.screencastFrameAck", {"sessionId": event["sessionId"]}))
        answering.add(task)
        task.add_done_callback(answering.discard)

    if place is None:
        yield frames
        return
    session.on("Page.screencastFrame", take)
    await session.send("Page.startScreencast", _FORMAT)
    try:
        yield frames
    finally:
        with contextlib.suppress(Error):
            await session.send("Page.stopScreencast")
        await asyncio.gather(*answering, return_exceptions=True)


def keep(frames: list[tuple[float, bytes]], began: float, place: Path, title: str, told: str) -> None:
    """Write the frames since a moment, named by their milliseconds, and a page that shows them in a row."""
    place.mkdir(parents=True, exist_ok=True)
    figures = []
    for at, picture in frames:
        name = f"{max(0, round((at - began) * 1000)):05}.jpg"
        (place / name).write_bytes(picture)
        figures.append(f'<figure><img src="{name}" alt=""><figcaption>{at - began:.2f} s</figcaption></figure>')
    text = _PAGE.format(title=html.escape(title), told=html.escape(told), figures="".join(dict.fromkeys(figures)))
    (place / "index.html").write_text(text)
