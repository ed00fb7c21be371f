"""`doctor`: check that everything works here, and plan for a number of people."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import TYPE_CHECKING, Any

import click

from tmpnb_py.cli.options import SettingsCommand, pool_option, pools_named, read, with_settings
from tmpnb_py.core.errors import UnfitError

if TYPE_CHECKING:
    from rich.console import Console

    from tmpnb_py.cli.commands.checks import Examination
    from tmpnb_py.cli.commands.findings import Finding
    from tmpnb_py.cli.commands.plan import CapacityPlan, Figures
    from tmpnb_py.options.settings import Settings

_COLORS = {"OK": "green", "WARN": "yellow", "FAIL": "red"}


def _address(_ctx: click.Context, _parameter: click.Parameter, given: str | None) -> str | None:
    """The URL, if it is one of the web's."""
    if given is not None and not given.startswith(("http://", "https://")):
        raise click.BadParameter("write it as visitors do: https://notebooks.example.org")
    return given


@click.command(cls=SettingsCommand)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--plan", "people", type=click.IntRange(1, 100_000), metavar="N", help="What N people at once need.")
@click.option(
    "--through",
    "address",
    metavar="URL",
    callback=_address,
    help="Also visit the running service at this address, by the proxy in front: takes one notebook, and ends it.",
)
@pool_option
@with_settings()
@click.pass_context
def doctor(
    ctx: click.Context,
    *,
    as_json: bool,
    people: int | None,
    address: str | None,
    pool: str | None,
    config: str | None,
) -> None:
    """Check engine, permissions, image, ports, memory, disks, clock and network. Takes the options of serve.

    Each line is FAIL, WARN or OK, in this order, with a remedy and the section of the troubleshooting page. It
    starts one notebook as serve would, in a separate pool, and removes it again; a running service is not disturbed.
    Root acts as the owner of the runtime directory. The exit code is 8 if anything is FAIL.
    """
    loaded = read(ctx, config)
    pools = pools_named(pool, loaded.settings.pools)
    if people is not None and len(pools) > 1:
        names = ", ".join(one.label for one in pools)
        raise click.UsageError(f"--plan is about the notebooks of one pool: add --pool, one of {names}.")
    asyncio.run(_run(loaded, pools, as_json=as_json, people=people, address=address))


async def _run(
    loaded: Any, pools: tuple[Settings, ...], *, as_json: bool, people: int | None, address: str | None
) -> None:
    from tmpnb_py.cli.commands.checks import Examination  # noqa: PLC0415 - loads the engines
    from tmpnb_py.cli.commands.findings import Grade, most_urgent_first  # noqa: PLC0415
    from tmpnb_py.cli.commands.output import console  # noqa: PLC0415
    from tmpnb_py.cli.commands.visit import visit  # noqa: PLC0415
    from tmpnb_py.cli.progress import waiting  # noqa: PLC0415

    _quiet_logs()
    target = console()
    examination = Examination(loaded, pools)
    with waiting("looking at engine, image and machine"):
        found = [one async for one in examination.findings()]
        if address is not None:
            found += await visit(address, token=loaded.settings.api_auth_token)
        findings = most_urgent_first(found)
    planned = _planned(examination, people)
    if as_json:
        _print_json(findings, planned)
    else:
        for finding in findings:
            _print_finding(target, finding)
        if planned is not None:
            _print_plan(target, examination, *planned)
    failed = sum(finding.grade is Grade.FAIL for finding in findings)
    if failed:
        what = "1 thing has" if failed == 1 else f"{failed} things have"
        raise UnfitError(f"{what} to be fixed before serve can work")


def _quiet_logs() -> None:
    """Silence the log: the findings already tell everything that the engine's code would log."""
    from tmpnb_py.core import logs  # noqa: PLC0415

    logs.configure("auto", "error")


def _print_finding(target: Console, finding: Finding) -> None:
    from rich.text import Text  # noqa: PLC0415

    line = Text.assemble((f"{finding.grade:<4}", _COLORS[finding.grade]), f"  {finding.subject:<12} {finding.text}")
    target.print(line, soft_wrap=True)
    if finding.remedy:
        target.print(Text(f"      → {finding.remedy}"), soft_wrap=True)
    for one in finding.lines:
        target.print(Text(f"      | {one}"), soft_wrap=True)
    if finding.remedy:
        target.print(Text(f"      see {_link(finding)}"), soft_wrap=True)


def _link(finding: Finding) -> str:
    from tmpnb_py.core.installation import troubleshooting_url  # noqa: PLC0415

    return troubleshooting_url(finding.section)


def _planned(examination: Examination, people: int | None) -> tuple[CapacityPlan, Figures] | None:
    from tmpnb_py.cli.commands.plan import DEFAULTS, Machine, plan_for  # noqa: PLC0415

    if people is None:
        return None
    info, settings = examination.info, examination.pools[0]
    figures = examination.trial.figures if examination.trial is not None else DEFAULTS
    machine = None if info is None else Machine(info.memory, info.cpus)
    plan = plan_for(
        people,
        ready=settings.base_size,
        mem_limit=settings.mem_limit,
        figures=figures,
        machine=machine,
        is_warm=bool(settings.warm_kernels),
    )
    return plan, figures


def _print_json(findings: list[Finding], planned: tuple[CapacityPlan, Figures] | None) -> None:
    answer: dict[str, Any] = {
        "findings": [
            {**dataclasses.asdict(finding), "section": finding.section, "link": _link(finding)}
            for finding in findings
        ]
    }
    if planned is not None:
        plan, figures = planned
        answer |= {"plan": dataclasses.asdict(plan), "figures": dataclasses.asdict(figures)}
    click.echo(json.dumps(answer, indent=2, ensure_ascii=False))


def _print_plan(target: Console, examination: Examination, plan: CapacityPlan, figures: Figures) -> None:
    for line in _plan_lines(examination, plan, figures):
        target.print(line, soft_wrap=True)


def _plan_lines(examination: Examination, plan: CapacityPlan, figures: Figures) -> list[str]:
    from tmpnb_py.cli.commands.checks import free_disk  # noqa: PLC0415
    from tmpnb_py.cli.commands.output import size, span  # noqa: PLC0415

    source = "measured just now" if figures.measured else "typical of the workshop image; nothing could be measured"
    info, limit = examination.info, examination.pools[0].mem_limit
    has = "" if info is None else f"; this engine has {size(info.memory)}"
    enough, most = size(plan.memory), size(plan.memory_full)
    memory = f"{enough} with small data, {most} if everybody uses the whole limit of {size(limit)}"
    cpus = "" if info is None else f"; this engine has {info.cpus}"
    lines = [
        "",
        f"{plan.people} people at once and {plan.ready} notebooks ready for the next ones ({source}):",
        f"  memory  {memory}{has}",
        f"  CPU     {plan.cpus} cores, if all click within a minute{cpus}",
    ]
    free = free_disk()
    lines.append(f"  disk    {size(plan.disk)}" + ("" if free is None else f"; {size(free)} are free"))
    if plan.fill_seconds is not None:
        lines.append(f"  time    {span(max(1, plan.fill_seconds))} to start them all on this engine beforehand")
    return [*lines, f"  → {_advice(examination, plan, figures)}"]


def _advice(examination: Examination, plan: CapacityPlan, figures: Figures) -> str:
    from tmpnb_py.cli.commands.plan import WORK_MARGIN  # noqa: PLC0415

    info = examination.info
    size_option = f"--pool-size {plan.people} before they come"
    if info is None:
        return f"Start them beforehand: {size_option}."
    if plan.memory > info.memory:
        each = min(figures.memory_working + WORK_MARGIN, examination.pools[0].mem_limit)
        room = max(0, info.memory - (plan.memory - plan.people * each))
        return f"This engine's memory is enough for only {room // each} people: add more."
    if plan.memory_full > info.memory:
        return f"It fits unless everybody uses the whole limit: {size_option}, and watch the memory."
    if plan.cpus > info.cpus:
        return f"It fits, but the first minute will be slow with {info.cpus} CPUs: {size_option}."
    return f"It fits: {size_option}."


COMMANDS: tuple[Any, ...] = (doctor,)
