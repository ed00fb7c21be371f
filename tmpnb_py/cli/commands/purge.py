"""`purge`: remove everything of a pool that no service manages."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from tmpnb_py.cli.options import ENGINE_OPTIONS, SettingsCommand, pool_option, pools_named, read, with_settings

if TYPE_CHECKING:
    from tmpnb_py.core.models import Observed
    from tmpnb_py.engines.base import Engine
    from tmpnb_py.options.settings import Settings

_AT_ONCE = 4


@click.command(cls=SettingsCommand)
@click.option("--yes", is_flag=True, help="Do not ask.")
@pool_option
@with_settings(ENGINE_OPTIONS)
@click.pass_context
def purge(ctx: click.Context, yes: bool, pool: str | None, config: str | None) -> None:
    """Remove everything of a pool, or of all: containers, networks and sockets.

    Running sessions end at once, and their notebooks are lost. Refused while a service manages the pool: stop it
    first, or let it clean up by itself with --cleanup-on-exit. Root acts as the owner of the runtime
    directory.
    """
    from tmpnb_py.cli.commands.engine import as_the_service  # noqa: PLC0415 - loads the engines
    from tmpnb_py.options.tables import is_own  # noqa: PLC0415
    from tmpnb_py.service.runtime_dir import borrowed_runtime_dir, locked_pools  # noqa: PLC0415
    from tmpnb_py.shared_files import store  # noqa: PLC0415

    settings = as_the_service(read(ctx, config).settings)
    path = settings.runtime_path
    known = {one.pool_name: one.model_copy(update={"runtime_dir": path}) for one in settings.pools}
    with borrowed_runtime_dir(path):
        for name in locked_pools(path):  # what is in the file no more, and was left behind
            if is_own(settings.pool_name, name) and name not in known:
                known[name] = settings.model_copy(update={"pool_name": name}).with_tables({})
        for one in pools_named(pool, known.values()):
            asyncio.run(_purge(one, yes=yes))
        if pool is None:
            store.remove(path / "static" / settings.pool_name)


async def _purge(settings: Settings, *, yes: bool) -> None:
    """Remove one pool."""
    from tmpnb_py.cli.commands.engine import opened_engine  # noqa: PLC0415 - loads the engines
    from tmpnb_py.service.pool_lock import lock_pool  # noqa: PLC0415
    from tmpnb_py.service.runtime_dir import line_path  # noqa: PLC0415

    with lock_pool(settings.runtime_path, settings.pool_name):
        async with opened_engine(settings) as engine:
            await engine.hold(settings.image, lambda: None)
            found = await engine.list()
            _confirm(settings.label, found, yes=yes)
            await _remove(engine, found)
            line_path(settings.runtime_path, settings.pool_name).unlink(missing_ok=True)
            click.echo(f"{_count(len(found), 'container')} removed")


def _confirm(pool: str, found: Sequence[Observed], *, yes: bool) -> None:
    from tmpnb_py.core.models import State  # noqa: PLC0415

    in_use = sum(one.state is State.CLAIMED and one.exit is None for one in found)
    click.echo(f"pool {pool}: {_count(len(found), 'container')}, {in_use} of them in use, its networks and sockets")
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("There is no terminal to ask on: add --yes.")
    click.confirm("Remove all of this?", abort=True)


async def _remove(engine: Engine, found: Sequence[Observed]) -> None:
    limit = asyncio.Semaphore(_AT_ONCE)

    async def remove(container_id: str) -> None:
        async with limit:
            await engine.remove(container_id)

    async with asyncio.TaskGroup() as group:
        for one in found:
            group.create_task(remove(one.id))
    await engine.remove_pool()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


COMMANDS: tuple[Any, ...] = (purge,)
