"""Commands for what is arranged with a running service: `book`, `bookings`, `cancel`, `new-link`, `announce`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from tmpnb_py.cli.commands.service import json_option, print_json, with_service
from tmpnb_py.cli.options import ADMIN_OPTIONS, with_settings

if TYPE_CHECKING:
    from tmpnb_py.cli.commands.admin_client import AdminClient
    from tmpnb_py.web.api.schema import AdminBooking, Announcement

_ID = re.compile(r"[0-9a-f]{8}")

_zone_option = click.option(
    "--time-zone",
    default="",
    metavar="ZONE",
    help="Time zone of the time, such as Europe/Berlin: else the service's.",
)


@click.command()
@click.argument("when")
@click.option("--people", type=click.IntRange(1, 100_000), required=True, help="How many notebooks.")
@click.option("--workshop", default="", metavar="SLUG", help="Short name of the workshop that they open.")
@click.option("--pool", default="", metavar="NAME", help="Pool: else that of the workshop, or the default one.")
@click.option("--title", default="", help="What the class is called on its pages.")
@click.option("--for-class", is_flag=True, help="Make a link of its own, with notebooks that nobody else can take.")
@_zone_option
@json_option
@with_settings(ADMIN_OPTIONS)
@click.pass_context
def book(ctx: click.Context, /, as_json: bool, config: str | None, **wish: Any) -> None:
    """Book notebooks for a time: they are ready when it begins.

    WHEN is a day with a time, such as "Tue 14:00-16:00", "tomorrow 9:00-12:00" or "2026-12-01 14:00-16:00".
    """

    async def work(client: AdminClient) -> None:
        made = await client.book(wish)
        if as_json:
            print_json(made)
        else:
            _tell(made)

    with_service(ctx, config, work)


def _tell(made: AdminBooking) -> None:
    click.echo(f"booked {made.id}: {made.people} notebooks on {made.when}")
    if made.note:
        click.echo(f"note: {made.note}", err=True)
    _tell_links(made)


def _tell_links(one: AdminBooking, prefix: str = "") -> None:
    """The links of a class, where the booking is for one."""
    if one.class_url is not None:
        click.echo(f"{prefix}for the class:    {one.class_url}")
        click.echo(f"{prefix}for the teacher:  {one.teacher_url}")


@click.command()
@json_option
@with_settings(ADMIN_OPTIONS)
@click.pass_context
def bookings(ctx: click.Context, as_json: bool, config: str | None) -> None:
    """List the bookings that are not over, with the links of classes."""

    async def work(client: AdminClient) -> None:
        found = await client.bookings()
        if as_json:
            print_json(found)
        elif not found.bookings:
            click.echo("nothing is booked")
        else:
            _show(found.bookings)

    with_service(ctx, config, work)


def _show(found: tuple[AdminBooking, ...]) -> None:
    from tmpnb_py.cli.commands.output import console, show, table, with_pools  # noqa: PLC0415 - loads rich

    target = console()
    rows = [
        (one.id, one.when, str(one.people), str(one.came), str(one.left), one.title or one.workshop) for one in found
    ]
    columns = ("booking", "when", "people", "came", "held now", "for")
    show(target, table(target, *with_pools(columns, rows, [one.pool for one in found]), right=columns[2:5]))
    for one in found:
        _tell_links(one, f"{one.id} ")


@click.command()
@click.argument("booking_ids", metavar="ID...", nargs=-1, required=True)
@with_settings(ADMIN_OPTIONS)
@click.pass_context
def cancel(ctx: click.Context, booking_ids: tuple[str, ...], config: str | None) -> None:
    """Cancel bookings. Their links are void at once; notebooks that were given away go on."""
    _check(booking_ids, "a booking", "tmpnb-py bookings")

    async def work(client: AdminClient) -> None:
        for booking_id in booking_ids:
            gone = await client.cancel(booking_id)
            click.echo(f"cancelled {gone.id}: {gone.when}")

    with_service(ctx, config, work)


@click.command("new-link")
@click.argument("booking_id", metavar="ID")
@click.option("--teacher", is_flag=True, help="Replace the teacher's link, and not that of the class.")
@with_settings(ADMIN_OPTIONS)
@click.pass_context
def new_link(ctx: click.Context, booking_id: str, teacher: bool, config: str | None) -> None:
    """Replace the link of a class: the old one is void at once, and who came by it keeps their notebook."""
    _check((booking_id,), "a booking", "tmpnb-py bookings")

    async def work(client: AdminClient) -> None:
        _tell_links(await client.replace_link(booking_id, of_teacher=teacher))

    with_service(ctx, config, work)


@click.command()
@click.argument("text", required=False)
@click.option("--pool", default="", metavar="NAME", help="Only the notebooks of this pool.")
@click.option("--until", default="", metavar="TIME", help='When it ends, such as "18:00": else after a day.')
@click.option("--withdraw", metavar="ID", help="Show this announcement no longer.")
@_zone_option
@json_option
@with_settings(ADMIN_OPTIONS)
@click.pass_context
def announce(
    ctx: click.Context, /, text: str | None, withdraw: str | None, as_json: bool, config: str | None, **wish: Any
) -> None:
    """Tell all who are at a notebook something, such as "Maintenance at 18:00"; without TEXT, list what is shown."""
    if text is not None and withdraw is not None:
        raise click.UsageError("--withdraw takes no text: announce the new one in a command of its own.")
    if withdraw is not None:
        _check((withdraw,), "an announcement", "tmpnb-py announce")

    async def work(client: AdminClient) -> None:
        if withdraw is not None:
            gone = await client.withdraw(withdraw)
            click.echo(f"withdrawn {gone.id}: {gone.text}")
        elif text is not None:
            made = await client.announce({"text": text, **wish})
            print_json(made) if as_json else _tell_announcement(made)
        else:
            found = await client.announcements()
            if as_json:
                print_json(found)
            elif not found.announcements:
                click.echo("nothing is announced")
            else:
                for one in found.announcements:
                    _tell_announcement(one)

    with_service(ctx, config, work)


def _tell_announcement(one: Announcement) -> None:
    where = f" to the pool {one.pool}" if one.pool else ""
    click.echo(f"{one.id}{where} until {one.until.astimezone():%Y-%m-%d %H:%M}: {one.text}")


def _check(ids: tuple[str, ...], what: str, command: str) -> None:
    for one in ids:
        if not _ID.fullmatch(one):
            raise click.BadParameter(f"{one!r} is not the id of {what}: {command} lists them.")


COMMANDS: tuple[Any, ...] = (book, bookings, cancel, new_link, announce)
