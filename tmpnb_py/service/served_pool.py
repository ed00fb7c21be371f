"""One pool with everything that serves it: its claims and their line on disk, its workshops, its static files.

The service builds one for each pool and passes on to it its start, its end and what the operator's files say.
"""

from __future__ import annotations

import structlog

from tmpnb_py.claims.claims import Claims
from tmpnb_py.claims.line_store import LineStore
from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.links import Links
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.engines.base import Engine
from tmpnb_py.engines.metered import MeteredEngine
from tmpnb_py.images.provider import ImageProvider
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.pools.metrics import PoolMetrics
from tmpnb_py.pools.pool import Pool
from tmpnb_py.service.runtime_dir import line_path
from tmpnb_py.shared_files.shared import SharedFiles
from tmpnb_py.workshops.catalogue import Catalogue
from tmpnb_py.workshops.manifest import Manifest
from tmpnb_py.workshops.notes_cache import ImageFiles, NotesCache
from tmpnb_py.workshops.preview import Preview

_CLEANUP_SECONDS = 60.0

_log = structlog.get_logger(__name__)


class ServedPool:
    """A pool of the service. What others use of it: `pool`, `claims`, `catalogue`, `notes_cache`, `static_files`."""

    def __init__(
        self,
        options: LiveOptions,
        engine: Engine,
        *,
        image_provider: ImageProvider | None = None,
        preview: Preview | None = None,
    ) -> None:
        """`image_provider` builds an image that is missing; `preview` is a folder that stands for the image's
        workshops. Raises `ManifestError` for the operator's list of workshops.
        """
        settings = options.current
        self._engine = engine
        self._preview = preview
        self._provider = image_provider
        metrics = PoolMetrics()
        measured = MeteredEngine(engine, metrics.engine_called)
        self.catalogue = Catalogue(engine)
        if preview is None:
            self.catalogue.read_own(settings.workshops_file)
        else:
            self._show(preview.manifest)
        self.notes_cache = NotesCache(preview or ImageFiles(measured, self.catalogue), self.catalogue)
        self.static_files = SharedFiles(
            measured,
            settings.runtime_path / "static" / settings.pool_name,
            on_lost=self._look_again,
            links=Links(settings.base_url),
        )
        self.pool = Pool(
            measured,
            options,
            metrics,
            learn_image=self.catalogue.learn,
            static_url=self.static_files.url,
            on_image_missing=None if image_provider is None else image_provider.ask,
        )
        self._line_store = LineStore(line_path(settings.runtime_path, settings.pool_name))
        self.claims = Claims(measured, self.pool, self._line_store)
        self.pool.serve(self.claims)

    # --- start

    async def load(self, *, tidy: bool) -> None:
        """Take up the static files that an earlier process has left on disk. `tidy` where that has ended."""
        await self.static_files.load(tidy=tidy)

    def restore(self) -> None:
        """Take up what an earlier process has left on disk: whether newcomers are let in, and the line."""
        self.pool.look_at_gate()
        if waiting := self.claims.restore():
            _log.info("line_restored", pool=self.pool.name, waiting=waiting)

    def start(self, vital: Tasks, optional: Tasks) -> None:
        """Begin to work. Without the `vital` tasks the service cannot be."""
        for name, work in self.pool.work().items():
            vital.start(name, work)
        vital.start("claims", self.claims.run())
        optional.start("static-files", self.static_files.run())
        if self._preview is not None:
            vital.start("preview", self._preview.run(self._show))
        if self._provider is not None:
            optional.start("image-provider", self._provider.run(self.pool.observe_soon))

    def _look_again(self) -> None:
        """Have the image looked at, and with it the address of its static files."""
        self.pool.observe_soon()

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
        await self.pool.release()

    async def take_back(self, *, anew: bool) -> None:
        """Before the tasks begin anew: take up the pool as that process has left it; `anew` if that has served."""
        self.pool.forget_listing()
        await self.pool.tidy()
        self.claims.resume(anew=anew)

    # --- end, after the tasks have ended

    async def end_work(self) -> None:
        """End hand-overs and the making of notes that are under way."""
        await self.notes_cache.close()
        await self.claims.close()

    async def leave(self, *, remove_everything: bool) -> None:
        """Leave the engine as the next start is to find it.

        Half-started containers go in any case. With `remove_everything` all of the pool goes, from the engine and
        from the disk, unless another process manages it now.
        """
        remove = remove_everything and await self.pool.is_manager()
        await self.pool.close(remove_everything=remove, timeout_seconds=_CLEANUP_SECONDS)
        if not remove:
            return
        try:
            await self._engine.remove_pool()
        except EngineError as error:  # an engine that is away must not keep the service from stopping
            _log.warning("cleanup_incomplete", error=error.message, remedy=error.remedy)
        await self.static_files.remove()
        self._line_store.clear()

    async def close(self) -> None:
        """Close the line's file, the containers' endpoints and the engine."""
        self._line_store.close()
        self.pool.hang_up()
        await self._engine.close()
