"""Starting containers: from the record, made before the engine is called, to the notebook server's first answer
and its warm kernels.

Used by the reconciler, which bounds how many are under way by the number of STARTING records. Each start is a task.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import string
import time

from tmpnb_py.core import host_names
from tmpnb_py.core.errors import EngineDownError, EngineError, FailureClass, StartFailedError
from tmpnb_py.core.log_cleaning import clean_lines
from tmpnb_py.core.models import ContainerConfig, ContainerSpec, EndReason, Failure, State
from tmpnb_py.core.tasks import Tasks, log_failure
from tmpnb_py.engines.base import Engine
from tmpnb_py.jupyter.endpoint import Endpoint
from tmpnb_py.jupyter.questions import wait_until_ready
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.pools.causes import as_engine_error, how_it_exited, last_lines
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.health import Health
from tmpnb_py.pools.records import Records
from tmpnb_py.pools.schedule import Schedule
from tmpnb_py.pools.start_rate import StartRate
from tmpnb_py.pools.warmth import Warmth
from tmpnb_py.tracing.spans import using, within

_ID_ALPHABET = string.ascii_lowercase + string.digits


class Starts:
    """Starts the containers of one pool."""

    def __init__(
        self,
        engine: Engine,
        records: Records,
        health: Health,
        options: LiveOptions,
        *,
        rate: StartRate,
        tasks: Tasks,
        schedule: Schedule,
        warmth: Warmth,
    ) -> None:
        self._engine = engine
        self._records = records
        self._health = health
        self._options = options
        self._rate = rate
        self._tasks = tasks
        self._schedule = schedule
        self._warmth = warmth

    def begin(self, config: ContainerConfig) -> None:
        """Start one container of this configuration."""
        container_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(self._options.current.user_length))
        token = secrets.token_hex(24) if config.use_tokens else ""
        now, session_name = time.monotonic(), host_names.new_session_name()
        container = Container(
            container_id, config.digest, token, created_at=now, changed_at=now, base_url=config.base_url,
            session_name=session_name,
        )  # fmt: skip
        died = container.died = asyncio.Event()
        self._records.insert(container)
        spec = ContainerSpec(container_id, token, config, session_name)

        def ended(name: str, error: BaseException | None) -> None:
            log_failure(name, error)
            if container.state is State.STARTING and error is not None:  # not even the failure could be noted
                self._records.end(container, EndReason.START_FAILED, time.monotonic())

        self._tasks.start(f"start-{container_id}", self._start(container, spec, died), ended=ended)

    async def _start(self, container: Container, spec: ContainerSpec, died: asyncio.Event) -> None:
        try:
            with using(container.start_span):
                endpoint, is_settled = await self._answering(container, spec, died)
        except Exception as error:  # noqa: BLE001  (after any error the record must leave STARTING)
            await self._failed(container, as_engine_error(error))
            return
        finally:
            container.died = None
        now = time.monotonic()
        if not self._records.mark_ready(container, endpoint, now):
            endpoint.close()
            return
        if not is_settled:
            self._warmth.watch(container, spec.config.warm, self._options.current.start_timeout)
        self._rate.started(now, now - container.created_at)
        self._health.started()

    async def _answering(
        self, container: Container, spec: ContainerSpec, died: asyncio.Event
    ) -> tuple[Endpoint, bool]:
        """Start a container and wait until it answers, has its kernels warm and is marked ready in the engine.

        Returns its endpoint, and whether it is known what is warm.
        """
        address = await self._engine.start(spec)
        seconds, is_settled = self._options.current.start_timeout, True
        deadline = time.monotonic() + seconds
        with within("wait until the server answers"):
            endpoint = await wait_until_ready(address, spec, timeout_seconds=seconds, died=died)
        try:
            if spec.config.warm:
                warm = spec.config.warm
                container.answers = True
                self._schedule.wake()  # another one may begin
                with within("wait until kernels are warm"):
                    is_settled = await self._warmth.wait(container, endpoint, warm, deadline=deadline, died=died)
            await self._engine.mark_ready(spec.id)
        except BaseException:
            endpoint.close()
            raise
        return endpoint, is_settled

    async def _failed(self, container: Container, error: EngineError) -> None:
        lines: tuple[str, ...] = ()
        if isinstance(error, StartFailedError) and error.log_lines:
            lines = clean_lines(error.log_lines, [container.token])
        elif isinstance(error, StartFailedError):
            lines = await last_lines(self._engine, container)
        if isinstance(error, EngineDownError):
            self._schedule.observe_soon()
        message = error.message + how_it_exited(container)
        failure = Failure(error.failure, message, time.monotonic(), lines)
        self._health.start_failed(failure, container_id=container.id)
        self._records.end(container, EndReason.START_FAILED, time.monotonic())

    def ready_one_died(self, container: Container, reason: EndReason) -> None:
        """Note why a ready container ended, with its last log lines. It is removed only afterwards, log and all."""
        container.removal_due_at = math.inf
        self._tasks.start(f"died-{container.id}", self._explain(container, reason))

    async def _explain(self, container: Container, reason: EndReason) -> None:
        try:
            lines = await last_lines(self._engine, container)
            message = f"a ready container ended: {reason.value}{how_it_exited(container)}"
            failure = Failure(FailureClass.EXITS_AT_ONCE, message, time.monotonic(), lines)
            self._health.start_failed(failure, container_id=container.id)
        finally:
            container.removal_due_at = 0.0
            self._schedule.wake()
