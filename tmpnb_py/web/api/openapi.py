"""The OpenAPI 3.1 documents of both listeners, made from the models of `schema` and one table of operations.

A test holds the table against the routes that the applications really have, and schemathesis the answers against the
documents. Pages for people are not described; nor is what a notebook's own server answers below `/user/<id>/`.
"""

from __future__ import annotations

import dataclasses
import functools
import http
import json
from collections.abc import Iterable, Mapping
from typing import Any

import pydantic
from aiohttp import web
from pydantic.json_schema import models_json_schema

from tmpnb_py import __version__
from tmpnb_py.site.metrics import CONTENT_TYPE
from tmpnb_py.web.api import schema
from tmpnb_py.web.context import CONTEXT

PATH = "/api/openapi.json"

_REF = "#/components/schemas/{model}"
_ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The session's id, which is in the notebook's URL.",
    "schema": {"type": "string", "pattern": "^[a-z0-9]+$", "minLength": 1, "maxLength": 64},
}
_TICKET = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The ticket's id.",
    "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
}
_PROVIDER = {
    "name": "provider",
    "in": "path",
    "required": True,
    "description": "Where the repository is, in BinderHub's words: `gh`, `gl`, `git`, `gist` and so on.",
    "schema": {"type": "string", "pattern": "^[a-z0-9_-]{1,40}$"},
}
_SPEC = {
    "name": "spec",
    "in": "path",
    "required": True,
    "description": "Repository and ref, with their slashes. It chooses a workshop; nothing is built.",
    "schema": {"type": "string", "minLength": 1},
}
_LAST_EVENT = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The id of the last event that came: the same place in line, the same notebook.",
    "schema": {"type": "string"},
}
_WAIT = {
    "name": "wait",
    "in": "query",
    "description": "Seconds to wait in line; more than the option max_wait counts as that.",
    "schema": {"type": "number", "minimum": 0, "default": 0},
}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}}

Model = type[pydantic.BaseModel]


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path. `answers` are statuses with what they mean; those of 400 and above are a `Problem`."""

    method: str
    path: str
    summary: str
    answers: Mapping[int, str]
    model: Model | None = None
    content: str = "application/json"
    body: Model | None = None
    body_required: bool = False
    parameters: tuple[Mapping[str, Any], ...] = ()
    token: bool = True
    aliases: tuple[str, ...] = ()


_TOKEN = {401: "The token is missing or wrong."}
_NO_TICKET = {
    403: "A page of another site asked, and the option allow_origin does not name it.",
    404: "There is no such ticket, or its place was given up.",
}
_NO_SESSION = {
    404: "There is no such session, or it was forgotten.",
    503: "The service has just started and does not know its sessions yet.",
}

_COMMON = (
    Operation(
        "get", "/metrics", "Prometheus' text format.", {200: "The metrics."}, content="text/plain", token=False
    ),
    Operation("get", "/healthz", "Whether the process serves.", {200: "It does."}, schema.Health, token=False),
    Operation("get", PATH, "This document.", {200: "OpenAPI 3.1."}, token=False),
)
_READY = {200: "A container has been ready.", 503: "None has been yet; `cause` is the failure's class."}

PUBLIC = (
    Operation(
        "post",
        "/api/spawn",
        "Get a notebook of one's own.",
        {
            200: "A notebook; its `open_url` leads a browser to it.",
            400: "`wait` or `path` cannot be used.",
            403: "A page of another site asked, and the option allow_origin does not name it.",
            413: "The body is too large.",
            429: "None is ready, and the wait is over or the line full; or the client's address has its share.",
            503: "None can be started now, or the operator has closed the service.",
            **_TOKEN,
        },
        schema.Spawned,
        body=schema.SpawnRequest,
        parameters=(_WAIT,),
        aliases=("/api/spawn/",),
    ),
    Operation(
        "post",
        "/api/tickets",
        "Get a notebook, or a place in line for one that outlives the request.",
        {
            201: "A ticket; `ready` with its `session`, or `waiting`.",
            400: "The body cannot be read, or `path` or `workshop` cannot be used.",
            403: "A page of another site asked, and the option allow_origin does not name it.",
            409: "With `reload`: the page was made before its visitor had the session that they have now.",
            413: "The body is too large.",
            429: "The line is full, or the client's address has its share of notebooks.",
            503: "The operator has closed the service; or it has just started and does not know its sessions yet.",
            **_TOKEN,
        },
        schema.TicketState,
        body=schema.TicketRequest,
    ),
    Operation(
        "get",
        "/api/tickets/{id}",
        "A ticket now. Asking keeps the place.",
        {200: "The ticket.", **_NO_TICKET, **_TOKEN},
        schema.TicketState,
        parameters=(_TICKET,),
    ),
    Operation(
        "delete",
        "/api/tickets/{id}",
        "Give the place up, or the notebook if it was never opened.",
        {200: "It is given up.", **_NO_TICKET, **_TOKEN},
        schema.TicketState,
        parameters=(_TICKET,),
    ),
    Operation(
        "get",
        "/api/tickets/{id}/events",
        "A ticket as server-sent events: each `data` is the ticket, until it is settled.",
        {200: "The stream.", **_NO_TICKET, **_TOKEN},
        content="text/event-stream",
        parameters=(_TICKET,),
    ),
    Operation(
        "post",
        "/api/tickets/{id}/leave",
        "The page is being left: the place is kept for seconds only, unless somebody asks again.",
        {204: "It is.", **_NO_TICKET, **_TOKEN},
        parameters=(_TICKET,),
    ),
    Operation(
        "get",
        "/build/{provider}/{spec}",
        "A notebook, as BinderHub's API tells of it: server-sent events, each `data` a `BuildEvent`.",
        {
            200: "The stream, up to `ready` or `failed`.",
            204: "There is nothing more to say; stop reconnecting.",
            403: "A page of another site asked, and the option allow_origin does not name it.",
            406: "Only who accepts `text/event-stream` is given a notebook.",
            **_TOKEN,
        },
        content="text/event-stream",
        parameters=(_PROVIDER, _SPEC, _LAST_EVENT),
    ),
    Operation(
        "get",
        "/api/stats",
        "The pool in numbers.",
        {200: "The numbers.", **_TOKEN},
        schema.Stats,
        aliases=("/api/stats/",),
    ),
    Operation(
        "get",
        "/api/sessions/{id}",
        "A session's state.",
        {200: "The session, running or ended.", **_NO_SESSION, **_TOKEN},
        schema.Session,
        parameters=(_ID,),
    ),
    Operation(
        "delete",
        "/api/sessions/{id}",
        "End one's own session, with the session's token.",
        {200: "It has ended.", **_NO_SESSION, **_TOKEN},
        schema.Session,
        parameters=(_ID,),
    ),
    Operation(
        "post",
        "/api/sessions/{id}/keep",
        "Say that one's own session is in use, with the session's token.",
        {200: "The session, running or ended.", **_NO_SESSION, **_TOKEN},
        schema.Session,
        parameters=(_ID,),
    ),
    Operation("get", "/readyz", "Whether visitors can be served.", _READY, schema.Health, token=False),
    *_COMMON,
)

_FOREIGN = {403: "Without a token, only this machine's own tools are answered.", **_TOKEN}

ADMIN = (
    Operation(
        "get",
        "/api/status",
        "Everything about the pool at once.",
        {200: "Pool, sessions, line, start times, failures.", **_FOREIGN},
        schema.AdminStatus,
    ),
    Operation(
        "get",
        "/api/sessions",
        "The running sessions.",
        {200: "The oldest first.", **_FOREIGN},
        schema.AdminSessions,
    ),
    Operation(
        "get",
        "/api/sessions/{id}",
        "One session.",
        {200: "The session, running or ended.", **_NO_SESSION, **_FOREIGN},
        schema.Session,
        parameters=(_ID,),
    ),
    Operation(
        "delete",
        "/api/sessions/{id}",
        "End a session.",
        {200: "It has ended.", **_NO_SESSION, **_FOREIGN},
        schema.Session,
        parameters=(_ID,),
    ),
    Operation(
        "get",
        "/api/pool",
        "The pool as it is steered.",
        {200: "The pool.", **_FOREIGN},
        schema.PoolStatus,
        aliases=("/api/pool/",),
    ),
    Operation(
        "patch",
        "/api/pool",
        "Keep another number of containers ready, until the service restarts.",
        {
            200: "The pool.",
            400: "The body is not such JSON.",
            409: "It does not fit max_containers.",
            413: "The body is too large.",
            **_FOREIGN,
        },
        schema.PoolStatus,
        body=schema.PoolSize,
        body_required=True,
        aliases=("/api/pool/",),
    ),
    Operation(
        "delete",
        "/api/pool",
        "Replace every ready container; sessions stay.",
        {200: "How many.", **_FOREIGN},
        schema.Drained,
        aliases=("/api/pool/",),
    ),
    Operation(
        "post",
        "/api/close",
        "Let no newcomers in; sessions go on.",
        {200: "The pool.", **_FOREIGN},
        schema.PoolStatus,
    ),
    Operation("post", "/api/open", "Let newcomers in again.", {200: "The pool.", **_FOREIGN}, schema.PoolStatus),
    Operation("get", "/readyz", "Whether visitors can be served.", {**_READY, **_FOREIGN}, schema.Health),
    *_COMMON,
)

# What any path answers to a request that HTTP itself refuses; 502 and 504 are the proxy's, of the public listener.
_ALWAYS = {400: "The request is malformed.", 405: "The path is there, but not for this method.", 500: "A fault here."}
_PROXY = {
    408: "The request took too long.",
    431: "The headers are too large.",
    502: "No answer.",
    504: "No answer in time.",
    505: "Only HTTP/1.1 and 1.0 are spoken.",
}


@functools.cache
def public_document() -> dict[str, Any]:
    """The visitors' listener."""
    return _document(
        "tmpnb-py: visitors' API",
        "Notebooks for programs. Without the option api_auth_token, no token is needed but to end a session.",
        PUBLIC,
        {**_ALWAYS, **_PROXY},
    )


@functools.cache
def admin_document() -> dict[str, Any]:
    """The operator's listener."""
    return _document(
        "tmpnb-py: operator's API",
        "Needs the option admin_auth_token where it is set, and otherwise to be asked by name from this machine.",
        ADMIN,
        _ALWAYS,
    )


async def public(request: web.Request) -> web.Response:
    """The visitors' document, with where its paths begin unless that is the root."""
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
        # An empty requirement beside the token: it is the operator's choice whether one is demanded.
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
        # Whoever accepts text/html gets a page instead.
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
    """A document as a file holds it."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
