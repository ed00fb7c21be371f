"""Where the values of the settings come from: command line over environment over TOML file over defaults.

The command line calls `read_settings` at the start and on each reload. All mistakes are reported together, each with
the place that its value was written in. Nothing here runs concurrently.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource, TomlConfigSettingsSource

from tmpnb_py.core.errors import EngineDownError, SettingsError
from tmpnb_py.options import tables, tmpnb
from tmpnb_py.options.declaration import ENV_PREFIX, Elsewhere
from tmpnb_py.options.kinds import Kind
from tmpnb_py.options.risks import risks
from tmpnb_py.options.settings import OPTIONS, Settings
from tmpnb_py.options.tmpnb import LEGACY
from tmpnb_py.options.values import AUTO_ENGINE

CONFIG_VARIABLE = "TMPNB_CONFIG"
SYSTEM_CONFIG = Path("/etc/tmpnb-py.toml")  # if no other file is named
# tmpnb's own names for the tokens are understood too; ours win where both are set.
ADMIN_TOKEN_VARIABLE = "ADMIN_AUTH_TOKEN"  # noqa: S105 - the name of a variable, not a secret
API_TOKEN_VARIABLE = "API_AUTH_TOKEN"  # noqa: S105 - the name of a variable, not a secret


@dataclasses.dataclass(frozen=True)
class LoadedSettings:
    """The settings, the origin of each value that is not a default, and warnings."""

    settings: Settings
    origins: Mapping[str, str]
    warnings: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Value:
    raw: Any
    origin: str


_TWICE = "Cannot declare"  # how tomllib begins its message about a second table of the same name
_NONE_READY = {"pool_size": _Value(0, "")}


def load_settings(given: Mapping[str, str | bool], environ: Mapping[str, str], config: str | None = None) -> Settings:
    """`read_settings` for callers that need only the values."""
    return read_settings(given, environ, config).settings


def read_settings(
    given: Mapping[str, str | bool], environ: Mapping[str, str], config: str | None = None
) -> LoadedSettings:
    """Settings from the command line (`given`, by field name), `environ`, a TOML file and the defaults.

    `config` is the file's path from the command line; it takes precedence over TMPNB_CONFIG and the system's file.
    Raises `SettingsError`, which lists all mistakes with the places that they were written in.
    """
    problems: list[str] = []
    command_line = {name: _Value(raw, f"--{name.replace('_', '-')}") for name, raw in given.items()}
    warnings: list[str] = []
    file, pools = _from_file(config, environ, problems)
    _add_from_environment(pools, environ, problems)
    layers = [_translated(layer, warnings) for layer in (file, _from_environment(environ), command_line)]
    values = {name: value for layer in layers for name, value in layer.items()}
    for name, value in values.items():
        if name in OPTIONS and (wrong := tables.wrong_at_top(name, has_tables=bool(pools))):
            problems.append(f"{value.origin}: {wrong}")
    settings = _with_pools(values, pools, problems) if pools else _validated(values, problems)
    if settings is not None:
        problems.extend(tables.problems_of_all(settings, is_bounded="max_containers" in values))
    if problems or settings is None:
        raise _wrong(tuple(dict.fromkeys(problems)))
    origins = {name: value.origin for name, value in values.items()}
    found = [one for pool in settings.pools for one in risks(pool)]
    warnings += [*tmpnb.warnings_of(environ), *_unknown_variables(environ), *dict.fromkeys(found)]
    return LoadedSettings(settings, origins, tuple(warnings))


def _with_pools(
    values: Mapping[str, _Value], pools: Mapping[str, Mapping[str, _Value]], problems: list[str]
) -> Settings | None:
    """The settings with each table's snapshot: its own values over those that it takes from the top level."""
    found = {name: _validated({**tables.inherited(values), **own}, problems) for name, own in pools.items()}
    # How many are to be ready is for each table to say: all of them are compared with the maximum below.
    top = _validated({name: value for name, value in values.items() if name != "pool_size"} | _NONE_READY, problems)
    made = {name: tables.pool_of(one, name) for name, one in found.items() if one is not None}
    if top is None or len(made) < len(found):
        return None
    return top.model_copy(update={"pool_size": sum(one.base_size for one in made.values())}).with_tables(made)


def _add_from_environment(
    pools: dict[str, dict[str, _Value]], environ: Mapping[str, str], problems: list[str]
) -> None:
    """The variables of pools, over what the file has of them."""
    for table, option, raw, variable in tables.from_environment(environ, dict(pools)):
        if wrong := tables.wrong_name(table) or _wrong_in_table(option):
            problems.append(f"{variable}: {wrong}")
        else:
            pools.setdefault(table, {})[option] = _Value(raw, variable)


def _wrong_in_table(option: str) -> str:
    return tables.wrong_option(option) if option in OPTIONS else _no_such(option)


def _from_environment(environ: Mapping[str, str]) -> dict[str, _Value]:
    source = EnvSettingsSource(Settings)
    source.env_vars = {name.lower(): value for name, value in environ.items() if value}
    found = {name: _Value(raw, OPTIONS[name].variable) for name, raw in source().items()}
    for name in LEGACY:
        if raw := environ.get(variable := ENV_PREFIX + name.upper()):
            found[name] = _Value(raw, variable)
    for name, variable in (("admin_auth_token", ADMIN_TOKEN_VARIABLE), ("api_auth_token", API_TOKEN_VARIABLE)):
        if token := environ.get(variable):
            found.setdefault(name, _Value(token, variable))
    return found


def _translated(layer: Mapping[str, _Value], warnings: list[str]) -> dict[str, _Value]:
    """Rename tmpnb's options in a layer. The new name wins if the layer has both."""
    current: dict[str, _Value] = {}
    for name, value in sorted(layer.items(), key=lambda item: item[0] in LEGACY):
        reading = tmpnb.read(name, value.raw, value.origin)
        warnings += [reading.warning] if reading.warning else []
        if reading.name:
            current.setdefault(reading.name, _Value(reading.raw, value.origin))
    return current


def _from_file(
    config: str | None, environ: Mapping[str, str], problems: list[str]
) -> tuple[dict[str, _Value], dict[str, dict[str, _Value]]]:
    """The file's values, and those of its pools' tables; mistakes in the file itself are added to `problems`."""
    name = config if config is not None else environ.get(CONFIG_VARIABLE)
    origin = "--config" if config is not None else CONFIG_VARIABLE
    if not name and config is None:
        if not SYSTEM_CONFIG.exists():
            return {}, {}
        name, origin = str(SYSTEM_CONFIG), "the system's configuration"
    try:
        data = _read_toml(Path(name or ""))
    except (OSError, ValueError) as error:
        problems.append(f"{origin}: {_explain_file(name or '', error)}")
        return {}, {}
    pools = _from_tables(data.pop(tables.KEY, {}), name or "", problems)
    unknown = data.keys() - OPTIONS.keys() - LEGACY.keys()
    problems.extend(f"{key} in {name}: {_no_such(key)}" for key in unknown)
    return {key: _Value(raw, f"{key} in {name}") for key, raw in data.items() if key not in unknown}, pools


def _from_tables(data: Any, file: str, problems: list[str]) -> dict[str, dict[str, _Value]]:
    """The pools of a file: each table's options."""
    if not isinstance(data, dict):
        problems.append(f"{tables.KEY} in {file}: is not a table: write [pools.<name>] before the options of a pool")
        return {}
    pools: dict[str, dict[str, _Value]] = {}
    for table, options in data.items():
        place = f"[{tables.KEY}.{table}] in {file}"
        if wrong := tables.wrong_name(table):
            problems.append(f"{place}: {wrong}")
        elif not isinstance(options, dict):
            problems.append(f"{place}: is not a table: write [pools.{table}] before the options of this pool")
        else:
            wrong_ones = {name: wrong for name in options if (wrong := _wrong_in_table(name))}
            problems.extend(f"{name} in {place}: {wrong}" for name, wrong in wrong_ones.items())
            own = {name: raw for name, raw in options.items() if name not in wrong_ones}
            pools[table] = {name: _Value(raw, f"{name} in {place}") for name, raw in own.items()}
    return pools


def _read_toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        path.stat()  # the source treats a missing file as empty; this raises what is wrong
        raise OSError("it is not a regular file")
    return TomlConfigSettingsSource(Settings, path).toml_data


def _explain_file(name: str, error: Exception) -> str:
    if isinstance(error, tomllib.TOMLDecodeError):
        if str(error).startswith(_TWICE):
            return f"{name} is not valid TOML: {error}; two tables have one name: give each pool a name of its own"
        return f"{name} is not valid TOML: {error}; write one option per line, such as pool_size = 10"
    if isinstance(error, UnicodeDecodeError):
        return f"{name} is not valid TOML: it is not UTF-8 text"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f'"{name}" cannot be read ({reason}): give the path of a TOML file that this user may read'


def _validated(values: Mapping[str, _Value], problems: list[str]) -> Settings | None:
    try:
        return Settings(**{name: value.raw for name, value in values.items()})
    except ValidationError as error:
        for details in error.errors():
            name = str(details["loc"][0])
            problems.append(f"{values[name].origin}: {_explain(name, details)}")
        return None


def _explain(name: str, details: ErrorDetails) -> str:
    """Translate an error of pydantic's into a sentence that begins with the value, unless the value is secret."""
    option = OPTIONS.get(name)
    if option is None:
        return _no_such(name)
    value = details["input"]
    shown = "the value" if option.kind is Kind.SECRET else _shown(value)
    if option.kind is Kind.SWITCH and details["type"] != "value_error":
        return f"{shown} is neither true nor false"
    if option.kind is Kind.CHOICE and details["type"] != "value_error":
        return f"{shown} is not among its values: choose {' or '.join(option.choices)}"
    if details["type"] == "value_error":
        return str(details["ctx"]["error"]) if option.kind is Kind.TABLES else f"{shown} {details['ctx']['error']}"
    if details["type"] == "string_type":
        return f'{shown} is not text: write it in quotes, such as {name} = "…"'
    return f"{shown} is not a {option.kind}"


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else repr(value)
    printable = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return f'"{printable}"' if len(printable) <= 100 else f'"{printable[:100]}…"'


def _no_such(name: str) -> str:
    return f"there is no such option{_hint(name.lower().replace('-', '_'), OPTIONS, '')}"


def _hint(name: str, known: Iterable[str], prefix: str) -> str:
    matches = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {prefix}{matches[0]}?" if matches else ""


def _wrong(problems: Sequence[str]) -> SettingsError:
    remedy = "tmpnb-py serve --help shows every option with its default and how it is written."
    if len(problems) == 1:
        return SettingsError(problems[0], remedy=remedy)
    lines = "".join(f"\n  {problem}" for problem in sorted(problems))
    return SettingsError(f"{len(problems)} settings are wrong:{lines}", remedy=remedy)


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Warn of each variable that looks like an option but is none, so that a typing error does not go unnoticed."""
    known = {name.upper() for name in (*OPTIONS, *LEGACY)} | {CONFIG_VARIABLE.removeprefix(ENV_PREFIX)}
    unknown = {
        name: slip
        for name in sorted(environ)
        if name.upper().startswith(ENV_PREFIX)
        and not tables.is_variable(name)
        and (slip := name.upper().removeprefix(ENV_PREFIX)) not in known
    }
    return [
        f"{name} in the environment is ignored: there is no such option{_hint(slip, known, ENV_PREFIX)}"
        for name, slip in unknown.items()
    ]


def choose_engine(settings: Settings, environ: Mapping[str, str]) -> str:
    """The engine to use: the one that is named, else Docker if there is any trace of it, else the local one.

    A Docker socket counts even if nothing answers on it: an engine that is down at boot must not move visitors onto
    the host.
    """
    if settings.engine != AUTO_ENGINE:
        return settings.engine
    return "docker" if environ.get("DOCKER_HOST") or Path("/var/run/docker.sock").exists() else "local"


def without_effect(settings: Settings, engine: str) -> list[str]:
    """The options that were set and that this engine ignores."""
    return [name for name in _not_understood(settings, engine) if OPTIONS[name].elsewhere is Elsewhere.IGNORED]


def refused(settings: Settings, engine: str) -> list[str]:
    """The options that were set, that this engine does not have, and that it must not silently leave out."""
    return [name for name in _not_understood(settings, engine) if OPTIONS[name].elsewhere is Elsewhere.REFUSED]


def _not_understood(settings: Settings, engine: str) -> Iterator[str]:
    for name, option in OPTIONS.items():
        if not option.is_for(engine) and getattr(settings, name) != Settings.model_fields[name].default:
            yield name


def need_docker(settings: Settings, environ: Mapping[str, str]) -> None:
    """Raise `EngineDownError` if the engine is the local one, which has no images. One of others tells by itself."""
    if choose_engine(settings, environ) != "local":
        return
    if settings.engine == "local":
        raise EngineDownError(
            "the local engine has no images", remedy="Leave out --engine local, or set TMPNB_ENGINE to docker."
        )
    raise EngineDownError(
        "no engine was found: DOCKER_HOST is not set and /var/run/docker.sock does not exist",
        remedy="Install Docker and start it, or set DOCKER_HOST to where one listens.",
    )
