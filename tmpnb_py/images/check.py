"""Checks whether an image can serve visitors. For `image check`.

It starts the image as the service would, and lets each kernel draw a plot. It assumes nothing of our own image:
whatever an image lacks is reported with a remedy. The containers belong to a pool of the caller's engine, and each is
removed at the end of its trial.
"""

from __future__ import annotations

import contextlib
import json
import posixpath
from collections.abc import Callable, Sequence

from tmpnb_py.core.errors import EngineError, ManifestError, StartFailedError
from tmpnb_py.core.models import ImageFacts, Transport
from tmpnb_py.engines.base import Engine
from tmpnb_py.images import warm
from tmpnb_py.images.advice import lacking, without_kernel
from tmpnb_py.images.kernels import try_kernels
from tmpnb_py.images.notebooks import run_notebooks
from tmpnb_py.images.results import Advice, CheckReport, ServerTrial
from tmpnb_py.images.started import started_image
from tmpnb_py.images.warm import try_warm, wanted
from tmpnb_py.jupyter.client import NotebookClient, NotebookError
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.configuration import PoolConfiguration
from tmpnb_py.workshops import manifest
from tmpnb_py.workshops.manifest import Workshop

# The file of our JupyterLab extension that shows what operator and teacher tell everybody.
_OUR_EXTENSION = "lab/extensions/tmpnb-session/static/messages.js"
_LARGEST_NOTEBOOK = 16 * 1024 * 1024


async def check(
    engine: Engine,
    settings: Settings,
    *,
    transports: Sequence[Transport] | None = None,
    notebooks: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> CheckReport:
    """Check the settings' image. Raises `EngineError` if there is no such image or no engine."""
    image = await engine.image(settings.image)
    size = await engine.image_size(image)
    workshops, advice = await _workshops(engine, image)
    needed = await _kernels_needed(engine, image, workshops)
    trials: list[ServerTrial] = []
    for transport in transports or await _ways(engine, image, settings):
        say(f"starting it as serve does, reached by {transport.value}")
        last = not trials and notebooks
        trials.append(await try_image(engine, settings, transport, notebooks=last, say=say))
    tried = [one async for one in try_warm(engine, settings, trials[0].transport, wanted(workshops, image), say)]
    advice += lacking(image, trials) + without_kernel(needed, trials)
    advice += warm.advice(workshops, needed, image, tried)
    return CheckReport(image, size, len(workshops), tuple(trials), tuple(advice), tuple(tried))


async def _ways(engine: Engine, image: ImageFacts, settings: Settings) -> list[Transport]:
    """The transports that `serve` may use for the image, its first choice first.

    If that is a port, the engine has found that a socket does not work.
    """
    chosen = await PoolConfiguration(engine, LiveOptions(settings)).transport(image)
    return [Transport.SOCKET, Transport.PORT] if chosen is Transport.SOCKET else [chosen]


async def _workshops(engine: Engine, image: ImageFacts) -> tuple[Sequence[Workshop], list[Advice]]:
    """The workshops in the image's manifest, and advice on problems with it."""
    if not image.workshops:
        remedy = f"`tmpnb-py image workshops --add DIR --image {image.image}` adds a folder of yours"
        return (), [Advice("it has no workshops for the landing page", remedy)]
    try:
        files = await engine.read_image(image, [image.workshops], limit=manifest.MAX_SIZE)
        if image.workshops not in files:
            return (), [Advice(f"its label names {image.workshops}, which does not exist", "correct the label")]
        return manifest.parse(files[image.workshops], source=image.workshops).workshops, []
    except (ManifestError, EngineError) as error:
        return (), [Advice(error.message, error.remedy or "correct the manifest")]


async def _kernels_needed(engine: Engine, image: ImageFacts, workshops: Sequence[Workshop]) -> dict[str, str]:
    """The kernels that the workshops' notebooks name, by slug. Skips files that are not notebooks."""
    root = posixpath.dirname(image.workshops)
    places = {one.slug: f"{root}/{one.start}" for one in workshops if one.start.endswith(".ipynb")}
    needed = {}
    for slug, place in places.items():
        with contextlib.suppress(EngineError, ValueError, RecursionError, LookupError, TypeError):
            files = await engine.read_image(image, [place], limit=_LARGEST_NOTEBOOK)
            needed[slug] = str(json.loads(files[place])["metadata"]["kernelspec"]["name"])
    return needed


async def try_image(
    engine: Engine,
    settings: Settings,
    transport: Transport,
    *,
    notebooks: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> ServerTrial:
    """Start one container and use it. Its failures are recorded in the result, not raised."""
    try:
        async with started_image(engine, settings, transport) as container:
            classic = await _answers(container.client, "tree")
            messages = await _answers(container.client, _OUR_EXTENSION)
            tried = [one async for one in try_kernels(engine, container, say)]
            ran = [one async for one in run_notebooks(container.client, say=say)] if notebooks else []
            return ServerTrial(
                transport,
                container.seconds,
                container.usage.cpu_seconds,
                container.usage.memory,
                kernels=tuple(tried),
                notebooks=tuple(ran),
                classic=classic,
                messages=messages,
            )
    except StartFailedError as error:
        return ServerTrial(transport, problem=error.message, log_lines=error.log_lines)
    except EngineError as error:
        return ServerTrial(transport, problem=error.message, remedy=error.remedy)
    except NotebookError as error:
        return ServerTrial(transport, problem=str(error))


async def _answers(client: NotebookClient, path: str) -> bool:
    with contextlib.suppress(NotebookError):
        return await client.status_of(path) == 200
    return False
