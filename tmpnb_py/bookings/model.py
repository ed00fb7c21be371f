"""A booking and a message as they are kept. Values only; moments are Unix seconds. No personal data."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

import pydantic

VERSION = 1
MOST_PEOPLE = 100_000
LONGEST_TITLE = 80
_ONLY_WHERE_SET = ("link", "teacher_link")
LONGEST_TEXT = 300  # characters of a message: it lies over somebody's work

Id = Annotated[str, pydantic.Field(pattern=r"^[0-9a-f]{8}$")]
Moment = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]


def new_id() -> str:
    """The name of a booking or a message for people. It is no secret."""
    return secrets.token_hex(4)


def one_line(text: str, longest: int) -> str:
    """A text as it is shown: one line without control characters. Raises `ValueError` with a sentence."""
    told = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    if not told:
        raise ValueError("says nothing: write some words")
    if len(told) > longest:
        raise ValueError(f"has {len(told)} characters: write at most {longest}")
    return told


class _Value(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class Booking(_Value):
    """Notebooks for `people` at a time. `zone` is the time zone that it was told in, for showing it.

    `came` are those who got one of them. With `for_class` there is a link, and `members` are the notebooks that were
    given away by it and run: what a secret of this service makes of their ids, as the ids themselves open them.
    `extended` is by how many seconds the end was moved. `link` and `teacher_link` count how often the two links were
    replaced; they are written only where they were, as older versions know no such fields.
    """

    id: Id
    pool: str = pydantic.Field(max_length=64)
    begins: Moment
    ends: Moment
    zone: str = pydantic.Field(max_length=64)
    people: int = pydantic.Field(ge=1, le=MOST_PEOPLE)
    workshop: str = pydantic.Field(default="", max_length=64)
    title: str = pydantic.Field(default="", max_length=LONGEST_TITLE)
    for_class: bool = False
    extended: float = pydantic.Field(default=0.0, ge=0, allow_inf_nan=False)
    came: int = pydantic.Field(default=0, ge=0)
    members: frozenset[str] = frozenset()
    link: int = pydantic.Field(default=0, ge=0)
    teacher_link: int = pydantic.Field(default=0, ge=0)

    @pydantic.model_serializer(mode="wrap")
    def _written(self, handler: pydantic.SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        return {name: value for name, value in fields.items() if value or name not in _ONLY_WHERE_SET}

    @property
    def missing(self) -> int:
        """How many have not come."""
        return max(0, self.people - self.came)

    def overlaps(self, begins: float, ends: float) -> bool:
        """Whether it shares a moment with that time."""
        return self.begins < ends and begins < self.ends


class Message(_Value):
    """A text for the notebooks of `pool`, or of one class (`booking`); "" is all. Shown from `at` to `until`."""

    id: Id
    text: str = pydantic.Field(max_length=LONGEST_TEXT)
    at: Moment
    until: Moment
    pool: str = pydantic.Field(default="", max_length=64)
    booking: str = pydantic.Field(default="", pattern=r"^(?:[0-9a-f]{8})?$")


class State(_Value):
    """All of it. The secret is what links to classes are made with."""

    version: Literal[1] = 1
    secret: str = pydantic.Field(default_factory=lambda: secrets.token_hex(32), pattern=r"^[0-9a-f]{64}$")
    bookings: tuple[Booking, ...] = ()
    messages: tuple[Message, ...] = ()
