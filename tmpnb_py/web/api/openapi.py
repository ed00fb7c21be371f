"""The OpenAPI 3.1 documents of both listeners, made from the models of `schema` and the table in `endpoints`.

Schemathesis holds the answers against the documents in a test. Pages for people are not described; nor is what a
notebook's own server answers below `/user/<id>/`.
"""

from __future__ import annotations

import functools
import http
import json
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web
from pydantic.json_schema import models_json_schema

from tmpnb_py import __version__
from tmpnb_py.site.metrics import CONTENT_TYPE
from tmpnb_py.web.api import schema
from tmpnb_py.web.api.endpoints import ADMIN, ALWAYS, PROXY, PUBLIC, Model, Operation
from tmpnb_py.web.context import CONTEXT

_RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}}
_REF = "#/components/schemas/{model}"


@functools.cache
def public_document() -> dict[str, Any]:
    """The visitors' listener."""
    return _document(
        "tmpnb-py: visitors' API",
        "Notebooks for programs. Without the option api_auth_token, only ending a session needs a token.",
        PUBLIC,
        {**ALWAYS, **PROXY},
    )


@functools.cache
def admin_document() -> dict[str, Any]:
    """The operator's listener."""
    return _document(
        "tmpnb-py: operator's API",
        "With the option admin_auth_token every request needs it; without, only tools on this machine are answered.",
        ADMIN,
        ALWAYS,
    )


async def public(request: web.Request) -> web.Response:
    """The visitors' document, with the base of its paths unless that is the root."""
    below = request.app[CONTEXT].links.base.removesuffix("/")
    return _answer(public_document() | ({"servers": [{"url": below}]} if below else {}))


async def admin(_request: web.Request) -> web.Response:
    """The operator's document."""
    return _answer(admin_document())


def _answer(document: Mapping[str, Any]) -> web.Response:
    headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    return web.json_response(document, headers=headers)


def _document(
    title: str, description: str, operations: tuple[Operation, ...], always: Mapping[int, str]
) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation, always)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "description": description, "version": __version__},
        "paths": paths,
        "components": {
            "schemas": _schemas(operations),
            "securitySchemes": {
                "token": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`token <token>` or `Bearer <token>`.",
                }
            },
        },
    }


def _schemas(operations: Iterable[Operation]) -> dict[str, Any]:
    models: list[tuple[Model, Any]] = [(schema.Problem, "serialization")]
    models += [(one.model, "serialization") for one in operations if one.model is not None]
    models += [(one.body, "validation") for one in operations if one.body is not None]
    found: dict[str, Any] = models_json_schema(models, ref_template=_REF)[1]["$defs"]
    return found


def _operation(operation: Operation, always: Mapping[int, str]) -> dict[str, Any]:
    answers = {**always, **operation.answers}
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": operation.method + "".join(part.strip("{}").title() for part in operation.path.split("/")),
        "parameters": [dict(parameter) for parameter in operation.parameters],
        "responses": {str(status): _response(operation, status, answers[status]) for status in sorted(answers)},
        # The empty requirement stands for none: the operator decides whether a token is demanded.
        "security": [{}, {"token": []}] if operation.token else [],
    }
    if operation.aliases:
        described["description"] = f"Also at {', '.join(operation.aliases)}."
    if operation.body is not None:
        described["requestBody"] = {"required": operation.body_required, "content": _json(operation.body)}
    return described


def _response(operation: Operation, status: int, meaning: str) -> dict[str, Any]:
    response: dict[str, Any] = {"description": meaning or http.HTTPStatus(status).phrase}
    if status >= 400:
        # Clients that accept text/html get a page instead.
        response["content"] = {**_json(schema.Problem), "text/html": {"schema": {"type": "string"}}}
        if status in (429, 503):
            response["headers"] = _RETRY_AFTER
    elif status == 204:
        pass
    elif operation.model is not None:
        response["content"] = _json(operation.model)
    else:
        kind = {"type": "string"} if operation.content.startswith("text/") else {"type": "object"}
        response["content"] = {
            CONTENT_TYPE if operation.content == "text/plain" else operation.content: {"schema": kind}
        }
    return response


def _json(model: Model) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF.format(model=model.__name__)}}}


def text(document: Mapping[str, Any]) -> str:
    """A document as the text of a file."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
