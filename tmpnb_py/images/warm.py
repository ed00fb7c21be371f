"""Starts containers with each kernel that an image's workshops have started ahead. For `image check`."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import ImageFacts, Transport
from tmpnb_py.core.warm import WarmKernel
from tmpnb_py.engines.base import Engine
from tmpnb_py.images.results import Advice, WarmTrial
from tmpnb_py.images.started import started
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.configuration import PoolConfiguration
from tmpnb_py.workshops import warming
from tmpnb_py.workshops.manifest import Workshop


def wanted(workshops: Sequence[Workshop], image: ImageFacts) -> tuple[WarmKernel, ...]:
    """The kernels of an image's workshops that it can start ahead, with all of their packages."""
    names = dict.fromkeys(one.kernel for one in workshops if not one.is_cold and one.kernel in image.warm)
    return warming.asked(tuple(names), workshops, image).kernels


async def try_warm(
    engine: Engine,
    settings: Settings,
    transport: Transport,
    kernels: Sequence[WarmKernel],
    say: Callable[[str], None],
) -> AsyncIterator[WarmTrial]:
    """Start a container for each kernel, and see whether it becomes ready. Failures are recorded, not raised."""
    options = LiveOptions(settings.model_copy(update={"transport": transport.value}))
    for kernel in kernels:
        say(f"a container with {kernel} started ahead")
        try:
            config = await PoolConfiguration(engine, options).resolve()
            config = dataclasses.replace(config, warm=(kernel,))
            async with started(engine, config, timeout_seconds=settings.start_timeout) as container:
                problem = (
                    "" if container.warm[0].is_ready else container.warm[0].problem or "it was not ready in time"
                )
                yield WarmTrial(kernel, container.seconds, container.usage.memory, problem)
        except EngineError as error:
            yield WarmTrial(kernel, problem=error.message)


def advice(
    workshops: Sequence[Workshop], needed: Mapping[str, str], image: ImageFacts, trials: Sequence[WarmTrial]
) -> list[Advice]:
    """What is wrong with what the manifest says of warm kernels. `needed` are the notebooks' kernels by slug."""
    found = []
    for one in workshops:
        uses = needed.get(one.slug, "")
        if one.is_cold or not (one.warm or one.preload):
            continue
        if not image.warm:
            continue  # it starts none ahead, which is no mistake
        if one.kernel not in image.warm:
            can = ", ".join(image.warm) or "none"
            text = f"the workshop {one.slug} wants {one.kernel or 'its kernel'} started ahead, which the image cannot"
            found.append(Advice(text, f"its label org.tmpnb.warm says: {can}; correct the manifest or the image"))
        elif uses and uses != one.kernel:
            text = f"the workshop {one.slug} wants {one.kernel} started ahead, but its notebook uses {uses}"
            found.append(Advice(text, f'write warm = "{uses}" in the manifest'))
    remedy = "correct preload in the manifest, or install what is missing; without it, visitors start that kernel"
    return found + [
        Advice(f"{one.kernel} cannot be started ahead: {one.problem}", remedy) for one in trials if one.problem
    ]
