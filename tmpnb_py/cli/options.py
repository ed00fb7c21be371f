"""The settings as command-line options, and reading them for a command.

Used by every command module. Deliberately light: it loads no event loop and no HTTP library, so that
`--help` and a wrong option answer at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from tmpnb_py.core.errors import SettingsError
from tmpnb_py.core.models import Egress
from tmpnb_py.options.declaration import Option, Tables
from tmpnb_py.options.kinds import Kind
from tmpnb_py.options.settings import OPTIONS, Settings
from tmpnb_py.options.sources import CONFIG_VARIABLE, SYSTEM_CONFIG, LoadedSettings, read_settings
from tmpnb_py.options.tmpnb import LEGACY

CONFIG_HELP = (
    f"TOML file with options, one per line, such as pool_size = 10. [{CONFIG_VARIABLE}] "
    f"[default: {SYSTEM_CONFIG}, where it exists]"
)
ADMIN_OPTIONS = ("admin_ip", "admin_port", "admin_auth_token")
ENGINE_OPTIONS = ("engine", "pool_name", "runtime_dir")

_METAVARS = {
    Kind.SWITCH: "[true|false]",
    Kind.LIST: "A,B,…",
    Kind.TABLES: "JSON",
    Kind.SECRET: "TEXT",
}

# For commands that can be about one pool of several. Which there are, the service or the file knows.
pool_option = click.option("--pool", metavar="NAME", help="Of several pools, only this one.")

F = TypeVar("F", bound=Callable[..., Any] | click.Command)


class SettingsCommand(click.Command):
    """A command whose help groups the options under the settings' headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            option = OPTIONS.get(parameter.name or "")
            if record := parameter.get_help_record(ctx):
                groups.setdefault(option.group if option else "Options", []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records, col_max=24)


def settings_options(names: Sequence[str] | None = None) -> Iterable[click.Option]:
    """A command-line option for each setting, or only for `names`."""
    for option in OPTIONS.values():
        if option.name not in (names or OPTIONS) or option.tables is Tables.ONLY:
            continue
        is_switch = option.kind is Kind.SWITCH
        # A bare `--switch` means true; `--switch=false` works, too.
        bare: dict[str, Any] = {"is_flag": False, "flag_value": "true"} if is_switch else {}
        yield click.Option(
            [option.flag, option.name],
            help=_help(option),
            metavar=_metavar(option),
            callback=_collect,
            expose_value=False,
            shell_complete=_completion(option),
            **bare,
        )
        if is_switch:
            negative = f"--no-{option.flag[2:]}"
            yield click.Option([negative], is_flag=True, hidden=True, callback=_collect, expose_value=False)


def _legacy_options() -> Iterable[click.Option]:
    """tmpnb's options that have no effect or another name here. The help does not list them."""
    for name in LEGACY:
        flag = f"--{name.replace('_', '-')}"
        yield click.Option(
            [flag, name], is_flag=False, flag_value="true", hidden=True, callback=_collect, expose_value=False
        )


def _allow_network() -> click.Option:
    """`--allow-network`, a shorthand."""

    def allow(ctx: click.Context, _parameter: click.Parameter, given: bool) -> None:
        if given:
            ctx.ensure_object(dict).setdefault("egress", Egress.INTERNET.value)

    return click.Option(
        ["--allow-network"], is_flag=True, callback=allow, expose_value=False, help="The same as --egress internet."
    )


def with_settings(names: Sequence[str] | None = None) -> Callable[[F], F]:
    """Decorate a command with the settings' options, and with `--config` as the argument `config`."""

    def decorate(function: F) -> F:
        others = [*_legacy_options(), _allow_network()] if names is None else ()
        parameters = [
            *settings_options(names),
            *others,
            click.Option(["--config"], metavar="FILE", help=CONFIG_HELP, shell_complete=_files),
        ]
        # click collects a decorated function's options in this attribute in reverse order.
        known = function.__dict__.setdefault("__click_params__", [])
        known.extend(reversed(parameters))
        return function

    return decorate


def read(ctx: click.Context, config: str | None) -> LoadedSettings:
    """Read the settings as `serve` does. Raises `SettingsError`."""
    return read_settings(ctx.ensure_object(dict), os.environ, config)


def pools_named(name: str | None, pools: Collection[Settings]) -> tuple[Settings, ...]:
    """The pool of this name, or for None all of them. Raises `SettingsError` where there is none."""
    found = tuple(one for one in pools if name in (None, one.label))
    if not found:
        there = ", ".join(one.label for one in pools)
        raise SettingsError(f"--pool: there is no pool {name}", remedy=f"There is: {there}.")
    return found


def _files(_ctx: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    return [CompletionItem(begun, type="file")]


def _completion(option: Option) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Shell completion for the option's value."""
    words = ("true", "false") if option.kind is Kind.SWITCH else option.choices

    def complete(_ctx: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        if option.kind is Kind.PATH:
            return [CompletionItem(begun, type="dir")]
        return [CompletionItem(word) for word in words if word.startswith(begun)]

    return complete


def _help(option: Option) -> str:
    negative = f" Off: --no-{option.flag[2:]}." if option.default == "true" else ""
    return f"{option.description}{negative} [default: {option.default}]"


def _metavar(option: Option) -> str:
    if option.choices:
        return f"[{'|'.join(option.choices)}]"
    return _METAVARS.get(option.kind, option.kind.upper())


def _collect(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Collect a given value as text. `Settings` parses them all, and reports all errors at once."""
    name = parameter.name or ""
    if ctx.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
        return
    given: dict[str, str | bool] = ctx.ensure_object(dict)
    if name in OPTIONS or name in LEGACY:
        given[name] = value
    else:
        given[name.removeprefix("no_")] = False
