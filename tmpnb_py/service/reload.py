"""A reload: reads the settings anew, and says in the log what has become of each option.

A service and a front end take on what can change while they run, each in its own way (their `reload`).
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from tmpnb_py.core import logs
from tmpnb_py.core.errors import SettingsError
from tmpnb_py.options.declaration import Tables
from tmpnb_py.options.kinds import format_value
from tmpnb_py.options.live import Change
from tmpnb_py.options.settings import OPTIONS, Settings

_log = structlog.get_logger(__name__)


def reload_with(read: Callable[[], Settings], take_on: Callable[[Settings], object]) -> None:
    """Read the settings anew and take on what can be. A mistake in them changes nothing."""
    try:
        settings = read()
    except SettingsError as error:
        _log.error("reload_failed", error=error.message, hint="the service goes on with the settings that it had")
        return
    take_on(settings)


def announce(change: Change, **more: object) -> None:
    """Log what has changed and what needs a restart, as the new settings want it; `more` goes with the last line.

    What tables can have is each pool's where there are any: `announce_pool` tells of that.
    """
    logs.set_level(change.settings.log_level)
    several = bool(change.settings.tables)
    told = {name for name, one in OPTIONS.items() if not several or one.tables in (Tables.NONE, Tables.OWN)}
    changed, restart = _told(change, told)
    _log.info("reloaded", **more, changed=changed, need_restart=restart)


def announce_pool(change: Change, pool: str) -> None:
    """Log what has changed for one pool of several."""
    _told(change, {name for name, one in OPTIONS.items() if one.tables is not Tables.NONE}, pool=pool)


def _told(change: Change, names: set[str], **more: object) -> tuple[int, int]:
    """Log each change among these options. Returns how many are in force, and how many need a restart."""
    restart = [name for name in change.restart if name in names]
    changed = [name for name in change.changed if name in names]
    for name in restart:
        _log.warning("option_needs_restart", option=name, **more, hint="notebooks and their visitors stay")
    for name in changed:
        value = format_value(OPTIONS[name].kind, getattr(change.settings, name))
        _log.warning("option_changed", option=name, value=value, **more)
    return len(changed), len(restart)
