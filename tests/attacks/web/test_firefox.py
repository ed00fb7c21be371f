"""The same attacks in Firefox, whose rules for cookies, windows and storage are its own.

With hosts below a domain of their own none succeeds here either. Else only those do that the README names, some of
them for Firefox only: it keeps fewer cookies of a domain, and knows no `noopener-allow-popups`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import pytest

from tests.attacks.web.firefox import BrowserError, Firefox, firefox
from tests.attacks.web.test_attacks import CHECKS, NAMES, SAVING, loading, named
from tests.attacks.web.world import MODES, World, world
from tmpnb_py.pools.container import Container

pytestmark = pytest.mark.long


@pytest.mark.parametrize("mode", [pytest.param(mode, id=mode.replace(" ", "-")) for mode in MODES])
async def test_what_a_hostile_page_gets(mode: str, tmp_path: Path) -> None:
    async with world(mode, tmp_path) as here, firefox() as browser:
        prey, hostile = await two_notebooks(here, browser)
        page = await browser.tab()
        got = {name: await attacked(here, browser, page, (hostile, prey), name) for name in NAMES}
    succeeded = {name: evidence for name, evidence in got.items() if evidence}
    print(*(f"{name}: {evidence}" for name, evidence in succeeded.items()), sep="\n")
    only_here = named(mode, firefox=True)
    assert only_here <= succeeded.keys() <= named(mode) | only_here
    assert mode != "path" or "read_the_other_notebook" in succeeded


async def two_notebooks(here: World, browser: Firefox) -> tuple[Container, Container]:
    found: list[Container] = []
    for _ in range(2):
        before, tab = here.claimed(), await browser.tab()
        await browser.goto(tab, here.main)
        await browser.ask(tab, "localStorage.setItem('tmpnb', 'of-the-service')")
        ask = """fetch("/api/tickets", { method: "POST", body: '{"fresh": true}' }).then((one) => one.text())"""
        await browser.ask(tab, ask)
        (new,) = here.claimed() - before
        container = here.container(new)
        await browser.goto(tab, f"{here.main.rstrip('/')}{container.path}lab?token={container.token}")
        assert await browser.until(tab, "document.querySelector('#secret') !== null")
        found.append(container)
        await here.rig.until(lambda: here.rig.pool.claimable >= 1)
    return found[0], found[1]


async def attacked(
    here: World, browser: Firefox, page: str, notebooks: tuple[Container, Container], name: str
) -> str:
    """What an attack got; see `test_attacks.attacked`."""
    hostile, prey = notebooks
    cookies, tabs, before = await browser.cookies(), await browser.tabs(), here.claimed()
    await browser.goto(page, here.url(hostile) + "evil")
    here.notebooks.written.clear()
    known = here.known(hostile, prey)
    evidence = str(await browser.ask(page, f"attack({name!r}, {json.dumps(known)})"))
    await asyncio.sleep(0.1)
    new = here.claimed() - before
    evidence = here.harm_to(prey) or evidence
    if name.startswith("claim_") or new:
        evidence = "a notebook was claimed" if new else ""
    if name in CHECKS:
        evidence = await _checked(here, browser, prey, name)
    for one in set(await browser.tabs()) - set(tabs):
        with contextlib.suppress(BrowserError):
            await browser.close(one)
    await browser.restore(cookies)
    return evidence


async def _checked(here: World, browser: Firefox, prey: Container, name: str) -> str:
    """The checks of `test_attacks.CHECKS`."""
    tab = await browser.tab()
    of_notebook = {"notebook_works": SAVING, "files_are_loaded": loading(here)}
    if (check := CHECKS[name].__name__) in of_notebook:
        expression, expected = of_notebook[check]
        for _ in range(2):
            with contextlib.suppress(BrowserError):
                await browser.goto(tab, here.url(prey) + "lab")
                await browser.until(tab, "document.querySelector('#secret') !== null", 6)
                if await browser.ask(tab, expression) == expected:
                    return ""
        return f"{check}, no: {await browser.ask(tab, 'location.href')}"
    with contextlib.suppress(BrowserError):
        await browser.goto(tab, here.main)
    if check == "service_answers":
        shown = "document.title.includes('Live notebooks') && !document.title.startsWith('Too many')"
    else:
        shown = f"document.body.innerHTML.includes('{prey.id}')"
    return "" if await browser.until(tab, shown, 6) else f"no: {await browser.ask(tab, 'document.title')}"
