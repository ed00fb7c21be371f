"""What orchestrator and relays say to each other, in lines of JSON (`lines`) between holders of one secret (`tls`).

The orchestrator asks in a line, the relay answers in a line; then the next question comes on the same connection.
Unless it was to "watch", from which on events come, or for "streams": such a connection carries all that visitors and
notebooks have to say to each other from then on (`streams`). All that is read is bounded and checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

import pydantic

from tmpnb_py.core.errors import EngineError, NoSuchContainerError
from tmpnb_py.core.models import Protection
from tmpnb_py.engines.base import MOST_MEASURED
from tmpnb_py.engines.docker.options import is_id
from tmpnb_py.engines.docker.registries import REFERENCE
from tmpnb_py.engines.isolation import EngineLimits
from tmpnb_py.engines.swarm.link.lines import RelayAwayError
from tmpnb_py.engines.swarm.parcels import layers, manifests

PORT = 7443
HEARTBEAT_SECONDS = 3.0
SILENCE_SECONDS = 10.0  # whoever watches and hears nothing for so long has lost the node
MOST_KEPT = 1000  # images that are in use
AUTH_LIMIT = 16 * 1024  # a token of a registry
_IMAGE = re.compile(f"{layers.DIGEST}|{REFERENCE}")  # by its digest only, which means one image for ever


def _checked(value: str) -> str:
    if not is_id(value):
        raise ValueError("not an id")
    return value


_Id = Annotated[str, pydantic.AfterValidator(_checked)]
_POOL = r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}"


class BusyError(EngineError):
    """Somebody else brings the node this image just now."""


class Question(pydantic.BaseModel):
    """What the orchestrator asks. Each operation uses some of the fields; unknown ones are refused."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    do: Literal[
        "hello",
        "take",
        "ready",
        "remove",
        "ended",
        "inventory",
        "logs",
        "usage",
        "cpu",
        "has_image",
        "layers",
        "load",
        "prune",
        "pull",
        "watch",
        "streams",
    ]
    pool: str = pydantic.Field(default="", pattern=f"^({_POOL})?$")
    id: Literal[""] | _Id = ""
    ids: tuple[_Id, ...] = pydantic.Field(default=(), max_length=MOST_MEASURED)
    image: str = pydantic.Field(default="", max_length=512)
    auth: str = pydantic.Field(default="", max_length=AUTH_LIMIT, pattern=r"^[A-Za-z0-9_=-]*$")
    cpu_quota: int = pydantic.Field(default=0, ge=0, le=1 << 40)
    tolerated: tuple[Protection, ...] = pydantic.Field(default=(), max_length=len(Protection))
    lines: int = pydantic.Field(default=0, ge=0, le=10_000)
    config: str = pydantic.Field(default="", max_length=layers.CONFIG_LIMIT)
    documents: tuple[Annotated[str, pydantic.Field(max_length=layers.CONFIG_LIMIT)], ...] = pydantic.Field(
        default=(), max_length=manifests.MOST_DOCUMENTS
    )
    keep: tuple[Annotated[str, pydantic.Field(pattern=f"^{layers.DIGEST}$")], ...] = pydantic.Field(
        default=(), max_length=MOST_KEPT
    )
    layer: int = pydantic.Field(default=0, ge=0, le=layers.MOST_LAYERS)
    size: int = pydantic.Field(default=0, ge=0, le=layers.LAYER_LIMIT)

    @pydantic.field_validator("image")
    @classmethod
    def _is_pinned(cls, value: str) -> str:
        if value and not _IMAGE.fullmatch(value):
            raise ValueError("not an image by its digest")
        return value


class Notebook(pydantic.BaseModel):
    """Where a stream leads to."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    pool: str = pydantic.Field(pattern=f"^{_POOL}$")
    id: _Id


class Hello(pydantic.BaseModel):
    """Which node a relay is on, and which limits its engine can set. (Relays of before do not say: all of them.)"""

    node: str = pydantic.Field(pattern=r"^[a-z0-9]{1,64}$")
    name: str = pydantic.Field(max_length=256)
    limits: EngineLimits = EngineLimits()


class Event(pydantic.BaseModel):
    """What a watcher is told. "again": events may have been missed; "alive": nothing has happened.

    `engine_stops`: who died did so as the node's engine was stopping, which ends its containers.
    """

    event: Literal["again", "alive", "started", "died", "gone"]
    id: str = pydantic.Field(default="", pattern=r"^[a-z0-9]{0,64}$")
    status: int = pydantic.Field(default=0, ge=-1, le=1 << 31)
    out_of_memory: bool = False
    engine_stops: bool = False


def answer_of(line: bytes) -> dict[str, Any]:
    """What a relay has answered. Raises what it could not do."""
    if not line:
        raise RelayAwayError("the relay has closed the connection")
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise RelayAwayError("the relay's answer is not JSON") from error
    if isinstance(answer, dict) and isinstance(answer.get("ok"), dict):
        return dict(answer["ok"])
    if isinstance(answer, dict) and isinstance(answer.get("error"), str):
        if answer.get("gone") is True:
            raise NoSuchContainerError(answer["error"][:1000])
        if answer.get("busy") is True:
            raise BusyError(answer["error"][:1000])
        raise EngineError(answer["error"][:1000], remedy=str(answer.get("remedy", ""))[:1000])
    raise RelayAwayError("the relay's answer is none")


def cpu_seconds_of(answer: Mapping[str, Any], ids: Collection[str]) -> dict[str, float]:
    """What a relay has answered to "cpu", as far as it was asked and makes sense."""
    told = answer.get("seconds")
    if not isinstance(told, dict):
        return {}
    figures = ((one, told.get(one)) for one in ids)
    return {one: float(told) for one, told in figures if isinstance(told, int | float) and 0 <= told < 1e12}


def refusal_of(error: EngineError) -> dict[str, Any]:
    """What a relay answers where it could not do it."""
    return {
        "error": error.message[:1000],
        "remedy": error.remedy[:1000],
        "gone": isinstance(error, NoSuchContainerError),
        "busy": isinstance(error, BusyError),
    }
