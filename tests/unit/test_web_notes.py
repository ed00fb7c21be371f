"""A workshop's notes to read, the files beside them, and two services in one process that show different ones."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.web_support import KNOTS, World, serving
from tmpnb_py.core.branding import Branding
from tmpnb_py.core.errors import EngineDownError, NotesError
from tmpnb_py.web import cookies
from tmpnb_py.workshops.manifest import Translation, Workshop
from tmpnb_py.workshops.notes.model import Notes
from tmpnb_py.workshops.notes.notebook import Picture
from tmpnb_py.workshops.notes_cache import Book, NotesCache

PAGE = "/workshops/knots/"
PICTURE = Picture("image/png", b"\x89PNG")


def book(body: str = "<p>Over and under.</p>") -> Book:
    """Notes with one picture."""
    notes = Notes(title="Knots", headings=(), body=body, remarks=(), files=(), kernel="python3", language="python")
    return Book(KNOTS, notes, {"images/a.png": PICTURE})


class Books(NotesCache):
    """Has one workshop's notes, or an error in their place."""

    def __init__(self, known: Book | Exception) -> None:
        self.known = known

    @property
    def is_known(self) -> bool:
        """Always."""
        return True

    def can_show(self, workshop: Workshop) -> bool:
        """Whatever it is."""
        return True

    async def book(self, slug: str) -> Book | None:
        """The one, if it is asked for."""
        if isinstance(self.known, Exception):
            raise self.known
        return self.known if slug == "knots" else None


@contextlib.asynccontextmanager
async def reading(directory: Path, known: Book | Exception) -> AsyncIterator[World]:
    """A service with these notes."""
    async with serving(directory) as world:
        (offer,) = world.context.offers
        world.context.offers.put([dataclasses.replace(offer, notes_cache=Books(known))])
        yield world


async def test_a_page_is_made_once_and_browsers_keep_it(tmp_path: Path) -> None:
    async with reading(tmp_path, book()) as world:
        response, page = await world.ask("GET", PAGE)
        assert (response.status, "Over and under." in page, response.headers["Vary"]) == (
            200,
            True,
            "Accept-Encoding, Cookie, Accept-Language",
        )
        known = {"If-None-Match": f'"x", W/{response.headers["ETag"]}'}
        assert (await world.ask("GET", PAGE, headers=known))[0].status == 304
        response, _ = await world.ask("GET", PAGE, headers={**known, "Accept-Encoding": "identity"})
        assert (response.status, "Content-Encoding" in response.headers) == (200, False), "that is another form of it"
        response, _ = await world.ask("GET", PAGE, headers={"Accept-Encoding": "gzip;q=0"})
        assert "Content-Encoding" not in response.headers
        response, _ = await world.ask("GET", f"{PAGE}images/a.png")
        assert (response.status, response.headers["Content-Type"]) == (200, "image/png")
        assert (await world.ask("GET", f"{PAGE}images/b.png"))[0].status == 404


async def test_it_changes_with_how_pages_look(tmp_path: Path) -> None:
    async with reading(tmp_path, book()) as world:
        before, _ = await world.ask("GET", PAGE)
        world.context.branding = Branding(title="Sailors' school")
        after, page = await world.ask("GET", PAGE)
        assert (after.headers["ETag"] != before.headers["ETag"], "school" in page) == (True, True)


async def test_a_visitor_with_a_notebook_gets_a_page_with_its_key(tmp_path: Path) -> None:
    async with reading(tmp_path, book()) as world:
        container = await world.claimed("a")
        own = {"Cookie": f"tmpnb-sessions={cookies.entry(container)}"}
        response, page = await world.ask("GET", PAGE, headers=own)
        assert (cookies.page_key(container) in page, "ETag" in response.headers) == (True, False)
        response, page = await world.ask("GET", PAGE, headers=own | {"Sec-Fetch-Dest": "iframe"})
        assert (cookies.page_key(container) in page, "ETag" in response.headers) == (False, True)


@pytest.mark.parametrize(
    ("error", "status"), [(EngineDownError("gone"), 503), (NotesError("the notebook is not JSON"), 404)]
)
async def test_notes_that_cannot_be_shown(tmp_path: Path, error: Exception, status: int) -> None:
    async with reading(tmp_path, error) as world:
        assert (await world.ask("GET", PAGE))[0].status == status


@pytest.mark.parametrize(
    ("path", "status", "location"),
    [("/workshops", 302, "/"), ("/workshops/knots", 301, "/workshops/knots/"), ("/workshops/sails/", 404, None)],
)
async def test_addresses_round_it(tmp_path: Path, path: str, status: int, location: str | None) -> None:
    async with reading(tmp_path, book()) as world:
        response, _ = await world.ask("GET", path)
        assert (response.status, response.headers.get("Location")) == (status, location)


@pytest.mark.parametrize("path", ["/live.js", "/frame.js"])
async def test_scripts_for_other_sites(tmp_path: Path, path: str) -> None:
    async with reading(tmp_path, book()) as world:
        response, _ = await world.ask("GET", path)
        assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (200, "*")


async def test_two_services_in_one_process_share_nothing(tmp_path: Path) -> None:
    """The same book, because that is what a cache in a module would be keyed by."""
    shared = book()
    async with reading(tmp_path / "one", shared) as one, reading(tmp_path / "two", shared) as two:
        one.context.branding, two.context.branding = Branding(title="Harbour"), Branding(title="Mountain")
        for _ in range(2):
            pages = [(await world.ask("GET", PAGE))[1] for world in (one, two)]
            assert ["Harbour" in page for page in pages] == [True, False]
            assert ["Mountain" in page for page in pages] == [False, True]
        await one.claimed("a")
        two.ready("a")
        assert (await one.ask("GET", "/api/sessions/a"))[0].status == 200
        assert (await two.ask("GET", "/api/sessions/a"))[0].status == 404
        once = {"once": "0123456789abcdef" * 2}
        tickets = [await (await world.client.post("/api/tickets", json=once)).json() for world in (one, two)]
        assert [ticket["status"] for ticket in tickets] == ["waiting", "ready"]
        form = (await one.ask("GET", "/spawn", headers={"Accept": "text/html"}))[1]
        issued = form.partition('data-once="')[2].partition('"')[0]
        assert await _is_one_wish(one, issued)
        assert not await _is_one_wish(two, issued), "another service's names are none here"


async def _is_one_wish(world: World, once: str) -> bool:
    """Whether a name that is sent twice names one wish."""
    answers = [await (await world.client.post("/api/tickets", json={"once": once})).json() for _ in range(2)]
    return len({answer["id"] for answer in answers}) == 1


async def test_a_reader_sees_what_the_workshop_is_called_in_their_language(tmp_path: Path) -> None:
    """Our words and the workshop's are chosen apart. The notes' own title is in their language."""
    translations = {
        "de": Translation(title="Knoten & Schlaufen", description="Wie man sie knüpft."),
        "fr": Translation(title="Nœuds", description="Comment les nouer."),
    }
    knots = KNOTS.model_copy(update={"lang": "en", "translations": translations})
    async with reading(tmp_path, dataclasses.replace(book(), workshop=knots)) as world:
        pages = {}
        for language in ("en", "de", "fr", "en"):
            _, pages[language] = await world.ask("GET", PAGE, headers={"Accept-Language": language})
        assert '<h1 id="tn-title">Knots</h1>' in pages["en"]
        assert '<h1 id="tn-title" lang="de" dir="ltr">Knoten &amp; Schlaufen</h1>' in pages["de"]
        assert "Comment les nouer." in pages["fr"]
        assert "Open in JupyterLab" in pages["fr"]
