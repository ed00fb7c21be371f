"""Which kernels a pool's ready notebooks have warm: what the operator asks for, workshops need and the image can.

`ServedPool` has one `Warming`, and the pool's configuration asks it at each listing. The answer is part of the
containers' configuration, so it only changes with what it is made from: options, workshops and image. In between it
stays, also where the engine tells another memory (a swarm whose node is away), as ready notebooks would be replaced.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import structlog

from tmpnb_py.core import languages
from tmpnb_py.core.models import EngineInfo, ImageFacts
from tmpnb_py.core.units import GIB, MIB
from tmpnb_py.core.warm import AUTO, MOST_PACKAGES, WarmKernel
from tmpnb_py.options.groups.pool import AUTO as AUTO_SIZE
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.workshops.catalogue import Catalogue
from tmpnb_py.workshops.manifest import Workshop

# What a ready notebook takes with a kernel that nobody has measured, and what packages add to one.
_UNKNOWN, _PACKAGES = 150 * MIB, 60 * MIB
# Of the engine's memory, and of each container's: the rest is for those at work.
_SHARE = 0.5

_log = structlog.get_logger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """The kernels that are warm, and for people why these or none; `missing` are asked for and not in the image."""

    kernels: tuple[WarmKernel, ...] = ()
    because: str = ""
    missing: tuple[str, ...] = ()


def asked(names: Sequence[str], workshops: Iterable[Workshop], image: ImageFacts) -> Choice:
    """What the operator asks for by name, with the packages of all workshops that use these kernels."""
    packages: dict[str, dict[str, None]] = {}
    for one in workshops:
        packages.setdefault(one.kernel, {}).update(dict.fromkeys(() if one.is_cold else one.preload))
    kernels = tuple(
        WarmKernel(name, tuple(packages.get(name, ()))[:MOST_PACKAGES]) for name in names if name in image.warm
    )
    missing = tuple(name for name in names if name not in image.warm)
    can = ", ".join(image.warm) or "none"
    because = "" if names else "warm_kernels is none"
    if missing:
        because = f"the image cannot start {', '.join(missing)} ahead (its label org.tmpnb.warm: {can})"
    return Choice(kernels, because, missing)


def by_itself(workshops: Sequence[Workshop], image: ImageFacts) -> Choice:
    """The first workshop's kernel with its packages, or why there is none."""
    if not image.warm:
        return Choice(because="the image does not say that it can start any ahead (label org.tmpnb.warm)")
    if not workshops:
        return Choice(because="there are no workshops")
    first = workshops[0]
    if first.is_cold:
        return Choice(because=f"the first workshop, {first.slug}, wants none")
    if first.kernel not in image.warm:
        kernel = first.kernel or f"the one of {first.language}"
        return Choice(because=f"the image cannot start the first workshop's kernel ahead, {kernel}")
    return Choice((WarmKernel(first.kernel, first.preload),), f"the first workshop, {first.slug}, uses it")


def takes(kernel: WarmKernel) -> int:
    """Estimate how many bytes a ready notebook takes with this kernel."""
    language = languages.find(kernel.name)
    cost = language.cost if language is not None else None
    return (cost.memory_started if cost else _UNKNOWN) + (_PACKAGES if kernel.packages else 0)


def most_ready(settings: Settings, memory: int) -> int:
    """The largest number of ready notebooks that a pool's options ask for, on an engine of so much memory."""
    if settings.pool_size != AUTO_SIZE:
        return settings.largest_size
    most = settings.pool_size_max or settings.max_containers or memory // settings.mem_limit
    return max(most, settings.largest_size)


def why_not(kernel: WarmKernel, settings: Settings, pools: Iterable[Settings], memory: int) -> str:
    """Why ready notebooks of a pool do not have room for a kernel that nobody has asked for; "" where they do.

    `pools` are all pools of the service, which share the engine's `memory`.
    """
    each = takes(kernel)
    if each > settings.mem_limit * _SHARE:
        return f"with {kernel} a ready notebook would take more than half of mem_limit"
    ready = sum(most_ready(one, memory) for one in pools)
    if ready * each > memory * _SHARE:
        return (
            f"{ready} ready notebooks with {kernel} would take {ready * each / GIB:.1f} GiB, more than half of the "
            f"engine's memory ({memory / GIB:.1f} GiB)"
        )
    return ""


class Engine(Protocol):
    """What is asked of an engine."""

    async def info(self) -> EngineInfo:
        """Its memory. Raises `EngineError`."""


class Warming:
    """Chooses for one pool."""

    def __init__(
        self,
        options: LiveOptions,
        catalogue: Catalogue,
        engine: Engine,
        *,
        pools: Callable[[], Iterable[Settings]] | None = None,
    ) -> None:
        """`pools` are the settings of all pools of the service; None: it has this one."""
        self._options = options
        self._catalogue = catalogue
        self._engine = engine
        self._pools = pools or (lambda: (options.current,))
        self._made_from: object = None
        self._choice = Choice()

    @property
    def because(self) -> str:
        """For people: why just this is warm, or nothing; "" where it is what was asked for."""
        return self._choice.because

    @property
    def missing(self) -> tuple[str, ...]:
        """The kernels that the operator asks for and the image lacks."""
        return self._choice.missing

    async def kernels(self, image: ImageFacts) -> tuple[WarmKernel, ...]:
        """What a container of the image is to have warm. Raises `EngineError`."""
        if not self._catalogue.has_read(image):  # it is tried again: nothing is replaced until then
            return tuple(one for one in self._choice.kernels if one.name in image.warm)
        settings, workshops = self._options.current, self._workshops()
        is_auto = settings.warm_kernels == (AUTO,)
        choice = by_itself(workshops, image) if is_auto else asked(settings.warm_kernels, workshops, image)
        pools = tuple(self._pools()) if is_auto and choice.kernels else ()
        made_from = (choice, settings.mem_limit, [_size(one) for one in pools])
        if made_from != self._made_from:
            if pools:
                choice = self._fitting(choice, settings, pools, (await self._engine.info()).memory)
            self._choose(choice)
            self._made_from = made_from
        return self._choice.kernels

    def _workshops(self) -> tuple[Workshop, ...]:
        """The workshops of the pool: where several pools have them, those that it serves."""
        served = self._options.current.workshops
        found = self._catalogue.manifest.workshops
        return tuple(one for one in found if one.slug in served) if served else found

    @staticmethod
    def _fitting(choice: Choice, settings: Settings, pools: Sequence[Settings], memory: int) -> Choice:
        reason = why_not(choice.kernels[0], settings, pools, memory)
        return Choice(because=reason) if reason else choice

    def _choose(self, choice: Choice) -> None:
        self._choice = choice
        kernels = [str(one) for one in choice.kernels]
        if choice.missing:
            hint = "choose among the kernels of the image's label, or rebuild the image"
            _log.warning("warm_kernels_unsupported", kernels=list(choice.missing), reason=choice.because, hint=hint)
        _log.info("warm_kernels_chosen", kernels=kernels, reason=choice.because)


def _size(settings: Settings) -> tuple[object, ...]:
    """What decides how many ready notebooks there are."""
    return (
        settings.label,
        settings.pool_size,
        settings.largest_size,
        settings.pool_size_max,
        settings.max_containers,
        settings.mem_limit,
    )
