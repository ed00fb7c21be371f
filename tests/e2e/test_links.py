"""Links to whatever an image has: which are followed, with and without `/spawn`, and what is said of the others."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator

import pytest
from yarl import URL

from tests.e2e.inprocess import Rig, running
from tests.e2e.test_visits import visitor
from tmpnb_py.core.document_paths import INTERFACES
from tmpnb_py.engines.fake import FAKE_IMAGE, FakeHost

HTML = {"Accept": "text/html"}


@contextlib.asynccontextmanager
async def with_interfaces() -> AsyncIterator[Rig]:
    """A service whose image names two, and its operator one."""
    async with FakeHost() as host:
        host.images["fake"] = dataclasses.replace(FAKE_IMAGE, interfaces=("rstudio", "voila"))
        async with running(host, pool_size=2, interfaces=("proxy",), max_containers=9) as rig:
            await rig.ready(2)
            yield rig


@pytest.mark.parametrize(
    "wish",
    [
        "rstudio/",
        "rstudio",
        "voila/render/a%20b.ipynb?x=1",
        "proxy/8080/",
        "consoles/1",
        "edit/x.py",
        "doc/tree/x.ipynb",
        "terminals/1",
        "nbclassic/tree",
        "lab/tree/x.ipynb",
    ],
)
async def test_links_open_what_the_image_has(wish: str) -> None:
    async with with_interfaces() as rig, visitor(rig) as one:
        for path in (f"/spawn/{wish}", f"/spawn?urlpath={wish}"):
            assert (await one.get(path))[0] == 200, path
        async with rig.client.get(URL(f"/{wish}", encoded=True), allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (302, f"/spawn/{wish}")
        response = await one.post(wish)
        assert response.status == 303
        base, _, target = response.headers["Location"].removeprefix("/user/").partition("/")
        assert len(base) == 26
        assert target.rpartition("token=")[0].rstrip("?&") == wish
        async with rig.client.post("/api/spawn", json={"path": wish}) as answer:
            assert answer.status == 200


@pytest.mark.parametrize("wish", ["shiny/", "admin", "api/contents", "Rstudio/"])
async def test_what_it_does_not_have_is_refused_with_all_that_there_is(wish: str) -> None:
    async with with_interfaces() as rig:
        async with rig.client.get(f"/spawn/{wish}", headers=HTML) as answer:
            page = await answer.text()
            assert answer.status == 400
            for name in (*INTERFACES, "proxy", "rstudio", "voila"):
                assert name in page
        async with rig.client.get(f"/{wish}", headers=HTML) as answer:
            assert answer.status == 404
        async with rig.client.post("/api/spawn", json={"path": wish}) as answer:
            assert answer.status == 400


async def test_our_own_pages_go_before_an_interface_of_their_name() -> None:
    async with running(interfaces=("info", "api", "user")) as rig:
        await rig.ready(1)
        for path, status in (("/info", 200), ("/api/stats", 200), ("/user/nobody/lab", 410)):
            async with rig.client.get(path, allow_redirects=False) as answer:
                assert answer.status == status
        async with rig.client.post("/lab/tree/x") as answer:
            assert answer.status == 404


async def test_what_the_operator_names_can_change() -> None:
    async with running() as rig:
        await rig.ready(1)
        for names, status in (((), 404), (("shiny",), 302), ((), 404)):
            rig.service.reload(rig.service.options.current.model_copy(update={"interfaces": names}))
            async with rig.client.get("/shiny/", allow_redirects=False) as answer:
                assert answer.status == status
