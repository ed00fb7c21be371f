"""The pools of one service by name. The proxy and the web layer ask here; they need not know how many pools exist.

Each pool has claims of its own, and so a line of its own. A visitor waits for a container of one pool: another
pool's containers are of no use to them, and a pool whose image is broken must not hold up the others' visitors. The
options `max_waiting` and `max_notebooks_per_address` hold per pool.

A container's id is unique in the whole site, as ids are random and long.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tmpnb_py.claims.claims import Claims
from tmpnb_py.core.models import Ended, EndReason
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.pool import Pool
from tmpnb_py.pools.records import Listener


class Site:
    """Finds sessions in all pools, and the pool for a link."""

    def __init__(self, claims: Iterable[Claims]) -> None:
        """`claims` are those of each pool, the default pool's first. Raises `ValueError` where two have one name."""
        everybody = tuple(claims)
        self._claims = {one.pool.name: one for one in everybody}
        if not everybody or len(self._claims) != len(everybody):
            raise ValueError("a site has at least one pool, and each has a name of its own")
        self.pools: Mapping[str, Pool] = {name: one.pool for name, one in self._claims.items()}
        self._default = everybody[0]
        self._sessions = tuple(pool.session for pool in self.pools.values())

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` after each transition of a container of any pool. It must only wake somebody."""
        for pool in self.pools.values():
            pool.subscribe(listener)

    # --- choosing a pool

    def pool_for(self, target: str = "") -> Pool:
        """The pool whose containers open `target`, a link below a notebook's base path."""
        return self.claims_for(target).pool

    def claims_for(self, _target: str = "") -> Claims:
        """The claims of the pool whose containers open a link: the default pool's, until links name another one."""
        return self._default

    def claims_with(self, ticket_id: str) -> Claims:
        """The claims that hold this ticket; the default pool's if none does."""
        return next((one for one in self._claims.values() if one.has(ticket_id)), self._default)

    # --- sessions and other containers

    @property
    def listed(self) -> bool:
        """Whether every pool's engine has been listed. Before, unknown sessions may exist."""
        return all(pool.listed for pool in self.pools.values())

    def session(self, container_id: str) -> Container | None:
        """The claimed container that serves requests for this id, if it can be dialled. Called for each request."""
        for session in self._sessions:
            if (container := session(container_id)) is not None:
                return container
        return None

    def find(self, container_id: str) -> Container | None:
        """A container in any state."""
        return next((one for pool in self.pools.values() if (one := pool.get(container_id)) is not None), None)

    def ended(self, container_id: str) -> Ended | None:
        """How a session ended; None for one that runs, is unknown, or was forgotten."""
        return next((one for pool in self.pools.values() if (one := pool.ended(container_id)) is not None), None)

    def end(self, container: Container, reason: EndReason, now: float) -> bool:
        """End a session. False if that was decided before. `now` is monotonic."""
        return any(pool.end(container, reason, now) for pool in self.pools.values())

    def session_started(self, container: Container, *, workshop: str, client: str = "") -> None:
        """Note that a visitor is told the container's URL. `client` is their address, "" where it is not logged."""
        for pool in self.pools.values():
            if pool.get(container.id) is container:
                pool.session_started(container, workshop=workshop, client=client)
