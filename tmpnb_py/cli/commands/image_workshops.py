"""`image workshops`: list an image's workshops, add some, or preview a folder while its author writes."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tmpnb_py.cli.commands.image_engine import docker_engine, run_quietly
from tmpnb_py.cli.options import ENGINE_OPTIONS, read, with_settings
from tmpnb_py.core.errors import ManifestError
from tmpnb_py.options.groups.notebooks import DEFAULT_IMAGE
from tmpnb_py.options.settings import Settings
from tmpnb_py.options.sources import LoadedSettings

if TYPE_CHECKING:
    from tmpnb_py.workshops.manifest import Manifest

PREVIEW_PLACE = "/usr/share/preview"  # where start-notebook.sh expects a previewed folder

_OPTIONS = (
    *ENGINE_OPTIONS, "image", "ip", "port", "admin_port", "mem_limit", "cpu_quota", "egress", "egress_allow",
    "accept_missing",
)  # fmt: skip
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.option(
    "--add", type=_FOLDER, metavar="DIR", help="Build an image with these workshops before those of --image."
)
@click.option("--only", is_flag=True, help="With --add: replace the workshops of --image.")
@click.option(
    "--preview", type=_FOLDER, metavar="DIR", help="Serve this folder's pages and notebooks while it changes."
)
@click.option("--tag", help="Name of the image that --add builds, instead of --image.")
@with_settings(_OPTIONS)
@click.pass_context
def workshops(
    ctx: click.Context, /, *, add: Path | None, only: bool, preview: Path | None, tag: str | None, config: str | None
) -> None:
    """List an image's workshops, add some, or preview a folder while you write it.

    A folder contains workshops.toml and the workshops' files; --preview drafts workshops.toml if there is none. --add
    builds upon --image.
    """
    loaded = read(ctx, config)
    if add is not None and preview is not None:
        raise click.UsageError("--add and --preview exclude each other")
    if only and add is None:
        raise click.UsageError("--only needs --add DIR")
    if preview is not None:
        _preview(loaded, preview)
    elif add is not None:
        run_quietly(_add(loaded.settings, add, tag or loaded.settings.image, only=only))
    else:
        run_quietly(_list(loaded.settings))


async def _list(settings: Settings) -> None:
    from tmpnb_py.workshops import folders  # noqa: PLC0415

    async with docker_engine(settings) as engine:
        found = await folders.of_image(engine, await engine.image(settings.image))
    if not found.workshops:
        remedy = "add some with --add DIR"
        raise ManifestError(f"{settings.image} has no workshops for the landing page", remedy=remedy)
    _print_workshops(found)


def _print_workshops(found: Manifest) -> None:
    from tmpnb_py.cli.commands.output import console, show, table  # noqa: PLC0415

    target = console()
    rows = [[one.slug, one.title, one.language, f"{one.duration} min", one.start] for one in found.workshops]
    show(target, table(target, ["slug", "title", "language", "duration", "start"], rows, right=["duration"]))


async def _add(settings: Settings, directory: Path, tag: str, *, only: bool) -> None:
    from tmpnb_py.workshops import folders  # noqa: PLC0415

    collection = await folders.examined(directory)
    for problem in collection.problems:
        if not problem.serious:
            click.echo(f"warning: {problem}", err=True)
    folders.refuse_unfit(collection)
    async with docker_engine(settings) as engine:
        added = await folders.add(engine, collection, base=settings.image, tag=tag, only=only)
    what = "only the workshops" if only else "the workshops"
    click.echo(f"built {tag}: {settings.image} with {what} of {directory}")
    if added.replaced:
        click.echo(f"replaced: {', '.join(added.replaced)}")
    _print_workshops(added.manifest)
    _print_next_steps(settings, tag, collection.manifest)


def _print_next_steps(settings: Settings, tag: str, own: Manifest) -> None:
    """Print how people get to the workshops now."""
    option = "" if tag == DEFAULT_IMAGE else f" --image {shlex.quote(tag)}"
    click.echo(f"\nTry its notebooks:  tmpnb-py image check {shlex.quote(tag)} --notebooks")
    click.echo(f"Serve it:           tmpnb-py serve{option}")
    click.echo("A service with this image adopts the new one by itself. Then people read and run:")
    for workshop, address in _addresses(settings, own):
        click.echo(f"  {workshop}: {address}")


def _addresses(settings: Settings, own: Manifest) -> Iterator[tuple[str, str]]:
    """The workshops' titles with the URLs of their pages on this machine."""
    from tmpnb_py.core.document_paths import document  # noqa: PLC0415
    from tmpnb_py.core.links import Links  # noqa: PLC0415
    from tmpnb_py.workshops.notes.notebook import is_readable  # noqa: PLC0415

    links = Links(settings.base_url)
    for one in own.workshops:
        path = links.notes(one.slug) if is_readable(one.start) else links.launch(document(one.start))
        yield one.title, f"http://localhost:{settings.port}{path}"


def _preview(loaded: LoadedSettings, directory: Path) -> None:
    from tmpnb_py.cli.commands.engine import as_the_service  # noqa: PLC0415
    from tmpnb_py.core import logs  # noqa: PLC0415
    from tmpnb_py.service.serve import serve  # noqa: PLC0415
    from tmpnb_py.workshops import draft  # noqa: PLC0415
    from tmpnb_py.workshops.manifest import MANIFEST_NAME  # noqa: PLC0415
    from tmpnb_py.workshops.preview import Preview  # noqa: PLC0415

    if not (directory / MANIFEST_NAME).exists():
        path, drafted = asyncio.run(draft.write(directory))
        count = len(drafted.workshops)
        click.echo(f"wrote {path} with {count} workshop{'s' if count > 1 else ''}, drafted from your notebooks.")
        click.echo("Edit it: titles, descriptions, minutes and the order are yours to change.")
    preview = Preview(directory)
    for problem in preview.problems:
        click.echo(f"problem: {problem}", err=True)
    settings = preview_settings(as_the_service(loaded.settings), directory)
    logs.configure(settings.log_format, "warning")
    click.echo(f"All workshops: http://localhost:{settings.port}{settings.base_url}")
    for title, address in _addresses(settings, preview.manifest):
        click.echo(f"  {title}: {address}")
    click.echo(f"Save files in {directory}: the pages follow, and show problems. Ctrl-C ends the preview.")
    asyncio.run(serve(settings, preview=preview))


def preview_settings(settings: Settings, directory: Path) -> Settings:
    """The settings of a preview: one ready notebook, the folder mounted, everything removed at the end.

    Serves only this machine, unless an address is given.
    """
    from tmpnb_py.core.models import Mount  # noqa: PLC0415

    mount = Mount(str(directory.resolve()), PREVIEW_PLACE, read_only=True)
    changes = {
        "pool_name": f"{settings.pool_name}-preview",
        "pool_size": 1,
        "host_directories": (*settings.host_directories, mount),
        "cleanup_on_exit": True,
        "shutdown_timeout": 1.0,  # open pages keep a connection as long as they are open
        "ip": settings.ip if "ip" in settings.model_fields_set else "127.0.0.1",
    }
    return settings.model_copy(update=changes)
