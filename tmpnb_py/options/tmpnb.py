"""tmpnb's options that have another name here or none: what each has become, and how its user is warned.

`sources` asks for every value before it makes settings of them; the command line accepts the names. `Settings` knows
nothing of this. Pure.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from tmpnb_py.options.settings import OPTIONS

SHORTEST_ID = 25  # characters; 36^25 > 2^128


@dataclasses.dataclass(frozen=True)
class Legacy:
    """`note` follows the option's name in a warning; `becomes` names the option here that takes the value, if any."""

    note: str
    becomes: str = ""
    values: Mapping[str, str] = dataclasses.field(default_factory=dict)


LEGACY = {
    "max_dock_workers": Legacy("is called start_concurrency here", "start_concurrency"),
    "logging": Legacy("is called log_level here", "log_level", {"none": "error"}),
    "cull_period": Legacy("is not needed: cull_timeout is kept to the second, and each claim refills the pool"),
    "static_files": Legacy("is not needed: nothing has to be copied out of the image"),
    "docker_version": Legacy("is not needed: the version of the engine's API is negotiated"),
    "assert_hostname": Legacy("is not needed: set DOCKER_TLS_VERIFY=1, and the engine's name is always verified"),
    "ipython_executable": Legacy("is not needed: name the program in command"),
}

_PROXY_VARIABLES = "CONFIGPROXY_"


@dataclasses.dataclass(frozen=True)
class Reading:
    """A value under its name here ("" for none), and a warning for the operator ("" for none)."""

    name: str
    raw: Any
    warning: str = ""


def read(name: str, raw: Any, origin: str) -> Reading:
    """Translate an option; `origin` is the place that it was written in."""
    legacy = LEGACY.get(name)
    if legacy is not None:
        value = legacy.values.get(raw, raw) if isinstance(raw, str) else raw
        return Reading(legacy.becomes, value, f"{origin} {legacy.note}.")
    if name == "user_length" and str(raw).isdecimal() and int(raw) < SHORTEST_ID:
        note = f"{origin}: {raw} is raised to {SHORTEST_ID}, as shorter ids could be guessed."
        return Reading(name, SHORTEST_ID, note)
    return Reading(name, raw)


def warnings_of(environ: Iterable[str]) -> list[str]:
    """Warnings about environment variables that tmpnb needed."""
    names = sorted(name for name in environ if name.startswith(_PROXY_VARIABLES))
    return [f"{name} in the environment is not needed: the proxy is part of this program." for name in names]


assert not LEGACY.keys() & OPTIONS.keys()  # noqa: S101 - a name is either legacy or real
