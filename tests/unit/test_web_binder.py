"""BinderHub's API: the one GET that allocates, so it answers to nothing but a client that reads events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.web_support import World, serving
from tmpnb_py.core.models import EndReason, State

STREAM = {"Accept": "text/event-stream"}
BUILD = "/build/gh/org/knots/HEAD"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving(tmp_path, max_waiting=1) as world:
        yield world


def events(text: str) -> list[tuple[str, dict[str, Any]]]:
    """The ids and the data of a stream."""
    found = [part.partition("\ndata: ") for part in text.split("\n\n") if part.startswith("id: ")]
    return [(head.removeprefix("id: "), json.loads(data)) for head, _, data in found]


async def test_a_notebook_at_the_workshop_of_that_name(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list[str] = []

    async def begin_in(_endpoint: object, _path: str, _token: str, folder: str) -> None:
        folders.append(folder)

    monkeypatch.setattr("tmpnb_py.web.api.binder.begin_in", begin_in)
    world.ready("a")
    headers = {**STREAM, "X-Forwarded-Host": "notebooks.example", "X-Forwarded-Proto": "https"}
    response, text = await world.ask("GET", BUILD, headers=headers)
    assert (response.status, response.headers["Content-Type"]) == (200, "text/event-stream")
    (first, launching), (second, ready) = events(text)
    assert (launching["phase"], ready["phase"], second) == ("launching", "ready", f"{first}-ready")
    assert (ready["url"], ready["token"]) == ("https://notebooks.example/user/a/", "secret-a")
    assert folders == ["knots"]
    response, _ = await world.ask("GET", BUILD, headers={**STREAM, "Last-Event-ID": second})
    assert response.status == 200, "it has the same notebook again"
    assert world.pool.count(State.CLAIMED) == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 406),
        ({**STREAM, "Sec-Fetch-Mode": "navigate"}, 406),
        ({**STREAM, "Sec-Purpose": "prefetch"}, 406),
        ({**STREAM, "User-Agent": "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"}, 406),
        ({**STREAM, "Origin": "https://other.example"}, 403),
        ({**STREAM, "User-Agent": "Mozilla/5.0"}, 403),
    ],
)
async def test_who_gets_nothing(world: World, headers: dict[str, str], status: int) -> None:
    world.ready("a")
    response, _ = await world.ask("GET", BUILD, headers=headers)
    assert (response.status, world.pool.count(State.READY), world.claims.waiting) == (status, 1, 0)


async def test_why_there_is_none_is_the_streams_last_word(world: World) -> None:
    async def failure(path: str = BUILD) -> str:
        ((event_id, event),) = events((await world.ask("GET", path, headers=STREAM))[1])
        assert (event_id, event["phase"]) == ("failed", "failed")
        return str(event["message"])

    assert "gh/org/sails/HEAD is not offered here" in await failure("/build/gh/org/sails/HEAD")
    await world.claims.open_ticket("lab")
    assert "The line is full." in await failure()
    world.pool.close_to_newcomers()
    assert "letting anyone new in" in await failure()
    response, _ = await world.ask("GET", BUILD, headers={**STREAM, "Last-Event-ID": "failed"})
    assert response.status == 204, "which ends the reconnecting"


async def test_the_place_of_a_client_that_has_gone_is_kept_for_its_return(world: World) -> None:
    async with world.client.get(BUILD, headers=STREAM) as stream:
        await stream.content.readuntil(b"\n\n")
        ((event_id, waiting),) = events((await stream.content.readuntil(b"\n\n")).decode())
        assert (waiting["phase"], world.claims.waiting) == ("waiting", 1)
    assert world.claims.waiting == 1
    container = world.ready("a")
    await world.until_served()
    headers = {**STREAM, "Last-Event-ID": event_id}
    assert [one["phase"] for _, one in events((await world.ask("GET", BUILD, headers=headers))[1])][-1] == "ready"
    world.pool.end(container, EndReason.IDLE, 0.0)
    ((_, ended),) = events((await world.ask("GET", BUILD, headers=headers))[1])
    assert (ended["phase"], "Nobody had used it" in ended["message"]) == ("failed", True)
    headers = {**STREAM, "Last-Event-ID": f"{event_id}-ready"}
    assert (await world.ask("GET", BUILD, headers=headers))[0].status == 204


@pytest.mark.parametrize(
    ("link", "location"),
    [
        ("/v2/gh/org/knots/HEAD", "/spawn/lab/tree/knots/First%20knot.ipynb"),
        ("/v2/gh/org/knots/HEAD?labpath=b.ipynb", "/spawn/lab/tree/knots/b.ipynb"),
    ],
)
async def test_links_for_people_lead_to_the_launch_page(world: World, link: str, location: str) -> None:
    response, _ = await world.ask("GET", link)
    assert (response.status, response.headers["Location"]) == (302, location)
    assert (await world.ask("GET", "/v2/gh/org/sails/HEAD"))[0].status == 404
