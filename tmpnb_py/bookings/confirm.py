"""What operator and teachers are told is arranged is on the disk, or nothing has changed."""

from __future__ import annotations

from collections.abc import Callable

from tmpnb_py.bookings.model import State
from tmpnb_py.core.errors import BookingError, SettingsError
from tmpnb_py.core.kept import Kept, reason


async def confirm(kept: Kept[State], undo: Callable[[], None]) -> None:
    """Have what was changed on the disk; where that cannot be, `undo` the change and raise `BookingError`."""
    try:
        await kept.save()
    except (OSError, SettingsError) as error:
        undo()
        remedy = error.remedy if isinstance(error, SettingsError) else ""
        raise BookingError(f"it cannot be kept, so nothing was changed: {reason(error)}", remedy=remedy) from error
