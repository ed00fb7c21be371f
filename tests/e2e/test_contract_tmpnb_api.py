"""tmpnb's API and what has joined it: the API's token, other sites' pages, and the operator's hand on the pool."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.inprocess import Rig, running
from tmpnb_py import __version__
from tmpnb_py.core.models import EndReason, State
from tmpnb_py.engines.fake import FakeHost

HTML = {"Accept": "text/html"}
SITE = "https://workshops.example"
OTHER = "https://evil.example"
TOKEN = {"Authorization": "token api0secret"}


async def answer(rig: Rig, method: str, path: str, headers: Mapping[str, str] | None = None, **more: Any) -> Any:
    """Status, headers and body of a visitor's request."""
    async with rig.client.request(method, path, headers=headers, allow_redirects=False, **more) as response:
        return response.status, response.headers, await response.text()


async def asked(rig: Rig, method: str, path: str, **more: Any) -> Any:
    """Status and JSON of an operator's request."""
    async with rig.admin.request(method, path, **more) as response:
        return response.status, await response.json()


# --- the API's token


async def test_with_an_api_token_only_its_holder_gets_a_notebook() -> None:
    async with running(api_auth_token="api0secret") as rig:
        await rig.ready(1)
        for headers in ({}, {"Authorization": "token wrong"}, {"Authorization": "Basic api0secret"}, HTML):
            status, got, body = await answer(rig, "POST", "/api/spawn", headers)
            assert (status, got["WWW-Authenticate"]) == (401, "token")
            message = "Send the API's token: Authorization: token …."
            assert json.loads(body) == {"status": "unauthorized", "message": message}
            assert (await answer(rig, "GET", "/api/stats", headers))[0] == 401
        status, _, body = await answer(rig, "POST", "/api/spawn", TOKEN)
        assert status == 200
        # The notebook has a token of its own; nothing of the API's is needed there.
        assert (await answer(rig, "GET", json.loads(body)["url"] + "x"))[0] == 200
        assert (await answer(rig, "POST", "/api/spawn/?wait=10", {"Authorization": "Bearer api0secret"}))[0] == 200


@pytest.mark.parametrize("path", ["/", "/spawn", "/spawn/lab", "/lab/tree/x.ipynb", "/info", "/stats", "/nowhere"])
async def test_with_an_api_token_there_are_no_pages(path: str) -> None:
    async with running(api_auth_token="api0secret", pool_size=0) as rig:
        assert (await answer(rig, "GET", path, HTML))[0] == 401
        assert (await answer(rig, "GET", path, {**HTML, **TOKEN}))[0] == 404
        assert (await answer(rig, "POST", "/spawn", {**TOKEN, "Sec-Fetch-Site": "same-origin"}))[0] in (404, 405)
        for probe in ("/healthz", "/metrics"):
            assert (await answer(rig, "GET", probe))[0] == 200


async def test_with_an_api_token_a_session_is_its_own_users_too() -> None:
    async with running(api_auth_token="api0secret", pool_size=2) as rig:
        await rig.ready(2)
        first, second = [json.loads((await answer(rig, "POST", "/api/spawn", TOKEN))[2]) for _ in range(2)]
        path = f"/api/sessions/{first['id']}"
        own, others = ({"Authorization": f"token {one['token']}"} for one in (first, second))
        assert [(await answer(rig, "GET", path, one))[0] for one in ({}, others, own, TOKEN)] == [401, 401, 200, 200]
        assert [(await answer(rig, "DELETE", path, one))[0] for one in ({}, others, own)] == [401, 401, 200]
        assert (await answer(rig, "DELETE", f"/api/sessions/{second['id']}", TOKEN))[0] == 200
        status, _, page = await answer(rig, "GET", first["url"] + "lab", HTML)
        assert status == 410
        assert "What was in it is not kept." in page
        assert "<form" not in page


# --- pages of other sites


async def test_by_default_no_other_site_uses_the_api() -> None:
    async with running() as rig:
        await rig.ready(1)
        status, headers, body = await answer(rig, "POST", "/api/spawn", {"Origin": SITE})
        assert (status, json.loads(body)["status"]) == (403, "error")
        assert not [name for name in headers if name.startswith("Access-Control")]
        status, headers, body = await answer(rig, "OPTIONS", "/api/spawn", {"Origin": SITE})
        assert (status, headers["Allow"], body) == (204, "OPTIONS, POST", "")
        assert "Access-Control-Allow-Origin" not in headers


async def test_a_site_that_the_operator_names() -> None:
    async with running(allow_origin=SITE, max_age=600, allow_credentials=True, expose_headers="X-A, X-B") as rig:
        await rig.ready(1)
        asks = {"Origin": SITE, "Access-Control-Request-Method": "DELETE"}
        status, headers, _ = await answer(rig, "OPTIONS", "/api/sessions/abc", asks)
        assert status == 204
        assert {name: value for name, value in headers.items() if name.startswith(("Access", "Vary"))} == {
            "Access-Control-Allow-Origin": SITE,
            "Access-Control-Allow-Credentials": "true",
            "Access-Control-Allow-Methods": "DELETE, GET, HEAD, OPTIONS",
            "Access-Control-Allow-Headers": "Authorization, Content-Type, Last-Event-ID",
            "Access-Control-Expose-Headers": "X-A, X-B",
            "Access-Control-Max-Age": "600",
            "Vary": "Origin",
        }
        status, headers, _ = await answer(rig, "OPTIONS", "/api/spawn", {"Origin": OTHER})
        assert (status, headers["Vary"], "Access-Control-Allow-Origin" in headers) == (204, "Origin", False)

        # Errors can be read over there, too.
        status, headers, _ = await answer(rig, "POST", "/api/spawn?wait=soon", {"Origin": SITE})
        assert (status, headers["Access-Control-Allow-Origin"]) == (400, SITE)
        assert (await answer(rig, "POST", "/api/spawn", {"Origin": OTHER}))[0] == 403
        status, headers, body = await answer(rig, "POST", "/api/spawn", {"Origin": SITE})
        assert (status, headers["Access-Control-Allow-Origin"]) == (200, SITE)
        session = json.loads(body)
        own = {"Authorization": f"token {session['token']}"}
        path = f"/api/sessions/{session['id']}"
        assert (await answer(rig, "DELETE", path, {**own, "Origin": OTHER}))[0] == 401
        assert (await answer(rig, "DELETE", path, {**own, "Origin": SITE}))[0] == 200

        # Only the API: a form on that site still gives nobody a notebook here.
        status, headers, _ = await answer(rig, "POST", "/spawn", {"Origin": SITE}, data={"path": ""})
        assert (status, "Access-Control-Allow-Origin" in headers) == (403, False)


async def test_every_site() -> None:
    async with running(allow_origin="*", allow_credentials=True, allow_methods="GET", allow_headers="X-Y") as rig:
        await rig.ready(1)
        status, headers, _ = await answer(rig, "POST", "/api/spawn", {"Origin": OTHER})
        assert (status, headers["Access-Control-Allow-Origin"]) == (200, "*")
        assert "Access-Control-Allow-Credentials" not in headers
        _, headers, _ = await answer(rig, "OPTIONS", "/api/stats", {"Origin": OTHER})
        assert (headers["Access-Control-Allow-Methods"], headers["Access-Control-Allow-Headers"]) == ("GET", "X-Y")
        assert "Access-Control-Max-Age" not in headers


async def test_the_notebooks_of_a_site_that_the_operator_names() -> None:
    async with running(allow_origin=SITE, max_age=600) as rig:
        await rig.ready(1)
        spawned = json.loads((await answer(rig, "POST", "/api/spawn", {"Origin": SITE}))[2])
        asks = {"Origin": SITE, "Access-Control-Request-Method": "PATCH"}
        for path in (spawned["url"] + "api/kernels", spawned["url"], "/user/nobody/api/kernels"):
            wanted = {"Access-Control-Request-Headers": "authorization,x-xsrftoken"}
            status, headers, _ = await answer(rig, "OPTIONS", path, {**asks, **wanted})
            assert status == 204
            assert len(headers) == len(set(headers))
            assert {name: value for name, value in headers.items() if name.startswith(("Access", "Vary"))} == {
                "Access-Control-Allow-Origin": SITE,
                "Access-Control-Allow-Methods": "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT",
                "Access-Control-Allow-Headers": "authorization,x-xsrftoken",
                "Access-Control-Max-Age": "600",
                "Vary": "Origin",
            }
        status, headers, _ = await answer(rig, "OPTIONS", spawned["url"] + "x", {**asks, "Origin": OTHER})
        assert "Access-Control-Allow-Origin" not in headers
        shown = {"Origin": SITE, "Authorization": f"token {spawned['token']}"}
        status, headers, _ = await answer(rig, "GET", spawned["url"] + "x", shown)
        assert (status, headers["Access-Control-Allow-Origin"]) == (200, SITE)

        # That a notebook has ended can be read over there, and nowhere else.
        await answer(rig, "DELETE", f"/api/sessions/{spawned['id']}", shown)
        for site in (SITE, OTHER):
            status, headers, body = await answer(rig, "GET", spawned["url"] + "api", {"Origin": site})
            assert (status, json.loads(body)["reason"]) == (410, "ended by its owner")
            assert headers.get("Access-Control-Allow-Origin") == (SITE if site == SITE else None)


async def test_what_browsers_may_send_is_the_operators_to_say() -> None:
    async with running(
        allow_origin="*", pool_size=0, allow_methods="GET, POST", allow_headers="Authorization"
    ) as rig:
        asks = {"Origin": OTHER, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-a"}
        _, headers, _ = await answer(rig, "OPTIONS", "/user/nobody/x", asks)
        assert headers["Access-Control-Allow-Methods"] == "GET, POST"
        assert headers["Access-Control-Allow-Headers"] == "Authorization"


async def test_the_old_thebes_requests() -> None:
    """Its address ends in a slash, to which it joins ours and another slash; it knows of no token and no header."""
    async with running(tokenless_origin=SITE, allow_origin=OTHER, pool_size=2) as rig:
        await rig.ready(2)
        page, other = {"Origin": SITE}, {"Origin": OTHER}
        assert (await answer(rig, "GET", "/api/stats", page))[1]["Access-Control-Allow-Origin"] == SITE
        body = '{"image_name":"jupyter/notebook"}'
        simple = {**page, "Content-Type": "text/plain;charset=UTF-8"}
        status, headers, text = await answer(rig, "POST", "/api/spawn/", simple, data=body)
        assert (status, headers["Access-Control-Allow-Origin"]) == (200, SITE)
        host = f"http://127.0.0.1:{rig.service.port}/"
        url = host + json.loads(text)["url"] + "/api/kernels"
        assert url.startswith(f"{host}/user/")
        status, headers, kernels = await answer(rig, "GET", url, page)
        assert (status, kernels, headers["Access-Control-Allow-Origin"]) == (200, "[]", SITE)

        # Another session's address is of no use to that page, and what it gets is no JSON, which it would take for a
        # list of kernels; nor is what it gets of a notebook that has ended. Then it asks for a fresh one.
        second = json.loads((await answer(rig, "POST", "/api/spawn", other))[2])
        status, headers, refusal = await answer(rig, "GET", host + second["url"] + "/api/kernels", page)
        assert (status, headers["Content-Type"]) == (403, "text/html; charset=utf-8")
        assert "did not start that notebook" in refusal
        assert (await answer(rig, "POST", f"/api/sessions/{second['id']}", page))[0] == 405
        first = rig.pool.get(json.loads(text)["id"])
        assert first is not None
        rig.pool.end(first, EndReason.IDLE, 0.0)
        status, headers, _ = await answer(rig, "GET", url, page)
        assert (status, headers["Content-Type"]) == (410, "text/html; charset=utf-8")


async def test_a_sites_tokenless_sessions_are_forgotten_with_the_process() -> None:
    async with FakeHost() as host:
        with tempfile.TemporaryDirectory() as directory:
            options = {"tokenless_origin": SITE, "runtime_dir": Path(directory), "cleanup_on_exit": False}
            async with running(host, **options) as rig:
                await rig.ready(1)
                spawned = json.loads((await answer(rig, "POST", "/api/spawn", {"Origin": SITE}))[2])
                assert (await answer(rig, "GET", spawned["url"] + "x", {"Origin": SITE}))[0] == 200
            async with running(host, **options) as rig:
                await rig.until(lambda: rig.pool.listed)
                assert (await answer(rig, "GET", spawned["url"] + "x", {"Origin": SITE}))[0] == 403
                shown = {"Origin": SITE, "Authorization": f"token {spawned['token']}"}
                assert (await answer(rig, "GET", spawned["url"] + "x", shown))[0] == 200


async def test_options_elsewhere() -> None:
    async with running(pool_size=0, api_auth_token="api0secret", allow_origin=SITE) as rig:
        # Browsers send no token with this question.
        assert (await answer(rig, "OPTIONS", "/api/spawn", {"Origin": SITE}))[0] == 204
        assert (await answer(rig, "OPTIONS", "/api/nowhere", TOKEN))[0] == 404
        assert (await answer(rig, "OPTIONS", "/healthz"))[0] == 204


# --- pages


async def test_stats_and_info() -> None:
    async with running() as rig:
        await rig.ready(1)
        bodies = [(await answer(rig, "GET", path)) for path in ("/api/stats", "/api/stats/", "/stats", "/stats/")]
        assert {status for status, _, _ in bodies} == {200}
        stats = json.loads(bodies[0][2])
        assert all(json.loads(body) == stats for _, _, body in bodies)
        expected = {"available": 1, "capacity": 16, "version": __version__, "container_image": "fake"}
        assert expected.items() <= stats.items()
        for path in ("/info", "/info/"):
            status, headers, page = await answer(rig, "GET", path, HTML)
            assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
            assert "<dd>1 of 1</dd>" in page
            assert f"<dd>{__version__}</dd>" in page


async def test_where_a_notebook_opens() -> None:
    async with running(redirect_uri="/tree/Welcome.ipynb", pool_size=2) as rig:
        await rig.ready(2)
        spawned = await rig.spawn()
        assert spawned["open_url"] == f"{spawned['url']}tree/Welcome.ipynb?token={spawned['token']}"
        async with rig.client.post("/api/spawn", json={"path": "lab/tree/x.ipynb"}) as response:
            assert "/lab/tree/x.ipynb?token=" in (await response.json())["open_url"]
        await rig.ready(2)
        posted = {"Sec-Fetch-Site": "same-origin"}
        _, headers, _ = await answer(rig, "POST", "/spawn", posted, data={"path": ""})
        assert "/tree/Welcome.ipynb?token=" in headers["Location"]


# --- the operator: size and drain


async def test_the_pool_is_shown() -> None:
    async with running(pool_size=2, max_containers=5) as rig:
        await rig.ready(2)
        await rig.spawn()
        await rig.ready(2)
        for path in ("/api/pool", "/api/pool/"):
            status, told = await asked(rig, "GET", path)
            assert told.pop("warm_because").startswith("the image does not say")
            assert (status, told) == (
                200,
                {
                    "closed_to_classes": False,
                    "warm": [],
                    "size": 2,
                    "max_containers": 5,
                    "ready": 2,
                    "starting": 0,
                    "claimed": 1,
                    "removing": 0,
                    "waiting": 0,
                    "closed": False,
                    "base": 2,
                    "because": None,
                    "timetable": [],
                    "shut_by_timetable": False,
                    "opens_at": None,
                },
            )


async def test_a_drain_replaces_what_is_ready_and_nothing_else() -> None:
    async with running(pool_size=3) as rig:
        await rig.ready(3)
        spawned = await rig.spawn()
        await rig.ready(3)
        before = {container.id for container in rig.pool.in_state(State.READY)}
        assert await asked(rig, "DELETE", "/api/pool") == (200, {"drained": 3})
        await rig.until(lambda: not rig.pool.count(State.REMOVING))
        await rig.ready(3)
        assert not before & {container.id for container in rig.pool}
        assert (await answer(rig, "GET", spawned["url"] + "x"))[0] == 200
        assert b'reason="drained"} 3.0' in rig.service.metrics.render()


async def test_the_size_at_run_time() -> None:
    async with running(pool_size=1) as rig:
        await rig.ready(1)
        status, shown = await asked(rig, "PATCH", "/api/pool", json={"size": 4})
        assert (status, shown["size"]) == (200, 4)
        await rig.ready(4)
        assert (await answer(rig, "GET", "/api/stats"))[2].count('"pool_size":4') == 1
        # More than fits the memory is the operator's choice, as at the start.
        await asked(rig, "PATCH", "/api/pool/", json={"size": 17})
        await rig.until(lambda: rig.pool.capacity == 17)
        await asked(rig, "PATCH", "/api/pool", json={"size": 0})
        await rig.until(lambda: len(rig.pool) == 0)
        assert rig.pool.capacity == 16
        async with rig.client.post("/api/spawn?wait=10") as response:  # who waits still gets one
            assert response.status == 200


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, 'Send JSON such as {"size": 20}: the body: Invalid JSON'),
        (b"20", 400, "the body: Input should be an object"),
        (b"{}", 400, "size: Field required"),
        (b'{"size": "20"}', 400, "size: Input should be a valid integer"),
        (b'{"size": 2.5}', 400, "size: Input should be a valid integer"),
        (b'{"size": true}', 400, "size: Input should be a valid integer"),
        (b'{"size": null}', 400, "size: Input should be a valid integer"),
        (b'{"size": -1}', 400, "size: Input should be greater than or equal to 0"),
        (b'{"size": 100001}', 400, "size: Input should be less than or equal to 100000"),
        (b'{"size": 1, "sise": 2}', 400, "sise: Extra inputs are not permitted"),
        (b'{"size": 6}', 409, "6 is above max_containers, which is 5."),
        (b'{"size": 1}' + b" " * 65536, 413, ""),
    ],
)
async def test_what_is_no_size(body: bytes, status: int, message: str) -> None:
    async with running(pool_size=0, max_containers=5) as rig:
        got, problem = await asked(rig, "PATCH", "/api/pool", data=body)
        assert (got, problem["status"]) == (status, "error")
        assert message in problem["message"]
        assert rig.pool.size == 0


async def test_methods_that_are_not_there() -> None:
    async with running(pool_size=0) as rig:
        for method, path in (("POST", "/api/pool"), ("GET", "/api/close"), ("DELETE", "/api/open")):
            assert (await asked(rig, method, path))[0] == 405


async def test_the_operators_endpoints_are_the_operators() -> None:
    async with running(pool_size=1, admin_auth_token="operators0secret") as rig:
        await rig.ready(1)
        for method, path in (("DELETE", "/api/pool"), ("PATCH", "/api/pool"), ("POST", "/api/close")):
            assert (await asked(rig, method, path))[0] == 401
            assert (await answer(rig, method, path))[0] == 404
        assert rig.pool.is_open
        assert rig.pool.count(State.READY) == 1


# --- the operator: close and open


async def test_closed_to_newcomers() -> None:
    async with running(pool_size=1, max_containers=3) as rig:
        await rig.ready(1)
        spawned = await rig.spawn()
        await rig.ready(1)
        status, shown = await asked(rig, "POST", "/api/close")
        assert (status, shown["closed"]) == (200, True)
        assert (await asked(rig, "POST", "/api/close"))[0] == 200

        status, headers, body = await answer(rig, "POST", "/api/spawn?wait=5")
        assert (status, headers["Retry-After"]) == (503, "60")
        assert json.loads(body) == {
            "status": "closed",
            "message": "No newcomers are let in at the moment; sessions go on.",
            "retry_after": 60,
        }
        for method, path, expected in (("GET", "/", 200), ("GET", "/spawn/lab", 503), ("POST", "/spawn", 503)):
            data = {"path": "lab"} if method == "POST" else None
            status, _, page = await answer(rig, method, path, {**HTML, "Sec-Fetch-Site": "same-origin"}, data=data)
            assert status == expected, path
            assert "are not letting anyone new in right now" in page
            assert "<form" not in page
        assert "No newcomers are let in" in (await answer(rig, "GET", "/info", HTML))[2]
        # Sessions go on, and what watches the service does not take it for broken.
        assert (await answer(rig, "GET", spawned["url"] + "x"))[0] == 200
        assert [(await answer(rig, "GET", path))[0] for path in ("/healthz", "/readyz", "/api/stats")] == [200] * 3
        assert rig.pool.count(State.READY) == 1

        assert (await asked(rig, "POST", "/api/open"))[1]["closed"] is False
        await rig.spawn()
        assert "<form" in (await answer(rig, "GET", "/", HTML))[2]


async def test_who_waits_in_line_keeps_the_place_and_is_served_once_it_is_open_again() -> None:
    async with running(pool_size=0, max_containers=1) as rig:
        session = json.loads((await answer(rig, "POST", "/api/spawn?wait=10"))[2])
        waiting = asyncio.create_task(answer(rig, "POST", "/api/spawn?wait=60"))
        await rig.until(lambda: rig.claims.waiting == 1)
        await asked(rig, "POST", "/api/close")
        async with rig.admin.delete(f"/api/sessions/{session['id']}") as response:
            assert response.status == 200
        await rig.until(lambda: len(rig.pool) == 0)
        assert (await answer(rig, "POST", "/api/spawn?wait=5"))[0] == 503  # a newcomer
        assert (rig.claims.waiting, len(rig.pool)) == (1, 0)
        await asked(rig, "POST", "/api/open")
        assert (await waiting)[0] == 200


async def test_a_request_that_waited_in_vain_hears_that_the_service_is_closed() -> None:
    async with running(pool_size=0, max_containers=1) as rig:
        await rig.spawn("?wait=10")
        waiting = asyncio.create_task(answer(rig, "POST", "/api/spawn?wait=1"))
        await rig.until(lambda: rig.claims.waiting == 1)
        await asked(rig, "POST", "/api/close")
        status, _, body = await waiting
        assert (status, json.loads(body)["status"]) == (503, "closed")
        await asked(rig, "POST", "/api/open")


async def test_a_stop_right_after_the_start_cleans_up_too() -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with FakeHost() as host:
            async with running(host, pool_size=2, runtime_dir=Path(directory), cleanup_on_exit=False) as rig:
                await rig.ready(2)
                await rig.spawn()
            assert host.containers
            async with running(host, runtime_dir=Path(directory)):  # sees to it that nothing is left
                pass


async def test_a_closed_service_stays_closed_over_a_restart() -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with FakeHost() as host:
            kept: dict[str, Any] = {"runtime_dir": Path(directory), "cleanup_on_exit": False}
            async with running(host, **kept) as rig:
                await rig.ready(1)
                await asked(rig, "POST", "/api/close")
            async with running(host, **kept) as rig:
                await rig.ready(1)
                assert (await answer(rig, "POST", "/api/spawn"))[0] == 503
                await asked(rig, "POST", "/api/open")
            async with running(host, **kept) as rig:
                await rig.ready(1)
                await rig.spawn()
