"""The pages of a class under whatever schemathesis makes of their forms: documented answers only, nothing broken.

They are pages for people, so the service's own document does not describe them; this one does, for the test.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from tests.e2e.inprocess import Rig, running
from tests.integration.test_openapi import _try_everything
from tmpnb_py.bookings import fit
from tmpnb_py.bookings.agenda import Agenda
from tmpnb_py.bookings.bookings import LONGEST_EXTENSION
from tmpnb_py.bookings.messages import MOST
from tmpnb_py.bookings.model import VERSION, Booking
from tmpnb_py.bookings.model import State as Kept
from tmpnb_py.core.state_file import StateFile

NOBODYS = "0" * 32
CONTENT: dict[str, Any] = {"text/html": {}, "application/json": {}}
REFUSED = {400: "no form", 403: "another page's", 404: "no such class", 413: "too large", 415: "no form"}


async def a_class(rig: Rig) -> Booking:
    now = time.time()
    made = Booking(
        id="0000000a", pool=rig.pool.name, begins=now - 60, ends=now + 3600, zone="UTC", people=3, for_class=True
    )
    await rig.service.site.agenda.bookings.book(made, fit.Space(100))
    return made


def _operation(key: str, origin: str, answers: dict[int, str], fields: tuple[str, ...] = ()) -> dict[str, Any]:
    """One operation: any key, any page that posts, any form."""
    found: dict[str, Any] = {
        "parameters": [
            {"name": "key", "in": "path", "required": True, "schema": {"enum": [key, key, key, NOBODYS]}},
            {"name": "Origin", "in": "header", "schema": {"enum": [origin, origin, "null", "https://other.example"]}},
            {"name": "Accept", "in": "header", "schema": {"enum": ["text/html", "application/json"]}},
        ],
        "responses": {
            str(status): {"description": words, **({} if status == 303 else {"content": CONTENT})}
            for status, words in {**REFUSED, **answers}.items()
        },
    }
    if fields:
        schema = {"type": "object", "properties": {name: {"type": "string", "maxLength": 400} for name in fields}}
        found["requestBody"] = {"content": {"application/x-www-form-urlencoded": {"schema": schema}}}
    return found


def document(rig: Rig, made: Booking) -> dict[str, Any]:
    """What the pages of a class may be asked, and may answer."""
    bookings, origin = rig.service.site.agenda.bookings, f"http://127.0.0.1:{rig.service.port}"
    key, teacher = bookings.class_key(made), bookings.teacher_key(made)
    done = {200: "the class", 303: "back to the page", 409: "that is too much"}
    notebook = {303: "a notebook, or the line", 429: "all are taken", 503: "none is ready"}
    launch_fields = ("path", "once", "fresh", "end")
    posts = {"longer": (), "messages": ("text",), "messages/0123abcd/withdraw": ()}
    paths: dict[str, dict[str, Any]] = {
        "/class/{key}": {
            "get": _operation(key, origin, {200: "the launch page", 410: "it is over", 503: "not listed"}),
            "post": _operation(key, origin, notebook, launch_fields),
        },
        "/teach/{key}": {"get": _operation(teacher, origin, {200: "the teacher's page"})},
        **{
            f"/teach/{{key}}/{name}": {"post": _operation(teacher, origin, done, fields)}
            for name, fields in posts.items()
        },
    }
    return {"openapi": "3.1.0", "info": {"title": "a class", "version": "1"}, "paths": paths}


async def test_schemathesis_breaks_no_class(tmp_path: Path) -> None:
    async with running(pool_size=1, max_containers=5, state_dir=tmp_path) as rig:
        await rig.ready(1)
        made = await a_class(rig)
        await rig.ready(4)
        url = f"http://127.0.0.1:{rig.service.port}"
        asked = await asyncio.to_thread(_try_everything, document(rig, made), url, {})
        assert {200, 303, 403, 404} <= asked.keys(), asked
        assert not {status for status in asked if status >= 500} - {503}, asked
        found = rig.service.site.agenda.bookings.get(made.id)
        assert found is not None
        assert found.extended <= LONGEST_EXTENSION
        assert found.ends == made.ends + found.extended
        assert len(rig.service.site.agenda.messages.of_class(made.id)) <= MOST
        bookings = rig.service.site.agenda.bookings
        async with rig.client.get(f"/teach/{bookings.teacher_key(made)}", headers={"Accept": "text/html"}) as page:
            assert page.status == 200
        name = rig.service.options.current.pool_name
    kept = Agenda(StateFile(tmp_path / f"{name}.json", Kept, version=VERSION, prepare=lambda: None))
    kept.load()
    assert [one.id for one in kept.bookings] == [made.id], "and all of it can be read again"
