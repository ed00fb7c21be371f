"""All pools of a service: those that come, go and change with its settings, each with its engine, lock and tasks.

`app.Service` owns this and passes on to it its start, its end and each reload. A pool that the settings have no more
is drained: nobody new gets into it, its ready containers go, its line is served and its sessions live to their end;
then it is forgotten. So it is also with pools that an earlier process has left behind under this service's name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, MutableMapping, Sequence
from typing import Protocol

import structlog

from tmpnb_py.bookings.agenda import Agenda
from tmpnb_py.bookings.model import VERSION, Booking, State
from tmpnb_py.core.errors import EngineError, ManifestError, PoolLockedError, SettingsError
from tmpnb_py.core.links import Links
from tmpnb_py.core.tasks import Ended, Tasks
from tmpnb_py.egress.counters import WebRoom
from tmpnb_py.engines.base import Engine
from tmpnb_py.images.provider import ImageProvider
from tmpnb_py.options import tables
from tmpnb_py.options.groups.pool import EMPTY
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.service.open_files import open_files_limit, web_connections_that_fit
from tmpnb_py.service.reload import announce_pool
from tmpnb_py.service.runtime_dir import locked_pools, state_file, state_path
from tmpnb_py.service.served_pool import Common, Lock, ServedPool
from tmpnb_py.shared_files.shared import SharedFiles
from tmpnb_py.site.offers import Offers
from tmpnb_py.site.shares import Shares
from tmpnb_py.site.site import Site
from tmpnb_py.tracing.spans import Tracing
from tmpnb_py.workshops.preview import Preview

_LOOK_SECONDS = 1.0

_log = structlog.get_logger(__name__)


class Maker(Protocol):
    """Makes what a pool works with."""

    def engine(self, settings: Settings) -> Engine:
        """The engine of a pool, not opened yet."""

    def lock(self, settings: Settings) -> Lock:
        """The lock of a pool, not taken yet."""

    def provider(self, settings: Settings) -> ImageProvider | None:
        """What builds a pool's image where it is missing; None where that is the operator's to do."""


class ServedPools:
    """The pools of one service, in the order of its settings, the default pool first; those that go come last."""

    def __init__(
        self,
        options: LiveOptions,
        maker: Maker,
        *,
        preview: Preview | None = None,
        tracing: Tracing | None = None,
        ended: Ended,
        optional: Ended,
    ) -> None:
        """`ended` is called when a task ends that a pool cannot be without, `optional` for the others.

        Raises `ManifestError` for an operator's list of workshops.
        """
        self._options = options
        self._maker = maker
        self._preview = preview
        self._ended = ended
        self._optional = optional
        self.site = Site()
        self.offers = Offers()
        self._shares = Shares(self.site, options)
        self.web_room = WebRoom(web_connections_that_fit(open_files_limit()))  # of all pools' notebooks
        self._tasks, self._others = Tasks(), Tasks(optional)
        self._is_working = False
        self._all: dict[str, ServedPool] = {}
        top = options.current
        self.agenda = Agenda(state_file(state_path(top.state_path, top.pool_name), State, VERSION))
        self.agenda.bookings.house_by(self._home_of)
        self.static_files = SharedFiles(
            top.runtime_path / "static" / top.pool_name,
            on_lost=self._look_again,
            links=Links(top.base_url),
        )
        self._common = Common(self.agenda, self.static_files, self.web_room, tracing)
        for settings in options.current.pools:
            self._add(settings)
        self._settle_order()

    def __iter__(self) -> Iterator[ServedPool]:
        return iter(tuple(self._all.values()))

    @property
    def default(self) -> ServedPool:
        """The default pool."""
        return self._all[self.offers.default.name]

    def _add(self, settings: Settings, *, is_leaving: bool = False) -> ServedPool:
        served = ServedPool(
            LiveOptions(settings),
            self._maker.engine(settings),
            self._maker.lock(settings),
            self._common,
            preview=self._preview,
            pools=lambda: self._options.current.pools,
            elsewhere=lambda key: self.site.counted(key, but=settings.label),
            image_provider=None if is_leaving else self._maker.provider(settings),
        )
        served.is_leaving = is_leaving
        served.pool.divide_by(self._shares.share_out)
        self._all[served.pool.name] = served
        self.site.add(served.claims)
        return served

    def _settle_order(self) -> None:
        """Have the pools in the order of the settings, and visitors choose among those that stay."""
        names = [one.label for one in self._options.current.pools if one.label in self._all]
        self.site.put_in_order(names)
        self._all = {name: self._all[name] for name in self.site.pools}
        staying = [one for one in self._all.values() if not one.is_leaving]
        self.offers.put((one.offer for one in staying), (one.offer for one in self._all.values() if one.is_leaving))
        self.static_files.keep_for(len(self._all))

    def _home_of(self, booking: Booking) -> str:
        """The pool that serves a booking: where its own has gone, that of its workshop, or the default one.

        Its people have links to it. It is its own pool's again once the settings have that again.
        """
        own = self._all.get(booking.pool)
        if own is not None and not own.is_leaving:
            return booking.pool
        found = self.offers.find(booking.workshop) if booking.workshop else None
        return self.offers.default.name if found is None else found.offer.name

    def _look_again(self) -> None:
        """Have the images looked at, and with them the addresses of their static files."""
        for served in self:
            served.pool.observe_soon()

    # --- start and end

    def find_leftovers(self) -> None:
        """Take up pools that an earlier process has left behind under this service's name, to drain them."""
        top = self._options.current
        known = {one.pool.engine_name for one in self}
        for name in locked_pools(top.runtime_path):
            if tables.is_own(top.pool_name, name) and name not in known:
                left = top.model_copy(update={"pool_name": name, **EMPTY}).with_tables({})
                if left.label not in self._all:
                    self._add(left, is_leaving=True)
        self._settle_order()

    def _forget(self, served: ServedPool) -> None:
        name = served.pool.name
        del self._all[name]
        self.site.remove(name)
        self._settle_order()

    def start(self) -> None:
        """Begin to work."""
        self._is_working = True
        for served in self:
            self._start(served)
        self._tasks.start("pools", self._look_after())
        self._tasks.start("agenda", self.agenda.run(), ended=self._ended)
        self._others.start("static-files", self.static_files.run())

    async def load(self, *, tidy: bool) -> None:
        """Take up the static files that an earlier process has left on disk. `tidy` where that has ended."""
        await self.static_files.load(tidy=tidy)

    def restore(self) -> None:
        """Take up what an earlier process has left on disk: the agenda, whether newcomers are let in, the lines."""
        self.agenda.load()
        for served in self:
            served.restore()

    async def prepare(self) -> None:
        """Before the pools are this process's: do all that changes nothing in them. Raises `EngineError`."""
        self.find_leftovers()
        await asyncio.gather(*(self._prepare(served) for served in self))

    async def _prepare(self, served: ServedPool) -> None:
        """A broken pool must not keep the others from the new process; a service of one says what is wrong."""
        try:
            await served.prepare()
        except EngineError as error:
            if len(self._all) == 1:
                raise
            _log.warning("pool_not_prepared", pool=served.pool.name, error=error.message, remedy=error.remedy)

    def take_locks(self, given: MutableMapping[str, Sequence[int]] | None = None) -> None:
        """Take the pools' locks, and those of pools that were left behind. Raises `PoolLockedError`.

        `given`: by the engine's name of a pool, the descriptors of who has its lock (`locks`); those are left in it
        that belong to no pool here.
        """
        self.find_leftovers()
        for served in self:
            try:
                served.lock.take(() if given is None else given.pop(served.pool.engine_name, ()))
            except PoolLockedError:
                if not served.is_leaving:
                    raise
                self._forget(served)  # another service's, then
                continue
            if served.is_leaving:
                hint = "the settings have no such pool: it is drained"
                _log.warning("pool_leaves", pool=served.pool.name, hint=hint)

    def locks(self) -> dict[str, tuple[int, ...]]:
        """Copies of what the pools' locks are on, for the process that is to have them. The caller closes them."""
        return {served.pool.engine_name: served.lock.descriptors() for served in self}

    def release_locks(self) -> None:
        """Let another process have the pools. Idempotent."""
        for served in self:
            served.lock.release()

    @property
    def term(self) -> int:
        """A number that grows from each manager of the pools to the next (`Engine.term`)."""
        return max((served.engine.term for served in self), default=0)

    async def end_tasks(self) -> None:
        """End the pools' tasks; records and lines stay as they are."""
        self._is_working = False
        await self._tasks.close()
        await self._others.close()
        for served in self:
            await served.end_tasks()

    def stop_claims(self) -> None:
        """Serve no line any more: visitors could not be shown their notebooks."""
        for served in self:
            served.claims.stop()
        self.agenda.messages.wake()

    async def end_work(self) -> None:
        """After the service's own tasks: end all that is under way."""
        await self.end_tasks()
        for served in self:
            await served.end_work()
        await self.agenda.hand_on()

    async def leave(self, *, remove_everything: bool) -> None:
        """Leave the engine as the next start is to find it."""
        left = await asyncio.gather(*(served.leave(remove_everything=remove_everything) for served in self))
        if remove_everything and all(left):
            await self.static_files.remove()

    async def close(self) -> None:
        """Close files, endpoints and engines."""
        for served in self:
            await served.close()

    # --- handing the pools on to another process

    async def settle(self) -> None:
        """Have nobody served any more, and wait until those who were being served have been."""
        await asyncio.gather(*(served.settle() for served in self))

    async def hand_on(self) -> None:
        """Let another process have the pools, but for their locks."""
        await self.end_tasks()
        for served in self:
            await served.hand_on()
        await self.agenda.hand_on()

    async def take_back(self, *, anew: bool) -> None:
        """Take the pools as that process has left them; `anew` if it has served. Raises `PoolLockedError`."""
        for served in self:
            served.lock.take()
        self.agenda.load()
        for served in self:
            await served.take_back(anew=anew)

    def keep_locked(self) -> None:
        """Called about once a second. Raises `PoolLockedError` where another process has a pool."""
        for served in self:
            served.lock.keep()

    # --- reload

    def reload(self) -> None:
        """Make the pools what the settings in force say."""
        current = self._options.current
        for settings in current.pools:
            served = self._all.get(settings.label)
            if served is None:
                self._come(settings)
            elif not served.is_gone:  # else it comes again once it has gone
                self._change(served, settings, has_tables=bool(current.tables))
        staying = {one.label for one in current.pools}
        for served in self:
            if served.pool.name not in staying and not served.is_leaving:
                bookings = sum(one.pool == served.pool.name for one in self.agenda.bookings)
                served.drain()
                _log.warning("pool_leaves", pool=served.pool.name, sessions=served.sessions, bookings=bookings)
        self._settle_order()
        for served in self:
            served.pool.observe_soon()

    def _come(self, settings: Settings) -> None:
        try:
            served = self._add(settings)
            served.lock.take()
        except (PoolLockedError, ManifestError, SettingsError) as error:
            if settings.label in self._all:
                self._forget(self._all[settings.label])
            _log.error("reload_failed", pool=settings.label, error=error.message, remedy=error.remedy)
            return
        self._settle_order()
        _log.warning("pool_comes", pool=served.pool.name, pool_size=settings.pool_size, image=settings.image)
        self._tasks.start(f"pool-{settings.label}", self._begin(served))

    async def _begin(self, served: ServedPool) -> None:
        served.restore()
        if self._is_working:
            self._start(served)

    def _start(self, served: ServedPool) -> None:
        """Without a pool of the settings the service cannot be; one that goes must not end it."""
        served.start(self._optional if served.is_leaving else self._ended, self._optional)

    def _change(self, served: ServedPool, settings: Settings, *, has_tables: bool) -> None:
        served.is_leaving = False
        change = served.options.replace(settings)
        served.read_own()
        if has_tables:
            announce_pool(change, served.pool.name)

    async def _look_after(self) -> None:
        """Forget pools that have gone, once nothing of them is left; warn of workshops that several pools have."""
        told: set[str] = set()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            warnings = set(self.offers.conflicts())
            for warning in sorted(warnings - told):
                _log.warning("workshops_conflict", warning=warning)
            told = warnings
            for served in self:
                if served.is_leaving and served.pool.is_idle:
                    await self._let_go(served)

    async def _let_go(self, served: ServedPool) -> None:
        served.is_gone = True
        await served.end_tasks()
        await served.end_work()
        await served.leave(remove_everything=True)
        await served.close()
        served.forget()
        self._forget(served)
        _log.warning("pool_gone", pool=served.pool.name)
        again = next((one for one in self._options.current.pools if one.label == served.pool.name), None)
        if again is not None:
            self._come(again)
