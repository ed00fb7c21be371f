"""The workshops' notes as pages: what they answer, what they hold back, and that reading costs nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.inprocess import running
from tests.e2e.test_workshops import MANIFEST, host_with
from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import State
from tmpnb_py.engines.fake import FakeHost
from tmpnb_py.workshops import notes_cache

HTML = {"Accept": "text/html"}
ROOT = "/usr/share/workshops"
PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 20
PAGE = "/workshops/knots/"


def notebook(*cells: dict[str, Any]) -> bytes:
    kernelspec = {"name": "ir", "language": "R"}
    metadata = {"kernelspec": kernelspec, "language_info": {"name": "R"}}
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": list(cells)}).encode()


TEXT = notebook(
    {
        "cell_type": "markdown",
        "source": "# First knot\n\n![k](k.png) ![s](s.svg) ![t](t.png) [d](data.csv)\n\n## One\n\n## Two",
    },
    {"cell_type": "code", "source": "x <- 1", "outputs": []},
)


def host(text: bytes | None = TEXT) -> FakeHost:
    made = host_with(MANIFEST)
    files = {
        f"{ROOT}/knots/k.png": PNG,
        f"{ROOT}/knots/s.svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        f"{ROOT}/knots/t.png": b"MZ no picture",
        f"{ROOT}/knots/other.png": PNG,
        f"{ROOT}/knots/data.csv": b"a,b",
    }
    made.files["fake"] |= files if text is None else {**files, f"{ROOT}/knots/First knot.ipynb": text}
    return made


async def test_only_notes_and_only_in_pages_of_named_sites_are_framed() -> None:
    sites = ("https://lms.example.org", "https://*.example.net")
    async with host() as machine, running(machine, frame_ancestors=sites) as rig:
        await rig.ready(1)
        for path, ancestors in (
            (PAGE, "https://lms.example.org https://*.example.net;"),
            ("/", "'none'"),
            ("/spawn/lab", "'none'"),
            ("/nowhere", "'none'"),
        ):
            async with rig.client.get(path, headers=HTML) as response:
                assert f"frame-ancestors {ancestors}" in response.headers["Content-Security-Policy"], path
        async with rig.client.get("/frame.js") as response:
            assert (response.status, response.content_type) == (200, "text/javascript")
            assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"


async def test_a_page_is_read_without_a_notebook_and_kept_by_browsers() -> None:
    async with host() as machine, running(machine) as rig:
        await rig.ready(1)
        async with rig.client.get(PAGE, headers=HTML) as response:
            page, headers = await response.text(), response.headers
            assert response.status == 200
        assert '<h1 id="tn-title">First knot</h1>' in page
        assert re.search(r'<a href="#One">One</a>', page)
        assert 'data-kernel="ir"' in page
        assert 'href="/spawn/lab/tree/knots/First%20knot.ipynb"' in page
        policy = headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        for rule in ("default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", "script-src 'self'"):
            assert rule in policy
        assert headers["Cache-Control"] == "no-cache"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Set-Cookie" not in headers

        async with rig.client.get(PAGE, headers={"If-None-Match": f'"other", {headers["ETag"]}'}) as response:
            assert (response.status, await response.read()) == (304, b"")
        async with rig.client.head(PAGE) as response:
            assert response.status == 200
            assert response.headers["ETag"] == headers["ETag"]
            assert await response.read() == b""
        async with rig.client.get(PAGE, headers={"Accept-Encoding": "identity"}) as response:
            assert "Content-Encoding" not in response.headers
            assert response.headers["ETag"] != headers["ETag"]
            assert await response.text() == page
        async with rig.client.get("/workshops/knots", allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (301, PAGE)
        async with rig.client.get("/workshops/", allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (302, "/")
        assert rig.pool.count(State.READY) == 1


async def test_a_notebook_without_metadata_runs_in_the_language_of_its_workshop() -> None:
    document = {"nbformat": 4, "metadata": {}, "cells": json.loads(TEXT)["cells"]}
    async with host(json.dumps(document).encode()) as machine, running(machine) as rig:
        await rig.ready(1)
        async with rig.client.get(PAGE) as response:
            assert 'data-kernel="" data-language="R"' in await response.text()


async def test_every_file_that_the_page_names_is_there_and_kept_for_ever() -> None:
    async with host() as machine, running(machine, pool_size=0) as rig:
        async with rig.client.get("/") as response:
            await response.read()
        await rig.until(lambda: rig.service.served.catalogue.image is not None)
        async with rig.client.get(PAGE) as response:
            page = await response.text()
        named = re.findall(r'(?:href|src)="(/(?:assets|live)[^"]*)"', page)
        assert named
        for path in named:
            async with rig.client.get(path) as response:
                assert response.status == 200
                assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
                assert response.content_type in ("text/css", "text/javascript")
                await response.read()
        async with rig.client.get("/assets/../pyproject.toml") as response:
            assert response.status == 404


async def test_what_other_sites_load_may_be_loaded_by_them_and_can_do_nothing_here() -> None:
    async with host() as machine, running(machine, pool_size=0) as rig:
        async with rig.client.get("/live.js", headers={"Origin": "https://blog.example"}) as response:
            script = await response.text()
            assert response.content_type == "text/javascript"
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
            assert response.headers["Cache-Control"] == "public, max-age=300"
            known = {"If-None-Match": response.headers["ETag"]}
        async with rig.client.get("/live.js", headers=known) as response:
            assert response.status == 304
        keeper = re.search(r'const FRAME = "(assets/keeper-[0-9a-f]{12}\.html)";', script)
        assert keeper is not None
        async with rig.client.get(f"/{keeper[1]}") as response:
            frame = re.search(r'const OUTPUT = "(output-[0-9a-f]{12}\.html)";', await response.text())
        assert frame is not None
        async with rig.client.get(f"/assets/{frame[1]}") as response:
            policy = response.headers["Content-Security-Policy"].split("; ")
            assert response.content_type == "text/html"
        # Of no origin however it is opened, and without a way to anywhere.
        assert policy[:2] == ["sandbox allow-scripts", "default-src 'none'"]
        assert not [rule for rule in policy if rule.startswith(("connect-src", "frame-src", "object-src"))]
        assert not re.search(r"https?:|'self'|\*", "; ".join(policy))


async def test_only_pictures_that_the_page_shows_are_served_and_they_can_do_nothing() -> None:
    async with host() as machine, running(machine) as rig:
        await rig.ready(1)
        async with rig.client.get(PAGE + "files/knots/k.png") as response:
            assert (response.status, response.content_type) == (200, "image/png")
            assert await response.read() == PNG
            assert response.headers["X-Content-Type-Options"] == "nosniff"
        async with rig.client.get(PAGE + "files/knots/s.svg") as response:
            assert (response.status, response.content_type) == (200, "image/svg+xml")
            policy = response.headers["Content-Security-Policy"]
            assert policy == "default-src 'none'; style-src 'unsafe-inline'; sandbox"
        for name in ("t.png", "other.png", "data.csv", "First%20knot.ipynb", "..%2fworkshops.toml", "%2e%2e/x"):
            async with rig.client.get(f"{PAGE}files/knots/{name}") as response:
                assert response.status == 404, name


async def test_the_image_is_read_once_however_many_readers_come(monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0
    original = notes_cache.make_notes

    async def counted(*arguments: Any, **more: Any) -> Any:
        nonlocal made
        made += 1
        return await original(*arguments, **more)

    monkeypatch.setattr(notes_cache, "make_notes", counted)
    async with host() as machine, running(machine) as rig:
        await rig.ready(1)
        before = sum(1 for call, _ in rig.engine.calls if call == "read_image")

        async def read() -> int:
            async with rig.client.get(PAGE) as response:
                return response.status

        # The first one leaves before the page is made, which must not trouble the others.
        hasty = asyncio.create_task(read())
        await rig.until(lambda: made == 1)
        hasty.cancel()
        assert set(await asyncio.gather(*(read() for _ in range(20)))) == {200}
        assert made == 1
        assert sum(1 for call, _ in rig.engine.calls if call == "read_image") == before + 2  # the text, the pictures


@pytest.mark.parametrize(
    ("slug", "text", "status", "words"),
    [
        ("knots", None, 404, "These notes cannot be shown: there is no knots/First knot.ipynb."),
        ("knots", b"{", 404, "These notes cannot be shown: the notebook is not JSON"),
        (
            "knots",
            b'{"nbformat": 2}',
            404,
            "the file is not a notebook of format 3 or 4. JupyterLab may say more of it.",
        ),
        ("nothing", TEXT, 404, "There are no such notes."),
    ],
)
async def test_what_cannot_be_shown_is_said_in_words(slug: str, text: bytes | None, status: int, words: str) -> None:
    async with host(text) as machine, running(machine) as rig:
        await rig.ready(1)
        for headers in (HTML, {}):
            async with rig.client.get(f"/workshops/{slug}/", headers=headers) as response:
                assert response.status == status
                assert words in await response.text()


async def test_a_failure_is_remembered_for_a_while_and_then_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    async with host() as machine, running(machine) as rig:
        await rig.ready(1)
        rig.engine.fail_next("read_image", EngineError("not now"))
        for _ in range(3):
            async with rig.client.get(PAGE) as response:
                assert response.status == 503
        monkeypatch.setattr(notes_cache, "RETRY_AFTER", 0.0)
        async with rig.client.get(PAGE) as response:
            assert response.status == 200
        # Pictures that cannot be read do not keep the words back.
    async with host() as machine, running(machine) as rig:
        await rig.ready(1)
        original = rig.engine.read_image

        async def without_pictures(image: Any, paths: Any, **more: Any) -> dict[str, bytes]:
            if any(path.endswith(".png") for path in paths):
                raise EngineError("too large")
            return await original(image, paths, **more)

        monkeypatch.setattr(rig.engine, "read_image", without_pictures)
        async with rig.client.get(PAGE) as response:
            assert response.status == 200


async def test_a_new_image_has_new_notes() -> None:
    async with host() as machine, running(machine) as rig:
        await rig.ready(1)
        async with rig.client.get(PAGE) as response:
            first = response.headers["ETag"]
        machine.files["fake"][f"{ROOT}/knots/First knot.ipynb"] = TEXT.replace(b"First knot", b"Second knot")
        catalogue = rig.service.served.catalogue
        assert catalogue.image is not None
        await catalogue.learn(dataclasses.replace(catalogue.image, image_id="sha256:new"))
        async with rig.client.get(PAGE) as response:
            assert "Second knot" in await response.text()
            assert response.headers["ETag"] != first


async def test_the_page_looks_as_the_operator_wants_and_so_it_does_after_a_reload() -> None:
    async with host() as machine, running(machine, site_title="Knot school", accent_color="#7a0046") as rig:
        await rig.ready(1)
        async with rig.client.get(PAGE) as response:
            page, policy = await response.text(), response.headers["Content-Security-Policy"]
            first = response.headers["ETag"]
        assert "<title>First knot - Knot school</title>" in page
        assert "--accent:#7a0046" in page
        assert "style-src 'self' 'sha256-" in policy
        assert 'name="robots"' not in page
        rig.service.reload(rig.service.options.current.model_copy(update={"site_title": "School of knots"}))
        async with rig.client.get(PAGE) as response:
            assert "School of knots" in await response.text()
            assert response.headers["ETag"] != first


async def test_who_has_a_session_gets_a_page_that_may_use_it() -> None:
    async with host() as machine, running(machine) as rig:
        await rig.ready(1)
        async with rig.client.post("/api/tickets", json={"workshop": "knots"}) as response:
            ticket, cookie = await response.json(), response.headers["Set-Cookie"].partition(";")[0]
        headers = {"Cookie": cookie}
        async with rig.client.get(PAGE, headers=headers) as response:
            page = await response.text()
            assert response.headers["Cache-Control"] == "no-store"
        key = re.search(r'data-key="([0-9a-f]{32})"', page)
        assert key is not None
        wish = {"workshop": "knots", "key": key[1]}
        async with rig.client.post("/api/tickets", json=wish, headers=headers) as response:
            assert (await response.json())["session"]["id"] == ticket["session"]["id"]
        # Scripts of other notebooks, which share the origin, can ask for the page but not for the key.
        for more in ({"Sec-Fetch-Dest": "empty"}, {"Sec-Fetch-Dest": "iframe"}):
            async with rig.client.get(PAGE, headers=headers | more) as response:
                assert "data-key" not in await response.text()


TWO = (
    MANIFEST.decode()
    + """
[[workshop]]
slug = "text"
title = "Only text"
language = "R"
description = "No notebook."
duration = 5
start = "knots/text.pdf"
"""
)


async def test_read_is_offered_only_where_there_is_something_to_read(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(TWO)
    linking = notebook({"cell_type": "markdown", "source": "[t](text.pdf)"})
    # An operator lists workshops of an image that does not say where it keeps them.
    async with FakeHost() as machine, running(machine, workshops_file=mine) as rig:
        await rig.ready(1)
        async with rig.client.get("/") as response:
            landing = await response.text()
        assert "Knots &amp; &lt;Loops&gt;" in landing
        assert "Read" not in landing
        assert "/workshops/" not in landing
        async with rig.client.get(PAGE) as response:
            assert response.status == 404
    async with host(linking) as machine, running(machine, workshops_file=mine) as rig:
        await rig.ready(1)
        async with rig.client.get("/") as response:
            landing = await response.text()
        assert re.findall(r'href="(/workshops/[^"]*)"', landing) == [PAGE]
        assert "What has a “Read” button can be read without it." in landing
        async with rig.client.get(PAGE) as response:
            assert response.status == 200
            assert 'href="../../spawn/lab/tree/knots/text.pdf"' in await response.text()


async def test_with_an_api_token_there_are_no_pages() -> None:
    async with host() as machine, running(machine, api_auth_token="secret0secret") as rig:
        await rig.ready(1)
        async with rig.client.get(PAGE, headers={"Authorization": "token secret0secret"}) as response:
            assert response.status == 404
