"""In which language somebody is answered, on pages and by the API, and what caches are told of it."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.web_support import KNOTS, World, serving
from tmpnb_py.core.models import EndReason
from tmpnb_py.core.time_zones import zone
from tmpnb_py.web import messages
from tmpnb_py.web.respond import proxy_error_page
from tmpnb_py.words.words import words
from tmpnb_py.workshops.manifest import Translation

HTML = {"Accept": "text/html"}
GERMAN = {**HTML, "Accept-Language": "de-AT,de;q=0.9,en;q=0.5"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving(tmp_path, max_waiting=2) as world:
        yield world


async def test_a_page_is_in_the_language_that_the_browser_prefers(world: World) -> None:
    german, page = await world.ask("GET", "/", headers=GERMAN)
    assert '<html lang="de" dir="ltr"' in page
    assert "Workshops direkt in Ihrem Browser" in page
    assert "etwa 20 Minuten" in page
    assert (german.headers["Content-Language"], german.headers["Vary"]) == ("de", "Accept-Language")
    english, page = await world.ask("GET", "/", headers={**HTML, "Accept-Language": "fr, en;q=0.1"})
    assert "Workshops, live in your browser" in page
    assert (english.headers["Content-Language"], english.headers["Vary"]) == ("en", "Accept-Language")
    silent, page = await world.ask("GET", "/", headers=HTML)
    assert silent.headers["Content-Language"] == "en"


async def test_the_operator_can_choose_one_for_all(tmp_path: Path) -> None:
    async with serving(tmp_path, language="de") as world:
        response, page = await world.ask("GET", "/", headers={**HTML, "Accept-Language": "en"})
        assert '<html lang="de"' in page
        assert "Vary" not in response.headers
        assert proxy_error_page(world.context, 502, wants_html=True, languages="en").headers[1:] == ()


async def test_errors_are_pages_for_people_and_english_for_programs(world: World) -> None:
    _, page = await world.ask("GET", "/nowhere", headers=GERMAN)
    assert "Diese Seite gibt es nicht" in page
    _, page = await world.ask("GET", "/spawn?workshop=none", headers=GERMAN)
    assert "Einen Workshop dieses Namens gibt es hier nicht." in page
    _, told = await world.ask("POST", "/api/tickets", data="[", headers={"Accept-Language": "de"})
    assert json.loads(told)["message"].startswith("Send JSON such as")
    _, told = await world.ask("GET", "/nowhere", headers={"Accept-Language": "de"})
    assert json.loads(told)["message"] == "There is no such page. The link may be old or mistyped."


async def test_the_proxys_own_errors_too(world: World) -> None:
    page = proxy_error_page(world.context, 502, wants_html=True, languages="de")
    assert "Das Notebook antwortet nicht" in page.body.decode()
    assert page.headers == ((b"Content-Language", b"de"), (b"Vary", b"Accept-Language"))
    many = proxy_error_page(world.context, 431, wants_html=True, languages="de")
    assert "Zu viele Cookies" in many.body.decode()
    told = proxy_error_page(world.context, 502, wants_html=False, languages="de")
    assert b"The notebook does not answer" in told.body


TRANSLATED = KNOTS.model_copy(
    update={
        "lang": "en",
        "translations": {
            "de": Translation(title="Knoten & Schlaufen", description="Wie man sie knüpft."),
            "ar": Translation(title="عُقَد", description="كيف تربطها."),
        },
    }
)
START = "/spawn/lab/tree/knots/First%20knot.ipynb"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        (START, 200),
        ("/spawn?workshop=knots", 200),
        ("/spawn?pool=none", 404),
    ],
)
async def test_a_workshop_is_called_as_its_reader_prefers(tmp_path: Path, path: str, status: int) -> None:
    async with serving(tmp_path, workshops=(TRANSLATED,)) as world:
        answer, german = await world.ask("GET", path, headers=GERMAN)
        assert answer.status == status
        assert re.search(r'lang="de" dir="ltr"[^>]*>Knoten &amp; Schlaufen<', german)
        assert "loops" not in german
        _, arabic = await world.ask("GET", path, headers={**HTML, "Accept-Language": "ar-EG"})
        assert '<html lang="en"' in arabic, "there is no catalogue of Arabic"
        assert re.search(r'lang="ar" dir="rtl"[^>]*>عُقَد<', arabic)
        _, french = await world.ask("GET", path, headers={**HTML, "Accept-Language": "fr"})
        assert re.search(r'lang="en" dir="ltr"[^>]*>Knots &amp; loops<', french)


async def test_the_operators_language_is_that_of_workshops_too(tmp_path: Path) -> None:
    async with serving(tmp_path, workshops=(TRANSLATED,), language="de") as world:
        _, page = await world.ask("GET", "/", headers={**HTML, "Accept-Language": "ar"})
        assert "Wie man sie knüpft." in page


async def test_a_workshop_is_called_so_at_somebody_elses_notebook(tmp_path: Path) -> None:
    async with serving(tmp_path, workshops=(TRANSLATED,)) as world:
        place = "/user/a/lab/tree/knots/First%20knot.ipynb"
        await world.claimed("a")
        stranger, page = await world.ask("GET", f"/user/a/login?next={place}", headers=GERMAN)
        assert stranger.status == 403
        assert '<b lang="de" dir="ltr">Knoten &amp; Schlaufen</b>' in page


async def test_who_waits_is_told_in_the_language_of_the_page(world: World) -> None:
    _, told = await world.ask("POST", "/api/tickets", headers={"Origin": world.origin, **GERMAN, "Accept": "*/*"})
    ticket = json.loads(told)
    assert ticket["message"].startswith("Sie sind als Nächstes an der Reihe. ")
    named = {"": "You are next", "?lang=de": "Sie sind", "?lang=fr": "You are next", "?lang=*;q": "You are next"}
    for asked, first in named.items():
        _, told = await world.ask("GET", f"/api/tickets/{ticket['id']}{asked}")
        assert json.loads(told)["message"].startswith(first), asked
    _, told = await world.ask(
        "GET", f"/api/tickets/{ticket['id']}?lang=en", headers={"Accept-Language": "de"}
    )  # a page in English, in a German browser
    assert json.loads(told)["message"].startswith("You are")


async def test_how_a_session_ended_is_told_in_the_readers_language(world: World) -> None:
    session = await world.claimed("a1")
    world.context.site.end(session, EndReason.TOO_OLD, 0.0)
    _, told = await world.ask("GET", "/api/sessions/a1?lang=de")
    known = json.loads(told)
    assert known["reason"] == EndReason.TOO_OLD
    assert known["message"] == (
        "Dieses Notebook ist beendet. Es hatte die längste Zeit erreicht, die ein Notebook hier laufen darf."
    )
    _, page = await world.ask("GET", "/user/a1/lab", headers=GERMAN)
    assert "Es hatte die längste Zeit erreicht" in page


async def test_the_operators_page_is_translated_with_its_script(world: World) -> None:
    async with world.admin.get("/", headers=GERMAN) as response:
        page = await response.text()
        policy = response.headers["Content-Security-Policy"]
    assert '<html lang="de"' in page
    assert "Ständig bereitgehaltene Notebooks" in page
    assert '"Turn' not in re.sub(r'"Turn[^"]+": "', "", page)[: page.index("class OperatorsWords")]
    async with world.admin.get("/", headers=HTML) as response:
        assert response.headers["Content-Security-Policy"] != policy


@pytest.mark.parametrize("reason", list(messages.ENDED))
def test_every_end_has_words(reason: EndReason) -> None:
    told = messages.how_it_ended(words("de"), reason)
    assert told.startswith("Dieses Notebook ist beendet. ")
    assert told != messages.how_it_ended(words(), reason)


def test_times_are_in_the_languages_form() -> None:
    berlin = zone("Europe/Berlin")
    begins = datetime.datetime(2026, 12, 1, 14, tzinfo=berlin)
    ends = begins + datetime.timedelta(hours=2)
    assert messages.span(words(), begins, ends) == "Tuesday 1 December 2026, 14:00-16:00 (Europe/Berlin)"
    assert messages.span(words("de"), begins, ends) == "Dienstag, 1. Dezember 2026, 14:00–16:00 Uhr (Europe/Berlin)"  # noqa: RUF001  (German spans)
    late = begins + datetime.timedelta(hours=10)
    assert messages.span(words(), begins, late).endswith("14:00-24:00 (Europe/Berlin)")
    assert messages.span(words("de"), begins, late + datetime.timedelta(hours=2)) == (
        "Dienstag, 1. Dezember 2026, 14:00 Uhr bis 02:00 Uhr am Folgetag (Europe/Berlin)"
    )


@pytest.mark.parametrize(
    ("seconds", "english", "german"),
    [
        (3600, "one hour", "eine Stunde"),
        (7200, "two hours", "zwei Stunden"),
        (5400, "90 minutes", "90 Minuten"),
        (86400, "24 hours", "24 Stunden"),
        (172800, "two days", "zwei Tage"),
        (0.5, "0.5 seconds", "0,5 Sekunden"),
    ],
)
def test_durations_that_the_operator_chose(seconds: float, english: str, german: str) -> None:
    assert messages.exactly(words(), seconds) == english
    assert messages.exactly(words("de"), seconds) == german


@pytest.mark.parametrize(
    ("seconds", "english", "german"),
    [
        (1, "a few seconds", "wenigen Sekunden"),
        (12.4, "about 12 seconds", "etwa 12 Sekunden"),
        (88, "about 90 seconds", "etwa 90 Sekunden"),
        (150, "about 2 minutes", "etwa 2 Minuten"),
        (5400, "about 1.5 hours", "etwa 1,5 Stunden"),
        (7200, "about 2 hours", "etwa 2 Stunden"),
    ],
)
def test_estimates(seconds: float, english: str, german: str) -> None:
    assert messages.about(words(), seconds) == english
    assert messages.about(words("de"), seconds) == german
