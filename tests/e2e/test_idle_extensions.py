"""Extensions that ask their server something every few seconds, and Notebook 7: none of it keeps a session.

JupyterLab, Notebook, jupyterlab-git, dask-labextension and jupyter-resource-usage as PyPI has them, without any
extension of ours: a person is told from their polls by what is sent alone.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import expect

from tests.e2e.idle_support import CUT_EVERY, LIMITS, TOO_OLD, Rounds, rounds, until_idle_kernel
from tests.e2e.jupyter import Notebook
from tests.e2e.service import Deployment
from tests.engine_support import build_with_the_internet
from tests.integration.browser_support import browser

pytestmark = [pytest.mark.long, pytest.mark.engine, pytest.mark.browser, pytest.mark.timeout(TOO_OLD + 2400)]

_NOTEBOOK = {"type": "notebook", "format": "json", "content": {
    "cells": [{"id": "one", "cell_type": "code", "source": "6 * 7", "metadata": {}, "outputs": [],
               "execution_count": None}],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}}, "nbformat": 4, "nbformat_minor": 5,
}}  # fmt: skip


@pytest.fixture(scope="module")
def extensions_image() -> str:
    """The image, built from PyPI unless EXTENSIONS_IMAGE names one that was made from the same Dockerfile."""
    return os.environ.get("EXTENSIONS_IMAGE") or build_with_the_internet("extensions")


@pytest.fixture
async def some(deployment: Deployment, extensions_image: str) -> AsyncIterator[Rounds]:
    service = deployment.start(
        f"--image={extensions_image}",
        "--pool-size=1",
        "--cpu-quota=0",
        "--max-containers=8",
        *LIMITS,
        f"--cull-max={TOO_OLD}s",
    )
    await service.ready(1)
    async with browser(viewport={"width": 1200, "height": 800}) as context, rounds(service, context) as made:
        yield made


async def prepared(some: Rounds, kind: dict[str, Notebook], name: str) -> str:
    """A session with a notebook in a git repository; its address."""
    kind[name], _ = await some.notebook()
    await kind[name].call("PUT", "api/contents/repository/one.ipynb", _NOTEBOOK, status=201)
    return f"{kind[name].url('')}{{}}?token={kind[name].token}"


async def test_extensions_that_ask_and_ask(some: Rounds) -> None:
    asked: set[str] = set()
    document = "tree/repository/one.ipynb"

    address = await prepared(some, some.untouched, "lab")
    page = await some.page(address.format(f"lab/{document}"))
    page.on("request", lambda one: asked.add(one.url.partition(some.untouched["lab"].id)[2].partition("?")[0]))
    await until_idle_kernel(page)

    address = await prepared(some, some.untouched, "lab, reconnecting")
    front, base = await some.front()
    await until_idle_kernel(await some.page(address.format(f"lab/{document}"), base))
    some.meanwhile(front.cut(CUT_EVERY))

    address = await prepared(some, some.untouched, "notebook 7")
    seven = await some.page(address.format("notebooks/repository/one.ipynb"))
    await expect(seven.locator(".jp-Notebook")).to_be_visible()
    await some.page(address.format("tree"))

    address = await prepared(some, some.touched, "notebook 7, used")
    used = await some.page(address.format("notebooks/repository/one.ipynb"))
    await used.locator(".jp-CodeCell .cm-content").first.click()
    some.touch(lambda: used.keyboard.press("Control+Enter"))

    await some.end_as_idle(some.untouched)
    assert {"/api/metrics/v1", "/dask/clusters"} <= asked, asked
    assert any(path.startswith("/git/") for path in asked), asked
    await some.outlive_an_untouched_one()
