"""Pages whose text is in another language than ours: how they are spoken, and where their lines begin."""

from __future__ import annotations

import json
import re

import pytest
from playwright.async_api import expect

from tests.e2e.inprocess import running
from tests.e2e.test_notes import PAGE, ROOT
from tests.e2e.test_workshops import MANIFEST, host_with
from tests.integration.browser_support import browser, picture
from tmpnb_py.engines.fake import FakeHost

CELLS = [
    {
        "cell_type": "markdown",
        "source": "# العقد\n\nنص مع `x <- 1` وصيغة $a^2$.\n\n- واحد\n- اثنان\n\n## قسم\n\n## آخر",
    },
    {"cell_type": "code", "source": "x <- 1", "outputs": [{"output_type": "stream", "name": "stdout", "text": "1"}]},
]


def arabic(lang: str) -> FakeHost:
    host = host_with(MANIFEST + (f'lang = "{lang}"\n'.encode() if lang else b""))
    text = json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": CELLS}).encode()
    host.files["fake"][f"{ROOT}/knots/First knot.ipynb"] = text
    return host


@pytest.mark.parametrize(("lang", "root"), [("ar", 'lang="ar" dir="rtl"'), ("de", 'lang="de" dir="ltr"')])
async def test_a_workshop_says_in_which_language_it_is(lang: str, root: str) -> None:
    async with arabic(lang) as host, running(host) as rig:
        await rig.ready(1)

        async def page(path: str) -> str:
            async with rig.client.get(path, headers={"Accept": "text/html"}) as response:
                assert response.status == 200
                return await response.text()

        landing = await page("/")
        assert '<html lang="en" dir="ltr" data-base' in landing
        assert f'<h3 id="knots" {root}>' in landing
        assert f"<h1 {root}>" in await page("/spawn?workshop=knots")
        notes = await page(PAGE)
        assert f"<html {root} data-base" in notes
        for ours in ('<footer class="site"', '<a class="skip"', '<p class="hint"', '<p class="row"'):
            assert f'{ours} lang="en" dir="ltr"' in notes


async def test_where_nobody_says_so_pages_are_ours_and_letters_tell() -> None:
    async with arabic("") as host, running(host) as rig:
        await rig.ready(1)
        async with rig.client.get(PAGE) as response:
            notes = await response.text()
        assert '<html lang="en" dir="ltr" data-base' in notes
        assert '<div class="tn-text" dir="auto">' in notes


@pytest.mark.browser
@pytest.mark.parametrize("lang", ["ar", ""])
async def test_text_runs_right_to_left_and_code_does_not(lang: str) -> None:
    async with arabic(lang) as host, running(host) as rig, browser() as context:
        await rig.ready(1)
        page = await context.new_page()
        await page.goto(f"http://127.0.0.1:{rig.service.port}{PAGE}")
        await expect(page.get_by_role("button", name="Run example 1")).to_be_visible()
        direction = "(it) => getComputedStyle(it).direction"
        for place, runs in (("main .tn-text ul", "rtl"), (".tn-text code", "ltr"), (".tn-field", "ltr")):
            assert await page.locator(place).first.evaluate(direction) == runs, place
        assert await page.locator(".tn-outputs").evaluate(direction) == "ltr"
        await expect(page.locator(".tn-cell")).to_have_attribute("lang", "en")
        await expect(page.locator(".tn-cell .tn-outputs")).to_have_attribute("lang", re.compile(lang or "en"))
        await picture(page, f"notes-rtl-{lang or 'auto'}")
