"""A title of one very long word, as German has them: no page becomes wider than a telephone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.browser_support import PHONE, browser
from tests.web_support import ADDRESS, KNOTS, serving
from tmpnb_py.workshops.manifest import Translation

pytestmark = pytest.mark.browser
WORD = "Tabellenkalkulationsüberwindungsvorbereitungskurs"
GERMAN = {"de": Translation(title=WORD, description=f"{WORD}: {WORD}")}


async def test_a_long_word_is_parted(tmp_path: Path) -> None:
    workshop = KNOTS.model_copy(update={"lang": "en", "translations": GERMAN})
    headers = {"X-Forwarded-For": ADDRESS}
    async with (
        serving(tmp_path, workshops=(workshop,)) as world,
        browser(locale="de-DE", viewport=PHONE, extra_http_headers=headers) as visitor,
    ):
        await world.claimed("a")
        stranger = "/user/a/login?next=/user/a/lab/tree/knots/First%20knot.ipynb"
        for path in ("/", "/spawn?workshop=knots", "/spawn?pool=none", stranger):
            page = await visitor.new_page()
            await page.goto(world.origin + path)
            assert await page.get_by_text(WORD).first.is_visible(), path
            assert await page.evaluate("document.documentElement.scrollWidth") == PHONE["width"], path
