"""Which kernels are warm: what the operator asks for, what the workshops need, what the image can, what fits."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from tests.unit.test_manifest import workshop
from tmpnb_py.core.errors import EngineDownError
from tmpnb_py.core.models import EngineInfo, ImageFacts
from tmpnb_py.core.units import GIB, MIB
from tmpnb_py.core.warm import WarmKernel
from tmpnb_py.engines.base import Engine
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.workshops import warming
from tmpnb_py.workshops.catalogue import Catalogue
from tmpnb_py.workshops.manifest import Manifest, Workshop
from tmpnb_py.workshops.warming import Warming

IMAGE = ImageFacts("x", "sha256:x", warm=("python3", "ir", "octave"))
R = workshop("r", preload=["tidyverse"])
PLOTS = workshop("plots", preload=["tidyverse", "scales"])
PYTHON = workshop("py", language="Python", preload=["numpy"])


class World:
    """One pool's choice, on a machine whose memory can be set."""

    def __init__(self, *workshops: Workshop, memory: int = 8 * GIB, **options: Any) -> None:
        self.memory = memory
        self.asked = 0
        self.is_down = False
        self.options = LiveOptions(Settings(**options))
        self.others: tuple[Settings, ...] = ()
        self.catalogue = Catalogue(cast(Engine, None))
        self.catalogue.own = Manifest(workshops=workshops)
        self.warming = Warming(self.options, self.catalogue, self, pools=lambda: (self.options.current, *self.others))

    async def info(self) -> EngineInfo:
        self.asked += 1
        if self.is_down:
            raise EngineDownError("down")
        return EngineInfo("x", "1", self.memory, 4)

    async def chosen(self, image: ImageFacts = IMAGE) -> list[str]:
        return [str(one) for one in await self.warming.kernels(image)]

    def set(self, **options: Any) -> None:
        self.options.replace(self.options.current.model_copy(update=options))


# --- by itself


async def test_it_is_the_first_workshops_kernel() -> None:
    world = World(R, PLOTS, PYTHON)
    assert await world.chosen() == ["ir (tidyverse)"], "its packages, and not those of others"
    assert world.warming.because == "the first workshop, r, uses it"


@pytest.mark.parametrize(
    ("workshops", "image", "because"),
    [
        ((), IMAGE, "there are no workshops"),
        ((R,), ImageFacts("x", "sha256:x"), "the image does not say that it can start any ahead"),
        ((workshop(warm="none"), R), IMAGE, "the first workshop, a, wants none"),
        ((workshop(language="Bash"),), IMAGE, "the image cannot start the first workshop's kernel ahead, bash"),
        ((workshop(language="Klingon"),), IMAGE, "the first workshop's kernel ahead, the one of Klingon"),
    ],
)
async def test_nothing_is_warm_where_nothing_can_be(
    workshops: tuple[Workshop, ...], image: ImageFacts, because: str
) -> None:
    world = World(*workshops)
    assert await world.chosen(image) == []
    assert because in world.warming.because
    assert world.asked == 0


async def test_it_has_to_fit() -> None:
    world = World(R, pool_size=10, memory=4 * GIB)
    assert await world.chosen() == ["ir (tidyverse)"]
    world.set(pool_size=20)
    assert await world.chosen() == []
    assert world.warming.because == (
        "20 ready notebooks with ir (tidyverse) would take 3.9 GiB, more than half of the engine's memory (4.0 GiB)"
    )
    world.set(pool_size=10)
    assert await world.chosen() == ["ir (tidyverse)"]
    world.set(mem_limit=256 * MIB)
    assert await world.chosen() == []
    assert "more than half of mem_limit" in world.warming.because


async def test_other_pools_need_room_too() -> None:
    world = World(R, pool_size=10, memory=4 * GIB)
    world.others = (Settings(pool_size=10),)
    assert await world.chosen() == []
    world.others = (Settings(pool_size=0),)
    assert await world.chosen() == ["ir (tidyverse)"]


def test_the_largest_number_of_ready_ones_counts() -> None:
    timetable: Any = [{"days": "Mon", "from": "08:00", "to": "12:00", "pool_size": 70, "time_zone": "UTC"}]
    assert warming.most_ready(Settings(pool_size=10), GIB) == 10
    assert warming.most_ready(Settings(pool_size=10, timetable=timetable, max_containers=80), GIB) == 70
    assert warming.most_ready(Settings(pool_size="auto"), 8 * GIB) == 16, "as many as there may be"
    assert warming.most_ready(Settings(pool_size="auto", max_containers=7), 8 * GIB) == 7
    assert warming.most_ready(Settings(pool_size="auto", pool_size_max=5), 8 * GIB) == 5


async def test_memory_that_comes_and_goes_changes_nothing() -> None:
    """A swarm's node is away for a minute: the ready notebooks must not be renewed for that."""
    world = World(R, memory=8 * GIB)
    assert await world.chosen() == ["ir (tidyverse)"]
    world.memory = GIB
    assert await world.chosen() == ["ir (tidyverse)"]
    assert world.asked == 1


async def test_an_engine_that_does_not_answer_decides_nothing() -> None:
    world = World(R)
    world.is_down = True
    with pytest.raises(EngineDownError):
        await world.chosen()
    world.is_down = False
    assert await world.chosen() == ["ir (tidyverse)"]


# --- asked for


async def test_what_is_asked_for_has_the_packages_of_all_workshops() -> None:
    world = World(PYTHON, R, PLOTS, warm_kernels="python3,ir", memory=GIB)
    assert await world.chosen() == ["python3 (numpy)", "ir (tidyverse, scales)"]
    assert (world.warming.because, world.asked) == ("", 0), "the operator says whether it fits"


async def test_a_pool_warms_what_its_own_workshops_need() -> None:
    world = World(PYTHON, R, PLOTS)
    world.set(workshops=("plots",))
    assert await world.chosen() == ["ir (tidyverse, scales)"]


async def test_none_is_none() -> None:
    world = World(R, warm_kernels="none")
    assert await world.chosen() == []
    assert world.warming.because == "warm_kernels is none"


async def test_what_the_image_lacks_is_told_once_and_the_rest_is_warm() -> None:
    world = World(R, warm_kernels="julia,ir")
    with capture_logs() as logs:
        assert await world.chosen() == ["ir (tidyverse)"]
        assert await world.chosen() == ["ir (tidyverse)"]
    assert [one["event"] for one in logs] == ["warm_kernels_unsupported", "warm_kernels_chosen"]
    assert logs[0]["kernels"] == ["julia"]
    assert world.warming.because == (
        "the image cannot start julia ahead (its label org.tmpnb.warm: python3, ir, octave)"
    )


async def test_packages_are_bounded() -> None:
    many = [workshop(f"w{number}", preload=[f"p{number}x{one}" for one in range(16)]) for number in range(9)]
    world = World(*many, warm_kernels="ir")
    (kernel,) = await world.warming.kernels(IMAGE)
    assert len(kernel.packages) == 32


# --- workshops that change, or that cannot be read


async def test_workshops_that_change_are_followed() -> None:
    world = World(R)
    assert await world.chosen() == ["ir (tidyverse)"]
    world.catalogue.own = Manifest(workshops=(PYTHON,))
    assert await world.chosen() == ["python3 (numpy)"]


async def test_workshops_that_cannot_be_read_change_nothing() -> None:
    world = World(R)
    assert await world.chosen() == ["ir (tidyverse)"]
    world.catalogue.own = None
    another = dataclasses.replace(IMAGE, image_id="sha256:y")
    assert await world.chosen(another) == ["ir (tidyverse)"], "until they have been read"
    assert await world.chosen(dataclasses.replace(another, warm=())) == [], "unless the image cannot"


# --- whose kernel a claim prefers


@pytest.mark.parametrize(
    ("target", "kernel"),
    [
        ("lab/tree/r/A.ipynb", "ir"),
        ("lab/tree/py/A.ipynb?factory=Notebook", "python3"),
        ("lab/tree/py/another%20one.ipynb", "python3"),
        ("lab/tree/odd%20place/Start.ipynb", "octave"),
        ("lab/tree/elsewhere/x.ipynb", ""),
        ("lab", ""),
        ("", ""),
    ],
)
def test_the_kernel_of_a_document(target: str, kernel: str) -> None:
    world = World(R, PYTHON, workshop("m", language="Octave", start="odd place/Start.ipynb"))
    assert world.catalogue.kernel_of(target) == kernel


def test_what_a_notebook_takes() -> None:
    assert warming.takes(WarmKernel("python3")) == 87 * MIB
    assert warming.takes(WarmKernel("python3", ("numpy",))) == 147 * MIB
    assert warming.takes(WarmKernel("julia-1.11")) == 150 * MIB
