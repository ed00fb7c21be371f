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
_BOOKING = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The id of a booking or of an announcement.",
    "schema": {"type": "string", "pattern": "^[0-9a-f]{8}$"},
}
_LANGUAGE = {
    "name": "lang",
    "in": "query",
    "description": "The language of what is meant for the visitor (BCP 47); else `Accept-Language` says it.",
    "schema": {"type": "string", "maxLength": 100},
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

_POOL = {
    "name": "pool",
    "in": "query",
    "description": "One of several pools, by its name.",
    "schema": {"type": "string", "maxLength": 64},
}
_CLASSES = {
    "name": "classes",
    "in": "query",
    "description": "1 keeps those of classes out, too.",
    "schema": {"type": "string", "enum": ["0", "1"]},
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
        parameters=(_WAIT, _POOL),
        aliases=("/api/spawn/",),
    ),
    Operation(
        "post",
        "/api/tickets",
        "Get a notebook, or a place in line for one that outlives the request.",
        {
            201: "A ticket; `ready` with its `session`, or `waiting`.",
            400: "The body cannot be read, or `path` or `workshop` cannot be used.",
            403: "A page of another site asked (the option allow_origin does not name it), or that class is not on.",
            409: "With `reload`: the page is older than the session that its visitor has now.",
            413: "The body is too large.",
            429: "The line is full, or the client's address has its share of notebooks.",
            503: "The operator has closed the service; or it has just started and does not know its sessions yet.",
            **_TOKEN,
        },
        schema.TicketState,
        body=schema.TicketRequest,
        parameters=(_LANGUAGE,),
    ),
    Operation(
        "get",
        "/api/tickets/{id}",
        "A ticket as it is now. Asking keeps the place.",
        {200: "The ticket.", **_NO_TICKET, **_TOKEN},
        schema.TicketState,
        parameters=(_TICKET, _LANGUAGE),
    ),
    Operation(
        "delete",
        "/api/tickets/{id}",
        "Give up the place, or the notebook if it was never opened.",
        {200: "It was given up.", **_NO_TICKET, **_TOKEN},
        schema.TicketState,
        parameters=(_TICKET, _LANGUAGE),
    ),
    Operation(
        "get",
        "/api/tickets/{id}/events",
        "A ticket as server-sent events: each `data` is the ticket, up to a final status.",
        {200: "The stream.", **_NO_TICKET, **_TOKEN},
        content="text/event-stream",
        parameters=(_TICKET, _LANGUAGE),
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
        parameters=(_PROVIDER, _SPEC, _POOL, _LAST_EVENT),
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
        parameters=(_ID, _LANGUAGE),
    ),
    Operation(
        "delete",
        "/api/sessions/{id}",
        "End a session, with its token.",
        {200: "It has ended.", **_NO_SESSION, **_TOKEN},
        schema.Session,
        parameters=(_ID, _LANGUAGE),
    ),
    Operation(
        "post",
        "/api/sessions/{id}/keep",
        "Say that a session is in use, with its token.",
        {200: "The session, running or ended.", **_NO_SESSION, **_TOKEN},
        schema.Session,
        parameters=(_ID, _LANGUAGE),
    ),
    Operation(
        "get",
        "/api/sessions/{id}/messages",
        "What operator and teacher tell the session's visitor, as server-sent events: `data` is `SessionMessages`.",
        {200: "The stream, as long as the session runs.", **_NO_SESSION, **_TOKEN},
        content="text/event-stream",
        parameters=(_ID,),
    ),
    Operation("get", "/readyz", "Whether visitors can be served.", _READY, schema.Health, token=False),
    *_COMMON,
)

_NO_BOOKING = {
    404: "There is none of this id.",
    409: "It cannot be kept in the state directory, so nothing was changed.",
}
_NO_NODE = {
    404: "That cannot be a node's name.",
    409: "There is no such node, or it cannot be changed now.",
    503: "The managers of the cluster do not answer.",
}
_NO_POOL = {404: "There is no pool of this name."}
_FOREIGN = {403: "Without a token, only tools on this machine are answered.", **_TOKEN}

ADMIN = (
    Operation(
        "get",
        "/api/status",
        "Everything about a pool, or about all together, at once.",
        {200: "Pool, sessions, line, start times, failures.", **_NO_POOL, **_FOREIGN},
        schema.AdminStatus,
        parameters=(_POOL,),
    ),
    Operation(
        "get",
        "/api/sessions",
        "The running sessions.",
        {200: "The oldest first.", **_NO_POOL, **_FOREIGN},
        schema.AdminSessions,
        parameters=(_POOL,),
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
        {200: "The pool.", **_NO_POOL, **_FOREIGN},
        schema.PoolStatus,
        parameters=(_POOL,),
        aliases=("/api/pool/",),
    ),
    Operation(
        "patch",
        "/api/pool",
        "Keep another number of containers ready, until the service restarts.",
        {
            200: "The pool.",
            400: "The body is not valid.",
            409: "It exceeds max_containers, or there are several pools and none is named.",
            413: "The body is too large.",
            **_NO_POOL,
            **_FOREIGN,
        },
        schema.PoolStatus,
        parameters=(_POOL,),
        body=schema.PoolSize,
        body_required=True,
        aliases=("/api/pool/",),
    ),
    Operation(
        "delete",
        "/api/pool",
        "Replace every ready container; sessions stay.",
        {200: "How many there were.", **_NO_POOL, **_FOREIGN},
        schema.Drained,
        parameters=(_POOL,),
        aliases=("/api/pool/",),
    ),
    Operation(
        "post",
        "/api/close",
        "Let no newcomers in; sessions go on. Who has the link of a class that is on gets in.",
        {200: "The pool.", 400: "`classes` is neither 0 nor 1.", **_NO_POOL, **_FOREIGN},
        schema.PoolStatus,
        parameters=(_POOL, _CLASSES),
    ),
    Operation(
        "post",
        "/api/upgrade",
        "Start the program that is installed now in place of the running one. Answers once that serves.",
        {200: "The new process.", 409: "It did not take over: the running one goes on.", **_FOREIGN},
        schema.Upgraded,
    ),
    Operation(
        "post",
        "/api/open",
        "Let newcomers in again.",
        {200: "The pool.", **_NO_POOL, **_FOREIGN},
        schema.PoolStatus,
        parameters=(_POOL,),
    ),
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
    Operation(
        "get",
        "/api/bookings",
        "The bookings that are not over.",
        {200: "The first to begin first.", **_FOREIGN},
        schema.AdminBookings,
    ),
    Operation(
        "post",
        "/api/bookings",
        "Book notebooks for a time, and with `for_class` a link to them.",
        {
            201: "The booking.",
            400: "The body, its time, time zone or workshop cannot be used.",
            409: "It does not fit; the message has the figures. Or it cannot be kept in the state directory.",
            413: "The body is too large.",
            503: "The service has just started and does not know yet what fits.",
            **_FOREIGN,
        },
        schema.AdminBooking,
        body=schema.BookingRequest,
        body_required=True,
    ),
    Operation(
        "get",
        "/api/bookings/{id}",
        "One booking, with the QR code of its link.",
        {200: "The booking.", 404: "There is none of this id.", **_FOREIGN},
        schema.AdminBooking,
        parameters=(_BOOKING,),
    ),
    Operation(
        "delete",
        "/api/bookings/{id}",
        "Cancel a booking. Its links are void; its notebooks go on.",
        {200: "What it was.", **_NO_BOOKING, **_FOREIGN},
        schema.AdminBooking,
        parameters=(_BOOKING,),
    ),
    Operation(
        "post",
        "/api/bookings/{id}/link",
        "Replace the link of a class, or its teacher's: the old one is void, notebooks go on.",
        {
            200: "The booking with its new link.",
            400: "The body is not valid.",
            413: "The body is too large.",
            **_NO_BOOKING,
            **_FOREIGN,
        },
        schema.AdminBooking,
        parameters=(_BOOKING,),
        body=schema.LinkRequest,
        body_required=True,
    ),
    Operation(
        "get",
        "/api/announcements",
        "What the operator tells everybody now.",
        {200: "The newest last.", **_FOREIGN},
        schema.Announcements,
    ),
    Operation(
        "post",
        "/api/announcements",
        "Tell everybody at a notebook something, and all readers of the pages.",
        {
            201: "The announcement.",
            400: "The body, its text, pool or end cannot be used.",
            409: "There are too many, or it cannot be kept in the state directory.",
            413: "The body is too large.",
            **_FOREIGN,
        },
        schema.Announcement,
        body=schema.AnnouncementRequest,
        body_required=True,
    ),
    Operation(
        "delete",
        "/api/announcements/{id}",
        "Show an announcement no longer.",
        {200: "What it was.", **_NO_BOOKING, **_FOREIGN},
        schema.Announcement,
        parameters=(_BOOKING,),
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
