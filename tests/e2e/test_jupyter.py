"""Real JupyterLabs behind the real service, as a program uses them."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator

import aiohttp
import pytest
from yarl import URL

from tests.e2e.jupyter import ANSWER_SECONDS, Notebook
from tests.e2e.service import Service

pytestmark = pytest.mark.engine

HTML = {"Accept": "text/html,*/*"}


@pytest.fixture
async def client(lab: Service) -> AsyncIterator[aiohttp.ClientSession]:
    async with lab.http() as client:
        yield client


@pytest.fixture
async def notebook(lab: Service, client: aiohttp.ClientSession) -> AsyncIterator[Notebook]:
    """A session of the test's own, ended afterwards."""
    notebook = Notebook.of(client, await lab.spawn(client))
    yield notebook
    async with client.delete(f"/api/sessions/{notebook.id}", headers=notebook.headers):
        pass


async def test_spawn_gives_a_lab_that_opens(lab: Service, client: aiohttp.ClientSession, notebook: Notebook) -> None:
    spawned = await lab.spawn(client, "lab/tree/introduction-to-python/First steps in Python.ipynb")
    assert spawned["url"] == f"/user/{spawned['id']}/"
    assert spawned["open_url"].startswith(spawned["url"] + "lab/tree/introduction-to-python/First%20steps")
    assert spawned["expires_at"]
    assert {spawned["id"], spawned["token"]}.isdisjoint({notebook.id, notebook.token})

    async with client.get(spawned["open_url"], headers=HTML) as response:
        assert response.status == 200
        page = await response.text()
    assert '"baseUrl": "' + spawned["url"] in page

    other = Notebook.of(client, spawned)
    found = await other.call("GET", "api/contents/introduction-to-python?type=directory")
    assert "First steps in Python.ipynb" in [one["name"] for one in found["content"]]
    async with client.delete(f"/api/sessions/{other.id}", headers=other.headers) as response:
        assert response.status == 200


async def test_files_in_memory_have_a_share_of_it(notebook: Notebook) -> None:
    """Processes that share arrays, and what is unpacked in /tmp, get as far as the memory does."""
    shared = (
        "import os\n"
        "from multiprocessing.shared_memory import SharedMemory\n"
        "block = SharedMemory(create=True, size=100 << 20)\n"
        "block.buf[:] = b'x' * (100 << 20)\n"
        "block.close(); block.unlink()\n"
        "print(*(os.statvfs(place).f_blocks * os.statvfs(place).f_frsize >> 20 for place in ('/dev/shm', '/tmp')))\n"
    )
    assert (await notebook.run(shared)).strip() == "256 256"


async def test_the_base_path_leads_to_the_lab_and_its_slash_may_be_missing(
    client: aiohttp.ClientSession, notebook: Notebook
) -> None:
    async with client.get(f"/user/{notebook.id}?x=1", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, f"/user/{notebook.id}/?x=1")
    async with client.get(notebook.url(f"?token={notebook.token}"), headers=HTML) as response:
        assert response.status == 200
        assert response.url.path == notebook.url("lab")


async def test_code_runs_over_a_websocket(notebook: Notebook) -> None:
    async with notebook.kernel(await notebook.new_kernel()) as kernel:
        assert await kernel.run("x = 6\nprint(x * 7)") == "42\n"
        assert await kernel.run("'é' * x") == "'éééééé'"
        assert len(await kernel.run("print('y' * 900_000)")) == 900_001
        with pytest.raises(AssertionError, match="ZeroDivisionError"):
            await kernel.run("1/0")


async def test_files_go_up_and_come_down(client: aiohttp.ClientSession, notebook: Notebook) -> None:
    data = os.urandom(3_000_000)
    body = {"type": "file", "format": "base64", "content": base64.b64encode(data).decode()}
    await notebook.call("PUT", "api/contents/a b é.bin", body, status=201)
    async with client.get(notebook.url("files/a b é.bin"), headers=notebook.headers) as response:
        assert response.status == 200
        assert await response.read() == data
    async with client.get(
        notebook.url("files/a b é.bin?download=1"), headers={**notebook.headers, "Range": "bytes=10-19"}
    ) as response:
        assert response.headers["Content-Disposition"].startswith("attachment")
        assert (await response.read())[:10] in (data[10:20], data[:10])  # Jupyter may ignore the range
    assert (
        await notebook.run("import hashlib, pathlib\nprint(pathlib.Path('a b é.bin').stat().st_size)") == "3000000\n"
    )


async def test_a_terminal_answers(client: aiohttp.ClientSession, notebook: Notebook) -> None:
    name = (await notebook.call("POST", "api/terminals"))["name"]
    path = notebook.url(f"terminals/websocket/{name}")
    async with client.ws_connect(path, headers=notebook.headers) as socket, asyncio.timeout(ANSWER_SECONDS):
        await socket.send_json(["stdin", "echo $((6*7))-$(id -un)\r"])
        shown = ""
        while "42-jovyan" not in shown:
            message = json.loads((await socket.receive()).data)
            shown += message[1] if message[0] == "stdout" else ""


async def test_a_claim_is_refilled(lab: Service, client: aiohttp.ClientSession) -> None:
    before = await lab.ready(2)
    ready = len(lab.found("ready"))
    notebook = Notebook.of(client, await lab.spawn(client))
    await lab.event("ready", count=ready + 1)
    after = await lab.stats_when(lambda stats: stats["available"] == 2)
    assert after["claimed"] == before["claimed"] + 1
    async with client.delete(f"/api/sessions/{notebook.id}", headers=notebook.headers) as response:
        assert response.status == 200


async def test_two_visitors_share_nothing(lab: Service, client: aiohttp.ClientSession, notebook: Notebook) -> None:
    other = Notebook.of(client, await lab.spawn(client))
    await notebook.call(
        "PUT", "api/contents/mine.txt", {"type": "file", "format": "text", "content": "x"}, status=201
    )
    await notebook.call("GET", "api/contents/mine.txt")
    await other.call("GET", "api/contents/mine.txt", status=404)
    for token in (other.token, "", "wrong"):
        async with client.get(
            notebook.url("api/contents"), headers={"Authorization": f"token {token}"} if token else {}
        ) as response:
            assert response.status == 403
    # The path is never resolved, so it cannot lead from one session to another.
    for way in ("..", "%2e%2e"):
        raw = f"{lab.url}user/{notebook.id}/{way}/{other.id}/api/contents"
        async with client.get(URL(raw, encoded=True), headers=other.headers) as response:
            assert response.status in (403, 404)
    # No network at all, and no way to the other's socket.
    code = (
        "import getpass, os, socket\n"
        "print(sorted(os.listdir('/sys/class/net')), sorted(os.listdir('/run/tmpnb')), getpass.getuser())\n"
        "print(1000 <= os.getuid() < 3000, os.getgid())\n"
        "try: socket.create_connection(('172.17.0.1', 22), 2)\n"
        "except OSError as error: print('unreachable')\n"
        "try: open('/run/tmpnb/x', 'w')\n"
        "except OSError as error: print(type(error).__name__)\n"
    )
    output = (await other.run(code)).splitlines()
    assert output[0].replace("'tunl0', ", "").endswith("['server.sock'] jovyan")
    assert output[1:] == ["True 1000", "unreachable", "PermissionError"]
    async with client.delete(f"/api/sessions/{other.id}", headers=other.headers):
        pass


async def test_a_session_is_shown_and_ended_with_its_token(lab: Service, client: aiohttp.ClientSession) -> None:
    notebook = Notebook.of(client, await lab.spawn(client))
    path = f"/api/sessions/{notebook.id}"
    async with client.get(path) as response:
        session = await response.json()
        assert (response.status, session["state"], session["reason"]) == (200, "claimed", None)
        assert session["started"] <= session["last_activity"] < session["expires_at"]
    for headers in ({}, {"Authorization": "token wrong"}, {"Authorization": "Basic eDp5"}):
        async with client.delete(path, headers=headers) as response:
            assert response.status == 401
            assert "token" in (await response.json())["message"]
    async with client.delete(path, headers={"Origin": "http://evil.example", **notebook.headers}) as response:
        assert response.status == 401
    async with client.delete(path, headers=notebook.headers) as response:
        assert (response.status, (await response.json())["reason"]) == (200, "ended by its owner")
    await lab.event("removed", id=notebook.id)

    async with client.get(path) as response:
        assert (response.status, (await response.json())["state"]) == (200, "removing")
    async with client.delete(path, headers=notebook.headers) as response:
        assert response.status == 404
    async with client.get(notebook.url("api/contents")) as response:
        assert response.status == 410
        assert await response.json() == {
            "status": "gone",
            "message": "This notebook has ended. You ended it.",
            "reason": "ended by its owner",
        }
    # A document that a fresh one has, too: what only the ended one had is not offered where a fresh one can be asked.
    document = "lab/tree/introduction-to-python/First%20steps%20in%20Python.ipynb"
    async with client.get(notebook.url(document), headers=HTML) as response:
        page = await response.text()
    assert response.status == 410
    assert "You ended it." in page
    assert f'value="{document}"' in page


async def test_the_operator_lists_and_ends_sessions(lab: Service, client: aiohttp.ClientSession) -> None:
    notebook = Notebook.of(client, await lab.spawn(client))
    await notebook.call("GET", "api/status")
    async with lab.http(admin=True) as admin:
        async with admin.get("/api/sessions") as response:
            listed = {one["id"]: one for one in (await response.json())["sessions"]}
        assert listed[notebook.id]["visited"]
        async with admin.delete(f"/api/sessions/{notebook.id}") as response:
            assert (await response.json())["reason"] == "ended by the operator"
        async with admin.get("/api/sessions", headers={"Authorization": "token wrong"}) as response:
            assert response.status == 401
    async with client.get(notebook.url("lab"), headers=HTML) as response:
        assert response.status == 410
        assert "The people who run this service ended it." in await response.text()


async def test_no_token_is_ever_logged(lab: Service, client: aiohttp.ClientSession, notebook: Notebook) -> None:
    async with client.get(notebook.url(f"lab?token={notebook.token}"), headers=HTML) as response:
        assert response.status == 200
    assert notebook.token not in json.dumps(lab.events)
    assert {"starting", "ready", "claimed", "removing", "removed"} <= {one["event"] for one in lab.events}
    for event in lab.found("ready"):
        assert {"id", "pool", "duration", "timestamp"} <= event.keys()
