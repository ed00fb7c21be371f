"""`doctor`: check that everything works here, and plan for a number of people."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import TYPE_CHECKING, Any

import click

from tmpnb_py.cli.options import SettingsCommand, read, with_settings
from tmpnb_py.core.errors import UnfitError

if TYPE_CHECKING:
    from rich.console import Console

    from tmpnb_py.cli.commands.checks import Examination
    from tmpnb_py.cli.commands.findings import Finding
    from tmpnb_py.cli.commands.plan import CapacityPlan, Figures

_COLORS = {"OK": "green", "WARN": "yellow", "FAIL": "red"}


@click.command(cls=SettingsCommand)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--plan", "people", type=click.IntRange(1, 100_000), metavar="N", help="What N people at once need.")
@with_settings()
@click.pass_context
def doctor(ctx: click.Context, as_json: bool, people: int | None, config: str | None) -> None:
    """Check engine, permissions, image, ports and memory. Takes the options of serve.

    Each line is OK, WARN or FAIL with a remedy. It starts one notebook as serve would, in a separate pool, and
    removes it again; a running service is not disturbed. Root acts as the owner of the runtime directory. The exit
    code is 8 if anything is FAIL.
    """
    loaded = read(ctx, config)
    asyncio.run(_run(loaded, as_json=as_json, people=people))


async def _run(loaded: Any, *, as_json: bool, people: int | None) -> None:
    from tmpnb_py.cli.commands.checks import Examination  # noqa: PLC0415 - loads the engines
    from tmpnb_py.cli.commands.findings import Grade  # noqa: PLC0415
    from tmpnb_py.cli.commands.output import console  # noqa: PLC0415

    _quiet_logs()
    target = console()
    examination = Examination(loaded)
    findings = []
    async for finding in examination.findings():
        findings.append(finding)
        if not as_json:
            _print_finding(target, finding)
    planned = _planned(examination, people)
    if as_json:
        _print_json(findings, planned)
    elif planned is not None:
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


def _planned(examination: Examination, people: int | None) -> tuple[CapacityPlan, Figures] | None:
    from tmpnb_py.cli.commands.plan import DEFAULTS, Machine, plan_for  # noqa: PLC0415

    if people is None:
        return None
    info, settings = examination.info, examination.settings
    figures = examination.trial.figures if examination.trial is not None else DEFAULTS
    machine = None if info is None else Machine(info.memory, info.cpus)
    plan = plan_for(people, ready=settings.pool_size, mem_limit=settings.mem_limit, figures=figures, machine=machine)
    return plan, figures


def _print_json(findings: list[Finding], planned: tuple[CapacityPlan, Figures] | None) -> None:
    answer: dict[str, Any] = {"findings": [dataclasses.asdict(finding) for finding in findings]}
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
    info, limit = examination.info, examination.settings.mem_limit
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
        each = min(figures.memory_working + WORK_MARGIN, examination.settings.mem_limit)
        room = max(0, info.memory - (plan.memory - plan.people * each))
        return f"This engine's memory is enough for only {room // each} people: add more."
    if plan.memory_full > info.memory:
        return f"It fits unless everybody uses the whole limit: {size_option}, and watch the memory."
    if plan.cpus > info.cpus:
        return f"It fits, but the first minute will be slow with {info.cpus} CPUs: {size_option}."
    return f"It fits: {size_option}."


COMMANDS: tuple[Any, ...] = (doctor,)
