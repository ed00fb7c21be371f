"""A pool's notebooks as the swarm's managers keep them: each one's service, which is made, read, marked and removed.

Everything durable of a notebook is in its service, and nothing of it is kept here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from tmpnb_py.core.errors import EngineError, NoSuchContainerError
from tmpnb_py.core.tasks import event_or_time
from tmpnb_py.engines.docker import options as docker
from tmpnb_py.engines.docker.host import RefusedError
from tmpnb_py.engines.swarm import naming, services
from tmpnb_py.engines.swarm.api import EngineApi
from tmpnb_py.engines.swarm.services import Task

_POLL_SECONDS = 0.25
_AGAIN_SECONDS = 0.02


class NotebookExistsError(EngineError):
    """There is a notebook with this id already, which is not to be touched."""


class Records:
    """The services of one pool. Calls may run at once."""

    def __init__(self, api: EngineApi, pool: str) -> None:
        self._api = api
        self._pool = pool

    async def create(self, container_id: str, body: Mapping[str, Any]) -> None:
        """Make a notebook's service. Raises `NotebookExistsError`."""
        try:
            await self._api.call("POST", "services/create", body=body)
        except RefusedError as error:
            if services.is_taken(error.status, error.message):
                raise NotebookExistsError(f"the container {docker.handle(container_id)} exists already") from error
            raise

    async def placed(
        self, name: str, started: asyncio.Event, *, seconds: float, hint: Callable[[], str] = str
    ) -> str:
        """The node on which the task of the service `name` has been started; waits for it.

        `started` is set when a relay tells so, which is at once; Swarm knows why none was. `hint` adds to its reason.
        """
        message = ""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    task = next(iter((await self._tasks_of(name)).values()), Task(""))
                    message = task.message
                    if task.container and (task.has_ended or task.state == "running" or started.is_set()):
                        return task.node
                    if task.has_ended:
                        raise EngineError(f"Swarm could not start a notebook: {message or task.state}")
                    if started.is_set():
                        await asyncio.sleep(_AGAIN_SECONDS)
                    else:
                        await event_or_time(started, _POLL_SECONDS)
        except TimeoutError as error:
            raise EngineError(
                f"Swarm did not start a notebook in time: {message or 'it says nothing'}{hint()}",
                remedy="tmpnb-py status shows the nodes; notebooks reserve mem_limit each",
            ) from error

    async def read(self, container_id: str) -> dict[str, Any]:
        """A notebook's service. Raises `NoSuchContainerError`."""
        try:
            found: dict[str, Any] = await self._api.call("GET", self._path(container_id))
        except RefusedError as error:
            raise _translated(error) from error
        return found

    async def node_of(self, container_id: str) -> str:
        """Where Swarm has put a notebook, "" while it is nowhere. Raises `NoSuchContainerError`."""
        service = await self.read(container_id)
        return (await self._tasks_of(service["Spec"]["Name"])).get(service["ID"], Task("")).node

    async def set_state(self, service: Mapping[str, Any], state: str) -> bool:
        """Set the state, if the service is still as it was read. A lost answer is seen in the next look."""
        spec = {**service["Spec"], "Labels": {**service["Spec"]["Labels"], services.LABEL_STATE: state}}
        params = {"version": str(service["Version"]["Index"])}
        try:
            await self._api.call("POST", f"services/{service['ID']}/update", params=params, body=spec)
        except RefusedError as error:
            if services.is_conflict(error.message):
                return False
            raise _translated(error) from error
        return True

    async def list(self) -> tuple[dict[str, dict[str, Any]], dict[str, Task]]:
        """Every notebook's service by its id, and their tasks by the services' own ids."""
        params = naming.filters(naming.labels_of(self._pool))
        listed, tasks = await asyncio.gather(
            self._api.call("GET", "services", params=params), self._api.call("GET", "tasks", params=params)
        )
        return {services.id_of(one): one for one in listed if services.id_of(one)}, services.tasks_of(tasks)

    async def delete(self, container_id: str) -> None:
        """Remove a notebook's service. What is gone is no error."""
        try:
            await self._api.call("DELETE", self._path(container_id))
        except RefusedError as error:
            if error.status != 404:
                raise

    async def _tasks_of(self, name: str) -> dict[str, Task]:
        params = {"filters": json.dumps({"service": [name]})}
        return services.tasks_of(await self._api.call("GET", "tasks", params=params))

    def _path(self, container_id: str) -> str:
        return f"services/{naming.name_of(self._pool, container_id)}"


def _translated(error: RefusedError) -> EngineError:
    return NoSuchContainerError("the swarm has no such notebook") if error.status == 404 else error
