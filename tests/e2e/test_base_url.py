"""Below a path of its host (`--base-url`): every address that is given out is there, and so are the notebooks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.inprocess import Rig, running
from tests.e2e.test_notes import host
from tmpnb_py.core.models import State

BASE = "/jupyter/"
HTML = {"Accept": "text/html"}
LINKS = re.compile(r'(?:href|src|action|content)="(/[^"]*|\d+; *url=[^"]*)"')


async def _get(rig: Rig, path: str, **headers: str) -> tuple[int, str, str]:
    async with rig.client.get(path, headers={**HTML, **headers}, allow_redirects=False) as response:
        return response.status, await response.text("latin-1"), response.headers.get("Location", "")


async def _post(rig: Rig, address: str, **form: str) -> Any:
    origin = f"http://127.0.0.1:{rig.service.port}"
    async with rig.client.post(
        address, data=form, headers={"Origin": origin, **HTML}, allow_redirects=False
    ) as response:
        return response


async def test_every_page_leads_to_addresses_below_the_base() -> None:
    async with host() as machine, running(machine, base_url=BASE, max_containers=2, privacy_notice="x") as rig:
        await rig.ready(1)
        seen, left = set[str](), {BASE, f"{BASE}nowhere", f"{BASE}info", f"{BASE}spawn/lab/tree/a.ipynb"}
        while left:
            path = left.pop()
            seen.add(path)
            status, text, location = await _get(rig, path)
            assert status in (200, 302, 400, 404), path
            found = {one.partition("#")[0].partition("?")[0] for one in LINKS.findall(text)}
            found |= {location} if location else set()
            assert all(one.startswith(BASE) for one in found), (path, found)
            left |= {one for one in found if not re.search(r"\.(js|css|png)$", one)} - seen
        assert {f"{BASE}workshops/knots/", f"{BASE}spawn", f"{BASE}privacy", f"{BASE}api/stats"} <= seen
        for link in (
            "lab/tree/x",
            "tree",
            "hub/user-redirect/lab",
            "v2/gh/org/knots/HEAD",
            "workshops",
            "workshops/knots",
        ):
            assert (await _get(rig, BASE + link))[2].startswith(BASE), link
        assert (await _get(rig, "/jupyter"))[2] == BASE
        robots = (await _get(rig, f"{BASE}robots.txt"))[1]
        assert "Disallow: /jupyter/spawn\n" in robots


async def test_the_notes_and_their_files_are_found_from_their_page() -> None:
    async with host() as machine, running(machine, base_url=BASE) as rig:
        await rig.ready(1)
        _, page, _ = await _get(rig, f"{BASE}workshops/knots/")
        assert 'href="../../spawn/lab/tree/knots/data.csv"' in page
        assert f'href="{BASE}spawn/lab/tree/knots/First%20knot.ipynb"' in page
        for path in re.findall(r'(?:href|src)="(/jupyter/assets/[^"]+)"', page):
            assert (await _get(rig, path))[0] == 200
        assert (await _get(rig, f"{BASE}workshops/knots/files/knots/k.png"))[0] == 200
        assert (await _get(rig, f"{BASE}live.js"))[0] == 200


async def test_a_click_leads_to_a_notebook_below_the_base() -> None:
    async with running(base_url=BASE, max_containers=1) as rig:
        await rig.ready(1)
        answer = await _post(rig, f"{BASE}spawn", path="lab/tree/a.ipynb")
        url = answer.headers["Location"]
        (session,) = rig.pool.in_state(State.CLAIMED)
        assert url == f"{BASE}user/{session.id}/lab/tree/a.ipynb?token={session.token}"
        assert answer.cookies["tmpnb-sessions"]["path"] == BASE
        status, echo, _ = await _get(rig, url)
        assert (status, f'"path": "{url}"' in echo) == (200, True)
        # Nothing is ready now: a place in line, with a cookie for its own page.
        answer = await _post(rig, f"{BASE}spawn", fresh="1")
        waiting = answer.headers["Location"]
        assert waiting.startswith(f"{BASE}spawn/wait/")
        assert answer.cookies["tmpnb-place"]["path"] == waiting
        place = f"tmpnb-place={answer.cookies['tmpnb-place'].value}"
        status, page, _ = await _get(rig, waiting, Cookie=place)
        assert (status, f'action="{waiting}"' in page, f'data-base="{BASE}"' in page) == (200, True, True)
        # It ends, and its address says so.
        async with rig.admin.delete(f"/api/sessions/{session.id}"):
            pass
        status, page, _ = await _get(rig, f"{BASE}user/{session.id}/lab/tree/a.ipynb")
        assert (status, f'action="{BASE}spawn"' in page, 'value="lab/tree/a.ipynb"' in page) == (410, True, True)


async def test_the_api_gives_addresses_below_the_base() -> None:
    async with running(base_url=BASE, binder_spec=("gh/org/repo",)) as rig:
        await rig.ready(1)
        async with rig.client.post(f"{BASE}api/spawn") as response:
            spawned = await response.json()
        assert spawned["url"] == f"{BASE}user/{spawned['id']}/"
        assert spawned["open_url"].startswith(spawned["url"])
        async with rig.client.get(f"{BASE}user/{spawned['id']}", allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (302, spawned["url"])
        async with rig.client.get(f"{BASE}api/openapi.json") as response:
            assert (await response.json())["servers"] == [{"url": "/jupyter"}]
        await rig.ready(1)
        async with rig.client.get(
            f"{BASE}build/gh/org/repo/HEAD", headers={"Accept": "text/event-stream"}
        ) as response:
            events = await response.text()
        assert f'"url":"http://127.0.0.1:{rig.service.port}{BASE}user/' in events


async def test_probes_and_a_front_that_takes_the_base_away_are_answered() -> None:
    async with running(base_url=BASE) as rig:
        await rig.ready(1)
        for path in ("/healthz", "/readyz", "/metrics", f"{BASE}healthz", f"{BASE}metrics"):
            assert (await _get(rig, path))[0] == 200, path
        spawned = await rig.spawn()  # asks below the root
        assert spawned["url"] == f"{BASE}user/{spawned['id']}/"
        status, echo, _ = await _get(rig, f"/user/{spawned['id']}/lab?x=1")
        assert (status, f'"path": "{BASE}user/{spawned["id"]}/lab?x=1"' in echo) == (200, True)


@pytest.mark.parametrize(("before", "after"), [("/", "/jupyter/"), ("/jupyter/", "/"), ("/old/place/", "/jupyter/")])
async def test_notebooks_keep_the_base_that_they_were_started_with(tmp_path: Path, before: str, after: str) -> None:
    kept: dict[str, Any] = {"runtime_dir": tmp_path, "max_containers": 5, "cleanup_on_exit": False}
    async with host() as machine:
        async with running(machine, base_url=before, **kept) as rig:
            await rig.ready(1)
            session = await rig.spawn()
            await rig.ready(1)
        async with running(machine, base_url=after, **kept) as rig:
            pool = rig.pool
            await rig.until(lambda: pool.listed and pool.current_digest is not None)
            # Its open pages go on asking where they were; the ready one, which nobody has seen, is renewed.
            path = f"{before}user/{session['id']}/api"
            async with rig.client.get(path) as response:
                assert (response.status, await response.json()) == (200, {"version": "fake"})
            await rig.until(lambda: [one.base_url for one in pool.in_state(State.READY)] == [after])
            fresh = await rig.spawn()
            assert fresh["url"] == f"{after}user/{fresh['id']}/"
            async with rig.client.get(f"{fresh['url']}api") as response:
                assert response.status == 200
            async with rig.admin.delete(f"/api/sessions/{session['id']}"):
                pass
            assert (await _get(rig, path))[0] == 410
