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

from tmpnb_py.cli.options import ADMIN_OPTIONS, pool_option, read, with_settings
from tmpnb_py.core.errors import ServiceError

if TYPE_CHECKING:
    import pydantic
    from rich.console import Console, RenderableType

    from tmpnb_py.cli.commands.admin_client import AdminClient
    from tmpnb_py.web.api.schema import (
        AdminPool,
        AdminPredecessor,
        AdminSession,
        AdminStatus,
        LastFailure,
        PoolStatus,
        TimetableEntry,
    )

_WATCH_SECONDS = 2.0
_LOG_LINES = 8
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")

json_option = click.option("--json", "as_json", is_flag=True, help="Print the admin listener's JSON.")


def with_service(
    ctx: click.Context,
    config: str | None,
    work: Callable[[AdminClient], Awaitable[None]],
    pool: str | None = None,
) -> None:
    """Run `work` with a client of the service that the options select, for one pool of it or for all."""
    from tmpnb_py.cli.commands.admin_client import AdminClient  # noqa: PLC0415 - loads aiohttp

    settings = read(ctx, config).settings

    async def run() -> None:
        async with AdminClient(settings, pool) as client:
            await work(client)

    asyncio.run(run())


# --- status


@click.command()
@json_option
@click.option("--watch", is_flag=True, help=f"Show it again every {_WATCH_SECONDS:g} s until Ctrl-C.")
@pool_option
@with_settings(ADMIN_OPTIONS)
@click.pass_context
def status(ctx: click.Context, as_json: bool, watch: bool, pool: str | None, config: str | None) -> None:
    """Show the status: pools with their containers, nodes of a swarm, sessions, the line, the last failure."""

    async def work(client: AdminClient) -> None:
        if watch:
            await _watch(client, as_json=as_json)
        else:
            _print_status(await client.status(), as_json=as_json)

    with_service(ctx, config, work, pool)


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
        print_json(found, indent)
        return
    target = console()
    show(target, *_status_parts(target, found))


def print_json(model: pydantic.BaseModel, indent: int | None = 2) -> None:
    """Print what the service answered."""
    click.echo(model.model_dump_json(indent=indent))


def _status_parts(target: Console, found: AdminStatus) -> list[RenderableType]:
    from tmpnb_py.cli.commands import nodes  # noqa: PLC0415 - loads rich
    from tmpnb_py.cli.commands.output import table  # noqa: PLC0415

    parts: list[RenderableType] = [table(target, ("", found.name), _summary(found))]
    if _is_of_several(found):
        parts += ["", _pool_table(target, found.pools)]
    parts += [f"warning: {warning}" for warning in found.warnings]
    if found.failure is not None:
        parts += ["", *_failure_lines(found.failure)]
    if found.nodes:
        parts += ["", nodes.node_table(target, found.nodes)]
    if found.sessions:
        parts += ["", _session_table(target, found.sessions)]
    return parts


def _is_of_several(found: AdminStatus) -> bool:
    return len(found.pools) > 1 and found.name not in {one.name for one in found.pools}


def _pool_table(target: Console, pools: tuple[AdminPool, ...]) -> RenderableType:
    from tmpnb_py.cli.commands.output import table  # noqa: PLC0415

    rows = [
        (
            one.name,
            f"{one.pool.ready} of {one.pool.size}",
            str(one.pool.starting),
            str(one.pool.claimed),
            str(one.pool.waiting),
            _condition(one),
            one.image,
        )
        for one in pools
    ]
    return table(target, ("pool", "ready", "starting", "in use", "in line", "", "image"), rows)


def _condition(pool: AdminPool) -> str:
    """What an operator should know of a pool beside its figures."""
    if pool.leaving:
        return "leaving"
    if pool.failure is not None:
        return pool.failure.cause
    words = [*(["default"] if pool.is_default else []), *(["closed"] if pool.pool.closed else [])]
    return ", ".join(words)


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
        ("newcomers", _newcomers(pool)),
        *([("size", pool.because)] if pool.because else []),
        *[("warm kernels", line) for line in _warm(pool, found.name)],
        *[(one.state, _time(one, found.name)) for one in pool.timetable],
        ("starts take", f"{sorted(starts)[len(starts) // 2]:.2f} s" if starts else "not known yet"),
        ("engine", "answers" if found.engine_up else "does not answer"),
        *([] if _is_of_several(found) else [("image", stats.container_image)]),  # the pools' table has each one's
        ("version", f"{stats.version}, up for {ago(found.up_since, _now())}, process {found.pid}"),
        *_predecessors(found),
        *_busiest(found.sessions),
    ]


def _newcomers(pool: PoolStatus) -> str:
    if not pool.closed:
        return "let in"
    if pool.opens_at is not None:
        return f"turned away by the timetable until {pool.opens_at.astimezone():%a %Y-%m-%d %H:%M} here"
    if pool.shut_by_timetable:
        return "turned away by the timetable, which has no further time"
    return f"turned away, {_classes(pool)} (tmpnb-py open lets them in)"


def _classes(pool: PoolStatus) -> str:
    return "classes as well" if pool.closed_to_classes else "but for classes that are booked"


def _warm(pool: PoolStatus, shown: str) -> list[str]:
    """The kernels that are started before visitors come, or why there are none."""
    if not pool.warm:
        return [f"none: {pool.warm_because}"] if pool.warm_because else []
    lines = []
    for one in pool.warm:
        packages = f" with {', '.join(one.packages)}" if one.packages else ""
        failed = f"; it failed: {one.problem}" if one.problem else ""
        of = "" if one.pool == shown else f"{one.pool}: "
        notebooks = f"{one.ready} ready notebook{'' if one.ready == 1 else 's'}"
        lines.append(f"{of}{one.kernel}{packages}, in {notebooks}{failed}")
    return lines


def _time(one: TimetableEntry, shown: str) -> str:
    """A time of the timetable, in this terminal's time zone, too; with its pool, unless only that is shown."""
    pool = "" if one.pool == shown else f"{one.pool}: "
    return f"{pool}{one.text} (here {one.begins.astimezone():%a %Y-%m-%d %H:%M} to {one.ends.astimezone():%H:%M})"


def _predecessors(found: AdminStatus) -> list[tuple[str, str]]:
    """The processes of before upgrades, as long as there are any."""
    from tmpnb_py.cli.commands.output import ago  # noqa: PLC0415

    return [
        (
            "before it",
            f"{one.version}, process {one.pid}: {_left(one)}, followed {ago(one.since, _now())} ago",
        )
        for one in found.predecessors
    ]


def _left(old: AdminPredecessor) -> str:
    return f"{old.connections} connections open, {old.websockets} of them WebSockets"


def _busiest(sessions: tuple[AdminSession, ...]) -> list[tuple[str, str]]:
    """The sessions that keep the processor busy, if any do."""
    busy = [one for one in sessions if one.busy]
    if not busy:
        return []
    most = max(busy, key=lambda one: one.cpu_ratio or 0.0)
    return [("busy", f"{len(busy)} sessions, most {most.id}: {_cpu_of(most)}")]


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
    from tmpnb_py.cli.commands.output import ago, ends_in, table, with_pools  # noqa: PLC0415

    now = _now()
    rows = [
        (
            one.id,
            ago(one.started, now),
            ago(one.last_activity, now) if one.visited else "not opened",
            ends_in(one.expires_at, one.ends_at, now),
            str(one.open_connections),
            _cpu_of(one),
        )
        for one in sessions
    ]
    columns = ("session", "age", "last active", "ends in", "connections", "cpu")
    return table(target, *with_pools(columns, rows, [one.pool for one in sessions]), right=columns[1:])


def _cpu_of(session: AdminSession) -> str:
    """The share of its CPU time that a session takes, and whether that is too much."""
    if session.cpu_ratio is None:
        return "-"
    return f"{session.cpu_ratio:.0%}{' busy' if session.busy else ''}"


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


# --- sessions


@click.command()
@json_option
@pool_option
@with_settings(ADMIN_OPTIONS)
@click.pass_context
def sessions(ctx: click.Context, as_json: bool, pool: str | None, config: str | None) -> None:
    """List the running sessions, oldest first."""

    async def work(client: AdminClient) -> None:
        from tmpnb_py.cli.commands.output import console, show  # noqa: PLC0415

        found = await client.sessions()
        if as_json:
            print_json(found)
        elif not found.sessions:
            click.echo("no session is running")
        else:
            target = console()
            show(target, _session_table(target, found.sessions))

    with_service(ctx, config, work, pool)


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

    with_service(ctx, config, work)


# --- the pool


@click.command()
@click.option("--node", metavar="NAME", help="Pause this node of a swarm, and wait until its last session has ended.")
@click.option("--undo", is_flag=True, help="With --node: have the node take notebooks again.")
@pool_option
@with_settings(ADMIN_OPTIONS)
@click.pass_context
def drain(ctx: click.Context, node: str | None, undo: bool, pool: str | None, config: str | None) -> None:
    """Replace every ready notebook by a new one, or empty one node. Sessions go on."""
    if node is None and undo:
        raise click.UsageError("--undo needs --node: which node is to take notebooks again?")
    if node is not None and pool is not None:
        raise click.UsageError("A node is drained of all pools' notebooks: leave out --pool.")
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

    with_service(ctx, config, work, pool)


class _Size(click.IntRange):
    """A number of notebooks. A negative number looks like an option, but is refused as a number."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value).startswith("-") and not str(value)[1:].isdecimal():
            raise click.NoSuchOption(str(value).partition("=")[0], ctx=ctx)
        return super().convert(value, param, ctx)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("size", metavar="N", type=_Size(0, 100_000))
@pool_option
@with_settings(ADMIN_OPTIONS)
@click.pass_context
def resize(ctx: click.Context, size: int, pool: str | None, config: str | None) -> None:
    """Keep N notebooks ready from now on. A restart returns to the option pool_size."""
    _steer(ctx, config, lambda client: client.resize(size), pool)


@click.command()
@click.option("--classes", is_flag=True, help="Turn the people of booked classes away, too.")
@pool_option
@with_settings(ADMIN_OPTIONS)
@click.pass_context
def close(ctx: click.Context, classes: bool, pool: str | None, config: str | None) -> None:
    """Turn newcomers away while sessions finish. Who has the link of a class gets in while that is on."""
    _steer(ctx, config, lambda client: client.close_pool(to_classes=classes), pool)


@click.command("open")
@pool_option
@with_settings(ADMIN_OPTIONS)
@click.pass_context
def open_(ctx: click.Context, pool: str | None, config: str | None) -> None:
    """Let newcomers in again."""
    _steer(ctx, config, lambda client: client.open_pool(), pool)


@click.command()
@with_settings(ADMIN_OPTIONS)
@click.pass_context
def upgrade(ctx: click.Context, config: str | None) -> None:
    """Have the installed version take the running one's place, without a gap for visitors.

    The options are read anew, too. If the new process does not start, the running one goes on, and this fails.
    """

    async def work(client: AdminClient) -> None:
        click.echo(f"process {await client.upgrade()} serves now")

    with_service(ctx, config, work)


def _steer(
    ctx: click.Context,
    config: str | None,
    ask: Callable[[AdminClient], Awaitable[PoolStatus]],
    pool: str | None,
) -> None:
    async def work(client: AdminClient) -> None:
        now = await ask(client)
        closed = f"closed, {_classes(now)}"
        newcomers = _newcomers(now) if now.shut_by_timetable else closed if now.closed else "open"
        click.echo(f"{newcomers}: {now.ready} of {now.size} ready, {now.claimed} in use, {now.waiting} in line")

    with_service(ctx, config, work, pool)


COMMANDS: tuple[Any, ...] = (status, sessions, end, drain, resize, close, open_, upgrade)
