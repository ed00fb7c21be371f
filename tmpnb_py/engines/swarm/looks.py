"""Looks at each node from inside a container like a notebook, before the node is given any.

A service may say what its node's engine does not do, a kernel may lack a control group, an image may run as root. So
a probe (`docker.probe_inside`) is started on each node as a notebook is, and its relay treats it as one. Then it
tells over its socket which privileges and limits it has, what it reaches and whether its directory is sealed. It is a
notebook of a pool of its own, which nobody lists and nobody is given.

A node is looked at again once its relay has been away: its engine may be another one by then.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Literal

import pydantic
import structlog

from tmpnb_py.core.errors import EngineDownError, EngineError
from tmpnb_py.core.models import ContainerConfig, ContainerSpec, Gap, Protection
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.engines import isolation
from tmpnb_py.engines.docker import options as docker
from tmpnb_py.engines.docker import probe_inside
from tmpnb_py.engines.docker.probe import Answer
from tmpnb_py.engines.docker.trials import NO_PROGRAM, python
from tmpnb_py.engines.swarm import naming, services
from tmpnb_py.engines.swarm.api import EngineApi
from tmpnb_py.engines.swarm.link.lines import RelayAwayError
from tmpnb_py.engines.swarm.link.wire import Notebook, Question
from tmpnb_py.engines.swarm.relays import Link, Relays
from tmpnb_py.engines.swarm.services import Node

log = structlog.get_logger(__name__)

_INSIDE = Path(probe_inside.__file__)
_ATTEMPT_SECONDS = 2.0  # without a network they are refused at once
_ANSWER_SECONDS = 10.0
_LONGEST = 16 * 1024
_RETRY_SECONDS = 0.1
_TOGETHER_SECONDS = 10.0  # for how long nodes that are seen through wait for others, so that all share the first rush
_AGAIN_SECONDS = 60.0  # until a node that lacks something, or could not be looked at, is looked at again
_OPEN_DIRECTORY = Gap(
    Protection.DISK,
    "visitors can write into their socket's directory, where nothing of theirs belongs",
    "update tmpnb-py on all nodes, and set another user with --container-user",
)


class Facts(pydantic.BaseModel):
    """What a probe tells: the words of `probe_inside`, which anything might say."""

    directory: Literal["sealed", "open"]
    CapEff: str = pydantic.Field(pattern=r"^[0-9a-f]{0,16}$")
    CapPrm: str = pydantic.Field(pattern=r"^[0-9a-f]{0,16}$")
    CapBnd: str = pydantic.Field(pattern=r"^[0-9a-f]{0,16}$")
    NoNewPrivs: str = pydantic.Field(max_length=8)
    Seccomp: str = pydantic.Field(max_length=8)
    limits: dict[Literal["memory", "swap", "processes", "all memory"], int | None]
    gateway: str = pydantic.Field(max_length=64)
    attempts: dict[str, str] = pydantic.Field(max_length=64)


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What a node's notebooks lack; or why it could not be looked at. Expires at `until` (monotonic seconds)."""

    gaps: tuple[Gap, ...] = ()
    error: EngineError | None = None
    until: float = math.inf

    @property
    def lacks(self) -> frozenset[Protection]:
        """What somebody's safety depends on."""
        return frozenset(gap.protection for gap in self.gaps if gap.protection)

    @property
    def text(self) -> str:
        """It in words; "" where nothing is to be said."""
        if self.error is not None:
            return self.error.message
        return "; ".join(gap.text for gap in self.gaps)

    @property
    def remedy(self) -> str:
        """What to do about it."""
        if self.error is not None:
            return self.error.remedy
        return "; ".join(dict.fromkeys(gap.remedy for gap in self.gaps if gap.remedy))


def probes_of(pool: str) -> str:
    """The pool of a pool's probes. No operator's pool has a dot in its name."""
    return f"{pool}.probe"


class Looks:
    """Verdicts on nodes, for the pool's last configuration. `placed` waits for a service's node, by its name."""

    def __init__(
        self,
        api: EngineApi,
        relays: Relays,
        pool: str,
        placed: Callable[[str], Awaitable[str]],
        changed: Callable[[], None],
    ) -> None:
        """`changed` is called when a look that nobody has waited for has ended."""
        self._api = api
        self._relays = relays
        self._pool = probes_of(pool)
        self._placed = placed
        self._changed = changed
        self._key = ""
        self._verdicts: dict[str, Verdict] = {}  # by node
        self._looking: dict[str, asyncio.Task[None]] = {}
        self._probes: set[str] = set()  # ids of those that run now
        self._told: dict[str, str] = {}
        self._waiting = 0  # callers of `gaps` that do
        self._tasks = Tasks()

    async def close(self) -> None:
        """End all looks."""
        await self._tasks.close()
        self._looking.clear()

    def forget(self, node: str) -> None:
        """Its engine may be another one."""
        self._verdicts.pop(node, None)
        if (task := self._looking.pop(node, None)) is not None:
            task.cancel()

    @property
    def probes(self) -> Collection[str]:
        """The probes of this process, which nobody else is to remove."""
        return self._probes

    @property
    def have_begun(self) -> bool:
        """Whether any configuration has been seen to."""
        return bool(self._key)

    def lacks(self, node: str) -> frozenset[Protection]:
        """What notebooks on this node go without, as their operator has been told."""
        found = self._verdicts.get(node)
        return found.lacks if found is not None else frozenset()

    def verdict(self, node: str) -> Verdict | None:
        """What was seen on this node; None if it has not been looked at yet."""
        return self._verdicts.get(node)

    def good(self) -> frozenset[str]:
        """The nodes that lack nothing; where every one does, all of them (their operator has to agree to that)."""
        seen = {node: one for node, one in self._verdicts.items() if one.error is None}
        return frozenset(node for node, one in seen.items() if not one.lacks) or frozenset(seen)

    def why_none(self) -> EngineError:
        """Why no node is good."""
        failed = next((one for one in self._verdicts.values() if one.error is not None), Verdict())
        if isinstance(failed.error, EngineDownError):
            return failed.error
        reason = f": {failed.text}" if failed.text else " yet"
        return EngineError(f"no node could be looked at from inside a container{reason}", remedy=failed.remedy)

    async def gaps(self, config: ContainerConfig, nodes: Sequence[Node]) -> tuple[Gap, ...]:
        """What notebooks lack on the nodes that they are started on. Looks at those that have not been looked at.

        Waits only while there is none to start any on. Raises `EngineError` where none can be looked at.
        """
        seen_through = dataclasses.replace(config, mounts=(), cpu_quota=0, static_url="", warm=())
        if seen_through.digest != self._key:
            for before in [*self._verdicts, *self._looking]:
                self.forget(before)
            self._key = seen_through.digest
        for away in self._verdicts.keys() - {one.id for one in nodes}:
            self.forget(away)
        for node in nodes:
            known = self._verdicts.get(node.id)
            if (known is None or time.monotonic() > known.until) and node.id not in self._looking:
                self._start(node, seen_through)
        await self._wait_while_there_is_none()
        good = self.good()
        if nodes and not good:
            raise self.why_none()
        return tuple(dict.fromkeys(gap for node in sorted(good) for gap in self._verdicts[node].gaps))

    def _start(self, node: Node, config: ContainerConfig) -> None:
        task = self._looking[node.id] = self._tasks.start(f"look at {node.name}", self._see(node, config))
        task.add_done_callback(lambda done: self._ended(node.id, done))

    def _ended(self, node: str, task: asyncio.Task[None]) -> None:
        if self._looking.get(node) is task:
            del self._looking[node]
            if not self._waiting:
                self._changed()

    async def _wait_while_there_is_none(self) -> None:
        self._waiting += 1
        try:
            if self._looking and not self._seen_through():
                await asyncio.wait([*self._looking.values()], timeout=_TOGETHER_SECONDS)
            while self._looking and not self._seen_through():
                await asyncio.wait([*self._looking.values()], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waiting -= 1

    def _seen_through(self) -> bool:
        return any(one.error is None and not one.lacks for one in self._verdicts.values())

    async def _see(self, node: Node, config: ContainerConfig) -> None:
        try:
            gaps = await self._look(node, config)
            serious = any(gap.protection for gap in gaps)
            verdict = Verdict(gaps, until=time.monotonic() + _AGAIN_SECONDS if serious else math.inf)
        except (EngineDownError, RelayAwayError) as error:  # which says nothing about the node
            verdict = Verdict(error=error, until=time.monotonic())
        except EngineError as error:
            verdict = Verdict(error=error, until=time.monotonic() + _AGAIN_SECONDS)
        self._verdicts[node.id] = verdict
        self._tell(node, verdict)

    def _tell(self, node: Node, verdict: Verdict) -> None:
        """Say once why a node is not used, or lacks what nobody's safety depends on."""
        text = f"it could not be looked at: {verdict.text}" if verdict.error else verdict.text
        if text and text != self._told.get(node.id):
            log.warning("node_lacks", node=node.name, reason=text, hint=verdict.remedy)
        self._told[node.id] = text

    # --- one look

    async def _look(self, node: Node, config: ContainerConfig) -> tuple[Gap, ...]:
        spec = ContainerSpec(f"probe{secrets.token_hex(8)}", "", config)
        self._probes.add(spec.id)
        name = naming.name_of(self._pool, spec.id)
        link = self._relays.of(node.id)
        try:
            await self._api.call("POST", "services/create", body=self._body(spec, node))
            await self._placed(name)
            return await self._asked(link, spec)
        finally:
            with contextlib.suppress(EngineError):  # the engine's sweep removes it later
                await self._api.call("DELETE", f"services/{name}")
            with contextlib.suppress(EngineError):
                await link.ask(Question(do="remove", pool=self._pool, id=spec.id))
            self._probes.discard(spec.id)

    def _body(self, spec: ContainerSpec, node: Node) -> dict[str, Any]:
        """A notebook's service, on this very node, also where that is full of notebooks."""
        body = services.service_body(self._pool, spec, init=False, constraints=[f"node.id=={node.id}"], avoid=())
        body["TaskTemplate"]["Resources"]["Reservations"] = {}
        errand = {
            "socket": docker.SOCKET_PATH, "listen": 0, "late": True, "seconds": _ATTEMPT_SECONDS,
            "attempts": isolation.forbidden(spec.config, fenced=False),
        }  # fmt: skip
        command = python(_INSIDE, errand)
        body["TaskTemplate"]["ContainerSpec"] |= {"Command": command["Entrypoint"], "Args": command["Cmd"]}
        return body

    async def _asked(self, link: Link, spec: ContainerSpec) -> tuple[Gap, ...]:
        config = spec.config
        await link.ask(Question(do="take", pool=self._pool, id=spec.id))
        if not await self._listens(link, spec):
            return (isolation.NO_PYTHON,)
        # What the relay would refuse for: here it is the probe that is to tell.
        tolerated = (Protection.PRIVILEGES, Protection.SECCOMP)
        await link.ask(Question(do="ready", pool=self._pool, id=spec.id, tolerated=tolerated))
        facts = _facts(await self._told_by(link, spec))
        found = [*isolation.gaps_of(config, facts, link.limits), *isolation.reached(facts, config)]
        if facts["directory"] != "sealed":
            found.append(_OPEN_DIRECTORY)
        return tuple(_as_in_a_swarm(gap) for gap in found)

    async def _listens(self, link: Link, spec: ContainerSpec) -> bool:
        """Wait until the probe does; False where it has ended because there is no program to run it."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                while True:
                    with contextlib.suppress(EngineError):
                        await self._told_by(link, spec)
                        return True
                    ended = await link.ask(Question(do="ended", pool=self._pool, id=spec.id))
                    if ended.get("running") is False:
                        if ended.get("status") in NO_PROGRAM:
                            return False
                        raise EngineError(f"a probe ended with status {ended.get('status')}")
                    await asyncio.sleep(_RETRY_SECONDS)
        except TimeoutError as error:
            raise EngineError(f"a probe did not listen within {_ANSWER_SECONDS:g} s") from error

    async def _told_by(self, link: Link, spec: ContainerSpec) -> bytes:
        """All that a connection to the probe says."""
        answer = Answer(_LONGEST)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await link.dial(Notebook(pool=self._pool, id=spec.id), lambda: answer)
                return await answer.ended
        except OSError as error:  # TimeoutError and AwayError are such
            raise EngineError("a probe did not answer") from error
        finally:
            if answer.transport is not None:
                answer.transport.close()


def _facts(told: bytes) -> dict[str, Any]:
    """Raises `EngineError` for what is not a probe's answer."""
    try:
        text = told.decode("ascii").removeprefix(probe_inside.ANSWER)
        return Facts.model_validate(json.loads(text)).model_dump()
    except ValueError as error:  # pydantic's is one, and json's
        raise EngineError("a probe's answer is none") from error


def _as_in_a_swarm(gap: Gap) -> Gap:
    """The remedy for what services cannot ask for."""
    if gap.text != isolation.NO_NEW_PRIVILEGES:
        return gap
    return dataclasses.replace(gap, remedy=isolation.NO_NEW_PRIVILEGES_IN_SERVICES)
