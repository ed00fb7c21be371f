"""The bodies of the operator's requests."""

from __future__ import annotations

from typing import TypeVar

import pydantic
from aiohttp import web

M = TypeVar("M", bound=pydantic.BaseModel)


async def read(request: web.Request, model: type[M], example: str) -> M:
    """The body of a request as this model. Raises `HTTPBadRequest`, which says what is wrong and gives an example."""
    try:
        return model.model_validate_json(await request.read())
    except pydantic.ValidationError as error:
        raise web.HTTPBadRequest(text=f"Send JSON such as {example}: {_explained(error)}.") from error


def _explained(error: pydantic.ValidationError) -> str:
    details = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, details["loc"])) or "the body"
    return f"{place}: {details['msg']}"
