"""Every option of tmpnb-py, and its values.

`Settings` puts together what `groups` declare; the command line, the environment, the TOML file and
`docs/options.md` are derived from it through `OPTIONS`; `sources` fills it. Values are plain: sizes are bytes,
durations are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pydantic import PrivateAttr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from tmpnb_py.options.declaration import Group, Option, describe
from tmpnb_py.options.groups.addresses import AddressOptions
from tmpnb_py.options.groups.fronts import FrontOptions
from tmpnb_py.options.groups.notebooks import NotebookOptions
from tmpnb_py.options.groups.other_sites import OtherSitesOptions
from tmpnb_py.options.groups.pages import PageOptions
from tmpnb_py.options.groups.pool import PoolOptions
from tmpnb_py.options.groups.proxy import ProxyOptions
from tmpnb_py.options.groups.service import ServiceOptions
from tmpnb_py.options.groups.sessions import SessionOptions
from tmpnb_py.options.groups.swarm import SwarmOptions

# In the order of the documentation.
GROUPS: tuple[type[Group], ...] = (
    AddressOptions,
    NotebookOptions,
    SwarmOptions,
    PoolOptions,
    SessionOptions,
    ProxyOptions,
    FrontOptions,
    OtherSitesOptions,
    PageOptions,
    ServiceOptions,
)


# The bases are in reverse: pydantic takes the fields of the last one first, and the check of a value may ask for
# those of an earlier group.
class Settings(
    ServiceOptions,
    PageOptions,
    OtherSitesOptions,
    FrontOptions,
    ProxyOptions,
    SessionOptions,
    PoolOptions,
    SwarmOptions,
    NotebookOptions,
    AddressOptions,
):
    """A frozen snapshot of all options. Built directly, it knows only its arguments and the defaults.

    With `[pools.<name>]` tables it has a snapshot for each, in which the table lies over the top level; `tables` says
    how they are made. A pool's parts see its snapshot and no other.
    """

    _tables: Mapping[str, Settings] = PrivateAttr(default_factory=lambda: MappingProxyType({}))

    @property
    def tables(self) -> Mapping[str, Settings]:
        """Each pool's snapshot by its table's name, in the order of the file; empty without tables."""
        return self._tables

    @property
    def pools(self) -> tuple[Settings, ...]:
        """The snapshot of every pool, the default pool's first: without tables this one."""
        if not self._tables:
            return (self,)
        first = self.default_pool or next(iter(self._tables))
        return (self._tables[first], *(one for name, one in self._tables.items() if name != first))

    def with_tables(self, tables: Mapping[str, Settings]) -> Settings:
        """The same with these pools."""
        copy = self.model_copy()
        copy._tables = MappingProxyType(dict(tables))
        return copy

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only the arguments: `sources` runs the other sources, and remembers where a value is from."""
        return (init_settings,)


OPTIONS: dict[str, Option] = {
    name: describe(name, field, group.title) for group in GROUPS for name, field in group.model_fields.items()
}
