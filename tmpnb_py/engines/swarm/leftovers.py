"""What nodes have of notebooks and probes that are no services any more.

Swarm removes a service's container, some time later, but never its volumes; a node that was away has both; and a
process that is killed while it looks at a node leaves the probe's service, too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from typing import Any

import structlog

from tmpnb_py.core.errors import EngineError
from tmpnb_py.engines.docker.options import is_id
from tmpnb_py.engines.swarm import naming, services
from tmpnb_py.engines.swarm.api import EngineApi
from tmpnb_py.engines.swarm.link.wire import Question
from tmpnb_py.engines.swarm.looks import probes_of
from tmpnb_py.engines.swarm.relays import Relays

log = structlog.get_logger(__name__)


async def remove_leftovers(
    api: EngineApi,
    relays: Relays,
    pool: str,
    *,
    starting: Callable[[], Collection[str]],
    looking: Callable[[], Collection[str]],
) -> None:
    """Remove them. `starting` and `looking` are the ids of notebooks and probes that this process is making now."""
    for one in await _services(api, probes_of(pool)):
        if services.id_of(one) and services.id_of(one) not in looking():
            with contextlib.suppress(EngineError):
                await api.call("DELETE", f"services/{one['ID']}")
    for name, making in ((probes_of(pool), looking), (pool, starting)):
        answers = await relays.ask_all(Question(do="inventory", pool=name))
        # Asked for afterwards: what is made meanwhile is not taken for a leftover.
        kept = {services.id_of(one) for one in await _services(api, name)} | set(making())
        for node, answer in answers.items():
            ids = answer.get("ids") if isinstance(answer, dict) else None
            for one in ids if isinstance(ids, list) else ():
                if isinstance(one, str) and is_id(one) and one not in kept:
                    with contextlib.suppress(EngineError):
                        await relays.of(node).ask(Question(do="remove", pool=name, id=one))
                        log.info("leftover_removed", node=node)


async def _services(api: EngineApi, pool: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await api.call("GET", "services", params=naming.filters(naming.labels_of(pool)))
    return found
