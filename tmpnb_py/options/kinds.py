"""The kinds of options: how numbers, sizes and durations are read and bounded, and how any value is written. Pure."""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Callable

from pydantic import GetCoreSchemaHandler, SecretStr
from pydantic_core import CoreSchema, core_schema

from tmpnb_py.core.units import DAY, format_duration, format_size, parse_duration, parse_size


class Kind(enum.StrEnum):
    """How an option's value is written."""

    TEXT = "text"
    NUMBER = "number"
    SIZE = "size"
    DURATION = "duration"
    SWITCH = "switch"
    CHOICE = "choice"
    LIST = "list"
    TABLES = "tables"
    PERCENT = "percent"
    SECRET = "secret"  # noqa: S105 - a kind of option
    PATH = "path"


def _parse_number(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,18}", text.strip()):
        raise ValueError("is not a whole number")
    return int(text)


def _parse_percent(text: str) -> float:
    found = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,4})?) ?%", text.strip(), re.ASCII)
    if found is None:
        raise ValueError('is not a percentage: write one such as "1%"')
    return float(found[1]) / 100


_PARSERS: dict[Kind, Callable[[str], float]] = {
    Kind.NUMBER: _parse_number,
    Kind.SIZE: parse_size,
    Kind.DURATION: parse_duration,
    Kind.PERCENT: _parse_percent,
}


def format_quantity(kind: Kind, value: float) -> str:
    """Format a number, size, duration or share in the units that options are written in."""
    if kind is Kind.PERCENT:
        return f"{100 * value:g}%"
    if kind is Kind.DURATION:
        return format_duration(value)
    return format_size(int(value)) if kind is Kind.SIZE else str(value)


@dataclasses.dataclass(frozen=True)
class Quantity:
    """Annotates a number, size, duration or share: parses text with units, and checks that it is between two bounds.

    `zero` says, for the message, what 0 means where 0 is allowed below `minimum`. `word` is what may stand in place
    of a number.
    """

    kind: Kind
    minimum: float
    maximum: float
    zero: str = ""
    word: str = ""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.read, handler(source))

    def read(self, value: object) -> object:
        """Parse and check a value. Raises ValueError with a text that follows the offending value."""
        if value is None or (self.word and value == self.word):
            return value
        try:
            number = self._number(value)
        except ValueError as error:
            raise ValueError(f"{error}, nor {self.word}" if self.word else str(error)) from None
        if self.zero and number == 0:
            return number
        if number < self.minimum:
            zero = f", or 0 for {self.zero}" if self.zero else ""
            raise ValueError(f"is too small: give at least {format_quantity(self.kind, self.minimum)}{zero}")
        if number > self.maximum:
            raise ValueError(f"is too large: give at most {format_quantity(self.kind, self.maximum)}")
        return number

    def _number(self, value: object) -> float:
        if isinstance(value, str):
            return _PARSERS[self.kind](value)
        if self.kind is Kind.PERCENT and not isinstance(value, float):
            raise ValueError('is not a percentage: write one such as "1%"')
        whole = self.kind not in (Kind.DURATION, Kind.PERCENT)
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            raise ValueError("is not a whole number" if whole else "is not a duration")
        if self.kind is not Kind.NUMBER and not value >= 0:  # written so that it catches NaN as well
            raise ValueError(f"is not a {self.kind}")
        return value


NEVER = Quantity(Kind.DURATION, 0.1, 3650 * DAY, zero="never")  # an upper bound that only catches slips
SOON = Quantity(Kind.DURATION, 0.1, DAY)


def format_value(kind: Kind, value: object) -> str:
    """Format a value in the way that its option is written; of a secret, only whether it is set."""
    if kind is Kind.SECRET:
        return "set" if isinstance(value, SecretStr) and value.get_secret_value() else "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return format_quantity(kind, value)
    if isinstance(value, tuple):
        return ("; " if kind is Kind.TABLES else ",").join(map(str, value)) or "none"
    return str(value)
