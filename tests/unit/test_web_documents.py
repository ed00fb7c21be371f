"""What links may open, and what is offered where their document does not exist."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.web_support import KNOTS, World, serving
from tmpnb_py.site.offers import Offers
from tmpnb_py.web.documents import Documents, NoNetworkError, Subject
from tmpnb_py.workshops.manifest import Manifest, Translation

START = "lab/tree/knots/First%20knot.ipynb"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving(tmp_path) as world:
        yield world


class Lacks:
    """Stands for the question to a notebook server, and counts it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
        self.missing = set(missing)
        self.asked: list[str] = []
        monkeypatch.setattr("tmpnb_py.web.documents.lacks", self)

    async def __call__(self, _endpoint: object, _path: str, token: str, document: str) -> bool:
        self.asked.append(f"{token} {document}")
        return document in self.missing


def documents_of(world: World, *, shares_network: bool) -> Documents:
    return Documents(Offers(dataclasses.replace(one, shares_network=shares_network) for one in world.context.offers))


@pytest.mark.parametrize("wish", ["lab/../x", "a\\b", "x" * 3000, "lab\nx"])
def test_what_cannot_be_opened(world: World, wish: str) -> None:
    with pytest.raises(ValueError, match="path"):
        world.context.documents.target(wish)
    assert world.context.documents.openable(wish) == ""


async def test_where_notebooks_open_and_what_has_no_network(tmp_path: Path) -> None:
    async with serving(tmp_path, redirect_uri="lab/tree/start.ipynb", interfaces=("rstudio",)) as world:
        documents = documents_of(world, shares_network=False)
        assert documents.target("") == "lab/tree/start.ipynb"
        assert documents.openable("rstudio/x") == "rstudio/x"
        assert "rstudio" in documents.interfaces
        with pytest.raises(NoNetworkError):
            documents.target("git-pull?repo=https://example.org/a")
        assert documents_of(world, shares_network=True).target("git-pull?repo=x") == "git-pull?repo=x"


@pytest.mark.parametrize(
    ("wish", "subject"),
    [
        ("", Subject("")),
        ("lab", Subject("lab")),
        ("lab/tree/a%20b.ipynb", Subject("lab/tree/a%20b.ipynb", "a b.ipynb")),
        (START, Subject(START, "knots/First knot.ipynb", KNOTS)),
        (
            "git-pull?repo=https://example.org/a",
            Subject("git-pull?repo=https://example.org/a", "https://example.org/a"),
        ),
    ],
)
def test_what_a_link_is_about(world: World, wish: str, subject: Subject) -> None:
    assert world.context.documents.read(wish) == subject


async def test_a_fresh_notebook_is_asked_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    lacks, documents = Lacks(monkeypatch, "mine.ipynb", "knots/mine.ipynb"), world.context.documents
    assert (await documents.find("lab/tree/mine.ipynb")).missing == "", "nobody can know while none is ready"
    world.ready("a")
    for _ in range(2):
        assert await documents.find("lab/tree/mine.ipynb") == Subject("", missing="mine.ipynb")
    assert lacks.asked == ["secret-a mine.ipynb"]
    in_folder = await documents.find("lab/tree/knots/mine.ipynb")
    assert (in_folder.path, in_folder.workshop, in_folder.missing) == (START, KNOTS, "knots/mine.ipynb")
    translation = Translation(title="Knoten", description="Wie man sie knüpft.")
    world.context.offers.default.catalogue.own = Manifest(
        workshops=(KNOTS.model_copy(update={"lang": "en", "translations": {"de": translation}}),)
    )
    in_folder = await documents.find("lab/tree/knots/mine.ipynb", languages="de, en;q=0.5")
    assert in_folder.workshop is not None
    assert in_folder.workshop.title == "Knoten"
    assert (await documents.find("lab/tree/there.ipynb")).missing == ""
    assert (await documents.find(START)).missing == "", "a workshop's own is not asked for"


async def test_the_visitors_own_notebook_is_asked_each_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    lacks, container = Lacks(monkeypatch, "mine.ipynb"), await world.claimed("a")
    assert (await world.context.documents.find("lab/tree/mine.ipynb", container)).missing == "mine.ipynb"
    lacks.missing.clear()  # they have made it
    assert (await world.context.documents.find("lab/tree/mine.ipynb", container)).missing == ""


async def test_what_somebody_deletes_meanwhile_is_missing_in_theirs_only(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacks, documents = Lacks(monkeypatch, "x.ipynb"), world.context.documents
    world.ready("a")

    async def claimed_meanwhile(*_arguments: object) -> bool:
        await world.claims.claim()
        return True

    monkeypatch.setattr("tmpnb_py.web.documents.lacks", claimed_meanwhile)
    assert (await documents.find("lab/tree/x.ipynb")).missing == ""
    monkeypatch.setattr("tmpnb_py.web.documents.lacks", lacks)
    world.ready("b")
    assert (await documents.find("lab/tree/x.ipynb")).missing == "x.ipynb", "it was not remembered as there"


async def test_many_links_are_not_many_questions(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.ready("a")
    answered, asked = asyncio.Event(), 0

    async def slow(*_arguments: object) -> bool:
        nonlocal asked
        asked += 1
        await answered.wait()
        return True

    monkeypatch.setattr("tmpnb_py.web.documents.lacks", slow)
    finding = [asyncio.create_task(world.context.documents.find(f"lab/tree/{number}.ipynb")) for number in range(20)]
    while sum(task.done() for task in finding) < 16:
        await asyncio.sleep(0)
    answered.set()
    subjects = await asyncio.gather(*finding)
    assert (asked, sum(bool(one.missing) for one in subjects)) == (4, 4)
