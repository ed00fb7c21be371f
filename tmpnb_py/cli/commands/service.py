"""Commands for a running service: `status`, `sessions`, `end`, `drain`, `resize`, `close`, `open`,
`upgrade`."""

from __future__ import annotations

import asyncio
import datetime
import re
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click

from tmpnb_py.cli.options import ADMIN_OPTIONS, read, with_settings
from tmpnb_py.core.errors import ServiceError

if TYPE_CHECKING:
    import pydantic
    from rich.console import Console, RenderableType

    from tmpnb_py.cli.commands.admin_client import AdminClient
    from tmpnb_py.web.api.schema import AdminSession, AdminStatus, LastFailure, PoolStatus

_WATCH_SECONDS = 2.0
_LOG_LINES = 8
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")

json_option = click.option("--json", "as_json", is_flag=True, help="Print the admin listener's JSON.")


def _with_service(ctx: click.Context, config: str | None, work: Callable[[AdminClient], Awaitable[None]]) -> None:
    """Run `work` with a client of the service that the options select."""
    from tmpnb_py.cli.commands.admin_client import AdminClient  # noqa: PLC0415 - loads aiohttp

    settings = read(ctx, config).settings

    async def run() -> None:
        async with AdminClient(settings) as client:
            await work(client)

    asyncio.run(run())


# --- status


@click.command()
@json_option
@click.option("--watch", is_flag=True, help=f"Show it again every {_WATCH_SECONDS:g} s until Ctrl-C.")
@with_settings(ADMIN_OPTIONS)
@click.pass_context
def status(ctx: click.Context, as_json: bool, watch: bool, config: str | None) -> None:
    """Show the pool's status: containers, nodes of a swarm, sessions, the line, the last failure."""

    async def work(client: AdminClient) -> None:
        if watch:
            await _watch(client, as_json=as_json)
        else:
            _print_status(await client.status(), as_json=as_json)

    _with_service(ctx, config, work)


async def _watch(client: AdminClient, *, as_json: bool) -> None:
    """Show the status repeatedly. Waits for a service that goes away (for an upgrade, say), except at first."""
    from tmpnb_py.cli.commands.output import console  # noqa: PLC0415 - loads rich

    target = console()
    found = await client.status()
    if as_json or not target.is_terminal:
        while True:
            _print_status(found, as_json=as_json, indent=None)
            sys.stdout.flush()
            await asyncio.sleep(_WATCH_SECONDS)
            found = await client.status()
    from rich.console import Group  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    with Live(console=target, screen=True, auto_refresh=False) as live:
        while True:
            live.update(Group(*_status_parts(target, found)), refresh=True)
            await asyncio.sleep(_WATCH_SECONDS)
            try:
                found = await client.status()
            except ServiceError as error:
                live.update(error.message, refresh=True)


def _print_status(found: AdminStatus, *, as_json: bool, indent: int | None = 2) -> None:
    from tmpnb_py.cli.commands.output import console, show  # noqa: PLC0415

    if as_json:
        _print_json(found, indent)
        return
    target = console()
    show(target, *_status_parts(target, found))


def _print_json(model: pydantic.BaseModel, indent: int | None = 2) -> None:
    click.echo(model.model_dump_json(indent=indent))


def _status_parts(target: Console, found: AdminStatus) -> list[RenderableType]:
    from tmpnb_py.cli.commands import nodes  # noqa: PLC0415 - loads rich
    from tmpnb_py.cli.commands.output import table  # noqa: PLC0415

    parts: list[RenderableType] = [table(target, ("", found.name), _summary(found))]
    if found.failure is not None:
        parts += ["", *_failure_lines(found.failure)]
    if found.nodes:
        parts += ["", nodes.node_table(target, found.nodes)]
    if found.sessions:
        parts += ["", _session_table(target, found.sessions)]
    return parts


def _summary(found: AdminStatus) -> list[tuple[str, str]]:
    from tmpnb_py.cli.commands.output import ago  # noqa: PLC0415

    pool, stats = found.pool, found.stats
    starts = [one.seconds for one in found.starts]
    return [
        ("ready", f"{pool.ready} of {pool.size}"),
        ("starting", str(pool.starting)),
        ("in use", f"{pool.claimed} of at most {pool.max_containers} in all"),
        ("removing", str(pool.removing)),
        ("in line", _line(found)),
        ("newcomers", "turned away (tmpnb-py open lets them in)" if pool.closed else "let in"),
        ("starts take", f"{sorted(starts)[len(starts) // 2]:.2f} s" if starts else "not known yet"),
        ("engine", "answers" if found.engine_up else "does not answer"),
        ("image", stats.container_image),
        ("version", f"{stats.version}, up for {ago(found.up_since, _now())}, process {found.pid}"),
        *_predecessor(found),
    ]


def _predecessor(found: AdminStatus) -> list[tuple[str, str]]:
    """The process of before an upgrade, as long as there is one."""
    from tmpnb_py.cli.commands.output import ago  # noqa: PLC0415

    old = found.predecessor
    if old is None:
        return []
    open_ = f"{old.connections} connections open, {old.websockets} of them WebSockets"
    return [("before it", f"{old.version}, process {old.pid}: {open_}, followed {ago(old.since, _now())} ago")]


def _line(found: AdminStatus) -> str:
    from tmpnb_py.cli.commands.output import span  # noqa: PLC0415

    if not found.waiting_seconds:
        return str(found.pool.waiting)
    return f"{found.pool.waiting}, the first for {span(found.waiting_seconds[0])}"


def _failure_lines(failure: LastFailure) -> list[str]:
    from tmpnb_py.cli.commands.output import ago  # noqa: PLC0415

    lines = [f"last failure, {ago(failure.at, _now())} ago: {failure.cause}: {failure.message}"]
    return lines + [f"  | {line}" for line in failure.log_lines[-_LOG_LINES:]]


def _session_table(target: Console, sessions: tuple[AdminSession, ...]) -> RenderableType:
    from tmpnb_py.cli.commands.output import ago, ends_in, table  # noqa: PLC0415

    now = _now()
    rows = [
        (
            one.id,
            ago(one.started, now),
            ago(one.last_activity, now) if one.visited else "not opened",
            ends_in(one.expires_at, one.ends_at, now),
            str(one.open_connections),
        )
        for one in sessions
    ]
    columns = ("session", "age", "last active", "ends in", "connections")
    return table(target, columns, rows, right=columns[1:])


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


# --- sessions


@click.command()
@json_option
@with_settings(ADMIN_OPTIONS)
@click.pass_context
def sessions(ctx: click.Context, as_json: bool, config: str | None) -> None:
    """List the running sessions, oldest first."""

    async def work(client: AdminClient) -> None:
        from tmpnb_py.cli.commands.output import console, show  # noqa: PLC0415

        found = await client.sessions()
        if as_json:
            _print_json(found)
        elif not found.sessions:
            click.echo("no session is running")
        else:
            target = console()
            show(target, _session_table(target, found.sessions))

    _with_service(ctx, config, work)


@click.command()
@click.argument("session_ids", metavar="ID...", nargs=-1, required=True)
@with_settings(ADMIN_OPTIONS)
@click.pass_context
def end(ctx: click.Context, session_ids: tuple[str, ...], config: str | None) -> None:
    """End sessions. Their visitors are told that the operator did it."""
    for session_id in session_ids:
        if not (session_id.isascii() and session_id.isalnum() and session_id == session_id.lower()):
            raise click.BadParameter(f"{session_id!r} is not a session's id: tmpnb-py sessions lists them.")

    async def work(client: AdminClient) -> None:
        for session_id in session_ids:
            await client.end(session_id)
            click.echo(f"ended {session_id}")

    _with_service(ctx, config, work)


# --- the pool


@click.command()
@click.option("--node", metavar="NAME", help="Pause this node of a swarm, and wait until its last session has ended.")
@click.option("--undo", is_flag=True, help="With --node: have the node take notebooks again.")
@with_settings(ADMIN_OPTIONS)
@click.pass_context
def drain(ctx: click.Context, node: str | None, undo: bool, config: str | None) -> None:
    """Replace every ready notebook by a new one, or empty one node. Sessions go on."""
    if node is None and undo:
        raise click.UsageError("--undo needs --node: which node is to take notebooks again?")
    if node is not None and not _NODE.fullmatch(node):
        raise click.BadParameter(f"{node!r} is no node's name: tmpnb-py status lists them.", param_hint="--node")

    async def work(client: AdminClient) -> None:
        from tmpnb_py.cli.commands import nodes  # noqa: PLC0415 - loads rich

        if node is None:
            count = await client.drain()
            click.echo(f"{count} ready notebook{'' if count == 1 else 's'} replaced")
        elif undo:
            await nodes.activate(client, node)
        else:
            await nodes.drain(client, node)

    _with_service(ctx, config, work)


class _Size(click.IntRange):
    """A number of notebooks. A negative number looks like an option, but is refused as a number."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value).startswith("-") and not str(value)[1:].isdecimal():
            raise click.NoSuchOption(str(value).partition("=")[0], ctx=ctx)
        return super().convert(value, param, ctx)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("size", metavar="N", type=_Size(0, 100_000))
@with_settings(ADMIN_OPTIONS)
@click.pass_context
def resize(ctx: click.Context, size: int, config: str | None) -> None:
    """Keep N notebooks ready from now on. A restart returns to the option pool_size."""
    _steer(ctx, config, lambda client: client.resize(size))


@click.command()
@with_settings(ADMIN_OPTIONS)
@click.pass_context
def close(ctx: click.Context, config: str | None) -> None:
    """Turn newcomers away while sessions finish."""
    _steer(ctx, config, lambda client: client.close_pool())


@click.command("open")
@with_settings(ADMIN_OPTIONS)
@click.pass_context
def open_(ctx: click.Context, config: str | None) -> None:
    """Let newcomers in again."""
    _steer(ctx, config, lambda client: client.open_pool())


@click.command()
@with_settings(ADMIN_OPTIONS)
@click.pass_context
def upgrade(ctx: click.Context, config: str | None) -> None:
    """Have the installed version take the running one's place, without a gap for visitors.

    The options are read anew, too. If the new process does not start, the running one goes on, and this fails.
    """

    async def work(client: AdminClient) -> None:
        click.echo(f"process {await client.upgrade()} serves now")

    _with_service(ctx, config, work)


def _steer(ctx: click.Context, config: str | None, ask: Callable[[AdminClient], Awaitable[PoolStatus]]) -> None:
    async def work(client: AdminClient) -> None:
        pool = await ask(client)
        newcomers = "closed" if pool.closed else "open"
        click.echo(f"{newcomers}: {pool.ready} of {pool.size} ready, {pool.claimed} in use, {pool.waiting} in line")

    _with_service(ctx, config, work)


COMMANDS: tuple[Any, ...] = (status, sessions, end, drain, resize, close, open_, upgrade)
