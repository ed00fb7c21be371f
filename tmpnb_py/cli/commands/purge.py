"""`purge`: remove everything of a pool that no service manages."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from tmpnb_py.cli.options import ENGINE_OPTIONS, SettingsCommand, read, with_settings

if TYPE_CHECKING:
    from tmpnb_py.core.models import Observed
    from tmpnb_py.engines.base import Engine

_AT_ONCE = 4


@click.command(cls=SettingsCommand)
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_settings(ENGINE_OPTIONS)
@click.pass_context
def purge(ctx: click.Context, yes: bool, config: str | None) -> None:
    """Remove everything of a pool: containers, networks and sockets.

    Running sessions end at once, and their notebooks are lost. Refused while a service manages the pool: stop it
    first, or let it clean up by itself with --cleanup-on-exit. Root acts as the owner of the runtime
    directory.
    """
    from tmpnb_py.cli.commands.engine import as_the_service, opened_engine  # noqa: PLC0415 - loads the engines
    from tmpnb_py.service.pool_lock import lock_pool  # noqa: PLC0415
    from tmpnb_py.service.runtime_dir import borrowed_runtime_dir, line_path  # noqa: PLC0415
    from tmpnb_py.shared_files import store  # noqa: PLC0415

    settings = as_the_service(read(ctx, config).settings)

    async def run() -> None:
        path = settings.runtime_path
        with borrowed_runtime_dir(path), lock_pool(path, settings.pool_name):
            async with opened_engine(settings) as engine:
                await engine.hold(settings.image, lambda: None)
                found = await engine.list()
                _confirm(settings.pool_name, found, yes=yes)
                await _remove(engine, found)
                store.remove(settings.runtime_path / "static" / settings.pool_name)
                line_path(settings.runtime_path, settings.pool_name).unlink(missing_ok=True)
                click.echo(f"{_count(len(found), 'container')} removed")

    asyncio.run(run())


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
