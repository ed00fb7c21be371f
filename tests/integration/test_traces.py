"""A whole service in this process, traced to a collector that takes what it is sent, or does not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs
from yarl import URL

from tests.collector import Collector, collecting
from tests.e2e.inprocess import Rig, running
from tmpnb_py.core.models import State
from tmpnb_py.core.proofs import Purpose, proof
from tmpnb_py.tracing import otel
from tmpnb_py.tracing.otel import OtelTracing

PAGE = "GET /spawn{path}"
FORM = "POST /spawn{path}"
CLAIM = "POST /api/tickets"
PROXYS = f"00-{'a' * 32}-{'b' * 16}-01"
OURS = {"Sec-Fetch-Site": "same-origin"}

Start = Callable[..., OtelTracing]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    """Begins to trace to a collector."""

    def begin(collector: Collector, **more: str) -> OtelTracing:
        for name, value in {**collector.environ, **more}.items():
            monkeypatch.setenv(name, value)
        return otel.start(os.environ)

    return begin


@contextlib.asynccontextmanager
async def traced(
    start: Start, env: dict[str, str] | None = None, **options: Any
) -> AsyncIterator[tuple[Rig, Collector]]:
    """A service with a pool of one that is traced."""
    async with collecting() as collector:
        tracing = start(collector, **(env or {}))
        try:
            async with running(tracing=tracing, **options) as rig:
                await rig.ready(1)
                yield rig, collector
        finally:
            await tracing.close(5)


async def page(rig: Rig, **headers: str) -> str:
    """The launch page; returns the key of its form."""
    async with rig.client.get("/spawn/lab", headers=headers) as response:
        found = re.search(r'name="once" value="([^"]+)"', await response.text())
        assert found is not None
        return found[1]


async def claim(rig: Rig, once: str, **headers: str) -> dict[str, Any]:
    """What the launch page's script asks."""
    wish = {"path": "lab", "once": once}
    async with rig.client.post("/api/tickets", json=wish, headers={**OURS, **headers}) as response:
        assert response.status == 201, await response.text()
        return dict(await response.json())


# --- one trace


async def test_page_claim_and_notebook_are_one_trace(start: Start) -> None:
    async with traced(start) as (rig, collector):
        ticket = await claim(rig, await page(rig))
        async with rig.client.get(ticket["session"]["url"] + "lab") as response:
            assert response.status == 200
        await collector.having("GET /user/{id}/lab")
        root, post = collector.named(PAGE), collector.named(CLAIM)
        lab = collector.named("GET /user/{id}/lab")
        assert root.parent == ""
        assert post.parent == root.id
        assert lab.parent == post.id
        assert {root.trace} == {post.trace, lab.trace, collector.named("engine claim").trace}
        assert root.attributes == {
            "http.request.method": "GET",
            "http.response.status_code": 200,
            "http.route": "/spawn{path}",
            "url.path": "/spawn{path}",
            "url.scheme": "http",
        }
        assert lab.attributes == {
            "http.request.method": "GET",
            "http.response.status_code": 200,
            "http.route": "/user/{id}/lab",
            "network.protocol.version": "1.1",
            "tmpnb.session.id": ticket["session"]["id"],
            "url.path": "/user/{id}/lab",
            "url.scheme": "http",
        }
        assert collector.named("claim").attributes == {"tmpnb.claim.outcome": "ready", "tmpnb.pool": "tmpnb"}


async def test_a_form_without_scripts_goes_on_with_the_pages_trace(start: Start) -> None:
    async with traced(start) as (rig, collector):
        fields = {"path": "lab", "once": await page(rig)}
        headers = {"Origin": str(rig.client._base_url).rstrip("/")}
        async with rig.client.post("/spawn", data=fields, headers=headers, allow_redirects=False) as response:
            assert response.status == 303
        await collector.having(FORM)
        assert collector.named(FORM).parent == collector.named(PAGE).id


async def test_the_way_to_a_notebooks_own_host_is_in_the_trace(start: Start) -> None:
    async with traced(start, session_host="{name}.nb.example.net", allowed_hosts=["example.net"]) as (rig, collector):
        fields = {"path": "lab", "once": await page(rig, Host="example.net")}
        headers = {"Host": "example.net", "Origin": "http://example.net"}
        async with rig.client.post("/spawn", data=fields, headers=headers, allow_redirects=False) as response:
            way = URL(response.headers["Location"])
        host = {"Host": str(way.host), "Accept": "text/html", "Sec-Fetch-Site": "none"}
        async with rig.client.get(way.path_qs, headers=host, allow_redirects=False) as response:
            assert response.status == 303
            cookie = response.headers["Set-Cookie"].partition(";")[0]
            document = URL(response.headers["Location"])
        async with rig.client.get(document.path_qs, headers={**host, "Cookie": cookie}) as response:
            assert response.status == 200
        await collector.having("GET /enter", "GET /user/{id}/lab")
        form = collector.named(FORM)
        assert form.parent == collector.named(PAGE).id
        assert {collector.named(name).parent for name in ("GET /enter", "GET /user/{id}/lab")} == {form.id}


async def test_a_program_that_claims_begins_the_trace(start: Start) -> None:
    async with traced(start) as (rig, collector):
        spawned = await rig.spawn()
        async with rig.client.get(spawned["url"] + "api/contents/my-diary.txt") as response:
            await response.read()
        await collector.having("GET /user/{id}/api/contents/{path}")
        post = collector.named("POST /api/spawn")
        assert post.parent == ""
        assert collector.named("GET /user/{id}/api/contents/{path}").parent == post.id
        assert b"my-diary" not in collector.raw


async def test_who_waits_in_line_is_traced_until_there_is_a_notebook(start: Start) -> None:
    async with traced(start, max_containers=1) as (rig, collector):
        first = await rig.spawn()
        ticket = await claim(rig, await page(rig))
        assert ticket["status"] == "waiting"
        look = f"/api/tickets/{ticket['id']}"
        async with rig.client.get(look) as response:
            assert response.status == 200
        headers = {"Authorization": f"token {first['token']}"}
        async with rig.client.delete(f"/api/sessions/{first['id']}", headers=headers):
            pass
        await collector.having(CLAIM)
        trace = collector.named(CLAIM).trace
        await collector.until(lambda: {"claim", "hand over"} <= {one.name for one in collector.of(trace)})
        spans = collector.of(trace)
        (waited,) = [one for one in spans if one.name == "claim"]
        (hand_over,) = [one for one in spans if one.name == "hand over"]
        assert hand_over.parent == waited.id
        assert waited.begun <= hand_over.begun <= hand_over.ended <= waited.ended
        assert waited.attributes["tmpnb.claim.outcome"] == "ready"
        await collector.having("GET /api/tickets/{id}")
        looked, post = collector.named("GET /api/tickets/{id}"), collector.named(CLAIM)
        assert (looked.trace, looked.parent) == (trace, post.id)
        (start_of_it,) = hand_over.links
        await collector.until(lambda: start_of_it in {(one.trace, one.id) for one in collector.spans})
        assert {(one.trace, one.id): one.name for one in collector.spans}[start_of_it] == "start notebook"


async def test_of_several_pools_each_span_says_which(start: Start) -> None:
    tables = {"r": {"image": "fake", "pool_size": 1}}
    async with traced(start, tables=tables) as (rig, collector):
        await rig.until(lambda: all(one.count(State.READY) == 1 for one in rig.service.site))
        await rig.spawn("?pool=r")
        await collector.having("claim", "hand over")
        assert collector.named("claim").attributes["tmpnb.pool"] == "r"
        started = {one.attributes["tmpnb.pool"] for one in collector.spans if one.name == "start notebook"}
        assert "r" in started


async def test_lines_of_the_log_name_the_trace(start: Start) -> None:
    async with traced(start) as (rig, collector):
        with capture_logs(processors=[merge_contextvars]) as logs:
            await claim(rig, await page(rig))
        await collector.having(CLAIM)
        post = collector.named(CLAIM)
        (started,) = [one for one in logs if one["event"] == "session_started"]
        assert (started["trace_id"], started["span_id"]) == (post.trace, post.id)


# --- what visitors and proxies say


async def test_a_visitors_own_trace_means_nothing(start: Start) -> None:
    async with traced(start) as (rig, collector):
        said = {"traceparent": PROXYS, "tracestate": "a=b", "baggage": "c=d"}
        ticket = await claim(rig, await page(rig, **said), **said)
        async with rig.client.get(ticket["session"]["url"] + "lab", headers=said) as response:
            await response.read()
        await collector.having("GET /user/{id}/lab")
        assert collector.named(PAGE).parent == ""
        assert bytes.fromhex("a" * 32) not in collector.raw


async def test_a_trusted_proxys_trace_goes_on_at_the_page_and_is_linked_to_afterwards(start: Start) -> None:
    async with traced(start, trusted_proxies=["127.0.0.1"]) as (rig, collector):
        others = {name: f"00-{name * 32}-{name * 16}-01" for name in "cd"}
        ticket = await claim(rig, await page(rig, traceparent=PROXYS), traceparent=others["c"])
        url = ticket["session"]["url"] + "lab"
        async with rig.client.get(url, headers={"traceparent": others["d"]}) as response:
            await response.read()
        await collector.having("GET /user/{id}/lab")
        root, post = collector.named(PAGE), collector.named(CLAIM)
        lab = collector.named("GET /user/{id}/lab")
        assert (root.trace, root.parent) == ("a" * 32, "b" * 16)
        assert (post.trace, post.parent, post.links) == (root.trace, root.id, (("c" * 32, "c" * 16),))
        assert (lab.trace, lab.parent, lab.links) == (root.trace, post.id, (("d" * 32, "d" * 16),))


async def test_a_trusted_proxy_decides_what_is_sampled(start: Start) -> None:
    async with traced(start, trusted_proxies=["127.0.0.1"]) as (rig, collector):
        await claim(rig, await page(rig, traceparent=PROXYS[:-1] + "0"))
        await page(rig)
        await collector.having(PAGE)
        assert collector.named(PAGE).parent == ""
        assert not [one for one in collector.spans if one.name == CLAIM]


async def _of_another(rig: Rig) -> str:
    """The span of one page behind the key of another's."""
    one, other = await page(rig), await page(rig)
    return one[:64] + other[64:]


async def _changed(rig: Rig) -> str:
    once = await page(rig)
    return once.replace(once[68:70], "ff" if once[68:70] != "ff" else "ee", 1)


async def _old(rig: Rig) -> str:
    """As the page of some time ago had it."""
    once, secret = await page(rig), rig.service.secret
    said = f"{PROXYS}-{int(time.time()) - 301}"
    return f"{once[:64]}-{said}-{proof(secret, Purpose.TRACE, f'{once[:64]} {said}')}"


async def _made_up(rig: Rig) -> str:
    return f"{'a' * 32}{'b' * 32}-{PROXYS}-{int(time.time())}-{'c' * 32}"


@pytest.mark.parametrize("forged", [_of_another, _changed, _old, _made_up])
async def test_what_no_page_of_ours_carries_chooses_no_trace(
    start: Start, forged: Callable[[Rig], Awaitable[str]]
) -> None:
    async with traced(start) as (rig, collector):
        await claim(rig, await forged(rig))
        await collector.having(CLAIM)
        assert collector.named(CLAIM).parent == ""


async def test_a_key_with_a_span_is_one_key(start: Start) -> None:
    """A button pressed twice asks once, whatever is behind the key."""
    async with traced(start) as (rig, _):
        once = await page(rig)
        assert (await claim(rig, once))["id"] == (await claim(rig, once[:64]))["id"]


async def test_without_tracing_a_page_carries_no_span() -> None:
    async with running() as rig:
        await rig.ready(1)
        assert len(await page(rig)) == 64


async def test_a_sampler_that_takes_nothing(start: Start) -> None:
    async with traced(start, {"OTEL_TRACES_SAMPLER": "always_off"}) as (rig, collector):
        ticket = await claim(rig, await page(rig))
        container = rig.pool.get(ticket["session"]["id"])
        assert container is not None
        assert container.visit is None
    assert (collector.requests, collector.spans) == (0, [])


async def test_the_clients_address_only_where_the_log_has_it(start: Start) -> None:
    async with traced(start, audit_client_address=True) as (rig, collector):
        await page(rig)
        await collector.having(PAGE)
        assert collector.named(PAGE).attributes["client.address"] == "127.0.0.1"


async def test_probes_and_files_are_not_traced(start: Start) -> None:
    async with traced(start) as (rig, collector):
        for path in ("/healthz", "/readyz", "/metrics", f"/static/{'a' * 32}/x.js", "/robots.txt"):
            async with rig.client.get(path) as response:
                await response.read()
        await page(rig)
        await collector.having(PAGE)
        assert {one.name for one in collector.spans if one.kind == 2} == {PAGE}


# --- a collector that does not do its part


async def _visited(rig: Rig) -> None:
    ticket = await claim(rig, await page(rig))
    async with rig.client.get(ticket["session"]["url"] + "lab") as response:
        assert response.status == 200


async def test_a_collector_that_refuses_or_fails_is_told_of_once(start: Start) -> None:
    with capture_logs() as logs:
        async with traced(start, {"OTEL_BSP_SCHEDULE_DELAY": "10"}) as (rig, collector):
            collector.status = 500
            await _visited(rig)
            before = collector.requests
            await page(rig)
            await collector.asked(before + 1)
            collector.status, collector.spans = 200, []
            await page(rig)
            await collector.having(PAGE)
            await rig.until(lambda: "traces_sent_again" in {one["event"] for one in logs})
    told = [one for one in logs if one["event"].startswith("traces_")]
    assert [(one["event"], one.get("error")) for one in told] == [
        ("traces_not_sent", "it answered 500"),
        ("traces_sent_again", None),
    ]
    assert told[1]["lost"] == collector.refused


async def test_a_collector_that_is_away_costs_nobody_anything(start: Start) -> None:
    async with collecting() as collector:
        tracing = start(collector)
    with capture_logs() as logs:
        async with running(tracing=tracing) as rig:
            await rig.ready(1)
            await _visited(rig)
        await tracing.close(0.2)
    assert "traces_left" in {one["event"] for one in logs}


async def test_a_collector_that_hangs_is_not_waited_for(start: Start) -> None:
    """A queue that is full loses spans, and nothing else; the end waits for so long as it is told to."""
    env = {"OTEL_BSP_MAX_QUEUE_SIZE": "4", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2"}
    with capture_logs() as logs:
        async with collecting(hangs=True) as collector:
            tracing = start(collector, **env)
            async with running(tracing=tracing) as rig:
                await rig.ready(1)
                await collector.asked(1)
                await _visited(rig)
                for _ in range(10):
                    await page(rig)
            async with asyncio.timeout(20):
                await tracing.close(0.1)
                await tracing.close(0.1)
    events = [one["event"] for one in logs]
    assert "traces_dropped" in events
    assert events.count("traces_left") == 1


async def test_a_mistake_of_the_sdks_fails_no_request(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    async with traced(start) as (rig, _):

        def broken(*_: object, **__: object) -> None:
            raise RuntimeError("a sampler")

        monkeypatch.setattr(rig.service._tracing._tracer, "start_span", broken)  # type: ignore[union-attr]
        await _visited(rig)
