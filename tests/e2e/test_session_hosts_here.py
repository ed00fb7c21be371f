"""Hosts of their own on this machine, `--session-host '{name}.localhost'`: browsers need no resolver for them."""

from __future__ import annotations

import re

import pytest

from tests.attacks.web.firefox import firefox
from tests.attacks.web.notebook import Notebooks
from tests.e2e.inprocess import Rig, running
from tests.integration.browser_support import browser
from tmpnb_py.core.models import State
from tmpnb_py.engines.fake import FakeHost

HOST = r"http://[a-z][a-z0-9]{19}\.localhost:\d+/user/[a-z0-9]+/lab"


async def in_chromium(rig: Rig, main: str) -> str:
    async with browser() as context:
        page = await context.new_page()
        await page.goto(f"{main}spawn")
        await page.wait_for_selector("#secret")
        return page.url


async def in_firefox(rig: Rig, main: str) -> str:
    async with firefox(resolves_all=False) as driven:
        tab = await driven.tab()
        await driven.goto(tab, f"{main}spawn")
        assert await driven.until(tab, "document.querySelector('#secret') !== null")
        return str(await driven.ask(tab, "location.href"))


@pytest.mark.browser
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize("opened", [in_chromium, pytest.param(in_firefox, marks=pytest.mark.long)])
async def test_a_notebook_opens_under_a_name_of_this_machine(opened: object, host: str) -> None:
    async with FakeHost() as fake:
        fake.answering = Notebooks().answering
        async with running(fake, session_host="{name}.localhost") as rig:
            await rig.ready(1)
            assert callable(opened)
            assert re.fullmatch(HOST, await opened(rig, f"http://{host}:{rig.service.port}/"))
            assert rig.pool.count(State.CLAIMED) == 1
            # Programs that resolve no such name use the path.
            await rig.ready(1)
            session = await rig.spawn()
            headers = {"Authorization": f"token {session['token']}"}
            async with rig.client.get(session["url"] + "api/contents/secret", headers=headers) as response:
                assert response.status == 200
