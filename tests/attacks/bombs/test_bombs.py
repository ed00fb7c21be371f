"""What one hostile notebook can do to its neighbour's cells, to the service, the engine, and newcomers.

A cell of the neighbour's takes at most twice as long, for each bomb; what a neighbour cannot have meanwhile is
exactly what SECURITY.md says. `tests/run --long tests/attacks/bombs` tries all; by default two, a seed says which.
"""

from __future__ import annotations

import random
import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.attacks.bombs.bombs import BOMBS
from tests.attacks.bombs.floods import FLOODS
from tests.attacks.bombs.scene import OPTIONS, Figures, Scene, scene
from tests.e2e.service import Deployment

SECURITY = (Path(__file__).parents[3] / "SECURITY.md").read_text()
QUICK = ("burners", "fork_bomb", "memory", "open_files", "a_full_home", "threads", "pipes", "unix_sockets")
NAMES = [*BOMBS, *FLOODS]


def known() -> dict[str, set[str]]:
    """What a neighbour cannot have meanwhile, by bomb, as SECURITY.md says it."""
    rows = re.findall(r"^ *\| ((?:`\w+`(?:, )?)+) \| ([a-z, ]+) \|", SECURITY, re.MULTILINE)
    return {
        name: set(lacks.split(", ")) for names, lacks in rows for name in re.findall(r"\w+", names) if name in NAMES
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(workshop_image: str) -> AsyncIterator[Scene]:
    with Deployment(f"bombs{secrets.token_hex(4)}").ended() as deployment:
        async with scene(deployment, deployment.start(f"--image={workshop_image}", *OPTIONS)) as found:
            yield found


async def wrongs(stage: Scene, name: str, figures: list[Figures], **options: float) -> list[str]:
    """What is wrong; of the better of two tries where cells are slow, as all else that the machine does counts."""
    found = await stage.bombed(name, FLOODS.get(name), **options)
    if found.is_slow:
        found = min(found, await stage.bombed(name, FLOODS.get(name), **options), key=lambda one: one.ratio)
    figures.append(found)
    return found.wrongs(known().get(name, ()))


@pytest.mark.asyncio(loop_scope="module")
async def test_two_of_the_cheap_ones(stage: Scene, figures: list[Figures], pytestconfig: pytest.Config) -> None:
    seed = pytestconfig.getoption("--seed") or secrets.randbelow(1 << 30)
    print("seed", seed)
    for name in random.Random(seed).sample(QUICK, 2):
        assert await wrongs(stage, name, figures, seconds=2.5) == []


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_neighbour_goes_on(stage: Scene, figures: list[Figures], name: str) -> None:
    assert await wrongs(stage, name, figures) == []


def test_there_are_many() -> None:
    assert len(NAMES) == len(set(NAMES)) >= 40


def test_what_the_documentation_names_are_bombs() -> None:
    assert known() == {"pseudo_terminals": {"terminal"}, "asynchronous_io": {"asynchronous io"}}
