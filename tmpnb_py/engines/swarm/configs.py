"""Config objects of a swarm: small durable facts, which every manager has and which are in their labels here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tmpnb_py.engines.docker.host import RefusedError
from tmpnb_py.engines.swarm.api import EngineApi

_DATA = "Lg=="  # Swarm wants some


class Configs:
    """Reads, makes, changes and removes them by their names. All raise `EngineError`."""

    def __init__(self, api: EngineApi) -> None:
        self._api = api

    async def read(self, name: str) -> dict[str, Any] | None:
        """One as Swarm has it; None where there is none."""
        try:
            found: dict[str, Any] = await self._api.call("GET", f"configs/{name}")
        except RefusedError as error:
            if error.status == 404:
                return None
            raise
        return found

    async def make(self, name: str, labels: Mapping[str, str]) -> None:
        """Make one. Raises `RefusedError` where there is one of this name."""
        body = {"Name": name, "Labels": labels, "Data": _DATA}
        await self._api.call("POST", "configs/create", body=body)

    async def change(self, found: Mapping[str, Any], labels: Mapping[str, str]) -> None:
        """Set the labels. Raises `RefusedError` where it has been changed since it was read."""
        spec = {**found["Spec"], "Labels": labels}
        params = {"version": str(found["Version"]["Index"])}
        await self._api.call("POST", f"configs/{found['ID']}/update", params=params, body=spec)

    async def remove(self, name: str) -> None:
        """Remove one, by its name or id."""
        await self._api.call("DELETE", f"configs/{name}")
