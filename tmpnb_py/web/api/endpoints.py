"""The endpoints of both listeners, described: a table from which the OpenAPI documents are made.

A test holds the table against the routes that the applications really have.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pydantic

from tmpnb_py.web.api import schema

DESCRIPTION_PATH = "/api/openapi.json"

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
    "description": "Where the repository is hosted, in BinderHub's terms: `gh`, `gl`, `git`, `gist` and so on.",
    "schema": {"type": "string", "pattern": "^[a-z0-9_-]{1,40}$"},
}
_SPEC = {
    "name": "spec",
    "in": "path",
    "required": True,
    "description": "Repository and ref, with their slashes. It chooses a workshop; nothing is built.",
    "schema": {"type": "string", "minLength": 1},
}
_NODE = {
    "name": "node",
    "in": "path",
    "required": True,
    "description": "The node's name or id.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$", "maxLength": 253},
}
_LAST_EVENT = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The id of the last event received: it keeps the place in line and the notebook.",
    "schema": {"type": "string"},
}
_WAIT = {
    "name": "wait",
    "in": "query",
    "description": "Seconds to wait in line; the option max_wait is the most.",
    "schema": {"type": "number", "minimum": 0, "default": 0},
}

Model = type[pydantic.BaseModel]


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path. `answers` maps statuses to what they mean; from 400 on the body is a `Problem`."""

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
    Operation("get", DESCRIPTION_PATH, "This document.", {200: "OpenAPI 3.1."}, token=False),
)
_READY = {200: "A container has been ready.", 503: "None has been yet; `cause` is the failure's class."}

PUBLIC = (
    Operation(
        "post",
        "/api/spawn",
        "Get a notebook.",
        {
            200: "A notebook; a browser opens it at its `open_url`.",
            400: "`wait` or `path` cannot be used.",
            403: "A page of another site asked, and the option allow_origin does not name it.",
            413: "The body is too large.",
            429: "None is ready, and the wait is over or the line is full; or the client's address has its share.",
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
            409: "With `reload`: the page is older than the session that its visitor has now.",
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
        "A ticket as it is now. Asking keeps the place.",
        {200: "The ticket.", **_NO_TICKET, **_TOKEN},
        schema.TicketState,
        parameters=(_TICKET,),
    ),
    Operation(
        "delete",
        "/api/tickets/{id}",
        "Give up the place, or the notebook if it was never opened.",
        {200: "It was given up.", **_NO_TICKET, **_TOKEN},
        schema.TicketState,
        parameters=(_TICKET,),
    ),
    Operation(
        "get",
        "/api/tickets/{id}/events",
        "A ticket as server-sent events: each `data` is the ticket, up to a final status.",
        {200: "The stream.", **_NO_TICKET, **_TOKEN},
        content="text/event-stream",
        parameters=(_TICKET,),
    ),
    Operation(
        "post",
        "/api/tickets/{id}/leave",
        "Say that the visitor leaves the page: keep the place for seconds only, unless somebody asks again.",
        {204: "It was noted.", **_NO_TICKET, **_TOKEN},
        parameters=(_TICKET,),
    ),
    Operation(
        "get",
        "/build/{provider}/{spec}",
        "A notebook in the form of BinderHub's API: server-sent events, each `data` a `BuildEvent`.",
        {
            200: "The stream, up to `ready` or `failed`.",
            204: "The stream is over; stop reconnecting.",
            403: "A page of another site asked, and the option allow_origin does not name it.",
            406: "The client does not accept `text/event-stream`.",
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
        "End a session, with its token.",
        {200: "It has ended.", **_NO_SESSION, **_TOKEN},
        schema.Session,
        parameters=(_ID,),
    ),
    Operation(
        "post",
        "/api/sessions/{id}/keep",
        "Say that a session is in use, with its token.",
        {200: "The session, running or ended.", **_NO_SESSION, **_TOKEN},
        schema.Session,
        parameters=(_ID,),
    ),
    Operation("get", "/readyz", "Whether visitors can be served.", _READY, schema.Health, token=False),
    *_COMMON,
)

_NO_NODE = {
    404: "That cannot be a node's name.",
    409: "There is no such node, or it cannot be changed now.",
    503: "The managers of the cluster do not answer.",
}
_FOREIGN = {403: "Without a token, only tools on this machine are answered.", **_TOKEN}

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
        "The pool as the operator controls it.",
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
            400: "The body is not valid.",
            409: "It exceeds max_containers.",
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
        {200: "How many there were.", **_FOREIGN},
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
    Operation(
        "post",
        "/api/upgrade",
        "Start the program that is installed now in place of the running one. Answers once that serves.",
        {200: "The new process.", 409: "It did not take over: the running one goes on.", **_FOREIGN},
        schema.Upgraded,
    ),
    Operation("post", "/api/open", "Let newcomers in again.", {200: "The pool.", **_FOREIGN}, schema.PoolStatus),
    Operation(
        "get",
        "/api/nodes",
        "The machines of the cluster; none with an engine of one machine.",
        {200: "The nodes by name.", **_FOREIGN},
        schema.AdminNodes,
    ),
    Operation(
        "post",
        "/api/nodes/{node}/pause",
        "Place no new notebooks on a node and replace its ready ones elsewhere; its sessions go on.",
        {200: "The node.", **_NO_NODE, **_FOREIGN},
        schema.AdminNode,
        parameters=(_NODE,),
    ),
    Operation(
        "post",
        "/api/nodes/{node}/activate",
        "Place notebooks on a node again.",
        {200: "The node.", **_NO_NODE, **_FOREIGN},
        schema.AdminNode,
        parameters=(_NODE,),
    ),
    Operation("get", "/readyz", "Whether visitors can be served.", {**_READY, **_FOREIGN}, schema.Health),
    *_COMMON,
)

# Statuses that any path may answer. Those of the proxy are the public listener's only.
ALWAYS = {400: "The request is malformed.", 405: "The path does not support this method.", 500: "An internal error."}
PROXY = {
    408: "The request took too long.",
    431: "The headers are too large.",
    502: "No answer.",
    504: "No answer in time.",
    505: "Only HTTP/1.1 and 1.0 are supported.",
}
