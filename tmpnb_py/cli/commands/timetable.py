"""`timetable`: times and bookings of the next two weeks, what they need, and whether that fits. Needs no service."""

from __future__ import annotations

import asyncio
import datetime
import json
import time
import zoneinfo
from typing import TYPE_CHECKING, Any

import click

from tmpnb_py.cli.options import SettingsCommand, read, with_settings
from tmpnb_py.core.errors import TmpnbError, UnfitError

if TYPE_CHECKING:
    from rich.console import Console

    from tmpnb_py.bookings.model import Booking
    from tmpnb_py.cli.commands.timetable_needs import Need
    from tmpnb_py.core.models import EngineInfo
    from tmpnb_py.options.settings import Settings

_DAYS = 14
_MOST_BESIDE = 4
_NONE = """\
There is no timetable. Write one into the configuration file, after all other options:

[[timetable]]
days = ["Tue", "Thu"]
from = "14:00"
to = "16:00"
time_zone = "Europe/Berlin"
pool_size = 60
"""


@click.command(cls=SettingsCommand)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_settings()
@click.pass_context
def timetable(ctx: click.Context, as_json: bool, config: str | None) -> None:
    """Show the timetable and the bookings of the next two weeks, and whether they fit. Takes the options of serve.

    Bookings are read from the state directory. What the times need is estimated from one notebook's typical use;
    doctor --plan measures it. The engine is asked for its memory and CPUs. The exit code is 8 if a time does not fit.
    """
    asyncio.run(_run(read(ctx, config).settings, as_json=as_json))


async def _run(settings: Settings, *, as_json: bool) -> None:
    from tmpnb_py.cli.commands.timetable_needs import needs_of  # noqa: PLC0415 - loads the plan's figures
    from tmpnb_py.core.units import DAY  # noqa: PLC0415

    now = time.time()
    bookings, unread = _bookings(settings)
    has_any = bool(bookings) or any(pool.timetable for pool in settings.pools)
    info, problem = (await _ask_engine(settings)) if has_any else (None, "")
    # Without tables the one pool's maximum may be a time's own.
    most = settings.max_containers if settings.tables else None
    needs = needs_of(settings.pools, now, now + _DAYS * DAY, info, most, bookings=bookings)
    if as_json:
        told = {"engine": problem or "answers", "bookings": unread or "read", "times": [_plain(one) for one in needs]}
        click.echo(json.dumps(told, indent=2))
    elif not has_any:
        click.echo(_NONE, nl=False)
    elif not needs:
        click.echo(f"Nothing in the next {_DAYS} days.")
    else:
        _print(needs, info, problem, has_several=len(settings.pools) > 1)
    if unread and not as_json:
        click.echo(f"What is booked is not known: {unread}.")
    unfit = sum(one.fits is False for one in needs)
    if unfit:
        raise UnfitError(f"{unfit} of {len(needs)} times do not fit", remedy=_remedy(needs))


def _bookings(settings: Settings) -> tuple[tuple[Booking, ...], str]:
    """What is booked, from the service's file, or why that is not known."""
    from tmpnb_py.bookings.model import VERSION, State  # noqa: PLC0415
    from tmpnb_py.service.runtime_dir import state_file, state_path  # noqa: PLC0415

    path = state_path(settings.state_path, settings.pool_name)
    try:
        found = state_file(path, State, VERSION).peek()
    except OSError as error:
        return (), f"{path}: {error.strerror or error}"
    except ValueError:
        return (), f"{path} is damaged, or of another version of tmpnb-py"
    return (() if found is None else found.bookings), ""


async def _ask_engine(settings: Settings) -> tuple[EngineInfo | None, str]:
    """What the engine has, or why that is not known."""
    from tmpnb_py.cli.commands.engine import opened_engine  # noqa: PLC0415 - loads the engines
    from tmpnb_py.core import logs  # noqa: PLC0415

    logs.configure("auto", "error")
    try:
        async with opened_engine(settings, pool=f"{settings.pool_name}-timetable") as engine:
            return await engine.info(), ""
    except TmpnbError as error:
        return None, error.message


def _plain(need: Need) -> dict[str, Any]:
    time = need.time
    return {
        "pool": need.pool,
        "begins": _moment(time.begins, need.zone).isoformat(),
        "ends": _moment(time.ends, need.zone).isoformat(),
        **need.written(),
        "containers": need.containers,
        "memory": need.memory,
        "memory_full": need.memory_full,
        "cpus": need.cpus,
        "fits": need.fits,
        "verdict": need.verdict,
        "beside": [{"people": one.people, "pool": one.pool, "whose": one.whose} for one in need.beside],
    }


def _moment(moment: float, zone: str) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(moment, zoneinfo.ZoneInfo(zone))


def _print(needs: list[Need], info: EngineInfo | None, problem: str, *, has_several: bool) -> None:
    from tmpnb_py.cli.commands.output import console, show, size, table  # noqa: PLC0415 - loads rich

    target: Console = console()
    pool = ("pool",) if has_several else ()
    whose = ("for",) if any(map(_booking, needs)) else ()
    columns = (*pool, "begins", "ends", "time zone", *whose, "ready", "in all", "memory", "CPUs", "")
    rows = [
        (
            *([one.pool] if has_several else []),
            f"{_moment(one.time.begins, one.zone):%a %Y-%m-%d %H:%M}",
            _ends(one),
            one.zone,
            *([_booking(one) or "the timetable"] if whose else []),
            str(one.people),
            str(one.containers),
            f"{size(one.memory)} to {size(one.memory_full)}",
            str(one.cpus),
            one.verdict,
        )
        for one in needs
    ]
    show(target, table(target, columns, rows, right=("ready", "in all", "CPUs")))
    for one in needs:
        if one.fits is False and one.beside:
            others = ", ".join(f"{other.people} by {other.whose}" for other in one.beside[:_MOST_BESIDE])
            more = f" and {len(one.beside) - _MOST_BESIDE} more" if len(one.beside) > _MOST_BESIDE else ""
            begins = f"{_moment(one.time.begins, one.zone):%a %Y-%m-%d %H:%M}"
            click.echo(f"Beside the {one.people} of {begins}: {others}{more}.")
    if info is not None:
        click.echo(f"The engine has {size(info.memory)} and {info.cpus} CPUs.")
    else:
        click.echo(f"Whether it fits is not known: {problem}.")


def _booking(need: Need) -> str:
    """What is booked, "" for a time of the timetable."""
    found = need.booking
    return "" if found is None else f"{found.id} {found.title or found.workshop}".rstrip()


def _ends(need: Need) -> str:
    """When a time ends; the end of a day is 24:00."""
    ends = f"{_moment(need.time.ends, need.zone):%H:%M}"
    return "24:00" if ends == "00:00" else ends


def _remedy(needs: list[Need]) -> str:
    room = min((one.room for one in needs if one.fits is False), default=0)
    unfit = [one for one in needs if one.fits is False]
    if any(one.booking or not all(other.of_timetable for other in one.beside) for one in unfit):
        return (
            "Cancel bookings (tmpnb-py cancel), lower pool_size of these tables, or take an engine with more memory."
        )
    if any(one.verdict.startswith("above") for one in needs):
        return f"Lower pool_size of these tables to about {room}, or raise max_containers."
    return f"Lower pool_size of these tables to about {room}, lower mem_limit, or take an engine with more memory."


COMMANDS: tuple[Any, ...] = (timetable,)
