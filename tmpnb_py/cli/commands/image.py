"""`image`: build, find, load and save the image that notebooks are started from. Also the group of its commands."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import click

from tmpnb_py.cli.commands.image_check import check
from tmpnb_py.cli.commands.image_engine import docker_engine, run_quietly
from tmpnb_py.cli.commands.image_workshops import workshops
from tmpnb_py.cli.options import CONFIG_HELP, ENGINE_OPTIONS, read, with_settings
from tmpnb_py.core.errors import EngineError, ImageTransferError, ManifestError
from tmpnb_py.options.groups.notebooks import DEFAULT_IMAGE
from tmpnb_py.options.settings import Settings
from tmpnb_py.options.sources import LoadedSettings, read_settings

_BUILDERS = {"auto": None, "classic": False, "buildkit": True}
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def image() -> None:
    """The image that notebooks are started from."""


# ---- build -------------------------------------------------------------------------------------------------


@image.command()
@click.option(
    "--target", type=click.Choice(["full", "minimal"]), default="full", show_default=True,
    help="With R, Octave, bash and gnuplot, or Python only.",
)  # fmt: skip
@click.option("--base", metavar="IMAGE", help="Base image, instead of the one in the Dockerfile.")
@click.option(
    "--ca-bundle", type=_FILE, help="Certificates (PEM) to trust while building, for networks that inspect TLS."
)
@click.option("--tag", default=DEFAULT_IMAGE, show_default=True, help="Name of the new image.")
@click.option("--network", help="The engine's network for the build, such as host.")
@click.option(
    "--builder", type=click.Choice(["auto", "classic", "buildkit"]), default="auto", show_default=True,
    help="The engine's builder. BuildKit builds stages concurrently, if the engine has it.",
)  # fmt: skip
@click.option("--config", metavar="FILE", help=CONFIG_HELP)
def build(*, config: str | None, builder: str, **options: Any) -> None:
    """Build the workshops' image.

    If the engine lacks the base image, it is pulled, or else made with mmdebstrap.
    """
    run_quietly(_build(read_settings({}, os.environ, config), buildkit=_BUILDERS[builder], **options))


async def _build(loaded: LoadedSettings, *, tag: str, **options: Any) -> None:
    from tmpnb_py.cli.progress import BuildProgress  # noqa: PLC0415
    from tmpnb_py.images.build import build as build_image  # noqa: PLC0415

    async with docker_engine(loaded.settings) as engine:
        with BuildProgress(tag) as progress:
            await build_image(engine, tag=tag, report=progress.report, **options)


# ---- base --------------------------------------------------------------------------------------------------


@image.command()
@click.option("--base", metavar="IMAGE", help="Another image than the one in the Dockerfile.")
@click.option("--config", metavar="FILE", help=CONFIG_HELP)
def base(*, base: str | None, config: str | None) -> None:
    """Make sure that the engine has a base image, and print its name.

    It is the one that `build` uses: if the engine lacks it, it is pulled, or else made with mmdebstrap. Other ways to
    build need its name: `TMPNB_BASE=$(tmpnb-py image base) docker compose build`.
    """
    run_quietly(_base(read_settings({}, os.environ, config), base))


async def _base(loaded: LoadedSettings, wanted: str | None) -> None:
    from tmpnb_py.images.build import DEFAULT_BASE, ensure_base  # noqa: PLC0415

    async with docker_engine(loaded.settings) as engine:
        name = await ensure_base(engine, wanted or DEFAULT_BASE, lambda text: click.echo(text, err=True))
    click.echo(name)


# ---- load and save -----------------------------------------------------------------------------------------


@image.command()
@click.argument("source", metavar="FILE|URL")
@click.option("--sha256", default="", help="The file's SHA-256 sum, as its publisher announced it.")
@click.option(
    "--md5", default="", help="The file's MD5 sum, for old announcements: it detects damage, but no forgery."
)
@click.option("--tag", default=DEFAULT_IMAGE, show_default=True, help="Name for the image.")
@with_settings(ENGINE_OPTIONS)
@click.pass_context
def load(ctx: click.Context, /, *, source: str, sha256: str, md5: str, tag: str, config: str | None) -> None:
    """Load an image from a file or URL into the engine.

    Its checksum is verified first: a wrong sum loads nothing. Run the same command again to resume an interrupted
    download. A file with FILE.sha256 beside it needs no sum.
    """
    run_quietly(_load(read(ctx, config).settings, source, sha256.strip().lower(), md5.strip().lower(), tag))


async def _load(settings: Settings, source: str, sha256: str, md5: str, tag: str) -> None:
    from tmpnb_py.cli.progress import TransferProgress  # noqa: PLC0415
    from tmpnb_py.images import transfer  # noqa: PLC0415

    sums = transfer.Sums(sha256 or ("" if md5 else _sum_beside(source)), md5)
    if not sums.sha256 and not sums.md5:
        remedy = "pass the announced sum with --sha256 (`sha256sum FILE` shows a file's)"
        raise ImageTransferError(f"there is no checksum for {source}", remedy=remedy)
    async with docker_engine(settings) as engine:
        with TransferProgress() as progress:
            facts = await transfer.load(engine, source, sums, tag=tag, directory=_downloads(), report=progress.report)
    click.echo(f"loaded {facts.image} ({facts.image_id})")


def _sum_beside(source: str) -> str:
    """The sum in FILE.sha256, as `image save` and sha256sum write it; "" if there is none."""
    try:
        return Path(f"{source}.sha256").read_text(encoding="utf-8").split()[0].lower()
    except (OSError, UnicodeDecodeError, IndexError):
        return ""


def _downloads() -> Path:
    """The directory of downloads: on disk, and the same for the next call."""
    if os.geteuid() == 0:
        return Path("/var/tmp/tmpnb-py")  # noqa: S108 - created with mode 0700, for root only
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
    """Write an image to a file for `image load`, with its checksums and contents beside it."""
    run_quietly(_save(read(ctx, config).settings, name, output))


async def _save(settings: Settings, name: str, output: Path) -> None:
    from tmpnb_py.cli.progress import TransferProgress  # noqa: PLC0415
    from tmpnb_py.images import transfer  # noqa: PLC0415
    from tmpnb_py.workshops import folders, manifest  # noqa: PLC0415

    async with docker_engine(settings) as engine:
        with contextlib.suppress(ManifestError):
            workshops = await folders.of_image(engine, await engine.image(name))
        text = manifest.dump(workshops).encode() if workshops.workshops else b""
        with TransferProgress() as progress:
            saved = await transfer.save(engine, name, output, manifest=text, report=progress.report)
    click.echo(f"{saved.path}: {saved.size >> 20} MiB\nsha256 {saved.sums.sha256}\nmd5    {saved.sums.md5}")


# ---- push-nodes --------------------------------------------------------------------------------------------


@image.command("push-nodes")
@click.argument("name", metavar="[IMAGE]", required=False)
@with_settings(ENGINE_OPTIONS)
@click.pass_context
def push_nodes(ctx: click.Context, name: str | None, config: str | None) -> None:
    """Bring an image from this manager to every node of a swarm that lacks it, without a registry.

    It goes over the relays, layer by layer; run the same command again to go on after an interruption. An image whose
    name begins with a registry's host is pulled by each node, as the registry has it now. Default: the option image.
    """
    settings = read(ctx, config).settings
    run_quietly(_push_nodes(settings, name or settings.image))


async def _push_nodes(settings: Settings, name: str) -> None:
    from tmpnb_py.cli.commands.nodes import transferred  # noqa: PLC0415 - loads rich

    async with docker_engine(settings) as engine:
        ended = await engine.push_image(name, lambda told: click.echo(transferred(told)))
    if failed := [one.node for one in ended if one.error]:
        raise EngineError(f"not on {', '.join(failed)}", remedy="run the same command again: it goes on there")


@image.command("prune-nodes")
@with_settings(ENGINE_OPTIONS)
@click.pass_context
def prune_nodes(ctx: click.Context, config: str | None) -> None:
    """Remove from every node of a swarm the images that push-nodes brought there and nobody uses any more.

    Stays: the option image, the images of all pools' notebooks, and what a container uses.
    """
    settings = read(ctx, config).settings
    run_quietly(_prune_nodes(settings))


async def _prune_nodes(settings: Settings) -> None:
    from tmpnb_py.cli.commands.nodes import pruned  # noqa: PLC0415 - loads rich

    async with docker_engine(settings) as engine:
        ended = await engine.prune_images(settings.image)
    for one in ended:
        click.echo(pruned(one))
    if failed := [one.node for one in ended if one.error]:
        raise EngineError(f"not on {', '.join(failed)}", remedy="run the same command again once they answer")


image.add_command(check)
image.add_command(workshops)
COMMANDS: tuple[Any, ...] = (image,)
