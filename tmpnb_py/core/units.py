"""Sizes and durations as people write them. Pure; used by the settings, the command line and documentation.

`format_…` is the inverse of `parse_…`: what it returns reads back as exactly the same value.
"""

from __future__ import annotations

import re
from decimal import Decimal

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB
MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR
CPU = 100_000  # `cpu_quota` for one CPU: it is in microseconds per 100 ms

# After so many microseconds a container that has used up its CPU time has some again. On average it gets the same
# with any period. With a longer one, what takes a moment is done at full speed, with half a CPU up to 125 ms of it,
# and what computes all the time stands still for longer in between, the notebook's server with it.
CPU_PERIOD = 250_000

# As in Docker, k, m and g are powers of 1024 however they are spelled: "512m" = "512MB" = "512MiB".
_SIZE_UNITS = {"": 1, "k": KIB, "m": MIB, "g": GIB, "t": TIB}
_DURATION_UNITS: dict[str, int | Decimal] = {"d": DAY, "h": HOUR, "m": MINUTE, "s": 1, "ms": Decimal("0.001")}

# Digits are bounded: 15 of them already are more than any machine has, and int() of thousands is slow.
_NUMBER = r"([0-9]{1,15}(?:\.[0-9]{1,9})?)"
_SIZE = re.compile(rf"{_NUMBER}\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_PLAIN = re.compile(_NUMBER)
_DURATION = re.compile(r"\s*".join(rf"(?:{_NUMBER}\s*{unit})?" for unit in _DURATION_UNITS), re.IGNORECASE)


def cpu_per_period(quota: int) -> int:
    """Microseconds of CPU in each `CPU_PERIOD`, for a `cpu_quota`."""
    return quota * CPU_PERIOD // CPU


def parse_size(text: str) -> int:
    """Bytes in a size such as "512m", "1.5g", "64KiB" or "1048576".

    Raises ValueError.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError("is not a size: write a number and k, m or g, such as 512m")
    return int(Decimal(match[1]) * _SIZE_UNITS[match[2].lower()])


def format_size(value: int) -> str:
    """The shortest size that reads back as `value` bytes: 536870912 is "512m"."""
    for suffix, unit in reversed(_SIZE_UNITS.items()):
        if value and value % unit == 0:
            return f"{value // unit}{suffix}"
    return "0"


def parse_duration(text: str) -> float:
    """Seconds in a duration such as "90s", "15m", "1h30m", "500ms" or "90".

    Raises ValueError.
    """
    stripped = text.strip()
    if _PLAIN.fullmatch(stripped):
        return float(stripped)
    match = _DURATION.fullmatch(stripped)
    if match is None or not stripped:
        raise ValueError("is not a duration: write a number and ms, s, m, h or d, such as 90s or 1h30m")
    parts = zip(match.groups(), _DURATION_UNITS.values(), strict=True)
    return float(sum(Decimal(number) * unit for number, unit in parts if number))


def format_duration(value: float) -> str:
    """The duration in its largest units, such as "1h30m" for 5400 seconds; exact to the nanosecond."""
    seconds, fraction = divmod(Decimal(repr(value)), 1)
    left, parts = int(seconds), []
    for suffix, unit in (("d", DAY), ("h", HOUR), ("m", MINUTE)):
        count, left = divmod(left, unit)
        parts += [f"{count}{suffix}"] if count else []
    if fraction and not left and not parts and not (fraction * 1000) % 1:
        return f"{int(fraction * 1000)}ms"
    if left or fraction:
        parts.append(f"{(left + fraction).normalize():f}s")
    return "".join(parts) or "0"
