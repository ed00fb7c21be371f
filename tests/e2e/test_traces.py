"""Traces of a real service with real notebooks: from the click to the first output it is one."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Sequence

import aiohttp
import pytest

from tests.collector import CLIENT, SERVER, Collector, Sent, collecting
from tests.e2e.jupyter import Notebook
from tests.e2e.service import SECONDS, WARM, Deployment, Service
from tests.e2e.test_upgrade import finally_ended, upgraded
from tests.event_reference import mistakes
from tests.ports import free_ports
from tests.swarm.relays import make_secret

pytestmark = pytest.mark.engine

PAGE = "GET /spawn{path}"
CLAIM = "POST /api/tickets"
LAB = "GET /user/{id}/lab"
KERNEL = "POST /user/{id}/api/kernels"
CHANNELS = "GET /user/{id}/api/kernels/{kernel}/channels"
REPLY = "kernel's first reply"
NAVIGATION = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "document", "Sec-Fetch-Mode": "navigate"}


@dataclasses.dataclass(frozen=True)
class Visit:
    """What a browser did, and the ids that it got to know."""

    session: str
    token: str
    once: str


async def claimed(client: aiohttp.ClientSession, once: str) -> Visit:
    """A notebook for whoever has loaded the page with this key."""
    wish = {"path": "lab", "once": once}
    async with client.post("/api/tickets", json=wish, headers={"Sec-Fetch-Site": "same-origin"}) as response:
        ticket = await response.json()
        assert response.status == 201, ticket
    session, url = ticket["session"]["id"], ticket["session"]["open_url"]
    token = re.search(r"token=(\w+)", url)
    assert token is not None
    return Visit(session, token[1], once)


async def clicked(client: aiohttp.ClientSession) -> str:
    """The launch page; returns the key of its form."""
    async with client.get("/spawn/lab", headers=NAVIGATION) as response:
        once = re.search(r'data-once="([^"]+)"', await response.text())
    assert once is not None
    return once[1]


async def opened(client: aiohttp.ClientSession, visit: Visit) -> None:
    """JupyterLab's page."""
    async with client.get(f"/user/{visit.session}/lab?token={visit.token}", headers=NAVIGATION) as response:
        assert response.status == 200


async def worked(client: aiohttp.ClientSession, visit: Visit) -> None:
    """A cell is run; what is asked afterwards is traced no more."""
    notebook = Notebook(client, visit.session, visit.token)
    assert await notebook.run("print(6 * 7)") == "42\n"
    await notebook.call("GET", "api/status")


async def visit(service: Service) -> Visit:
    """Click a link, get a notebook, open it, and run a cell, with the requests of our own pages."""
    async with aiohttp.ClientSession(service.url) as client:
        done = await claimed(client, await clicked(client))
        await opened(client, done)
        await worked(client, done)
        return done


def the(spans: Sequence[Sent], name: str) -> Sent:
    (found,) = [one for one in spans if one.name == name]
    return found


def check_visit(collector: Collector, session: str) -> list[Sent]:
    """One trace with all that belongs in it, each span below the right one and in sane times."""
    page = the(collector.spans, PAGE)
    spans = collector.of(page.trace)
    claim, hand_over = the(spans, "claim"), the(spans, "hand over")
    post, engine = the(spans, CLAIM), the(spans, "engine claim")
    lab, channels, reply = the(spans, LAB), the(spans, CHANNELS), the(spans, REPLY)
    assert [one.parent for one in (page, post, claim, hand_over, engine)] == [
        "", page.id, post.id, claim.id, hand_over.id,
    ]  # fmt: skip
    assert (lab.parent, channels.parent, reply.parent) == (post.id, post.id, channels.id)
    (proxied,) = [one for one in spans if one.parent == lab.id]
    assert (proxied.kind, proxied.name) == (CLIENT, "GET")
    assert {one.kind for one in (page, post, lab, channels)} == {SERVER}
    # What happens is in order, each part is within what it is a part of, and nothing takes for ever.
    assert page.begun <= page.ended <= post.begun <= claim.begun <= hand_over.begun <= engine.begun
    assert engine.ended <= hand_over.ended <= claim.ended <= post.ended <= lab.begun
    assert lab.begun <= proxied.begun <= proxied.ended <= lab.ended <= channels.begun <= reply.begun < reply.ended
    assert reply.ended - page.begun < 60
    # The container was started before the visitor came: a trace of its own.
    ((linked_trace, linked_span),) = hand_over.links
    start = next(one for one in collector.spans if one.id == linked_span)
    assert (start.name, start.trace, start.parent) == ("start notebook", linked_trace, "")
    assert linked_trace != page.trace
    assert start.ended <= page.begun
    assert start.attributes["tmpnb.session.id"] == hand_over.attributes["tmpnb.session.id"] == session
    below = {one.name: one for one in collector.of(linked_trace) if one.parent == start.id}
    assert {"engine start", "wait until the server answers", "engine mark_ready"} <= below.keys()
    return spans


async def test_from_the_click_to_the_first_output_it_is_one_trace(
    deployment: Deployment, workshop_image: str
) -> None:
    async with collecting() as collector:
        service = deployment.start(
            f"--image={workshop_image}", "--pool-size=1", "--cpu-quota=0", WARM, env=collector.environ
        )
        await service.ready(1)
        done = await visit(service)
        await collector.having(PAGE, CLAIM, REPLY, CHANNELS, "hand over")
        spans = check_visit(collector, done.session)
        assert {one.service for one in spans} == {"tmpnb-py"}
        assert not [one for one in collector.spans if "api/status" in one.name]
        assert {"wait until kernels are warm"} <= {one.name for one in collector.spans}
        # Lines of the log name the trace.
        trace = spans[0].trace
        assert service.found("claimed", id=done.session, trace_id=trace)
        assert service.found("session_started", id=done.session, trace_id=trace, span_id=the(spans, CLAIM).id)
        assert [mistake for line in list(service.events) for mistake in mistakes(line)] == []
        # Nothing that is secret, and nothing of what somebody reads, has been sent.
        for secret in (done.token, done.once[:32], "127.0.0.1", "print(6", "lab/tree"):
            assert secret.encode() not in collector.raw, secret
        service.stop()


@pytest.mark.long
async def test_by_a_front_end_it_is_one_trace_too(deployment: Deployment, workshop_image: str) -> None:
    """The orchestrator makes the spans of page and claim, the front end those of what it leads to the notebook."""
    async with collecting() as collector:
        env = {**collector.environ, "OTEL_SERVICE_NAME": "orchestrator"}
        secret, port = make_secret(deployment.directory / "front.pem"), free_ports(1)[0]
        service = deployment.start(
            f"--image={workshop_image}", "--pool-size=1", "--cpu-quota=0", WARM,
            "--front-ip=127.0.0.1", f"--front-port={port}", f"--front-secret={secret}", env=env,
        )  # fmt: skip
        await service.ready(1)
        front = deployment.start_front(
            f"--front-orchestrator=127.0.0.1:{port}", f"--front-secret={secret}",
            env={**collector.environ, "OTEL_SERVICE_NAME": "front"},
        )  # fmt: skip
        front.wait_for("orchestrator_found")
        async with aiohttp.ClientSession(front.url) as client:
            done = await claimed(client, await clicked(client))
            async with asyncio.timeout(SECONDS):  # the route comes within a moment; until then the orchestrator leads
                while await _sessions(client) < 1:
                    await asyncio.sleep(0.02)
            await opened(client, done)
            await worked(client, done)
        await collector.having(PAGE, CLAIM, REPLY, CHANNELS, LAB, "hand over")
        spans = check_visit(collector, done.session)
        assert {one.service for one in spans if one.name in (PAGE, CLAIM, "hand over")} == {"orchestrator"}
        assert {one.service for one in spans if one.name in (LAB, KERNEL, CHANNELS, REPLY)} == {"front"}
        front.stop()
        service.stop()


async def _sessions(client: aiohttp.ClientSession) -> int:
    async with client.get("/healthz") as response:
        return int((await response.json())["sessions"])


@pytest.mark.long
async def test_an_upgrade_in_between_goes_on_with_the_trace(deployment: Deployment, workshop_image: str) -> None:
    """One visitor has the page when the process is followed by another one, another visitor has the notebook."""
    async with collecting() as collector:
        service = deployment.start(
            f"--image={workshop_image}", "--pool-size=2", "--cpu-quota=0", WARM, env=collector.environ
        )
        async with finally_ended(service):
            await service.ready(2)
            async with aiohttp.ClientSession(service.url) as first, aiohttp.ClientSession(service.url) as second:
                notebook = await claimed(first, await clicked(first))
                await opened(first, notebook)
                once = await clicked(second)
                await upgraded(service)
                await worked(first, notebook)
                other = await claimed(second, once)
                await opened(second, other)
                await worked(second, other)
            await collector.until(lambda: len([one for one in collector.spans if one.name == REPLY]) == 2)
            await collector.until(lambda: len([one for one in collector.spans if one.name == CLAIM]) == 2)
        pages = [one for one in collector.spans if one.name == PAGE]
        assert len({one.trace for one in pages}) == 2
        for page in pages:
            names = [one.name for one in collector.of(page.trace)]
            for name in (CLAIM, "claim", LAB, KERNEL, CHANNELS, REPLY):
                assert names.count(name) == 1, names
