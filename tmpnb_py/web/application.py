"""The two aiohttp applications: the public one (behind the proxy) and the operator's."""

from __future__ import annotations

from aiohttp import web

from tmpnb_py.shared_files.shared import SharedFiles
from tmpnb_py.web import access, ahead, hosted, respond, static, traces
from tmpnb_py.web.admin import bookings as admin_bookings
from tmpnb_py.web.admin import handlers as admin
from tmpnb_py.web.admin import nodes as admin_nodes
from tmpnb_py.web.admin import pool as admin_pool
from tmpnb_py.web.api import binder, programs, session_messages, tickets
from tmpnb_py.web.context import CONTEXT, Context
from tmpnb_py.web.pages import classes, launch, notes, preview, reading
from tmpnb_py.workshops.preview import Preview

_MAX_BODY = 64 * 1024  # bytes; our own forms and JSON bodies are far smaller


def public_application(context: Context, files: SharedFiles, folder: Preview | None = None) -> web.Application:
    """The visitors' listener: pages, API and the notebooks' shared static files. `folder` is the one of a preview."""
    middlewares = [access.known_host, access.options, respond.errors_middleware]
    middlewares += [hosted.nothing_else, access.api_token]
    if context.tracing is not None:
        middlewares.insert(0, traces.requests)
    app = web.Application(middlewares=middlewares, client_max_size=_MAX_BODY)
    app[CONTEXT] = context
    app[ahead.FILES] = files
    app.on_response_prepare.append(access.add_cors_headers)
    hosted.add_routes(app)
    programs.add_routes(app)
    tickets.add_routes(app)
    session_messages.add_routes(app)
    binder.add_routes(app)
    static.add_routes(app, files)
    if not context.api_token:
        programs.add_shortcuts(app)
        launch.add_routes(app)
        classes.add_routes(app)
        app.middlewares.append(launch.deep_links)
        reading.add_routes(app)
        notes.add_routes(app)
        binder.add_pages(app)
    if folder is not None:
        preview.add_routes(app, folder)
    return app


def admin_application(context: Context) -> web.Application:
    """The operator's listener: the live page and the admin API."""
    app = web.Application(middlewares=[respond.errors_middleware, admin.operator_only], client_max_size=_MAX_BODY)
    app[CONTEXT] = context
    admin.add_routes(app)
    admin_pool.add_routes(app)
    admin_nodes.add_routes(app)
    admin_bookings.add_routes(app)
    return app
