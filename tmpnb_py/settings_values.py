"""How the values of options are read, checked and written. Pure; used by `settings`, with which it changes.

Every check raises ValueError with a text that follows the offending value and says what to write instead.
"""

from __future__ import annotations

import dataclasses
import enum
import ipaddress
import re
from collections.abc import Callable
from pathlib import Path

from pydantic import GetCoreSchemaHandler, SecretStr
from pydantic_core import CoreSchema, core_schema

from tmpnb_py.units import format_duration, format_size, parse_duration, parse_size

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Kind(enum.StrEnum):
    """How an option's value is written."""

    TEXT = "text"
    NUMBER = "number"
    SIZE = "size"
    DURATION = "duration"
    SWITCH = "switch"
    CHOICE = "choice"
    LIST = "list"
    SECRET = "secret"  # noqa: S105 - a kind of option
    PATH = "path"


def _parse_number(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,18}", text.strip()):
        raise ValueError("is not a whole number")
    return int(text)


_PARSERS: dict[Kind, Callable[[str], float]] = {
    Kind.NUMBER: _parse_number,
    Kind.SIZE: parse_size,
    Kind.DURATION: parse_duration,
}


def format_quantity(kind: Kind, value: float) -> str:
    """A number, size or duration in the units that the options are written in."""
    if kind is Kind.DURATION:
        return format_duration(value)
    return format_size(int(value)) if kind is Kind.SIZE else str(value)


@dataclasses.dataclass(frozen=True)
class Quantity:
    """Annotates a number, size or duration: reads text with units, and holds the value between two bounds.

    `zero` names what 0 means where 0 is allowed below `minimum`, for the message.
    """

    kind: Kind
    minimum: float
    maximum: float
    zero: str = ""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.read, handler(source))

    def read(self, value: object) -> object:
        """The value within its bounds. Raises ValueError with a text that follows the offending value."""
        if value is None:
            return None
        number = self._number(value)
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
        whole = self.kind is not Kind.DURATION
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            raise ValueError("is not a whole number" if whole else "is not a duration")
        if self.kind is not Kind.NUMBER and not value >= 0:  # written so that it catches NaN as well
            raise ValueError(f"is not a {self.kind}")
        return value


def read_host(value: str) -> str:
    """An address or a host name to listen on."""
    if "%" not in value:
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            pass
    # RFC 1123 §2.1: letters, digits and hyphens; a name whose last label is a number would be an address.
    label = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    if re.fullmatch(rf"(?:{label}\.)*{label}", value) and not value.rpartition(".")[2].isdigit():
        return value
    raise ValueError("is neither an IP address nor a host name: 0.0.0.0 means all addresses, :: also those of IPv6")


def read_image(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][\w.:/@-]*", value, re.ASCII):
        raise ValueError("is not the name of an image: write one such as tmpnb-py-workshops:latest")
    return value


def read_command(value: str) -> str:
    if not value.strip() or "\0" in value:
        raise ValueError("is not a command: leave the option out to use the start line that fits the image")
    if "{socket}" in value and "{port}" in value:
        raise ValueError("has both {socket} and {port}: keep the one that the notebook server listens on")
    return value


def read_pool_name(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", value):
        raise ValueError("is not a pool's name: use 1 to 32 of a-z, 0-9, - and _, the first a letter or a digit")
    return value


def read_secret(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]*", value.get_secret_value()):
        raise ValueError("travels in a header: use visible ASCII characters without blanks")
    return value


def read_path(value: object) -> object:
    if not isinstance(value, str | Path):
        return value
    if not str(value).strip() or "\0" in str(value):
        raise ValueError("is not a directory: write its path, such as /run/tmpnb-py")
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError as error:
        raise ValueError("begins with a home directory that is not known: write the whole path") from error


def read_networks(value: object) -> object:
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        raise ValueError("is not a list: write 127.0.0.1,10.0.0.0/8")
    return tuple(_network(part) for part in parts if part != "")


def _network(part: object) -> Network:
    if isinstance(part, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return part
    text = part if isinstance(part, str) else repr(part)
    try:
        loose = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f'holds "{text}", which is not an address or network: write 127.0.0.1,10.0.0.0/8') from None
    host = ipaddress.ip_interface(text).ip
    if host != loose.network_address:
        # Guessing would trust either one machine or a whole network too much.
        raise ValueError(f'holds "{text}", which is ambiguous: write {host} for the one or {loose} for all')
    return loose


def format_value(kind: Kind, value: object) -> str:
    """A value in the form that its option is written in; a secret only says whether it is set."""
    if kind is Kind.SECRET:
        return "set" if isinstance(value, SecretStr) and value.get_secret_value() else "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return format_quantity(kind, value)
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    return str(value)
