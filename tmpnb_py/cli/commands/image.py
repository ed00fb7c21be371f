"""`image`: building, loading, saving and checking the image that notebooks are started from, and its workshops."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tmpnb_py.cli.options import CONFIG_HELP, ENGINE_OPTIONS, read, with_settings
from tmpnb_py.core.errors import ImageTransferError, ImageUnfitError, ManifestError
from tmpnb_py.options.groups.notebooks import DEFAULT_IMAGE
from tmpnb_py.options.settings import Settings
from tmpnb_py.options.sources import LoadedSettings, need_docker, read_settings

if TYPE_CHECKING:
    from rich.console import Console

    from tmpnb_py.engines.base import Engine
    from tmpnb_py.images.check import Report, Trial
    from tmpnb_py.workshops.manifest import Manifest

_BUILDERS = {"auto": None, "classic": False, "buildkit": True}
PREVIEW_PLACE = "/usr/share/preview"  # where start-notebook.sh looks for a folder to be shown live

_CHECK_OPTIONS = (
    *ENGINE_OPTIONS, "command", "egress", "egress_allow", "accept_missing", "mem_limit", "cpu_quota", "pids_limit",
    "home_size", "tmp_size", "shm_size", "start_timeout", "container_ip", "container_port", "container_user",
)  # fmt: skip
_PREVIEW_OPTIONS = (
    *ENGINE_OPTIONS, "image", "ip", "port", "admin_port", "mem_limit", "cpu_quota", "egress", "egress_allow",
    "accept_missing",
)  # fmt: skip
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def image() -> None:
    """The image that notebooks are started from."""


@contextlib.asynccontextmanager
async def _docker(settings: Settings, *, pool: str | None = None) -> AsyncIterator[Engine]:
    """The engine with the images, opened: Docker's. Raises `EngineError`."""
    from tmpnb_py.cli.commands.engine import opened_engine  # noqa: PLC0415 - a wrong option answers at once

    need_docker(settings, os.environ)
    async with opened_engine(settings, pool=pool) as engine:
        yield engine


def _run(work: Coroutine[Any, Any, Any]) -> None:
    from tmpnb_py.core import logs  # noqa: PLC0415

    logs.configure("auto", "error")  # what a command has to say, it prints
    asyncio.run(work)


# ---- build -------------------------------------------------------------------------------------------------


@image.command()
@click.option(
    "--target", type=click.Choice(["full", "minimal"]), default="full", show_default=True,
    help="With R, Octave, bash and gnuplot, or Python only.",
)  # fmt: skip
@click.option("--base", metavar="IMAGE", help="Image to build upon, instead of the one in the Dockerfile.")
@click.option(
    "--ca-bundle", type=_FILE, help="Certificates (PEM) to trust while building, for networks that inspect TLS."
)
@click.option("--tag", default=DEFAULT_IMAGE, show_default=True, help="Name of the image that is made.")
@click.option("--network", help="The engine's network to build in, such as host.")
@click.option(
    "--builder", type=click.Choice(["auto", "classic", "buildkit"]), default="auto", show_default=True,
    help="The engine's builder; BuildKit, where it is there, builds stages at the same time.",
)  # fmt: skip
@click.option("--config", metavar="FILE", help=CONFIG_HELP)
def build(*, config: str | None, builder: str, **options: Any) -> None:
    """Build the workshops' image.

    The base is used where the engine has it, else pulled, else made with mmdebstrap.
    """
    _run(_build(read_settings({}, os.environ, config), buildkit=_BUILDERS[builder], **options))


async def _build(loaded: LoadedSettings, *, tag: str, **options: Any) -> None:
    from tmpnb_py.cli.progress import BuildProgress  # noqa: PLC0415
    from tmpnb_py.images.build import build as build_image  # noqa: PLC0415

    async with _docker(loaded.settings) as engine:
        with BuildProgress(tag) as progress:
            await build_image(engine, tag=tag, report=progress.report, **options)


# ---- base --------------------------------------------------------------------------------------------------


@image.command()
@click.option("--base", metavar="IMAGE", help="Another image than the one in the Dockerfile.")
@click.option("--config", metavar="FILE", help=CONFIG_HELP)
def base(*, base: str | None, config: str | None) -> None:
    """Print the name of an image to build upon, which the engine then has.

    It is the one that `build` takes: used where the engine has it, else pulled, else made with mmdebstrap. Other
    ways to build need its name: `TMPNB_BASE=$(tmpnb-py image base) docker compose build`.
    """
    _run(_base(read_settings({}, os.environ, config), base))


async def _base(loaded: LoadedSettings, wanted: str | None) -> None:
    from tmpnb_py.images.build import DEFAULT_BASE, ensure_base  # noqa: PLC0415

    async with _docker(loaded.settings) as engine:
        name = await ensure_base(engine, wanted or DEFAULT_BASE, lambda text: click.echo(text, err=True))
    click.echo(name)


# ---- load and save -----------------------------------------------------------------------------------------


@image.command()
@click.argument("source", metavar="FILE|URL")
@click.option("--sha256", default="", help="The file's SHA-256 sum, as who announced it says.")
@click.option("--md5", default="", help="Its MD5 sum: for old announcements; it finds damage, but no forgery.")
@click.option("--tag", default=DEFAULT_IMAGE, show_default=True, help="Name that the image gets.")
@with_settings(ENGINE_OPTIONS)
@click.pass_context
def load(ctx: click.Context, /, *, source: str, sha256: str, md5: str, tag: str, config: str | None) -> None:
    """Load an image from a file or an address into the engine.

    It is checked before the engine sees it: a wrong sum loads nothing. A download that broke off goes on where it
    stopped when the same command is run again. For a file with FILE.sha256 beside it the sum need not be given.
    """
    _run(_load(read(ctx, config).settings, source, sha256.strip().lower(), md5.strip().lower(), tag))


async def _load(settings: Settings, source: str, sha256: str, md5: str, tag: str) -> None:
    from tmpnb_py.cli.progress import TransferProgress  # noqa: PLC0415
    from tmpnb_py.images import transfer  # noqa: PLC0415

    sums = transfer.Sums(sha256 or ("" if md5 else _sum_beside(source)), md5)
    if not sums.sha256 and not sums.md5:
        remedy = "give --sha256 with the sum that was announced (`sha256sum FILE` shows a file's)"
        raise ImageTransferError(f"nothing says what {source} has to be", remedy=remedy)
    async with _docker(settings) as engine:
        with TransferProgress() as progress:
            facts = await transfer.load(engine, source, sums, tag=tag, directory=_downloads(), report=progress.report)
    click.echo(f"loaded {facts.image} ({facts.image_id})")


def _sum_beside(source: str) -> str:
    """The sum in FILE.sha256, as `image save` and sha256sum write it; "" where there is none."""
    try:
        return Path(f"{source}.sha256").read_text(encoding="utf-8").split()[0].lower()
    except (OSError, UnicodeDecodeError, IndexError):
        return ""


def _downloads() -> Path:
    """Where downloads lie: on a disk, and where they are found again by the next call."""
    if os.geteuid() == 0:
        return Path("/var/tmp/tmpnb-py")  # noqa: S108 - made with mode 0700, and root's alone
    base = os.environ.get("XDG_CACHE_HOME", "")
    return Path(base if base.startswith("/") else Path.home() / ".cache", "tmpnb-py")


@image.command()
@click.argument("name", metavar="IMAGE", default=DEFAULT_IMAGE)
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), required=True,
    help="File to write, such as workshops.tar or workshops.tar.gz.",
)  # fmt: skip
@with_settings(ENGINE_OPTIONS)
@click.pass_context
def save(ctx: click.Context, name: str, output: Path, config: str | None) -> None:
    """Write an image to a file, with its sums and what it holds beside it; `image load` takes it."""
    _run(_save(read(ctx, config).settings, name, output))


async def _save(settings: Settings, name: str, output: Path) -> None:
    from tmpnb_py.cli.progress import TransferProgress  # noqa: PLC0415
    from tmpnb_py.images import transfer  # noqa: PLC0415
    from tmpnb_py.workshops import folders, manifest  # noqa: PLC0415

    async with _docker(settings) as engine:
        with contextlib.suppress(ManifestError):
            workshops = await folders.of_image(engine, await engine.image(name))
        text = manifest.dump(workshops).encode() if workshops.workshops else b""
        with TransferProgress() as progress:
            saved = await transfer.save(engine, name, output, manifest=text, report=progress.report)
    click.echo(f"{saved.path}: {saved.size >> 20} MiB\nsha256 {saved.sums.sha256}\nmd5    {saved.sums.md5}")


# ---- check -------------------------------------------------------------------------------------------------


@image.command()
@click.argument("name", metavar="IMAGE", default=DEFAULT_IMAGE)
@click.option("--notebooks", is_flag=True, help="Also run every notebook that a fresh home has, from top to bottom.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_settings(_CHECK_OPTIONS)
@click.pass_context
def check(ctx: click.Context, name: str, notebooks: bool, as_json: bool, config: str | None) -> None:
    """Start an image as serve would, and try all of its kernels.

    Each way to reach it is tried (socket, port), and in each kernel a cell with a plot. It says what the image
    supports, what a start takes, and what is missing with its remedy. The exit code is 4 where it serves nobody.
    """
    settings = read(ctx, config).settings.model_copy(update={"image": name})
    _run(_check(settings, notebooks=notebooks, as_json=as_json))


async def _check(settings: Settings, *, notebooks: bool, as_json: bool) -> None:
    from tmpnb_py.cli.commands.output import console  # noqa: PLC0415
    from tmpnb_py.images import check as image_check  # noqa: PLC0415

    say = (lambda _: None) if as_json else _telling(console())
    report = await _examined(settings, notebooks=notebooks, say=say)
    if as_json:
        click.echo(image_check.as_json(report))
    else:
        _print_report(console(), report)
    if not report.works:
        raise ImageUnfitError(f"{report.image.image} cannot serve visitors as it is")


async def _examined(settings: Settings, *, notebooks: bool, say: Callable[[str], None]) -> Report:
    from tmpnb_py.cli.commands.engine import as_the_service  # noqa: PLC0415
    from tmpnb_py.images import check as image_check  # noqa: PLC0415
    from tmpnb_py.service.runtime import borrowed_runtime_dir  # noqa: PLC0415

    settings = as_the_service(settings)
    with borrowed_runtime_dir(settings.runtime_path):
        async with _docker(settings, pool=f"{settings.pool_name}-check") as engine:
            try:
                return await image_check.check(engine, settings, notebooks=notebooks, say=say)
            finally:
                await engine.remove_pool()


def _telling(target: Console) -> Callable[[str], None]:
    return lambda text: target.print(f"… {_plain(text)}", soft_wrap=True)


def _plain(text: str) -> str:
    """One line without what a terminal obeys: these words come from an image."""
    from tmpnb_py.core.log_cleaning import clean_lines  # noqa: PLC0415

    return " ".join(clean_lines(text.splitlines()))


def _print_report(target: Console, report: Report) -> None:
    from tmpnb_py.cli.commands.output import size  # noqa: PLC0415

    facts = report.image
    supports = {"socket": facts.supports_socket, "read-only root": facts.supports_read_only, "own home": facts.home}
    said = ", ".join(f"{name} {'yes' if has else 'no'}" for name, has in supports.items())
    target.print(f"{facts.image}: {size(report.size)}, {_workshops(report.workshops)}; {said}", soft_wrap=True)
    for trial in report.trials:
        for line in _trial_lines(trial):
            target.print(_plain(line), soft_wrap=True)
    for advice in report.advice:
        target.print(f"{'FAIL' if advice.serious else 'WARN'}  {_plain(advice.text)}", soft_wrap=True)
        target.print(f"      → {_plain(advice.remedy)}", soft_wrap=True)


def _workshops(count: int) -> str:
    return "1 workshop" if count == 1 else f"{count} workshops"


def _trial_lines(trial: Trial) -> list[str]:
    from tmpnb_py.cli.commands.output import size  # noqa: PLC0415

    if trial.problem:
        return [f"by {trial.transport.value}: {trial.problem}", *(f"| {line}" for line in trial.log_lines)]
    classic = ", /tree works" if trial.classic else ""
    first = (
        f"by {trial.transport.value}: answers after {trial.ready_seconds:.2f} s, "
        f"{trial.ready_cpu_seconds:.2f} CPU-s, {size(trial.ready_memory)}{classic}"
    )
    lines = [first]
    for one in trial.kernels:
        result = one.problem or ("plot" if one.drew else "text")
        took = f"start {one.start_seconds:.2f} s, cell {one.cell_seconds:.2f} s, {one.cpu_seconds:.2f} CPU-s"
        lines.append(f"- {one.title}: {took}, {size(one.memory)}: {result}")
    for notebook in trial.notebooks:
        result = "; ".join(notebook.problems) or f"{notebook.cells} cells, {notebook.plots} plots"
        lines.append(f"- {notebook.path}: {notebook.seconds:.1f} s: {result}")
    return lines


# ---- workshops ---------------------------------------------------------------------------------------------


@image.command()
@click.option(
    "--add", type=_FOLDER, metavar="DIR", help="Make an image that has these workshops, before those of --image."
)
@click.option("--only", is_flag=True, help="With --add: have these workshops instead of those of --image.")
@click.option("--preview", type=_FOLDER, metavar="DIR", help="Serve this folder's pages and notebooks as it changes.")
@click.option("--tag", help="Name of the image that --add makes, instead of the one that it builds upon.")
@with_settings(_PREVIEW_OPTIONS)
@click.pass_context
def workshops(
    ctx: click.Context, /, *, add: Path | None, only: bool, preview: Path | None, tag: str | None, config: str | None
) -> None:
    """List an image's workshops, add some, or try out a folder while it is being written.

    A folder holds workshops.toml and beside it what the workshops need; --preview writes that file to begin with
    where there is none. --add builds upon --image.
    """
    loaded = read(ctx, config)
    if add is not None and preview is not None:
        raise click.UsageError("--add and --preview do not go together")
    if only and add is None:
        raise click.UsageError("--only says what --add does: add --add DIR")
    if preview is not None:
        _preview(loaded, preview)
    elif add is not None:
        _run(_add(loaded.settings, add, tag or loaded.settings.image, only=only))
    else:
        _run(_list(loaded.settings))


async def _list(settings: Settings) -> None:
    from tmpnb_py.workshops import folders  # noqa: PLC0415

    async with _docker(settings) as engine:
        found = await folders.of_image(engine, await engine.image(settings.image))
    if not found.workshops:
        remedy = "add some with --add DIR"
        raise ManifestError(f"{settings.image} has no workshops that the landing page could show", remedy=remedy)
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
    async with _docker(settings) as engine:
        added = await folders.add(engine, collection, base=settings.image, tag=tag, only=only)
    what = "only the workshops" if only else "the workshops"
    click.echo(f"built {tag}: {settings.image} with {what} of {directory}")
    if added.replaced:
        click.echo(f"in place of those that it had: {', '.join(added.replaced)}")
    _print_workshops(added.manifest)
    _print_next_steps(settings, tag, collection.manifest)


def _print_next_steps(settings: Settings, tag: str, own: Manifest) -> None:
    """How people get at the workshops now."""
    option = "" if tag == DEFAULT_IMAGE else f" --image {shlex.quote(tag)}"
    click.echo(f"\nTry its notebooks:  tmpnb-py image check {shlex.quote(tag)} --notebooks")
    click.echo(f"Serve it:           tmpnb-py serve{option}")
    click.echo("A service that runs with this image takes the new one by itself. Then people read and run:")
    for workshop, address in _addresses(settings, own):
        click.echo(f"  {workshop}: {address}")


def _addresses(settings: Settings, own: Manifest) -> Iterator[tuple[str, str]]:
    """The workshops' titles, and the addresses of their pages on this machine."""
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
        click.echo(f"wrote {path} with {count} workshop{'s' if count > 1 else ''}, as your notebooks begin.")
        click.echo("Look at it: titles, descriptions, minutes and the order are yours to change.")
    preview = Preview(directory)
    for problem in preview.problems:
        click.echo(f"problem: {problem}", err=True)
    settings = preview_settings(as_the_service(loaded.settings), directory)
    logs.configure(settings.log_format, "warning")
    click.echo(f"All workshops: http://localhost:{settings.port}{settings.base_url}")
    for title, address in _addresses(settings, preview.manifest):
        click.echo(f"  {title}: {address}")
    click.echo(f"Save in {directory}: the pages follow, and say what is wrong. Ctrl-C ends it.")
    asyncio.run(serve(settings, preview=preview))


def preview_settings(settings: Settings, directory: Path) -> Settings:
    """The settings for a folder's author: one notebook ready, the folder mounted, nothing left behind.

    Only this machine is served, unless somebody named an address.
    """
    from tmpnb_py.core.models import Mount  # noqa: PLC0415

    mount = Mount(str(directory.resolve()), PREVIEW_PLACE, read_only=True)
    changes = {
        "pool_name": f"{settings.pool_name}-preview",
        "pool_size": 1,
        "host_directories": (*settings.host_directories, mount),
        "cleanup_on_exit": True,
        "shutdown_timeout": 1.0,  # open pages listen as long as they are open
        "ip": settings.ip if "ip" in settings.model_fields_set else "127.0.0.1",
    }
    return settings.model_copy(update=changes)


COMMANDS: tuple[Any, ...] = (image,)
