"""An image's static files, served once for all its notebooks: a whole service, and the engine in memory."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import brotli
import pytest
from aiohttp import ClientSession
from multidict import CIMultiDictProxy

from tests.e2e.inprocess import Rig, running
from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import ContainerConfig, ImageFacts, State
from tmpnb_py.engines.fake import FakeHost

STATIC = (("static/lab", "/opt/lab"), ("lab/extensions", "/opt/ext"))
SCRIPT = b"export const answer = 42; // forty-two, forty-two, forty-two\n" * 50
FILES = {
    "/opt/lab/main.1f.js": SCRIPT,
    "/opt/lab/logo.svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "/opt/lab/index.html": b"<script>alert(1)</script>",
    "/opt/ext/@o/p/static/remote.js": SCRIPT * 2,
    "/opt/secret.js": b"secret",
}


@contextlib.asynccontextmanager
async def host_with(image_id: str = "sha256:one", **files: bytes) -> AsyncIterator[FakeHost]:
    async with FakeHost() as host:
        host.images["fake"] = ImageFacts("fake", image_id, supports_socket=True, static=STATIC)
        host.files["fake"] = {**FILES, **files}
        yield host


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with host_with() as host, running(host) as rig:
        await rig.ready(1)
        yield rig


async def test_one_host_has_them_for_all_notebooks_and_nothing_else() -> None:
    async with host_with() as host, running(host, session_host="{name}.nb.example.net") as rig:
        await rig.ready(1)
        files, session = address(rig), await rig.spawn()
        headers = {"Host": "tmpnb-static.nb.example.net", "Cookie": "tmpnb-session=x; a=b", "Accept": "text/html"}
        async with rig.client.get(f"{files}/static/lab/main.1f.js", headers=headers) as response:
            assert (response.status, await response.read()) == (200, SCRIPT)
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
            assert response.headers["Vary"] == "Accept-Encoding"
            assert "Set-Cookie" not in response.headers
        for path in (
            "/",
            "/enter",
            "/api/stats",
            "/spawn",
            "/live.js",
            session["url"] + "lab",
            f"{files}/static/x.js",
        ):
            async with rig.client.get(path, headers=headers, allow_redirects=False) as response:
                assert (path, response.status, await response.read()) == (path, 404, b"")
        for method in ("POST", "PUT", "DELETE"):
            async with rig.client.request(method, f"{files}/static/lab/main.1f.js", headers=headers) as response:
                assert (response.status, await response.read()) == (405, b"")
        async with rig.client.post("/api/spawn", headers=headers) as response:
            assert response.status == 404


def address(rig: Rig) -> str:
    """What new notebooks are told."""
    return next(iter(rig.host.containers.values())).spec.config.static_url


async def settled(rig: Rig, image_id: str = "sha256:one") -> str:
    """Wait until one notebook of the image is ready and nothing is under way. Returns the address it was told."""
    pool = rig.pool

    def ready() -> list[ContainerConfig]:
        return [one.spec.config for one in rig.host.containers.values() if one.state is State.READY]

    def is_settled() -> bool:
        busy = pool.count(State.STARTING) + pool.count(State.REMOVING)
        return [one.image.image_id for one in ready()] == [image_id] and pool.count(State.READY) == 1 and not busy

    await rig.until(is_settled)
    return ready()[0].static_url


def static_directory(rig: Rig) -> Path:
    """Where the service keeps the files."""
    settings = rig.service.options.current
    return settings.runtime_path / "static" / settings.pool_name


def reads(rig: Rig) -> int:
    return sum(call == "read_image" for call, _ in rig.engine.calls)


async def get(client: ClientSession, url: str, **headers: str) -> tuple[int, CIMultiDictProxy[str], bytes]:
    async with client.get(url, headers={"Accept-Encoding": "identity", **headers}, allow_redirects=False) as response:
        return response.status, response.headers, await response.read()


async def test_notebooks_are_told_where_their_files_are_and_they_are_there(rig: Rig) -> None:
    url = address(rig)
    status, headers, body = await get(rig.client, f"{url}/static/lab/main.1f.js")
    assert (status, body) == (200, SCRIPT)
    assert headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Vary"] == "Accept-Encoding"
    assert "Content-Security-Policy" not in headers  # a worker made from a script would be bound by it
    assert (await get(rig.client, f"{url}/lab/extensions/@o/p/static/remote.js?v=1"))[2] == SCRIPT * 2
    assert (await get(rig.client, f"{url}/lab/extensions/%40o/p/static/remote.js"))[0] == 200


async def test_a_download_that_broke_off_goes_on(rig: Rig) -> None:
    name = f"{address(rig)}/static/lab/main.1f.js"
    async with ClientSession(rig.client._base_url, auto_decompress=False) as client:
        for coding in ("identity", "gzip"):
            form = {"Accept-Encoding": coding}
            _, headers, whole = await get(client, name, **form)
            tag, size = headers["ETag"], len(whole)
            assert headers["Accept-Ranges"] == "bytes"
            for wanted, start, end in (("bytes=7-7", 7, 8), ("bytes=7-", 7, size)):
                status, headers, part = await get(client, name, Range=wanted, **form, **{"If-Range": tag})
                assert (status, part) == (206, whole[start:end])
                assert headers["Content-Range"] == f"bytes {start}-{end - 1}/{size}"
                assert headers["ETag"] == tag
            answer = await get(client, name, Range="bytes=7-", **form, **{"If-Range": '"another"'})
            assert answer[0::2] == (200, whole)


NAMED = [
    "static/lab/main.1f.js?v=1f",
    "lab/extensions/@o/p/static/remote.js",
    "static/lab/none.js",
    "static/lab/logo.svg",
]
AHEAD = {"/opt/lab/tmpnb-ahead.json": json.dumps({"page": NAMED[:1], "notebook": NAMED[1:]}).encode()}


async def ahead(rig: Rig, path: str, **headers: str) -> list[str]:
    """What a launch page would have fetched."""
    status, _, page = await get(rig.client, path, Accept="text/html", **headers)
    assert status == 200
    found = re.search(r'data-ahead="([^"]*)"', page.decode())
    return found[1].split() if found else []


async def test_the_launch_page_names_what_the_notebooks_page_will_need() -> None:
    async with host_with("sha256:one", **AHEAD) as host, running(host) as rig:
        await rig.ready(1)
        where = f"{address(rig)}/"
        assert await ahead(rig, "/spawn/lab/tree/a.ipynb") == [where, *NAMED[:2]]
        assert await ahead(rig, "/spawn/doc/tree/a.ipynb?reset") == [where, *NAMED[:2]]
        assert await ahead(rig, "/spawn/lab/tree/a.md") == [where, NAMED[0]]
        assert await ahead(rig, "/spawn") == [where, NAMED[0]]
        assert await ahead(rig, "/spawn/tree/a.ipynb") == []  # another interface, with scripts of its own
        assert await ahead(rig, "/spawn/files/a.ipynb") == []
        assert await ahead(rig, "/spawn/lab", **{"Save-Data": "on"}) == []
        assert await ahead(rig, "/spawn/lab", **{"User-Agent": "Slackbot-LinkExpanding 1.0"}) == []


async def test_an_image_that_names_nothing_or_too_much() -> None:
    broken = {"/opt/lab/tmpnb-ahead.json": b"[" * 40_000}
    for files in ({}, broken):
        async with host_with("sha256:one", **files) as host, running(host) as rig:
            await rig.ready(1)
            assert await ahead(rig, "/spawn/lab/tree/a.ipynb") == []


async def test_nothing_is_fetched_ahead_for_another_site() -> None:
    """Browsers would fetch it again for the notebook's own host."""
    async with host_with("sha256:one", **AHEAD) as host, running(host, session_host="{name}.nb.example.net") as rig:
        await rig.ready(1)
        assert await ahead(rig, "/spawn/lab/tree/a.ipynb") == []


async def test_files_that_the_disk_has_lost_are_not_named() -> None:
    async with host_with("sha256:one", **AHEAD) as host, running(host) as rig:
        await rig.ready(1)
        for path in (static_directory(rig) / "files").iterdir():
            path.unlink()
        assert await ahead(rig, "/spawn/lab") == []


async def test_pages_are_not_shared_and_a_picture_that_is_opened_as_a_page_does_nothing(rig: Rig) -> None:
    url = address(rig)
    assert (await get(rig.client, f"{url}/static/lab/index.html"))[0] == 404
    _, headers, _ = await get(rig.client, f"{url}/static/lab/logo.svg")
    assert headers["Content-Type"] == "image/svg+xml"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "sandbox" in headers["Content-Security-Policy"]


async def test_each_form_with_its_tag_and_nothing_twice(rig: Rig) -> None:
    name = f"{address(rig)}/static/lab/main.1f.js"
    static = rig.service.pools.static_files
    digest, path = name.split("/")[2], "static/lab/main.1f.js"
    await rig.until(lambda: (found := static.find(digest, path)) is not None and "br" in found.codings)
    tags = set()
    async with ClientSession(rig.client._base_url, auto_decompress=False) as client:
        for accept, coding, decode in (
            ("gzip, br", "br", brotli.decompress),
            ("gzip", "gzip", gzip.decompress),
            ("", None, bytes),
        ):
            status, headers, body = await get(client, name, **{"Accept-Encoding": accept})
            assert status == 200
            assert headers.get("Content-Encoding") == coding
            assert decode(body) == SCRIPT
            assert int(headers["Content-Length"]) == len(body)
            tags.add(headers["ETag"])
            again = await get(client, name, **{"Accept-Encoding": accept, "If-None-Match": headers["ETag"]})
            others = ", ".join(tags - {headers["ETag"]})
            assert (await get(client, name, **{"Accept-Encoding": accept, "If-None-Match": others}))[0] == 200
            assert (again[0], again[2], again[1]["ETag"]) == (304, b"", headers["ETag"])
            assert again[1]["Cache-Control"] == headers["Cache-Control"]
            async with client.head(name, headers={"Accept-Encoding": accept}) as response:
                assert response.status == 200
                assert response.headers["Content-Length"] == headers["Content-Length"]
    assert len(tags) == 3
    async with rig.client.post(name) as response:
        assert response.status == 405


@pytest.mark.parametrize(
    "path",
    ["", "/", "/static/lab/", "/static/lab/no.js", "/opt/secret.js", "/static/lab/..%2f..%2fsecret.js", "/%00"],
)
async def test_nothing_else_is_there(rig: Rig, path: str) -> None:
    status, headers, _ = await get(rig.client, address(rig) + path)
    assert status == 404
    assert headers["Cache-Control"] == "no-store"


async def test_nobody_is_told_of_a_notebook(rig: Rig) -> None:
    """A script in any notebook can ask, with the visitor's cookies: not even if the asking page says which it is."""
    async with rig.client.post(
        "/spawn", allow_redirects=False, headers={"Sec-Fetch-Site": "same-origin"}
    ) as response:
        assert response.status == 303
        (session,) = re.findall(r"/user/([a-z0-9]+)/", response.headers["Location"])
        cookie = f"tmpnb-sessions={response.cookies['tmpnb-sessions'].value}"
    for start in (address(rig), f"/static/{'0' * 32}"):
        for name in ("lab/extensions/mine/static/x.js?v=1", "api/contents/x.ipynb?content=1", "api/kernels"):
            for referer in ("http://somewhere/", f"http://somewhere/user/{session}/lab"):
                status, headers, body = await get(rig.client, f"{start}/{name}", Referer=referer, Cookie=cookie)
                assert (status, headers.get("Location")) == (404, None)
                assert session.encode() not in body


async def test_with_an_api_token_notebooks_still_have_their_files() -> None:
    async with host_with() as host, running(host, api_auth_token="operators0secret") as rig:
        await rig.ready(1)
        assert (await get(rig.client, f"{address(rig)}/static/lab/main.1f.js"))[0] == 200
        assert (await get(rig.client, "/api/stats"))[0] == 401


async def test_a_restart_needs_the_image_no_more_and_an_old_address_stays(tmp_path: Path) -> None:
    options: dict[str, Any] = {"runtime_dir": tmp_path, "cleanup_on_exit": False}
    async with host_with() as host:
        async with running(host, **options) as rig:
            old = await settled(rig)
            session = await rig.spawn()
            await settled(rig)
        # A restart: nothing is read, whatever has become of the image's files.
        host.files["fake"] = {}
        async with running(host, **options) as rig:
            assert await settled(rig) == old
            assert reads(rig) == 0
            assert (await get(rig.client, f"{old}/static/lab/main.1f.js"))[2] == SCRIPT
        # An upgrade of the image: its notebooks get another address, those in use keep theirs.
        host.images["fake"] = ImageFacts("fake", "sha256:two", supports_socket=True, static=STATIC)
        host.files["fake"] = {**FILES, "/opt/lab/main.1f.js": SCRIPT[:-1]}
        async with running(host, **options) as rig:
            new = await settled(rig, "sha256:two")
            assert new != old
            assert (await get(rig.client, f"{old}/static/lab/main.1f.js"))[2] == SCRIPT
            assert (await get(rig.client, f"{new}/static/lab/main.1f.js"))[2] == SCRIPT[:-1]
            assert (await get(rig.client, f"{session['url']}api"))[0] == 200
        # Rebuilt without a change of these files: the same address, and browsers keep what they have.
        host.images["fake"] = ImageFacts("fake", "sha256:three", supports_socket=True, static=STATIC)
        async with running(host, **{**options, "cleanup_on_exit": True}) as rig:
            await rig.until(lambda: reads(rig) == len(STATIC))
            assert await settled(rig, "sha256:three") == new
    assert not (tmp_path / "static").exists()


@pytest.mark.parametrize("error", [EngineError("too much"), OSError(28, "No space left on device")])
async def test_an_image_that_cannot_be_read_serves_its_own_files(error: Exception) -> None:
    async with host_with() as host, running(host, pool_size=0) as rig:
        other = ImageFacts("fake", "sha256:new", supports_socket=True, static=STATIC)
        await rig.until(lambda: "sha256:one" in rig.service.pools.static_files.state.known)
        rig.engine.fail_next("read_image", error)
        before = reads(rig)
        assert await rig.service.pools.static_files.url(other, rig.engine) == ""
        assert (
            await rig.service.pools.static_files.url(other, rig.engine) == ""
        )  # and is not read again at each round
        assert reads(rig) == before + 1


async def test_an_image_without_the_label_is_not_read() -> None:
    async with FakeHost() as host, running(host) as rig:
        await rig.ready(1)
        assert address(rig) == ""
        assert reads(rig) == 0


async def test_files_that_the_disk_has_lost_are_taken_from_the_image_again(rig: Rig) -> None:
    url = address(rig)
    name = f"{url}/static/lab/main.1f.js"
    for path in static_directory(rig).rglob("*.*"):
        path.unlink()
    before = reads(rig)
    # Who asks meanwhile waits: a page that is being opened would be broken for good.
    status, _, body = await get(rig.client, name)
    assert (status, body) == (200, SCRIPT)
    await rig.until(lambda: reads(rig) == before + len(STATIC))
    assert await settled(rig) == url
    async with rig.client.head(name, headers={"Accept-Encoding": "gzip"}) as response:
        assert response.status == 200


async def test_a_form_that_the_disk_has_lost_is_done_without(rig: Rig) -> None:
    name = f"{address(rig)}/static/lab/main.1f.js"
    static = rig.service.pools.static_files
    await rig.until(lambda: "br" in found.codings if (found := static.find(name.split("/")[2], name[41:])) else False)
    before = reads(rig)
    for path in static_directory(rig).rglob("*.br"):
        path.unlink()
    for method in ("HEAD", "GET"):
        async with rig.client.request(method, name, headers={"Accept-Encoding": "br, gzip"}) as response:
            assert (response.status, response.headers["Content-Encoding"]) == (200, "gzip")
    assert reads(rig) == before


async def test_a_file_that_cannot_be_read_now_is_not_lost(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    url = address(rig)
    name, before = f"{url}/static/lab/main.1f.js", reads(rig)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", lambda _: (_ for _ in ()).throw(OSError(24, "Too many open files")))
        status, headers, _ = await get(rig.client, name)
        assert (status, headers["Retry-After"]) == (503, "5")
    assert (await get(rig.client, name))[2] == SCRIPT
    assert reads(rig) == before


async def test_where_lost_files_cannot_be_taken_again_the_address_stays(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one would make another configuration: all ready notebooks would be replaced for it."""
    url, image = address(rig), rig.host.images["fake"]
    for path in static_directory(rig).rglob("*.*"):
        path.unlink()
    rig.engine.fail_next("read_image", EngineError("not now"))
    before = reads(rig)
    monkeypatch.setattr("tmpnb_py.shared_files.shared._TAKEN_AGAIN_SECONDS", 0.05)
    assert (await get(rig.client, f"{url}/static/lab/main.1f.js"))[0] == 503
    await rig.until(lambda: reads(rig) == before + 1)
    assert rig.service.pools.static_files.state.lost == {"sha256:one"}
    rig.service.pools.static_files._attempts.succeeded("sha256:one")  # as if its time had come again
    assert await rig.service.pools.static_files.url(image, rig.engine) == url
    await rig.until(lambda: not rig.service.pools.static_files.state.lost)
    assert (await get(rig.client, f"{url}/static/lab/main.1f.js"))[2] == SCRIPT
    assert await settled(rig) == url


async def test_what_is_lost_is_not_read_in_every_round_and_no_round_waits_for_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tmpnb_py.shared_files.shared._TAKEN_AGAIN_SECONDS", 0.05)
    url = address(rig)
    for path in static_directory(rig).rglob("*.*"):
        path.unlink()
    rig.engine.fail_next("read_image", EngineError("not now"), times=100)
    rig.engine.delays["read_image"] = 0.5
    before = reads(rig)
    await get(rig.client, f"{url}/static/lab/main.1f.js")
    for _ in range(5):
        listed = sum(call == "list" for call, _ in rig.engine.calls)
        rig.pool.observe_soon()
        await rig.until(lambda listed=listed: sum(c == "list" for c, _ in rig.engine.calls) > listed, seconds=0.4)  # type: ignore[misc]
    await rig.until(lambda: "sha256:one" in rig.service.pools.static_files.state.failed)
    rig.pool.observe_soon()
    await rig.spawn("?wait=10")
    await rig.ready(1)
    assert reads(rig) == before + 1


async def test_many_slow_readers_hold_one_copy(rig: Rig) -> None:
    static = rig.service.pools.static_files
    found = static.find(address(rig).split("/")[2], "static/lab/main.1f.js")
    assert found is not None
    static._memory._limit = 0  # what is asked for next drives everything out
    contents = await asyncio.gather(*(static.content(found, "") for _ in range(20)))
    contents.append(await static.content(found, ""))
    assert contents[0].body == SCRIPT
    assert len(set(map(id, contents))) == 1
    del contents
    await asyncio.sleep(0)
    assert list(static._held) == []


async def test_without_the_compressing_process_files_are_served_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    async with host_with() as host, running(host) as rig:
        await rig.ready(1)
        static = rig.service.pools.static_files
        await rig.until(lambda: static._gave_up)
        assert (await get(rig.client, f"{address(rig)}/static/lab/main.1f.js"))[2] == SCRIPT


async def test_the_compressing_process_ends_with_the_service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.write_text(f"#!/bin/sh\necho $$ >{slow}.new; mv {slow}.new {slow}.pid; exec sleep 600\n")
    slow.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(slow))
    async with host_with() as host, running(host) as rig:
        await rig.until(slow.with_suffix(".pid").exists)
    with pytest.raises(ProcessLookupError):
        os.kill(int(slow.with_suffix(".pid").read_text()), signal.SIGCONT)
