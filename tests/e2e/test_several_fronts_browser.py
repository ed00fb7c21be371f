"""JupyterLab, opened in a browser that never had it, while nobody is there but a front end and the notebook."""

from __future__ import annotations

import pytest

from tests.e2e.service import Deployment
from tests.e2e.test_several_fronts import stack_of
from tests.e2e.test_static_files import SHARED, Visit
from tests.integration.browser_support import browser

pytestmark = [pytest.mark.engine, pytest.mark.browser, pytest.mark.long]


async def test_jupyterlab_opens_for_the_first_time_while_the_orchestrator_is_away(
    deployment: Deployment, workshop_image: str
) -> None:
    options = (f"--image={workshop_image}", "--pool-size=1", "--cpu-quota=0")
    with stack_of(deployment, *options) as stack:
        front = stack.fronts[0]
        async with front.http() as client:
            spawned = await stack.orchestrator.spawn(client)
            await front.event("files_mirrored")
            await stack.knows(1)
            stack.orchestrator.kill()
            await front.event("orchestrator_lost")
            async with browser() as context:
                seen = Visit(await context.new_page())
                await seen.watch()
                await seen.page.goto(front.url + spawned["open_url"].removeprefix("/"))
                await seen.page.locator(".jp-Launcher .jp-LauncherCard").first.wait_for()
                await seen.settled()
                assert len([one for one in seen.got.values() if SHARED.search(one.url)]) > 40
                assert seen.own(".js", ".css") == []
                assert seen.complaints == []
        stack.restart()
        await front.event("orchestrator_found", count=2)
