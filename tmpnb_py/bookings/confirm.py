"""What operator and teachers are told is arranged is on the disk, or nothing has changed."""

from __future__ import annotations

from collections.abc import Callable

from tmpnb_py.bookings.model import State
from tmpnb_py.core.errors import BookingError, SettingsError
from tmpnb_py.core.kept import Kept, reason
from tmpnb_py.words.tags import to_translate


async def confirm(kept: Kept[State], undo: Callable[[], None]) -> None:
    """Have what was changed on the disk; where that cannot be, `undo` the change and raise `BookingError`."""
    try:
        await kept.save()
    except (OSError, SettingsError) as error:
        undo()
        remedy = error.remedy if isinstance(error, SettingsError) else ""
        text = to_translate("it cannot be kept, so nothing was changed: {reason}")
        raise BookingError(text, remedy=remedy, reason=reason(error)) from error
