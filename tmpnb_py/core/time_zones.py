"""The time zone of what people write: a named one (IANA), or this machine's own.

What a zone's rules are is `zoneinfo`'s knowledge, from the system's files or the package `tzdata`; which one the
machine has is `tzlocal`'s, which reads what systems write it into.
"""

from __future__ import annotations

import difflib
import zoneinfo


def zone(name: str = "") -> zoneinfo.ZoneInfo:
    """The zone of this name, or the machine's own for "". Raises ValueError with a sentence."""
    wanted = name or own_name()
    if not wanted:
        raise ValueError(
            "the time zone of this machine is not known (TZ, /etc/timezone, /etc/localtime): name one, such as "
            "Europe/Berlin"
        )
    found = _found(wanted)
    if found is None:
        near = difflib.get_close_matches(wanted, zoneinfo.available_timezones(), n=1)
        hint = f"did you mean {near[0]}?" if near else "write one such as Europe/Berlin or UTC"
        raise ValueError(f'"{wanted[:40]}" is no time zone; {hint}')
    return found


def own_name() -> str:
    """The name of the machine's own zone (TZ, /etc/timezone, /etc/localtime); "" where it is not known."""
    import tzlocal  # noqa: PLC0415 - few need it, and every command loads this module

    try:
        name = tzlocal.get_localzone_name()
    except (zoneinfo.ZoneInfoNotFoundError, OSError, ValueError):  # several that differ, or a name that is none
        return ""
    return name if name and _found(name) else ""


def _found(name: str) -> zoneinfo.ZoneInfo | None:
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, OSError, ValueError):  # a folder of zones, a path that leads out
        return None
