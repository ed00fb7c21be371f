"""Gives each pool its share of the site's containers, anew before each plan of any of them.

Everything is synchronous, and so are a reconciler's plan and the records that it makes of it: what is granted is true
until something else changes, and that wakes a reconciler again.
"""

from __future__ import annotations

from tmpnb_py.options.live import LiveOptions
from tmpnb_py.site import division
from tmpnb_py.site.site import Site


class Shares:
    """The shares of a site's pools. `options` are the service's: `max_containers` of all together."""

    def __init__(self, site: Site, options: LiveOptions) -> None:
        self._site = site
        self._options = options

    def share_out(self) -> None:
        """Grant each pool what it may have now. One whose share changes is woken."""
        pools = tuple(self._site.pools.values())
        needs = [pool.need() for pool in pools]
        # Without tables the pool that is alone knows its maximum by itself, which may be a timetable's.
        has_several = len(pools) > 1 or self._options.current.tables
        most = self._options.current.max_containers if has_several else None
        if all(need.memory for need in needs):
            shares = division.divide(needs, most)
        else:  # a pool that has not been listed yet may have any number
            shares = [need.existing for need in needs]
        for pool, share in zip(pools, shares, strict=True):
            pool.grant(share)
