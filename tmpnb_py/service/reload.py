"""A reload: reads the settings anew, and says in the log what has become of each option.

A service and a front end take on what can change while they run, each in its own way (their `reload`).
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from tmpnb_py.core import logs
from tmpnb_py.core.errors import SettingsError
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
    """Log what has changed and what needs a restart, as the new settings want it; `more` goes with the last line."""
    for name in change.restart:
        _log.warning("option_needs_restart", option=name, hint="notebooks and their visitors stay")
    logs.set_level(change.settings.log_level)
    for name in change.changed:
        value = format_value(OPTIONS[name].kind, getattr(change.settings, name))
        _log.warning("option_changed", option=name, value=value)
    _log.info("reloaded", **more, changed=len(change.changed), need_restart=len(change.restart))
