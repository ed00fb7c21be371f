"""How an option is declared, and what the rest of the program reads from the declaration.

`groups` declare each option once with `option`: its default, its help, what a change of it does to a running service,
and which engines understand it. The command line, the documentation, reloading and the engines read this as an
`Option`; none of them keeps a list of options of its own. Pure.
"""

from __future__ import annotations

import dataclasses
import enum
from pathlib import Path
from typing import Any, ClassVar, get_args, get_origin

from pydantic import Field, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from tmpnb_py.options.kinds import Kind, Quantity, format_value
from tmpnb_py.options.timetables import Entry

ENV_PREFIX = "TMPNB_"
# For `engines`: only these understand the option.
DOCKER = ("docker",)
SWARM = ("swarm",)
ONE_MACHINE = ("docker", "local")
CONTAINERS = ("docker", "swarm")


class Reload(enum.StrEnum):
    """What a reload does with an option that has changed."""

    AT_ONCE = "at once"  # the running service acts by it from then on
    RENEW = "renews containers"  # the pool's ready containers are replaced; those in use stay as they are
    RESTART = "restart"  # the running service keeps the old value; a restart costs nobody a notebook


class Tables(enum.StrEnum):
    """What the table of a pool (`[pools.<name>]`, see `tables`) has to do with an option."""

    NONE = "service"  # one value for the service: no table may have it
    INHERITED = "each pool"  # a table may have it; one that has not takes the top level's
    OWN = "each pool, not inherited"  # at the top level it is another thing, or a single pool's
    ONLY = "tables only"  # it means nothing without several pools


class Elsewhere(enum.StrEnum):
    """What an engine does with an option that it does not understand, if the operator has set it."""

    IGNORED = "ignored"  # a warning says so
    REFUSED = "refused"  # the service does not start: going without would not be what the operator meant


@dataclasses.dataclass(frozen=True)
class Option:
    """An option as it was declared. `engines` is empty where every engine understands it."""

    name: str
    kind: Kind
    group: str
    description: str
    default: str
    reload: Reload
    choices: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    elsewhere: Elsewhere = Elsewhere.IGNORED
    tables: Tables = Tables.NONE

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return ENV_PREFIX + self.name.upper()

    def is_for(self, engine: str) -> bool:
        """Whether the engine of this name understands the option."""
        return not self.engines or engine in self.engines


class Group(BaseSettings):
    """Options that are documented together, under a title."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=ENV_PREFIX, env_ignore_empty=True, hide_input_in_errors=True
    )

    title: ClassVar[str]


def option(
    default: Any,
    description: str,
    *,
    reload: Reload,
    unset: str = "",
    engines: tuple[str, ...] = (),
    elsewhere: Elsewhere = Elsewhere.IGNORED,
    tables: Tables = Tables.NONE,
) -> Any:
    """A field of a `Group`. `unset` says in the documentation what a default of None means."""
    extra = {"unset": unset, "reload": reload, "engines": ",".join(engines), "elsewhere": elsewhere, "tables": tables}
    return Field(default, description=description, json_schema_extra={**extra})


def describe(name: str, field: FieldInfo, group: str) -> Option:
    """The option that a field of a group declares."""
    extra = field.json_schema_extra
    assert isinstance(extra, dict)  # noqa: S101 - every field is made by `option`
    kind, choices = _kind(field)
    return Option(
        name,
        kind,
        group,
        field.description or "",
        default=str(extra["unset"]) if field.default is None else format_value(kind, field.default),
        reload=Reload(str(extra["reload"])),
        choices=choices,
        engines=tuple(filter(None, str(extra["engines"]).split(","))),
        elsewhere=Elsewhere(str(extra["elsewhere"])),
        tables=Tables(str(extra["tables"])),
    )


def _kind(field: FieldInfo) -> tuple[Kind, tuple[str, ...]]:
    """How the values of a field are written; of a choice, also its values."""
    for item in field.metadata:
        if isinstance(item, Quantity):
            return item.kind, ()
    annotation = field.annotation
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return Kind.CHOICE, tuple(str(member.value) for member in annotation)
    if isinstance(field.default, str) and (choices := get_args(annotation)):
        return Kind.CHOICE, choices
    if get_origin(annotation) is tuple and get_args(annotation)[0] is Entry:
        return Kind.TABLES, ()
    if get_origin(annotation) is tuple:
        return Kind.LIST, ()
    kinds: dict[object, Kind] = {bool: Kind.SWITCH, SecretStr: Kind.SECRET, Path | None: Kind.PATH}
    return kinds.get(annotation, Kind.TEXT), ()
