"""Classes on the pages and over the API: links that are good in their time only, the teacher's page, bad input."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import until
from tests.web_support import KNOTS, World, serving
from tmpnb_py.bookings import fit
from tmpnb_py.bookings.model import Booking
from tmpnb_py.core.models import EndReason, State
from tmpnb_py.options.settings import Settings
from tmpnb_py.workshops.manifest import Translation

HOUR = 3600.0
HTML = {"Accept": "text/html"}
PATTERN = re.compile(r"/(class|teach)/([0-9a-f]{32})$")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving(tmp_path, public_url="https://notebooks.example.org/") as world:
        yield world


async def admin(world: World, method: str, path: str, body: object = None) -> tuple[int, Any]:
    more: dict[str, Any] = {} if body is None else {"json": body}
    async with world.admin.request(method, path, **more) as response:
        return response.status, json.loads(await response.text())


async def a_class(world: World, *, begins: float = -60, ends: float = HOUR, **fields: Any) -> Booking:
    now = time.time()
    wish = {"id": "0000000a", "pool": world.pool.name, "zone": "UTC", "people": 2, "for_class": True, **fields}
    made = Booking(begins=now + begins, ends=now + ends, **wish)
    await world.context.site.agenda.bookings.book(made, fit.Space(100))
    return made


def keys(world: World, booking: Booking) -> tuple[str, str]:
    bookings = world.context.site.agenda.bookings
    return bookings.class_key(booking), bookings.teacher_key(booking)


# --- booking


async def test_the_operator_books_lists_and_cancels(world: World) -> None:
    wish = {"when": "tomorrow 14:00-16:00", "people": 60, "workshop": "knots", "title": " Knots\x07 for all ",
            "for_class": True, "time_zone": "Europe/Berlin"}  # fmt: skip
    status, made = await admin(world, "POST", "/api/bookings", wish)
    assert (status, made["people"], made["title"], made["came"]) == (201, 60, "Knots for all", 0)
    assert made["when"].endswith(", 14:00-16:00 (Europe/Berlin)")
    assert made["class_url"].startswith("https://notebooks.example.org/class/")
    assert made["qr"].startswith("data:image/svg+xml")
    (_, key), (_, other) = (PATTERN.search(made[one]).groups() for one in ("class_url", "teacher_url"))  # type: ignore[union-attr]
    assert key != other
    status, found = await admin(world, "GET", "/api/bookings")
    assert [one["id"] for one in found["bookings"]] == [made["id"]]
    assert "qr" in (await admin(world, "GET", f"/api/bookings/{made['id']}"))[1]
    assert (await admin(world, "DELETE", f"/api/bookings/{made['id']}"))[0] == 200
    assert (await admin(world, "DELETE", f"/api/bookings/{made['id']}"))[0] == 404
    response, _ = await world.ask("GET", f"/class/{key}")
    assert response.status == 404


@pytest.mark.parametrize(
    ("wish", "status", "words"),
    [
        ({"when": "yesterdayish", "people": 3}, 400, "is no time: write"),
        ({"when": "2020-01-01 9:00-10:00", "people": 3}, 400, "is past"),
        ({"when": "tomorrow 10:00-9:00", "people": 3}, 400, "ends before it begins"),
        ({"when": "tomorrow 9:00-10:00", "people": 0}, 400, "people"),
        ({"when": "tomorrow 9:00-10:00", "people": 3, "workshop": "sails"}, 400, "There is: knots."),
        ({"when": "tomorrow 9:00-10:00", "people": 3, "time_zone": "Mars/North"}, 400, "is no time zone"),
        ({"when": "tomorrow 9:00-10:00", "people": 3, "time_zone": "../../etc/passwd"}, 400, "is no time zone"),
        ({"when": "tomorrow 9:00-10:00", "people": 3, "title": "x" * 81}, 400, "at most 80"),
        ({"when": "tomorrow 9:00-10:00", "people": 101}, 409, "there is room for 100 notebooks"),
        ({"when": "12/1 9:00-10:00", "people": 3}, 400, "two ways"),
        ({"people": 3}, 400, "when"),
        ([], 400, "Send JSON such as"),
    ],
)
async def test_what_cannot_be_booked(world: World, wish: object, status: int, words: str) -> None:
    found, answer = await admin(world, "POST", "/api/bookings", wish)
    assert (found, words in answer["message"]) == (status, True), answer


async def test_what_is_booked_at_the_same_time_counts(world: World) -> None:
    first = {"when": "tomorrow 9:00-11:00", "people": 70, "title": "one"}
    assert (await admin(world, "POST", "/api/bookings", first))[0] == 201
    _, answer = await admin(world, "POST", "/api/bookings", {**first, "when": "tomorrow 10:30-12:00"})
    assert "is for the same at that time" in answer["message"]
    status, answer = await admin(
        world, "POST", "/api/bookings", {**first, "when": "tomorrow 10:30-12:00", "people": 40, "title": "two"}
    )
    assert status == 409
    assert "70 of them are taken at that time, 70 by the booking " in answer["message"]
    assert "(one), so there is room for 30" in answer["message"]
    assert (await admin(world, "POST", "/api/bookings", {**first, "when": "tomorrow 11:00-12:00"}))[0] == 201


# --- the link


async def test_the_link_gives_notebooks_of_the_reserve(world: World) -> None:
    booking = await a_class(world, workshop="knots")
    key, _ = keys(world, booking)
    for name in "ab":
        world.ready(name)
    _, first_page = await world.ask("GET", "/")
    assert "A notebook is ready for you at once" not in first_page, "those are held"
    assert world.context.site.default_claims.reserved == 2
    response, page = await world.ask("GET", f"/class/{key}")
    assert (response.status, "Knots &amp; loops" in page, "ready for you at once" in page) == (200, True, True)
    assert response.headers["Referrer-Policy"] == "origin"
    assert f'data-class="{key}"' in page
    wish = {"path": "lab/tree/knots/First%20knot.ipynb", "class_key": key}
    response, text = await world.ask("POST", "/api/tickets", json=wish)
    assert (response.status, json.loads(text)["status"]) == (201, "ready")
    ours = {"Origin": world.origin, "Content-Type": "application/x-www-form-urlencoded"}
    response, _ = await world.ask("POST", f"/class/{key}", data="path=", headers=ours)
    assert (response.status, response.headers["Location"].startswith("/user/b/")) == (303, True)
    response, text = await world.ask("POST", "/api/tickets", json={})
    assert json.loads(text)["status"] == "waiting"
    found = world.context.site.agenda.bookings.get(booking.id)
    assert found is not None
    assert (found.came, world.context.site.default_claims.reserved) == (2, 0)


async def test_who_takes_one_after_the_other_by_a_link_fills_no_file(world: World) -> None:
    booking = await a_class(world)
    key, _ = keys(world, booking)
    for name in "abc":
        world.ready(name)
        response, _ = await world.ask("POST", "/api/tickets", json={"class_key": key, "fresh": True})
        assert response.status == 201
        container = world.pool.get(name)
        assert container is not None
        world.context.site.end(container, EndReason.ENDED_BY_OWNER, time.monotonic())
    found = world.context.site.agenda.bookings.get(booking.id)
    assert found is not None
    assert (found.came, found.members) == (3, frozenset())


async def test_a_link_in_wrong_hands_does_not_evade_the_limit_for_each_address(world: World) -> None:
    key, _ = keys(world, await a_class(world))
    options = world.context.options
    options.replace(Settings(**{**options.current.model_dump(), "max_notebooks_per_address": 1}))
    for name in "abcdef":
        world.ready(name)
    told = []
    for _ in range(5):
        response, _ = await world.ask("POST", "/api/tickets", json={"class_key": key, "fresh": True})
        told.append(response.status)
    assert told == [201] * 3 + [429] * 2, "two of the class, and one as for everybody"


async def test_a_link_is_good_in_its_time_only(world: World) -> None:
    world.ready("a")
    early = await a_class(world, begins=600, title="Later <b>today</b>")
    late = await a_class(world, id="0000000b", begins=-HOUR, ends=0.2, title="Just over")
    for booking, status, words in ((early, 200, "has not begun yet"), (late, 410, "is over")):
        key, _ = keys(world, booking)
        if booking is late:
            await until(lambda: time.time() >= late.ends)
        response, page = await world.ask("GET", f"/class/{key}")
        assert (response.status, words in page) == (status, True)
        response, text = await world.ask("POST", "/api/tickets", json={"class_key": key})
        assert (response.status, "not on now" in text) == (403, True)
    assert "Later &lt;b&gt;today&lt;/b&gt;" in (await world.ask("GET", f"/class/{keys(world, early)[0]}"))[1]
    assert world.pool.count(State.CLAIMED) == 0


async def test_a_class_without_a_title_is_called_after_its_workshop(tmp_path: Path) -> None:
    """In the reader's language, on its own page and on its teacher's; one that has a title keeps it."""
    knots = KNOTS.model_copy(
        update={"lang": "en", "translations": {"de": Translation(title="Knoten", description="Wie man sie knüpft.")}}
    )
    async with serving(tmp_path, workshops=(knots,)) as world:
        booking = await a_class(world, begins=HOUR, ends=2 * HOUR, workshop="knots")
        named = await a_class(
            world, begins=2 * HOUR, ends=3 * HOUR, workshop="knots", title="Our knots", id="0000000b"
        )
        none = await a_class(world, begins=3 * HOUR, ends=4 * HOUR, id="0000000c")

        async def heading(booking: Booking, place: int, language: str) -> str:
            path = f"/{('class', 'teach')[place]}/{keys(world, booking)[place]}"
            _, page = await world.ask("GET", path, headers={**HTML, "Accept-Language": language})
            return "".join(re.findall("<h1.*</h1>", page))

        for place in range(2):
            assert await heading(booking, place, "de") == '<h1 lang="de" dir="ltr">Knoten</h1>'
            assert await heading(booking, place, "en") == '<h1 lang="en" dir="ltr">Knots &amp; loops</h1>'
            assert await heading(named, place, "de") == "<h1>Our knots</h1>"
            assert await heading(none, place, "de") == "<h1>Ihr Kurs</h1>"


async def test_nobody_finds_a_class_without_its_key(world: World) -> None:
    key, teacher = keys(world, await a_class(world))
    for path in (
        "/class/" + "0" * 32,
        "/teach/" + "0" * 32,
        f"/teach/{key}",
        f"/class/{teacher}",
        "/class/",
        "/class",
    ):
        response, _ = await world.ask("GET", path)
        assert response.status == 404, path
    response, _ = await world.ask("POST", f"/teach/{key}/longer", headers={"Origin": world.origin})
    assert response.status == 404


# --- the teacher


async def test_the_teacher_sees_numbers_tells_everybody_and_prolongs(world: World) -> None:
    booking = await a_class(world, title="Knots")
    key, teacher = keys(world, booking)
    for name in "abc":
        world.ready(name)
    drop_in = await world.claims.claim()
    await world.ask("POST", "/api/tickets", json={"class_key": key})
    (member,) = [one for one in world.pool.in_state(State.CLAIMED) if one is not drop_in]
    member.stamp_presence(time.monotonic())
    response, page = await world.ask("GET", f"/teach/{teacher}")
    assert (response.status, response.headers["Referrer-Policy"]) == (200, "origin")
    assert f"https://notebooks.example.org/class/{key}" in page
    assert f"/user/{member.id}" not in page
    assert member.token not in page
    ours = {"Origin": world.origin, "Accept": "application/json"}
    response, text = await world.ask(
        "POST", f"/teach/{teacher}/messages", data={"text": " Open <b>two</b>.\nNow "}, headers=ours
    )
    state = json.loads(text)
    assert (state["came"], state["working"], state["waiting"], state["left"]) == (1, 1, 0, 1)
    assert [one["text"] for one in state["messages"]] == ["Open <b>two</b>. Now"]
    assert [one.text for one in world.context.site.told(member)] == ["Open <b>two</b>. Now"]
    assert world.context.site.told(drop_in) == []
    before = world.context.limits_of(member).timeout
    response, text = await world.ask("POST", f"/teach/{teacher}/longer", headers=ours)
    assert response.status == 200
    assert world.context.limits_of(member).timeout == before + 1200
    assert world.context.limits_of(drop_in).timeout == before
    longer = world.context.site.agenda.bookings.get(booking.id)
    assert longer is not None
    assert longer.ends == booking.ends + 1200
    path = f"/teach/{teacher}/messages/{state['messages'][0]['id']}/withdraw"
    assert json.loads((await world.ask("POST", path, headers=ours))[1])["messages"] == []
    for _ in range(30):
        german = {**ours, "Accept-Language": "de"}
        response, text = await world.ask("POST", f"/teach/{teacher}/longer", headers=german)
        if response.status != 200:
            break
    assert (response.status, json.loads(text)["message"]) == (
        409,
        "Kein Kurs lässt sich um mehr als 4 Stunden verlängern.",
    )
    foreign = await world.ask("POST", f"/teach/{teacher}/longer", headers={"Origin": "https://other.example"})
    assert foreign[0].status == 403


async def test_a_notebook_hears_what_is_told_within_two_seconds(world: World) -> None:
    booking = await a_class(world)
    key, _ = keys(world, booking)
    for name in "abc":
        world.ready(name)
    await world.claims.claim()
    await world.ask("POST", "/api/tickets", json={"class_key": key})
    async with world.client.get("/api/sessions/b/messages") as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        heard = await _next(stream)
        assert heard == {"messages": []}
        began = time.monotonic()
        _, made = await admin(world, "POST", "/api/announcements", {"text": "Maintenance <i>at</i> 18:00"})
        heard = await _next(stream)
        assert time.monotonic() - began < 2
        assert [(one["text"], one["source"]) for one in heard["messages"]] == [
            ("Maintenance <i>at</i> 18:00", "operator")
        ]
        assert "Maintenance &lt;i&gt;at&lt;/i&gt; 18:00" in (await world.ask("GET", "/"))[1]
        assert (await admin(world, "DELETE", f"/api/announcements/{made['id']}"))[0] == 200
        assert (await _next(stream)) == {"messages": []}
    assert (await world.ask("GET", "/api/sessions/nobody/messages"))[0].status == 404


async def _next(stream: Any) -> Any:
    while True:
        line = await stream.content.readline()
        if line.startswith(b"data: "):
            return json.loads(line[6:])


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"text": " \n"}, "says nothing"),
        ({"text": "x" * 301}, "at most 300"),
        ({"text": "x", "pool": "nobody"}, "no pool 'nobody'"),
        ({"text": "x", "until": "2020-01-01 18:00"}, "is past"),
        ({"text": "x", "until": "soon"}, "is no time"),
        ({"text": 7}, "Send JSON such as"),
    ],
)
async def test_what_cannot_be_announced(world: World, wish: object, words: str) -> None:
    status, answer = await admin(world, "POST", "/api/announcements", wish)
    assert (status, words in answer["message"]) == (400, True), answer


# --- a link in wrong hands


async def test_the_link_is_replaced_and_everybody_keeps_their_notebook(world: World) -> None:
    booking = await a_class(world, people=3)
    key, teacher = keys(world, booking)
    world.ready("a")
    assert (await world.ask("POST", "/api/tickets", json={"class_key": key}))[0].status == 201
    response, text = await world.ask("POST", "/api/tickets", json={"class_key": key})
    waiting = json.loads(text)
    assert waiting["status"] == "waiting"
    held = {"Cookie": "; ".join(f"{one.key}={one.value}" for one in response.cookies.values())}
    ours = {"Origin": world.origin, "Accept": "text/html"}
    response, _ = await world.ask("POST", f"/teach/{teacher}/link", headers={"Origin": "https://other.example"})
    assert response.status == 403
    response, _ = await world.ask("POST", f"/teach/{teacher}/link", headers=ours)
    assert (response.status, response.headers["Location"]) == (303, f"/teach/{teacher}")
    bookings = world.context.site.agenda.bookings
    found = bookings.get(booking.id)
    assert found is not None
    new = bookings.class_key(found)
    assert new != key
    assert (await world.ask("GET", f"/class/{key}"))[0].status == 404
    assert (await world.ask("POST", "/api/tickets", json={"class_key": key}))[0].status == 403
    response, page = await world.ask("GET", f"/spawn/wait/{waiting['id']}", headers=held)
    assert response.status == 200
    assert (new in page, key in page) == (False, False), "who came by the old link is not told the new one"
    assert f"/class/{new}" in (await world.ask("GET", f"/teach/{teacher}"))[1]
    assert (await world.ask("GET", f"/class/{new}"))[0].status == 200
    member = world.pool.get("a")
    assert member is not None
    assert (member.state, bookings.of_member("a")) == (State.CLAIMED, found)
    world.ready("b")
    ticket = world.claims.find(waiting["id"])
    assert ticket is not None
    assert ticket.is_waiting, "what is held for the class is not for who came by the old link"


async def test_the_operator_replaces_either_link(world: World) -> None:
    booking = await a_class(world)
    key, teacher = keys(world, booking)
    stream = await world.client.get(f"/teach/{teacher}/events")
    await _next(stream)
    status, made = await admin(world, "POST", f"/api/bookings/{booking.id}/link", {"of": "teacher"})
    assert (status, made["class_url"].endswith(key), made["teacher_url"].endswith(teacher)) == (200, True, False)
    assert (await world.ask("GET", f"/teach/{teacher}"))[0].status == 404
    async for line in stream.content:
        assert not line.startswith(b"data: "), "who has the old link follows the class no longer"
    status, made = await admin(world, "POST", f"/api/bookings/{booking.id}/link", {"of": "class"})
    assert (status, made["class_url"].endswith(key)) == (200, False)
    assert "qr" in made
    for body, expected in (({"of": "everybody"}, 400), ({}, 400)):
        assert (await admin(world, "POST", f"/api/bookings/{booking.id}/link", body))[0] == expected
    assert (await admin(world, "POST", "/api/bookings/ffffffff/link", {"of": "class"}))[0] == 404


async def test_a_browser_has_one_notebook_of_a_class_at_a_time(world: World) -> None:
    booking = await a_class(world, people=3)
    key, _ = keys(world, booking)
    for name in "abc":
        world.ready(name)
    response, text = await world.ask("POST", "/api/tickets", json={"class_key": key})
    mine, page_key = {"Cookie": "; ".join(f"{one.key}={one.value}" for one in response.cookies.values())}, ""
    page_key = json.loads(text)["key"]
    fresh = {"class_key": key, "fresh": True}
    response, text = await world.ask("POST", "/api/tickets", json=fresh, headers=mine)
    assert (response.status, json.loads(text)["status"]) == (409, "stale")
    response, page = await world.ask("GET", f"/class/{key}", headers=mine)
    assert ("End it, and start afresh" in page, "Keep it, and start another" in page) == (True, False)
    form = {**mine, "Origin": world.origin, "Content-Type": "application/x-www-form-urlencoded"}
    response, _ = await world.ask("POST", f"/class/{key}", data="path=&fresh=1", headers=form)
    assert (response.status, response.headers["Location"]) == (303, f"/class/{key}")
    assert world.pool.count(State.CLAIMED) == 1
    response, _ = await world.ask("POST", "/api/tickets", json={**fresh, "end": True, "key": page_key}, headers=mine)
    assert response.status == 201
    assert world.pool.count(State.CLAIMED) == 1, "another one in the place of the first"
