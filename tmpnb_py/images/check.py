"""Does an image serve visitors? Started as the service would, each of its kernels drawing a plot. For `image check`.

Nothing of it depends on our own image: what an image does not support is found out and told with its remedy. The
containers belong to a pool of the caller's engine; each is removed at the end of its trial.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import posixpath
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from tmpnb_py.core import languages
from tmpnb_py.core.errors import EngineError, ManifestError, StartFailedError
from tmpnb_py.core.log_cleaning import clean_lines
from tmpnb_py.core.models import Address, ContainerSpec, ImageFacts, Transport
from tmpnb_py.core.tasks import Tasks
from tmpnb_py.engines.base import Engine
from tmpnb_py.jupyter.client import NotebookClient, NotebookError, Outcome, notebook_client
from tmpnb_py.jupyter.endpoint import Endpoint
from tmpnb_py.jupyter.questions import wait_until_ready
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.configuration import PoolConfiguration
from tmpnb_py.workshops import manifest
from tmpnb_py.workshops.manifest import Workshop

CELL_SECONDS = 120.0
EXERCISE, RAISES = "exercise", "raises-exception"  # tags of cells: may be empty or unfinished; is meant to fail

_LOG_LINES = 10
_MOST_KERNELS = 20
_LARGEST_NOTEBOOK = 16 * 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class KernelTrial:
    """One kernel: seconds of its start and of a cell, CPU seconds and bytes of the container after each of them.

    CPU seconds count from the kernel's start; bytes are those of the whole container.
    """

    name: str
    title: str
    start_seconds: float = 0.0
    start_cpu_seconds: float = 0.0
    start_memory: int = 0
    cell_seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory: int = 0
    drew: bool = False
    problem: str = ""
    runs: bool = False  # what goes wrong later only keeps it from drawing


@dataclasses.dataclass(frozen=True, slots=True)
class NotebookTrial:
    """A notebook that was run from top to bottom: its cells, the plots that they showed, and what went wrong."""

    path: str
    cells: int = 0
    plots: int = 0
    seconds: float = 0.0
    problems: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """One container: how it was reached, what it took to its first answer, and its kernels."""

    transport: Transport
    ready_seconds: float = 0.0
    ready_cpu_seconds: float = 0.0
    ready_memory: int = 0
    kernels: tuple[KernelTrial, ...] = ()
    notebooks: tuple[NotebookTrial, ...] = ()
    classic: bool = False
    problem: str = ""
    remedy: str = ""
    log_lines: tuple[str, ...] = ()

    @property
    def works(self) -> bool:
        """Whether it answered and every kernel and notebook ran. Without plots an image is plain, but works."""
        bad = [one for one in self.kernels if not one.runs] + [one for one in self.notebooks if one.problems]
        return not self.problem and not bad


@dataclasses.dataclass(frozen=True, slots=True)
class Advice:
    """What an image lacks, and how to get it. `serious` where visitors would not be served."""

    text: str
    remedy: str
    serious: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """All that was found out about an image. `size` is in bytes."""

    image: ImageFacts
    size: int
    workshops: int
    trials: tuple[Trial, ...]
    advice: tuple[Advice, ...]

    @property
    def works(self) -> bool:
        """Whether it can serve visitors."""
        return any(trial.works for trial in self.trials) and not any(one.serious for one in self.advice)


async def check(
    engine: Engine,
    settings: Settings,
    *,
    transports: Sequence[Transport] | None = None,
    notebooks: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Report:
    """Examine the image of the settings. Raises `EngineError` where there is no such image or no engine."""
    image = await engine.image(settings.image)
    size = await engine.image_size(image)
    workshops, advice = await _workshops(engine, image)
    needed = await _kernels_needed(engine, image, workshops)
    trials: list[Trial] = []
    for transport in transports or await _ways(engine, image, settings):
        say(f"starting it as serve does, reached by {transport.value}")
        last = not trials and notebooks
        trials.append(await try_image(engine, settings, transport, notebooks=last, say=say))
    advice += _lacking(image, trials) + _without_kernel(needed, trials)
    return Report(image, size, len(workshops), tuple(trials), tuple(advice))


async def _ways(engine: Engine, image: ImageFacts, settings: Settings) -> list[Transport]:
    """The ways that serve may take to such a container, its first choice first.

    Where that is a port, the engine has found out that a socket does not work.
    """
    chosen = await PoolConfiguration(engine, LiveOptions(settings)).transport(image)
    return [Transport.SOCKET, Transport.PORT] if chosen is Transport.SOCKET else [chosen]


async def _workshops(engine: Engine, image: ImageFacts) -> tuple[Sequence[Workshop], list[Advice]]:
    """The workshops that its manifest lists, and what is wrong with it."""
    if not image.workshops:
        remedy = f"`tmpnb-py image workshops --add DIR --image {image.image}` adds a folder of yours"
        return (), [Advice("it has no workshops that the landing page could show", remedy)]
    try:
        files = await engine.read_image(image, [image.workshops], limit=manifest.MAX_SIZE)
        if image.workshops not in files:
            return (), [Advice(f"its label names {image.workshops}, which it does not have", "correct the label")]
        return manifest.parse(files[image.workshops], source=image.workshops).workshops, []
    except (ManifestError, EngineError) as error:
        return (), [Advice(error.message, error.remedy or "correct the manifest")]


async def _kernels_needed(engine: Engine, image: ImageFacts, workshops: Sequence[Workshop]) -> dict[str, str]:
    """The kernels that the workshops' notebooks name, by the workshops' slugs; what is no notebook is left out."""
    root = posixpath.dirname(image.workshops)
    places = {one.slug: f"{root}/{one.start}" for one in workshops if one.start.endswith(".ipynb")}
    needed = {}
    for slug, place in places.items():
        with contextlib.suppress(EngineError, ValueError, RecursionError, LookupError, TypeError):
            files = await engine.read_image(image, [place], limit=_LARGEST_NOTEBOOK)
            needed[slug] = str(json.loads(files[place])["metadata"]["kernelspec"]["name"])
    return needed


def _without_kernel(needed: Mapping[str, str], trials: Sequence[Trial]) -> list[Advice]:
    there = {kernel.name for trial in trials for kernel in trial.kernels}
    remedy = "install the kernel, or take the workshop out of the manifest"
    return [
        Advice(f"it lists the workshop {slug}, and has no kernel {kernel} to run it", remedy)
        for slug, kernel in needed.items()
        if there and kernel not in there
    ]


async def try_image(
    engine: Engine,
    settings: Settings,
    transport: Transport,
    *,
    notebooks: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Trial:
    """Start one container and use it. What goes wrong in the container is in the trial, not raised."""
    try:
        async with started(engine, settings, transport) as container:
            classic = await _answers_classic(container.client)
            tried = [one async for one in _try_kernels(engine, container, say)]
            ran = [one async for one in run_notebooks(container.client, say=say)] if notebooks else []
            return dataclasses.replace(container.trial, classic=classic, kernels=tuple(tried), notebooks=tuple(ran))
    except StartFailedError as error:
        return Trial(transport, problem=error.message, log_lines=error.log_lines)
    except EngineError as error:
        return Trial(transport, problem=error.message, remedy=error.remedy)
    except NotebookError as error:
        return Trial(transport, problem=str(error))


@dataclasses.dataclass(frozen=True, slots=True)
class Started:
    """A container that answers; `trial` has what its start took."""

    id: str
    client: NotebookClient
    trial: Trial


@contextlib.asynccontextmanager
async def started(engine: Engine, settings: Settings, transport: Transport) -> AsyncIterator[Started]:
    """A container as the service starts it, answering, with what its start took; removed afterwards.

    Raises `StartFailedError` with its last words, and the engine's errors.
    """
    options = LiveOptions(settings.model_copy(update={"transport": transport.value}))
    config = await PoolConfiguration(engine, options).resolve()
    token = secrets.token_hex(24) if config.use_tokens else ""
    spec = ContainerSpec(f"check{secrets.token_hex(10)}", token, config)
    endpoint: Endpoint | None = None
    began = time.monotonic()
    try:
        address = await engine.start(spec)
        endpoint = await until_ready(engine, spec, address, settings.start_timeout)
        seconds = time.monotonic() - began
        await engine.mark_ready(spec.id)
        usage = await engine.usage(spec.id)
        async with notebook_client(endpoint, spec) as client:
            yield Started(spec.id, client, Trial(transport, seconds, usage.cpu_seconds, usage.memory))
    finally:
        if endpoint is not None:
            endpoint.close()
        await engine.remove(spec.id)


async def until_ready(engine: Engine, spec: ContainerSpec, address: Address, seconds: float) -> Endpoint:
    """Wait for a container's first answer where no reconciler watches it; its end is noticed at once, too.

    Raises `StartFailedError` with its last log lines.
    """
    died = asyncio.Event()
    statuses: list[int] = []

    async def watch() -> None:
        with contextlib.suppress(EngineError):
            async for _ in engine.events():
                statuses.extend(one.exit.status for one in await engine.list() if one.id == spec.id and one.exit)
                if statuses:
                    died.set()

    tasks = Tasks()
    tasks.start("watch-container", watch())
    try:
        return await wait_until_ready(address, spec, timeout_seconds=seconds, died=died)
    except StartFailedError as error:
        with contextlib.suppress(EngineError):
            error.log_lines = clean_lines(await engine.logs(spec.id, lines=_LOG_LINES), [spec.token])
        if statuses:
            error.message = f"{error.message}, with status {statuses[0]}"
        raise
    finally:
        await tasks.close()


async def _answers_classic(client: NotebookClient) -> bool:
    with contextlib.suppress(NotebookError):
        return await client.status_of("tree") == 200
    return False


async def _try_kernels(engine: Engine, container: Started, say: Callable[[str], None]) -> AsyncIterator[KernelTrial]:
    for name, title in list((await container.client.kernels()).items())[:_MOST_KERNELS]:
        say(f"a cell with a plot in {title}")
        yield await try_kernel(engine, container, name, title)


async def try_kernel(engine: Engine, container: Started, name: str, title: str) -> KernelTrial:
    """Start a kernel and let it draw; what goes wrong is in the trial."""
    before = (await engine.usage(container.id)).cpu_seconds
    began = time.monotonic()
    try:
        language = languages.find(await container.client.language(name))
        first = language.first if language else "1"
        plot = language.plot if language else ""
        async with container.client.kernel(name) as kernel:
            if failed := (await kernel.run(first, seconds=CELL_SECONDS)).error:
                return KernelTrial(name, title, problem=failed)
            start_seconds = time.monotonic() - began
            begun = await engine.usage(container.id)
            ready = time.monotonic()
            outcome = await kernel.run(plot or first, seconds=CELL_SECONDS)
            cell_seconds = time.monotonic() - ready
            usage = await engine.usage(container.id)
    except (NotebookError, EngineError) as error:
        return KernelTrial(name, title, problem=str(error))
    problem = outcome.error or ("" if outcome.has_plot or not plot else "the cell showed no plot")
    return KernelTrial(
        name,
        title,
        start_seconds=start_seconds,
        start_cpu_seconds=begun.cpu_seconds - before,
        start_memory=begun.memory,
        cell_seconds=cell_seconds,
        cpu_seconds=usage.cpu_seconds - before,
        memory=usage.memory,
        drew=outcome.has_plot,
        problem=problem,
        runs=True,
    )


# ---- notebooks ---------------------------------------------------------------------------------------------


async def run_notebooks(
    client: NotebookClient,
    *,
    only: Callable[[str], bool] = lambda _: True,
    say: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[NotebookTrial]:
    """Run each notebook that a fresh home has, one after another, as `Run all` would."""
    for path in await find_notebooks(client):
        if only(path):
            say(f"running {path}")
            yield await run_notebook(client, path)


async def find_notebooks(client: NotebookClient, directory: str = "") -> list[str]:
    """The notebooks below a directory of the home."""
    found: list[str] = []
    entries: Any = await client.file(directory)
    for entry in sorted(entries, key=lambda one: str(one.get("path"))):
        if entry.get("type") == "notebook":
            found.append(str(entry["path"]))
        elif entry.get("type") == "directory":
            found += await find_notebooks(client, str(entry["path"]))
    return found


async def run_notebook(client: NotebookClient, path: str, *, seconds: float = CELL_SECONDS) -> NotebookTrial:
    """Run a notebook's code cells in order and stop at the first that fails; `seconds` bounds each cell.

    A cell tagged `exercise` may be empty, and one tagged `raises-exception` is meant to fail.
    """
    began = time.monotonic()
    problems: list[str] = []
    plots = count = 0
    try:
        notebook = await client.file(path)
        cells = [one for one in notebook["cells"] if one["cell_type"] == "code" and source_of(one).strip()]
        async with client.kernel(str(notebook["metadata"]["kernelspec"]["name"]), path=path) as kernel:
            for cell in cells:
                outcome = await kernel.run(source_of(cell), seconds=seconds)
                count += 1
                plots += outcome.has_plot
                if problem := _problem(cell, outcome):
                    problems.append(f"cell {count}: {problem}: {source_of(cell).splitlines()[0][:80]}")
                    break
    except NotebookError as error:
        problems.append(f"cell {count + 1}: {error}")
    except (KeyError, TypeError) as error:
        problems.append(f"it is not a notebook of format 4: {error} is missing")
    return NotebookTrial(path, count, plots, time.monotonic() - began, tuple(problems))


def source_of(cell: Mapping[str, Any]) -> str:
    """A cell's text, which the format allows to be a list of lines."""
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


# What kernels of other images print and reply "ok" to; and the note of our bash that a command is not there.
_UNTOLD = (
    re.compile(r"^error: .*", re.MULTILINE),
    re.compile(r"^(?:.*: command not found|exit status 12[67])$", re.MULTILINE),
)


def _problem(cell: Mapping[str, Any], outcome: Outcome) -> str:
    tags = (cell.get("metadata") or {}).get("tags") or []
    printed = next((found[0] for sign in _UNTOLD if (found := sign.search(outcome.text))), "")
    return "" if RAISES in tags else outcome.error or printed


# ---- what is missing ---------------------------------------------------------------------------------------

_LABELS = 'see "Images of your own" in the README'


def _lacking(image: ImageFacts, trials: Sequence[Trial]) -> list[Advice]:
    advice = []
    if not image.supports_socket:
        advice.append(
            Advice(
                "it does not say that it can listen on a socket, so it is reached by a port, which is slower",
                "where its Jupyter Server is 2 or newer, add the label org.tmpnb.socket=true, and a "
                f"start-notebook.sh that passes --ServerApp.sock on; {_LABELS}",
            )
        )
    if not image.supports_read_only or not image.home:
        advice.append(
            Advice(
                "its root is writable and its home unbounded: one visitor can fill this machine's disk",
                f"add the labels org.tmpnb.read-only=true and org.tmpnb.home=/home/…; {_LABELS}",
            )
        )
    for trial in trials:
        advice += _failed(trial)
    return advice


def _failed(trial: Trial) -> list[Advice]:
    if trial.problem:
        text = f"by {trial.transport.value}: {trial.problem}"
        return [Advice(text, trial.remedy or _start_remedy(trial), serious=True)]
    found = [
        Advice(f"by {trial.transport.value}: {one.title}: {one.problem}", _kernel_remedy(one), serious=not one.runs)
        for one in trial.kernels
        if one.problem
    ]
    if not trial.kernels:
        found.append(Advice("it offers no kernel", "install one, such as ipykernel", serious=True))
    for notebook in trial.notebooks:
        found += [
            Advice(f"{notebook.path}: {one}", "correct the notebook", serious=True) for one in notebook.problems
        ]
    return found


def _start_remedy(trial: Trial) -> str:
    if trial.log_lines:
        return "its last words are above; --command starts another server"
    return "it said nothing: see that --command starts a server, and that it listens where the command tells it to"


def _kernel_remedy(kernel: KernelTrial) -> str:
    if "No module named" in kernel.problem or "not found" in kernel.problem:
        return "install what is missing; plots in Python need matplotlib"
    if "memory" in kernel.problem or "closed" in kernel.problem or "not end" in kernel.problem:
        return "try more memory with --mem-limit, or more CPU with --cpu-quota"
    return "run the cell by hand in a notebook of this image"


def as_json(report: Report) -> str:
    """The report for programs."""
    return json.dumps(dataclasses.asdict(report) | {"works": report.works}, indent=2, ensure_ascii=False)
