"""Explains failures of starts, containers and removals to the operator."""

from __future__ import annotations

import structlog

from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.log_cleaning import clean_lines
from tmpnb_py.engines.base import Engine
from tmpnb_py.pools.container import Container

_LINES = 20

_log = structlog.get_logger(__name__)


async def last_lines(engine: Engine, container: Container) -> tuple[str, ...]:
    """The container's last log lines, without its token; none where the engine does not give them."""
    try:
        lines = await engine.logs(container.id, lines=_LINES)
    except Exception:  # noqa: BLE001  (the log is a help, not a duty)
        return ()
    return clean_lines(lines, [container.token])


def how_it_exited(container: Container) -> str:
    """How the container exited, to be put behind a message; "" where that is not known."""
    if container.exit is None:
        return ""
    return ", out of memory" if container.exit.out_of_memory else f", with status {container.exit.status}"


def as_engine_error(error: Exception) -> EngineError:
    """The error itself if it is the engine's. A bug of ours is logged with its trace and wrapped."""
    if isinstance(error, EngineError):
        return error
    _log.error("unexpected", exc_info=error)
    return EngineError(f"unexpected {type(error).__name__}: {error}")
