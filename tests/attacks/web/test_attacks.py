"""A hostile notebook's page against everything else of its visitor's, in Chromium.

One visitor has two notebooks: the hostile one, and the prey. With hosts below a domain of their own no attack
succeeds; where notebooks share the service's origin, or its domain, exactly those do that the README names.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from playwright.async_api import Error

from tests.attacks.web.world import MODES, Visitor, World, visitor, world
from tmpnb_py.pools.container import Container

HERE = Path(__file__).parent
README = (HERE.parents[2] / "README.md").read_text()
NAMES = re.findall(r"^ATTACKS\.(\w+) = ", (HERE / "attacks.js").read_text(), re.MULTILINE)


def test_there_are_many() -> None:
    assert len(NAMES) == len(set(NAMES)) >= 40


def named(mode: str, *, firefox: bool = False) -> set[str]:
    """The attacks that the README says succeed in a mode; for Firefox those that do so there only."""
    line = next(one for one in README.splitlines() if one.startswith(f"| {mode} |"))
    return set(re.findall(r"`(\w+)`", line.partition("; in Firefox also ")[2 if firefox else 0]))


# The one that operators are told to use is tried at each change.
ALL = [
    pytest.param(mode, id=mode.replace(" ", "-"), marks=() if mode == "own domain" else pytest.mark.long)
    for mode in MODES
]


@pytest.mark.parametrize("mode", ALL)
async def test_what_a_hostile_page_gets(mode: str, tmp_path: Path) -> None:
    async with world(mode, tmp_path) as here, visitor() as somebody:
        prey, hostile = await two_notebooks(here, somebody)
        got = {name: await attacked(here, somebody, hostile, prey, name) for name in NAMES}
    succeeded = {name: evidence for name, evidence in got.items() if evidence}
    print(*(f"{name}: {evidence}" for name, evidence in succeeded.items()), sep="\n")
    assert succeeded.keys() == named(mode)


async def two_notebooks(here: World, somebody: Visitor) -> tuple[Container, Container]:
    """A visitor's first notebook, open in a tab, and a second one, hostile, in the page that is returned to."""
    found: list[Container] = []
    for _ in range(2):
        before = here.claimed()
        page = await somebody.context.new_page()
        await page.goto(here.main)
        await page.evaluate("localStorage.setItem('tmpnb', 'of-the-service')")
        ticket = await page.evaluate(
            """async () => (await fetch("/api/tickets", { method: "POST", body: '{"fresh": true}' })).json()"""
        )
        (new,) = here.claimed() - before
        await page.goto(here.main.rstrip("/") + ticket["session"]["open_url"])
        assert page.url.partition("?")[0] == here.url(here.container(new)) + "lab"
        found.append(here.container(new))
        await here.rig.until(lambda: here.rig.pool.claimable >= 1)
    return found[0], found[1]


async def attacked(here: World, somebody: Visitor, hostile: Container, prey: Container, name: str) -> str:
    """What an attack got: what it says itself, or what it did. Afterwards cookies and windows are as before."""
    context, page = somebody.context, somebody.page
    cookies, pages, before = await context.cookies(), list(context.pages), here.claimed()
    await page.goto(here.url(hostile) + "evil")
    somebody.framed.clear()
    here.notebooks.written.clear()
    evidence = str(await page.evaluate("([name, known]) => attack(name, known)", [name, here.known(hostile, prey)]))
    await asyncio.sleep(0.1)
    new = here.claimed() - before
    if new:
        evidence = evidence or "a notebook was claimed"
    evidence = here.harm_to(prey) or evidence
    if name.startswith("show_the_first_page") and here.main in somebody.framed:
        evidence = "it was shown"
    if name.startswith("claim_"):
        evidence = "a notebook was claimed" if new else ""
    if name.startswith("set_cookies"):
        evidence = ", ".join(await planted(somebody, hostile))
    if check := CHECKS.get(name):
        evidence = await check(here, somebody, prey)
    for one in [one for one in context.pages if one not in pages]:
        with contextlib.suppress(Error, TimeoutError):
            async with asyncio.timeout(5):
                await one.close()
    if await context.cookies() != cookies:
        await context.clear_cookies()
        await context.add_cookies([{**one} for one in cookies])  # type: ignore[typeddict-item]
    return evidence


async def planted(somebody: Visitor, hostile: Container) -> list[str]:
    """The cookies that the hostile notebook's server has set for more than its own pages."""
    found = [dict(one) for one in await somebody.context.cookies() if str(one.get("name")).startswith("planted")]
    return [str(one) for one in found if str(one["domain"]).startswith(".") or hostile.id not in str(one["path"])]


async def service_knows_its_visitor(here: World, somebody: Visitor, prey: Container) -> str:
    page = await somebody.context.new_page()
    await page.goto(here.main)
    with contextlib.suppress(Error):
        await page.wait_for_function(f"document.body.innerHTML.includes('{prey.id}')", timeout=3000)
        return ""
    return f"the first page no longer shows the notebook: {await page.title()}"


async def service_answers(here: World, somebody: Visitor, _prey: Container) -> str:
    page = await somebody.context.new_page()
    await page.goto(here.main)
    with contextlib.suppress(Error):
        await page.wait_for_function("!document.title.startsWith('Too many')", timeout=5000)
        return "" if "Live notebooks" in await page.title() else await page.title()
    return await page.title()


# What the other notebook's page is asked, and what it answers where all is well.
Question = tuple[str, int]
SAVING: Question = ("save()", 201)
_LOADED = """(url) => new Promise((done) => {
  const script = document.createElement("script");
  script.onload = script.onerror = () => done(globalThis.shared);
  script.src = url;
  document.head.append(script);
})"""


def loading(here: World) -> Question:
    """Whether it gets what all notebooks share."""
    return f"({_LOADED})({json.dumps(here.files + '/static/lab/main.js')})", 42


async def asked(here: World, somebody: Visitor, prey: Container, question: Question) -> str:
    """What its visitor is answered, at the latest when they load it again; "" where all is well."""
    page, found = await somebody.context.new_page(), None
    for _ in range(2):
        with contextlib.suppress(Error):
            await page.goto(here.url(prey) + "lab")
            await page.wait_for_selector("#secret", timeout=5000)
            found = await page.evaluate(question[0])
            if found == question[1]:
                return ""
    return f"it answers {found}: {page.url}" if found else f"it does not open, or not whole: {page.url}"


async def notebook_works(here: World, somebody: Visitor, prey: Container) -> str:
    """Whether its visitor can open the other notebook, and save something in it."""
    return await asked(here, somebody, prey, SAVING)


async def files_are_loaded(here: World, somebody: Visitor, prey: Container) -> str:
    """Whether the other notebook's page gets its files."""
    return await asked(here, somebody, prey, loading(here))


Check = Callable[[World, Visitor, Container], Awaitable[str]]
CHECKS: dict[str, Check] = {
    "make_the_service_forget_its_visitor": service_knows_its_visitor,
    "delete_the_services_cookies": service_knows_its_visitor,
    "push_out_the_services_cookies": service_knows_its_visitor,
    "push_out_the_other_notebooks_cookies": notebook_works,
    "clear_the_sites_data_by_a_header": service_knows_its_visitor,
    "lose_its_visitors_place_in_line": service_knows_its_visitor,
    "make_the_other_notebooks_files_fail": files_are_loaded,
    "make_the_other_notebooks_requests_fail": notebook_works,
    "lock_its_visitor_out_of_the_service": service_answers,
    "lock_its_visitor_out_of_the_other_notebook": notebook_works,
    "make_the_other_notebook_refuse_its_visitor": notebook_works,
}
