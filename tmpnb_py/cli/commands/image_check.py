"""`image check`: check whether an image can serve visitors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from tmpnb_py.cli.commands.image_engine import docker_engine, run_quietly
from tmpnb_py.cli.options import ENGINE_OPTIONS, read, with_settings
from tmpnb_py.core.errors import ImageUnfitError
from tmpnb_py.options.groups.notebooks import DEFAULT_IMAGE
from tmpnb_py.options.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

    from tmpnb_py.images.results import CheckReport, ServerTrial

_OPTIONS = (
    *ENGINE_OPTIONS, "command", "egress", "egress_allow", "accept_missing", "mem_limit", "cpu_quota", "pids_limit",
    "home_size", "tmp_size", "shm_size", "start_timeout", "container_ip", "container_port", "container_user",
)  # fmt: skip


@click.command()
@click.argument("name", metavar="IMAGE", default=DEFAULT_IMAGE)
@click.option("--notebooks", is_flag=True, help="Also run every notebook of a new home from top to bottom.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_settings(_OPTIONS)
@click.pass_context
def check(ctx: click.Context, name: str, notebooks: bool, as_json: bool, config: str | None) -> None:
    """Start an image as serve would, and try all of its kernels.

    Tries each transport (socket, port), and a plot in each kernel. Shows what the image supports, what a start uses,
    and what is missing with its remedy. The exit code is 4 if the image cannot serve visitors.
    """
    settings = read(ctx, config).settings.model_copy(update={"image": name})
    run_quietly(_check(settings, notebooks=notebooks, as_json=as_json))


async def _check(settings: Settings, *, notebooks: bool, as_json: bool) -> None:
    from tmpnb_py.cli.commands.output import console  # noqa: PLC0415
    from tmpnb_py.images import results  # noqa: PLC0415

    say = (lambda _: None) if as_json else _telling(console())
    report = await _examined(settings, notebooks=notebooks, say=say)
    if as_json:
        click.echo(results.as_json(report))
    else:
        _print_report(console(), report)
    if not report.works:
        raise ImageUnfitError(f"{report.image.image} cannot serve visitors as it is")


async def _examined(settings: Settings, *, notebooks: bool, say: Callable[[str], None]) -> CheckReport:
    from tmpnb_py.cli.commands.engine import as_the_service  # noqa: PLC0415
    from tmpnb_py.images import check as image_check  # noqa: PLC0415
    from tmpnb_py.service.runtime_dir import borrowed_runtime_dir  # noqa: PLC0415

    settings = as_the_service(settings)
    with borrowed_runtime_dir(settings.runtime_path):
        async with docker_engine(settings, pool=f"{settings.pool_name}-check") as engine:
            try:
                return await image_check.check(engine, settings, notebooks=notebooks, say=say)
            finally:
                await engine.remove_pool()


def _telling(target: Console) -> Callable[[str], None]:
    return lambda text: target.print(f"… {_plain(text)}", soft_wrap=True)


def _plain(text: str) -> str:
    """One line without control characters, as the text comes from an image."""
    from tmpnb_py.core.log_cleaning import clean_lines  # noqa: PLC0415

    return " ".join(clean_lines(text.splitlines()))


def _print_report(target: Console, report: CheckReport) -> None:
    from tmpnb_py.cli.commands.output import size  # noqa: PLC0415

    facts = report.image
    supports = {"socket": facts.supports_socket, "read-only root": facts.supports_read_only, "own home": facts.home}
    said = ", ".join(f"{name} {'yes' if has else 'no'}" for name, has in supports.items())
    target.print(f"{facts.image}: {size(report.size)}, {_workshops(report.workshops)}; {said}", soft_wrap=True)
    for trial in report.trials:
        for line in _trial_lines(trial):
            target.print(_plain(line), soft_wrap=True)
    for one in report.warm:
        result = one.problem or f"ready after {one.seconds:.2f} s, {size(one.memory)}"
        target.print(_plain(f"started ahead: {one.kernel}: {result}"), soft_wrap=True)
    for advice in report.advice:
        target.print(f"{'FAIL' if advice.serious else 'WARN'}  {_plain(advice.text)}", soft_wrap=True)
        target.print(f"      → {_plain(advice.remedy)}", soft_wrap=True)


def _workshops(count: int) -> str:
    return "1 workshop" if count == 1 else f"{count} workshops"


def _trial_lines(trial: ServerTrial) -> list[str]:
    from tmpnb_py.cli.commands.output import size  # noqa: PLC0415

    if trial.problem:
        return [f"by {trial.transport.value}: {trial.problem}", *(f"| {line}" for line in trial.log_lines)]
    classic = ", /tree works" if trial.classic else ""
    classic += ", shows messages" if trial.messages else ""
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
