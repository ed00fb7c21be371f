"""Hosts of their own on this machine, by `--session-host '{name}.localhost'`: browsers need no resolver for them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Awaitable, Callable

import pytest

from tests.attacks.web.firefox import firefox
from tests.attacks.web.notebook import Notebooks
from tests.e2e.cutting import front
from tests.e2e.inprocess import running
from tests.integration.browser_support import browser
from tmpnb_py.core.models import State
from tmpnb_py.engines.fake import FakeHost


async def in_chromium(main: str) -> str:
    async with browser() as context:
        page = await context.new_page()
        await page.goto(f"{main}spawn")
        await page.wait_for_selector("#secret")
        return page.url


async def in_firefox(main: str) -> str:
    async with firefox(resolves_all=False) as driven:
        tab = await driven.tab()
        await driven.goto(tab, f"{main}spawn")
        assert await driven.until(tab, "document.querySelector('#secret') !== null")
        return str(await driven.ask(tab, "location.href"))


HERE = [
    # the pattern, where the service listens, where a port is forwarded, how the first page is opened
    ("{name}.localhost", "127.0.0.1", "", "localhost"),
    ("{name}.localhost", "127.0.0.1", "", "127.0.0.1"),
    ("{name}.nb.localhost", "127.0.0.1", "", "localhost"),
    ("{name}.localhost", "::", "", "[::1]"),
    ("{name}.localhost", "127.0.0.1", "127.0.0.1", "localhost"),
    ("{name}.localhost", "127.0.0.1", "::1", "[::1]"),
]


@pytest.mark.browser
@pytest.mark.parametrize(("pattern", "ip", "other", "host"), HERE)
@pytest.mark.parametrize("opened", [in_chromium, pytest.param(in_firefox, marks=pytest.mark.long)])
async def test_a_notebook_opens_under_a_name_of_this_machine(
    opened: Callable[[str], Awaitable[str]], pattern: str, ip: str, other: str, host: str
) -> None:
    async with FakeHost() as fake, contextlib.AsyncExitStack() as stack:
        fake.answering = Notebooks().answering
        rig = await stack.enter_async_context(running(fake, session_host=pattern, ip=ip))
        await rig.ready(1)
        port = rig.service.port
        if other:
            _, address = await stack.enter_async_context(front(port, other))
            port = int(address.rpartition(":")[2])
        below = re.escape(pattern.removeprefix("{name}"))
        place = rf"http://[a-z][a-z0-9]{{19}}{below}:{port}/user/[a-z0-9]+/lab"
        assert re.fullmatch(place, await opened(f"http://{host}:{port}/"))
        assert rig.pool.count(State.CLAIMED) == 1
        # Programs that resolve no such name use the path.
        await rig.ready(1)
        session = await rig.spawn()
        headers = {"Authorization": f"token {session['token']}"}
        async with rig.client.get(session["url"] + "api/contents/secret", headers=headers) as response:
            assert response.status == 200


@pytest.mark.browser
@pytest.mark.parametrize("pattern", ["{name}.localhost", "{name}.nb.localhost"])
async def test_a_button_leads_to_a_notebook_under_its_own_host(pattern: str) -> None:
    """Chromium asks the page's policy also for where a form's answer redirects to."""
    async with FakeHost() as fake:
        fake.answering = Notebooks().answering
        async with running(fake, session_host=pattern) as rig, browser() as context:
            await rig.ready(1)
            page = await context.new_page()
            await page.goto(f"http://localhost:{rig.service.port}/")
            await page.locator("form button").first.click(no_wait_after=True)
            await page.wait_for_selector("#secret")
            assert page.url.partition(":" + str(rig.service.port))[0].endswith(pattern.removeprefix("{name}"))
