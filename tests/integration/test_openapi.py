"""Both OpenAPI documents: complete against the routes, and true of what schemathesis makes the service answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from aiohttp import web
from hypothesis import HealthCheck, Phase
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.e2e.inprocess import Rig, running
from tmpnb_py.web.api import openapi
from tmpnb_py.web.api.endpoints import ADMIN, PUBLIC, Operation

DESCRIBED = ("/api/", "/build/", "/metrics", "/healthz", "/readyz")
TOKEN = "operators0secret"
EXAMPLES = 12
# Not among them: whether odd input is refused. tmpnb's clients send all kinds of bodies, and are served.
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    unsupported_method,
]


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with running(pool_size=2, max_containers=4, max_wait=0.2, admin_auth_token=TOKEN) as rig:
        await rig.ready(2)
        yield rig


def _routes(app: web.Application) -> set[tuple[str, str]]:
    found = set()
    for route in app.router.routes():
        assert route.resource is not None
        path = route.resource.canonical
        if path.startswith(DESCRIBED) and route.method not in ("HEAD", "*"):
            found.add((route.method.lower(), path))
    return found


def _described(operations: tuple[Operation, ...]) -> set[tuple[str, str]]:
    return {(one.method, path) for one in operations for path in (one.path, *one.aliases)}


async def test_every_route_is_described_and_every_description_has_a_route(rig: Rig) -> None:
    service = rig.service
    assert _routes(service.web.applications[0]) == _described(PUBLIC)
    assert _routes(service.web.applications[1]) == _described(ADMIN)


async def test_the_documents_are_served_without_a_token(rig: Rig) -> None:
    for client, document in ((rig.client, openapi.public_document()), (rig.admin, openapi.admin_document())):
        async with client.get("/api/openapi.json") as response:
            assert response.status == 200
            assert await response.json() == document
            assert document["openapi"].startswith("3.1")


def _try_everything(document: dict[str, Any], url: str, headers: dict[str, str]) -> dict[int, int]:
    """Run every operation with fitting and with unfitting input; raises for answers that the document does not know.

    Returns how often each status was answered.
    """
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=url)
    asked: dict[int, int] = {}
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                _try(result.ok(), mode, headers, asked)
            except hypothesis.errors.Unsatisfiable:
                assert mode is GenerationMode.NEGATIVE  # an operation without input has none that does not fit
    return asked


def _try(operation: Any, mode: GenerationMode, headers: dict[str, str], asked: dict[int, int]) -> None:
    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        response = case.call(headers=headers)
        asked[response.status_code] = asked.get(response.status_code, 0) + 1
        case.validate_response(response, checks=CHECKS)

    ask()


async def test_schemathesis_finds_only_documented_answers_for_visitors(rig: Rig) -> None:
    url = f"http://127.0.0.1:{rig.service.port}"
    asked = await asyncio.to_thread(_try_everything, openapi.public_document(), url, {})
    assert asked[200] >= 5
    assert {400, 404, 429} <= asked.keys()
    assert 500 not in asked


async def test_schemathesis_finds_only_documented_answers_for_operators(rig: Rig) -> None:
    url = f"http://127.0.0.1:{rig.service.admin_port}"
    headers = {"Authorization": f"token {TOKEN}"}
    asked = await asyncio.to_thread(_try_everything, openapi.admin_document(), url, headers)
    assert asked[200] >= 5
    assert {400, 404} <= asked.keys()
    assert 500 not in asked


async def test_without_the_token_only_what_is_open_answers(rig: Rig) -> None:
    url = f"http://127.0.0.1:{rig.service.admin_port}"
    asked = await asyncio.to_thread(_try_everything, openapi.admin_document(), url, {})
    assert asked[401] > 10


async def test_with_an_api_token_the_document_holds_as_well() -> None:
    async with running(pool_size=1, api_auth_token=TOKEN) as rig:
        await rig.ready(1)
        url = f"http://127.0.0.1:{rig.service.port}"
        asked = await asyncio.to_thread(_try_everything, openapi.public_document(), url, {})
        assert asked[401] > 10
        asked = await asyncio.to_thread(
            _try_everything, openapi.public_document(), url, {"Authorization": f"token {TOKEN}"}
        )
        assert {200, 404} <= asked.keys()
