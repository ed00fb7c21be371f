"""`docs/api.md` lists every endpoint of both listeners, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from aiohttp import web

from tests.e2e.inprocess import running

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
ROW = re.compile(r"^\| ([A-Z*]+) \| `([^`]+)` \|", re.MULTILINE)


def _routes(app: web.Application) -> set[tuple[str, str]]:
    """Methods and paths as the page writes them: HEAD comes with each GET, some take a slash at the end."""
    found = set()
    for route in app.router.routes():
        assert route.resource is not None
        if route.method != "HEAD":
            found.add((route.method, route.resource.canonical.rstrip("/") or "/"))
    return found


def _section(heading: str) -> str:
    text = PAGE.read_text()
    assert text.count(f"\n## {heading}\n") == 1
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize(("which", "heading"), list(enumerate(("The public listener", "The admin listener"))))
async def test_every_endpoint_is_documented(which: int, heading: str) -> None:
    async with running(pool_size=0) as rig:
        app = rig.service.web.applications[which]
        documented = ROW.findall(_section(heading))
        assert set(documented) == _routes(app)
        assert len(documented) == len(set(documented))
