"""`config`: show the effective settings and their origins, or print a configuration file to start from."""

from __future__ import annotations

import itertools
import json
import math
import textwrap
from collections.abc import Iterator
from typing import Any

import click
from pydantic import SecretStr

from tmpnb_py.cli.options import SettingsCommand, read, with_settings
from tmpnb_py.options.declaration import Option, Tables
from tmpnb_py.options.kinds import Kind, format_value
from tmpnb_py.options.settings import OPTIONS, Settings
from tmpnb_py.options.sources import LoadedSettings
from tmpnb_py.options.timetables import Entry

_HEAD = """\
# tmpnb-py's options. A line that begins with # is a default: remove the # to change it.
# The command line and the environment (TMPNB_POOL_SIZE=30) override this file.
# tmpnb-py config --config FILE shows the effective values and their origins.
"""
_WIDTH = 100


@click.command(cls=SettingsCommand)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--template", is_flag=True, help="Print a commented TOML file with these values.")
@with_settings()
@click.pass_context
def config(ctx: click.Context, as_json: bool, template: bool, config: str | None) -> None:
    """Show every option's value and where it came from. Takes the options of serve."""
    if as_json and template:
        raise click.UsageError("--json and --template exclude each other.")
    loaded = read(ctx, config)
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    if template:
        click.echo(_template(loaded), nl=False)
    elif as_json:
        click.echo(json.dumps(_described(loaded), indent=2, ensure_ascii=False))
    else:
        _print_table(loaded)


def _described(loaded: LoadedSettings) -> dict[str, dict[str, Any]]:
    """Each option with its value (for a secret, only whether it is set) and its origin."""
    described = {
        name: {"value": _plain(option, loaded.settings), "origin": loaded.origins.get(name, "default")}
        for name, option in _at_top().items()
    }
    if loaded.settings.tables:
        described["pools"] = {
            name: {option: _plain(OPTIONS[option], pool) for option in OPTIONS if _is_for_tables(option)}
            for name, pool in loaded.settings.tables.items()
        }
    return described


def _at_top() -> dict[str, Option]:
    """The options of the top level."""
    return {name: option for name, option in OPTIONS.items() if option.tables is not Tables.ONLY}


def _is_for_tables(name: str) -> bool:
    return OPTIONS[name].tables is not Tables.NONE


def _plain(option: Option, settings: Settings) -> Any:
    value = getattr(settings, option.name)
    if value is None or isinstance(value, bool) or option.kind is Kind.NUMBER:
        return value
    if option.kind is Kind.TABLES:
        return [one.written() for one in value]
    if isinstance(value, tuple):
        return [str(part) for part in value]
    return format_value(option.kind, value)


def _print_table(loaded: LoadedSettings) -> None:
    from tmpnb_py.cli.commands.output import console, show, table  # noqa: PLC0415 - loads rich

    target = console()
    top, origins = loaded.settings, loaded.origins
    rows = [(name, _shown(option, top), origins.get(name, "default")) for name, option in _at_top().items()]
    rows += [
        (f"{table_name}: {name}", _shown(OPTIONS[name], pool), f"[pools.{table_name}]")
        for table_name, pool in top.tables.items()
        for name in OPTIONS
        if _is_for_tables(name) and getattr(pool, name) != getattr(top, name)
    ]
    show(target, table(target, ("option", "value", "from"), rows))


def _shown(option: Option, settings: Settings) -> str:
    value = getattr(settings, option.name)
    text = option.default if value is None else format_value(option.kind, value)
    return "".join(char if char.isprintable() else " " for char in text)


def _template(loaded: LoadedSettings) -> str:
    parts = [_HEAD]
    for group, options in itertools.groupby(_at_top().values(), key=lambda option: option.group):
        parts.append(f"\n# --- {group}\n")
        parts += [f"\n{line}" for option in options for line in (_entry(option, loaded),)]
    for name, pool in loaded.settings.tables.items():
        parts.append(f"\n# --- Pool {name}: what it has of its own\n\n[pools.{name}]\n")
        parts += [
            f"{option} = {_toml(OPTIONS[option], value)}\n"
            for option in OPTIONS
            if _is_for_tables(option)
            and (value := getattr(pool, option)) is not None
            and value != getattr(loaded.settings, option)
        ]
    return "".join(parts)


def _entry(option: Option, loaded: LoadedSettings) -> str:
    lines = list(_comment(option))
    value = getattr(loaded.settings, option.name)
    is_set = option.name in loaded.origins and option.kind is not Kind.SECRET
    if option.kind is Kind.SECRET:
        value = "…"
    if value is None or option.kind is Kind.SECRET:
        lines.append(f"# {option.name} = {_example(option)}")
    else:
        lines.append(f"{'' if is_set else '# '}{option.name} = {_toml(option, value)}")
    return "\n".join(lines) + "\n"


def _comment(option: Option) -> Iterator[str]:
    choices = f" One of {', '.join(option.choices)}." if option.choices else ""
    yield from textwrap.wrap(
        f"{option.description}{choices}", _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
    )


def _example(option: Option) -> str:
    """The text after `=` for an option without a value; its comment tells the default."""
    if option.kind is Kind.NUMBER:
        return f"1  # if omitted: {option.default}"
    return f'""  # if omitted: {option.default}'


def _toml(option: Option, value: Any) -> str:
    """A value in TOML. Its basic strings are written like JSON's."""
    if isinstance(value, SecretStr):
        raise TypeError("a secret is never written")
    if isinstance(value, bool):
        return str(value).lower()
    if option.kind is Kind.TABLES:
        return f"[{', '.join(map(_inline, value))}]"
    if isinstance(value, tuple):
        return json.dumps([str(part) for part in value], ensure_ascii=False)
    if option.kind is Kind.NUMBER and isinstance(value, int | float) and math.isfinite(value):
        return str(value)
    return _quoted(format_value(option.kind, value))


def _inline(entry: Entry) -> str:
    """A table of the timetable on one line."""
    return f"{{{', '.join(f'{key} = {json.dumps(value)}' for key, value in entry.written().items())}}}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


COMMANDS: tuple[Any, ...] = (config,)
