"""One pool with all that serves it: its lock, its claims and their line on disk, its workshops, its static files.

`served_pools` builds one for each pool and passes on to it its start, its end and what the operator's files say.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import structlog
from structlog.contextvars import bound_contextvars

from tmpnb_py.bookings.agenda import Agenda
from tmpnb_py.claims.claims import Claims
from tmpnb_py.claims.line_store import LineStore
from tmpnb_py.core.errors import EngineError, ManifestError
from tmpnb_py.core.models import State
from tmpnb_py.core.tasks import Ended, Tasks
from tmpnb_py.egress.counters import WebRoom
from tmpnb_py.egress.proxy import WebProxy
from tmpnb_py.engines.base import Engine
from tmpnb_py.engines.metered import MeteredEngine
from tmpnb_py.images.provider import ImageProvider
from tmpnb_py.options.groups.pool import EMPTY
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.arrivals import VERSION, Counts
from tmpnb_py.pools.arrivals_file import ArrivalsFile
from tmpnb_py.pools.configuration import ImageWork
from tmpnb_py.pools.metrics import PoolMetrics
from tmpnb_py.pools.pool import Pool
from tmpnb_py.service.runtime_dir import arrivals_path, line_path, state_file
from tmpnb_py.shared_files.shared import SharedFiles
from tmpnb_py.site.offers import Offer
from tmpnb_py.tracing.spans import Tracing
from tmpnb_py.workshops.catalogue import Catalogue
from tmpnb_py.workshops.manifest import Manifest
from tmpnb_py.workshops.notes_cache import ImageFiles, NotesCache
from tmpnb_py.workshops.preview import Preview
from tmpnb_py.workshops.warming import Warming

_CLEANUP_SECONDS = 60.0

_log = structlog.get_logger(__name__)


class Lock(Protocol):
    """The lock of a pool (`pool_lock`)."""

    def take(self, given: Sequence[int] = ()) -> None:
        """Take it, by descriptors of who has it; no-op while it is held. Raises `PoolLockedError`."""

    def descriptors(self) -> tuple[int, ...]:
        """Copies of what it is on, for who is to have it; the caller closes them. Empty where it is not held."""

    def keep(self) -> None:
        """Called now and then. Raises `PoolLockedError` where another process has the pool."""

    def release(self) -> None:
        """Let another process take it. Idempotent."""

    def forget(self) -> None:
        """Let it go for good: there is no such pool any more."""


@dataclasses.dataclass(frozen=True, slots=True)
class Common:
    """What all pools of a service share: the bookings, the static files, the room of notebooks' way to the web.

    `tracing` is None where it is off.
    """

    agenda: Agenda
    static_files: SharedFiles
    web_room: WebRoom
    tracing: Tracing | None = None


class ServedPool:
    """A pool of the service. What others use of it: `pool`, `claims`, `catalogue`, `notes_cache`, `offer`.

    `is_leaving`: the settings have it no more. `is_gone`: it is being forgotten.
    """

    def __init__(
        self,
        options: LiveOptions,
        engine: Engine,
        lock: Lock,
        common: Common,
        *,
        elsewhere: Callable[[str], int] = lambda _: 0,
        image_provider: ImageProvider | None = None,
        preview: Preview | None = None,
        pools: Callable[[], Iterable[Settings]] | None = None,
    ) -> None:
        """`elsewhere` counts a quota key's notebooks in other pools; `image_provider` builds a missing image;
        `preview` is a folder that stands for the image's workshops; `pools` are the settings of all pools. Raises
        `ManifestError` for the operator's list of workshops.
        """
        settings = options.current
        self.options = options
        self.engine = engine
        self.lock = lock
        self.is_leaving = self.is_gone = False
        self._tasks: tuple[Tasks, ...] = ()
        self._preview = preview
        self._provider = image_provider
        metrics = PoolMetrics()
        measured = MeteredEngine(engine, metrics.engine_called)
        self._web_proxy = WebProxy(options, common.web_room)
        measured.serve_web(self._web_proxy)
        metrics.add(self._web_proxy.metrics)
        self.catalogue = Catalogue(engine)
        if preview is None:
            self.catalogue.read_own(settings.workshops_file)
        else:
            self._show(preview.manifest)
        self.notes_cache = NotesCache(preview or ImageFiles(measured, self.catalogue), self.catalogue)
        warming = Warming(options, self.catalogue, measured, pools=pools)
        self.pool = Pool(measured, options, metrics, self._image_work(measured, common, warming), common.tracing)
        self._line_store = LineStore(line_path(settings.runtime_path, settings.pool_name))
        counts = state_file(arrivals_path(settings.state_path, settings.pool_name), Counts, VERSION)
        self._arrivals = ArrivalsFile(counts, self.pool.arrivals)
        self.claims = Claims(
            measured,
            self.pool,
            self._line_store,
            agenda=common.agenda,
            elsewhere=elsewhere,
            kernel_of=self.catalogue.kernel_of,
        )
        self.pool.serve(self.claims)
        self.offer = Offer(
            self.claims,
            self.catalogue,
            self.notes_cache,
            self.pool.limits,
            shares_network=engine.shares_network,
        )

    def _image_work(self, engine: Engine, common: Common, warming: Warming) -> ImageWork:
        """What others do with the pool's image."""
        return ImageWork(
            learn=self.catalogue.learn,
            static_url=lambda image: common.static_files.url(image, engine),
            on_missing=None if self._provider is None else self._provider.ask,
            warm=warming,
        )

    # --- start

    def restore(self) -> None:
        """Take up what an earlier process has left on disk: whether newcomers are let in, and the line."""
        self.pool.look_at_gate()
        self._arrivals.load()
        if waiting := self.claims.restore():
            _log.info("line_restored", pool=self.pool.name, waiting=waiting)

    def _named(self) -> contextlib.AbstractContextManager[None]:
        """What is logged in it, and by tasks that begin in it, says of which pool it is, if there are several."""
        names = {"pool": self.pool.name} if self.pool.name != self.pool.engine_name else {}
        return bound_contextvars(**names)

    async def prepare(self) -> None:
        """Before the pool is this process's: do all that changes nothing in it. Raises `EngineError`."""
        with self._named():
            await self.pool.prepare()

    def start(self, ended: Ended, optional_ended: Ended) -> None:
        """Begin to work. `ended` is told of tasks that the pool cannot be without. No-op for one that works."""
        if self._tasks:
            return
        vital, optional = self._tasks = Tasks(ended), Tasks(optional_ended)
        with self._named():
            for name, work in self.pool.work().items():
                vital.start(name, work)
            vital.start("claims", self.claims.run())
            for name, work in self.pool.watch().items():
                optional.start(name, work)
            optional.start("arrivals", self._arrivals.run())
            if self._preview is not None:
                vital.start("preview", self._preview.run(self._show))
            if self._provider is not None:
                optional.start("image-provider", self._provider.run(self.pool.observe_soon))

    async def end_tasks(self) -> None:
        """Stop working. Records and line stay as they are, for `hand_on` or `leave`."""
        tasks, self._tasks = self._tasks, ()
        for one in tasks:
            await one.close()

    # --- reload

    def read_own(self) -> None:
        """Read the operator's list of workshops again, even where the option that names it is the same."""
        if self._preview is not None:
            return
        try:
            self.catalogue.read_own(self.options.current.workshops_file)
        except ManifestError as error:
            _log.error("reload_failed", pool=self.pool.name, error=error.message, remedy=error.remedy)

    def drain(self) -> None:
        """The settings have this pool no more: give up its ready containers, serve its line, let sessions end."""
        self.is_leaving = True
        self.options.replace(self.options.current.model_copy(update=EMPTY))

    @property
    def sessions(self) -> int:
        """How many sessions run."""
        return self.pool.count(State.CLAIMED)

    def _show(self, manifest: Manifest) -> None:
        """A preview's folder holds these workshops now."""
        self.catalogue.own = manifest

    # --- handing the pool on to another process

    async def settle(self) -> None:
        """Have nobody served any more, and wait until those who were being served have been."""
        self.claims.suspend()
        await self.claims.settle()

    async def hand_on(self) -> None:
        """After the tasks have ended: let another process have the line and the pool."""
        self.claims.hand_on()
        await self._arrivals.hand_on()
        await self.pool.release()

    async def take_back(self, *, anew: bool) -> None:
        """Before the tasks begin anew: take up the pool as that process has left it; `anew` if that has served."""
        self._arrivals.load()
        self.pool.forget_listing()
        await self.pool.tidy()
        self.claims.resume(anew=anew)

    # --- end, after the tasks have ended

    async def end_work(self) -> None:
        """End hand-overs and the making of notes that are under way."""
        await self.notes_cache.close()
        await self.claims.close()

    async def leave(self, *, remove_everything: bool) -> bool:
        """Leave the engine as the next start is to find it. Returns whether all of the pool was removed.

        Half-started containers go in any case. With `remove_everything` all of the pool goes, unless another process
        manages it now; the state directory is left as it is.
        """
        await self._arrivals.hand_on()
        remove = remove_everything and await self.pool.is_manager()
        await self.pool.close(remove_everything=remove, timeout_seconds=_CLEANUP_SECONDS)
        if not remove:
            return False
        try:
            await self.engine.remove_pool()
        except EngineError as error:  # an engine that is away must not keep the service from stopping
            _log.warning("cleanup_incomplete", error=error.message, remedy=error.remedy)
        self._line_store.clear()
        return True

    def forget(self) -> None:
        """There is no such pool any more."""
        self.lock.forget()
        self._arrivals.remove()

    async def close(self) -> None:
        """Close the line's file, the containers' endpoints and the engine."""
        self._line_store.close()
        await self._web_proxy.shut_down()
        self.pool.hang_up()
        await self.engine.close()
