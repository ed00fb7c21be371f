"""A service with several pools: which one serves, and one that is broken holds up nobody else."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

from tests.e2e.inprocess import Rig, running, with_tables
from tmpnb_py.core.errors import FailureClass, StartFailedError
from tmpnb_py.core.models import State
from tmpnb_py.engines.fake import FAKE_IMAGE, FakeHost
from tmpnb_py.pools.pool import Pool

PLACE = "/usr/share/workshops/workshops.toml"


def manifest(*slugs: str) -> bytes:
    """A list of workshops."""
    return "\n".join(
        f'[[workshop]]\nslug = "{slug}"\ntitle = "The {slug}"\nlanguage = "R"\ndescription = "Of {slug}."\n'
        f'duration = 45\nstart = "{slug}/Start.ipynb"\n'
        for slug in slugs
    ).encode()


@contextlib.asynccontextmanager
async def two_pools(
    python: dict[str, Any] | None = None, r: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[Rig]:
    """The pools `python`, which is the default one, and `r`, with an image each; both have the workshop `shared`."""
    async with FakeHost() as host:
        for image, slugs in (("one", ("knots", "shared")), ("two", ("shared", "hitches"))):
            host.images[image] = dataclasses.replace(
                FAKE_IMAGE, image=image, image_id=f"sha256:{image}", workshops=PLACE
            )
            host.files[image] = {PLACE: manifest(*slugs)}
        tables = {"python": {"image": "one", **(python or {})}, "r": {"image": "two", **(r or {})}}
        async with running(host, **{"tables": tables, **options}) as rig:
            yield rig


def pool(rig: Rig, name: str) -> Pool:
    """One of the pools."""
    return rig.service.site.pools[name]


async def ready(rig: Rig, **counts: int) -> None:
    """Wait until so many containers of each pool are ready."""
    await rig.until(lambda: all(pool(rig, name).count(State.READY) == count for name, count in counts.items()))


async def spawn(rig: Rig, body: dict[str, Any] | None = None, query: str = "") -> tuple[int, dict[str, Any]]:
    """`POST /api/spawn`."""
    async with rig.client.post(f"/api/spawn{query}", json=body or {}) as response:
        return response.status, await response.json()


async def test_the_pool_of_the_workshop_serves_and_else_the_one_that_is_named_or_the_default() -> None:
    async with two_pools() as rig:
        await ready(rig, python=1, r=1)
        for body, query, served in (
            ({"path": "lab/tree/hitches/Start.ipynb"}, "", "r"),
            ({"path": "lab/tree/knots/Other.ipynb"}, "", "python"),
            ({}, "", "python"),
            ({"pool": "r"}, "", "r"),
            ({}, "?pool=r", "r"),
            ({"path": "lab/tree/shared/Start.ipynb"}, "", "python"),
            ({"path": "lab/tree/shared/Start.ipynb", "pool": "r"}, "", "r"),
        ):
            status, found = await spawn(rig, body, query)
            assert status == 200, found
            owner = rig.service.site.pool_of(found["id"])
            assert owner is pool(rig, served), (body, query)
            await ready(rig, python=1, r=1)
        status, found = await spawn(rig, {"pool": "julia"})
        assert (status, found["message"]) == (400, "There is no pool julia here. There is: python, r.")


async def test_what_only_one_pools_image_has_is_opened_there() -> None:
    async with two_pools() as rig:
        await ready(rig, python=1, r=1)
        host = rig.host
        host.images["two"] = dataclasses.replace(host.images["two"], image_id="sha256:newer", interfaces=("shiny",))
        pool(rig, "r").observe_soon()
        offered = rig.service.pools.offers.named("r").catalogue
        await rig.until(lambda: offered.image is not None and "shiny" in offered.image.interfaces)
        status, found = await spawn(rig, {"pool": "r", "path": "shiny/x"})
        assert (status, found["open_url"].partition("?")[0]) == (200, f"{found['url']}shiny/x")
        status, found = await spawn(rig, {"pool": "python", "path": "shiny/x"})
        assert (status, found["message"][:6]) == (400, "path: ")


async def test_notebooks_of_each_pool_have_hosts_of_their_own() -> None:
    async with two_pools(session_host="{name}.nb.example.net") as rig:
        await ready(rig, python=1, r=1)
        for name in ("python", "r"):
            _, spawned = await spawn(rig, {"pool": name})
            container = rig.service.site.find(spawned["id"])
            assert container is not None
            host = f"{container.session_name}.nb.example.net"
            assert spawned["session_url"].split("/")[2].split(":")[0] == host
            fields = {"Host": host, "Authorization": f"token {spawned['token']}"}
            async with rig.client.get(f"{spawned['url']}api", headers=fields) as response:
                assert response.status == 200


async def test_the_first_page_has_the_workshops_of_all_pools_in_the_order_of_the_tables() -> None:
    async with two_pools(r={"workshops": ("shared",)}) as rig:
        await ready(rig, python=1, r=1)
        async with rig.client.get("/") as response:
            page = await response.text()
        at = [page.index(f"The {slug}</h3>") for slug in ("knots", "shared", "hitches")]
        assert at == sorted(at)
        assert page.count("The shared</h3>") == 1
        assert rig.service.pools.offers.conflicts() == []
        (status, found) = await spawn(rig, {"path": "lab/tree/shared/Start.ipynb"})
        assert (status, rig.service.site.pool_of(found["id"])) == (200, pool(rig, "r"))


async def test_a_link_to_an_unknown_pool_shows_what_there_is() -> None:
    async with two_pools() as rig:
        await ready(rig, python=1, r=1)
        for link in ("/spawn?pool=julia", "/spawn/lab/tree/x.ipynb?pool=julia", "/spawn?workshop=knots&pool=julia"):
            async with rig.client.get(link) as response:
                page = await response.text()
            assert response.status == 404, link
            assert "<code>julia</code>" in page
            assert "The hitches" in page
        async with rig.client.get("/spawn?workshop=shared&pool=r") as response:
            assert 'data-path="lab/tree/shared/Start.ipynb?pool=r"' in await response.text()


async def test_a_pool_whose_image_is_broken_delays_nobody_in_another_one() -> None:
    async with two_pools(python={"pool_size": 4}, r={"pool_size": 4}) as rig:
        rig.engines["tmpnb.r"].fail_next(
            "start", StartFailedError("the image is broken", FailureClass.EXITS_AT_ONCE), times=100_000
        )
        await ready(rig, python=4)
        for _ in range(6):
            assert (await spawn(rig))[0] == 200
            await ready(rig, python=4)
        status, _ = await spawn(rig, {"pool": "r"})
        assert (status, pool(rig, "r").count(State.READY)) == (503, 0)
        async with rig.client.get("/metrics") as response:
            text = await response.text()
        assert 'tmpnb_containers{pool="python",state="ready"} 4.0' in text
        assert 'tmpnb_start_failures_total{cause="' in text


async def test_ready_containers_give_way_to_another_pools_visitors() -> None:
    async with two_pools(python={"pool_size": 4}, r={"pool_size": 0}, max_containers=4) as rig:
        await ready(rig, python=4)
        status, found = await spawn(rig, {"pool": "r"}, "?wait=20")
        assert (status, rig.service.site.pool_of(found["id"])) == (200, pool(rig, "r"))
        await ready(rig, python=3)
        assert sum(map(len, rig.service.site.pools.values())) <= 4


async def test_pools_come_and_go_with_a_reload() -> None:
    async with two_pools() as rig:
        await ready(rig, python=1, r=1)
        _, session = await spawn(rig, {"pool": "r"})
        await ready(rig, r=1)
        top = rig.service.options.current.with_tables({})
        rig.service.reload(
            with_tables(top, python={"image": "one", "pool_size": 2}, julia={"image": "fake", "pool_size": 1})
        )
        await rig.until(lambda: "julia" in rig.service.site.pools)
        await ready(rig, python=2, julia=1, r=0)
        async with rig.client.get("/metrics") as response:
            assert 'tmpnb_containers{pool="julia",state="ready"} 1.0' in await response.text()
        assert rig.service.site.session(session["id"]) is not None
        assert (await spawn(rig, {"pool": "r"}))[0] == 400
        headers = {"Authorization": f"token {session['token']}"}
        async with rig.client.delete(f"/api/sessions/{session['id']}", headers=headers) as response:
            assert response.status == 200
        await rig.until(lambda: "r" not in rig.service.site.pools)
        assert list(rig.service.site.pools) == ["python", "julia"]
        rig.service.reload(
            with_tables(top, python={"image": "one", "pool_size": 2}, r={"image": "two", "pool_size": 1})
        )
        await rig.until(lambda: "r" in rig.service.site.pools)
        await ready(rig, python=2, r=1)


async def test_the_maximum_of_all_pools_holds_for_a_single_table() -> None:
    async with running(tables={"python": {"image": "fake", "pool_size": 2}}, max_containers=2) as rig:
        await ready(rig, python=2)
        assert (await spawn(rig))[0] == 200
        await rig.until(lambda: pool(rig, "python").status.capacity == 2)
        assert (await spawn(rig))[0] == 200
        assert (await spawn(rig))[0] == 429
        assert len(rig.host.containers) == 2
