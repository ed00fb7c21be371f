"""Every package that the documents name draws: coloured pixels in Chromium, in the notes page and in JupyterLab."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from tests.e2e.jupyter import Notebook
from tests.e2e.service import Service, run_service
from tests.e2e.test_notes_run import end, opened, run, sessions
from tests.integration.browser_support import browser

pytestmark = [pytest.mark.engine, pytest.mark.browser, pytest.mark.timeout(400)]

PLOTLY = "suppressMessages(library(plotly)); plot_ly(x = 1:3, y = c(2, 1, 3), type = 'bar')"
PLOTS = {
    "introduction-to-python": {
        "matplotlib": "import matplotlib.pyplot as plt; plt.plot([1, 3, 2]);",
        "pandas": "import pandas as pd; pd.DataFrame({'a': [1, 3, 2]}).plot();",
        "seaborn": "import seaborn; seaborn.lineplot(x=[1, 2, 3], y=[1, 3, 2]);",
        "sympy": "import sympy; sympy.plot(sympy.Symbol('x') ** 2);",
        "plotly": "import plotly.express as px; px.line(x=[1, 2, 3], y=[1, 3, 2])",
        "scikit-learn": "from sklearn.metrics import ConfusionMatrixDisplay as Display\n"
        "Display.from_predictions([1, 0, 1], [1, 0, 0]);",
    },
    "introduction-to-r": {
        "forecast": "library(forecast); plot(forecast(AirPassengers, h = 12))",
        "effects": "library(effects); plot(allEffects(lm(mpg ~ wt, mtcars)))",
        "svglite": "svglite::svglite('x.svg'); plot(1:3, col = 'red', pch = 16, cex = 3); invisible(dev.off())\n"
        "IRdisplay::display_svg(file = 'x.svg')",
    },
    # In a kernel of their own: with all that effects loads there is no memory left for a widget.
    "graphics-with-ggplot2": {
        "tidyverse": "library(tidyverse); ggplot(mtcars, aes(wt, mpg, colour = factor(cyl))) + geom_point()",
        "plotly": PLOTLY,
        "plotly, again": f"{PLOTLY}\nggplotly(ggplot(mtcars, aes(wt, mpg)) + geom_point(colour = 'red'))",
    },
    "introduction-to-octave": {"Octave": "plot (1:10, 'r', 'linewidth', 3)"},
}
WITHOUT_PICTURES = {"numpy", "scipy", "tqdm", "rvest", "ipywidgets"}  # the last has a test of its own
COLOURED = """async (source) => {
    const image = new Image();
    image.src = source;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    let count = 0;
    for (let at = 0; at < data.length; at += 4) {
        const pixel = data.subarray(at, at + 3);
        if (data[at + 3] > 200 && Math.max(...pixel) - Math.min(...pixel) > 60) count += 1;
    }
    return count;
}"""


@pytest.fixture(scope="module")
def service(workshop_image: str) -> Iterator[Service]:
    options = ["--pool-size=1", "--cpu-quota=0", f"--image={workshop_image}"]
    with run_service(f"draws{secrets.token_hex(4)}", *options) as service:
        service.wait_for("static_files_shared")
        yield service


def test_every_package_that_the_documents_name_is_drawn_with() -> None:
    text = " ".join((Path(__file__).parents[2] / "docs" / "image.md").read_text().split())
    named = re.search(r"kernels for Python \(([^)]*)\), R \(([^)]*)\)", text)
    assert named is not None
    packages = {name.strip() for group in named.groups() for name in group.split(",")}
    assert packages - WITHOUT_PICTURES <= {name for plots in PLOTS.values() for name in plots}


async def drawn(page: Page, element: Locator) -> int:
    """How many pixels of an element are coloured, as soon as some are."""
    for _ in range(60):
        await element.scroll_into_view_if_needed()
        shown = base64.b64encode(await element.screenshot()).decode()
        if count := int(await page.evaluate(COLOURED, f"data:image/png;base64,{shown}")):
            return count
        await asyncio.sleep(0.5)
    return 0


@pytest.mark.parametrize("workshop", PLOTS)
async def test_it_draws_in_the_notes_page(service: Service, workshop: str) -> None:
    # Debian's polyfill for Internet Explorer 9, and paths of pictures in DT's styles.
    async with opened(f"{service.url}workshops/{workshop}/", expected="Content Security Policy") as page:
        before = set(await sessions(service))
        cell = page.locator(".tn-cell").first
        counts = {}
        for name, code in PLOTS[workshop].items():
            outputs = await run(cell, code)
            shown = outputs.locator("img, iframe")
            counts[name] = [await drawn(page, shown.nth(number)) for number in range(await shown.count())]
        page.faults[:] = [one for one in page.faults if "GLOBAL is not defined" not in one]  # type: ignore[attr-defined]
        assert {name: found for name, found in counts.items() if not found or min(found) < 100} == {}
        if "plotly, again" in counts:
            assert len(counts["plotly, again"]) == 2
    for session in set(await sessions(service)) - before:
        await end(service, session)


@contextlib.asynccontextmanager
async def in_jupyterlab(service: Service, kernel: str, code: str) -> AsyncIterator[Page]:
    """JupyterLab with a notebook of one cell, which is selected; its kernel waits."""
    cell: dict[str, object] = {
        "cell_type": "code",
        "source": code,
        "metadata": {},
        "outputs": [],
        "execution_count": None,
    }
    metadata = {"kernelspec": {"name": kernel, "display_name": kernel}}
    content = {"cells": [cell], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    async with service.http() as client, browser() as context:
        spawned = await service.spawn(client)
        notebook = Notebook.of(client, spawned)
        body = {"type": "notebook", "format": "json", "content": content}
        await notebook.call("PUT", "api/contents/p.ipynb", body, status=201)
        page = await context.new_page()
        await page.goto(f"{service.url}user/{notebook.id}/lab/tree/p.ipynb?token={notebook.token}")
        await page.locator(".jp-Notebook .jp-Cell").first.click()
        await expect(page.locator(".jp-Notebook-ExecutionIndicator")).to_have_attribute("data-status", "idle")
        yield page
    await end(service, notebook.id)


async def test_plotly_of_r_draws_in_jupyterlab(service: Service) -> None:
    async with in_jupyterlab(service, "ir", PLOTLY) as page:
        await page.keyboard.press("Control+Enter")
        shown = page.locator("iframe.jp-OutputArea-output")
        await expect(shown).to_be_visible()
        assert await drawn(await page.context.new_page(), shown) > 100


async def test_plotly_of_python_draws_in_jupyterlab_with_a_script_that_only_figures_load(service: Service) -> None:
    async with in_jupyterlab(service, "python3", "import plotly.express as px; px.bar(x=[1, 2], y=[1, 4])") as page:
        loaded: list[str] = []
        page.on("request", lambda request: loaded.append(request.url))
        await page.route(re.compile(r"/jupyterlab-plotly/static/"), lambda route: route.abort())
        await page.keyboard.press("Control+Enter")
        await expect(page.locator(".jp-OutputArea-output")).to_contain_text("plotly's script could not be loaded")
        assert (
            len([url for url in loaded if "/jupyterlab-plotly/static/" in url]) == 1
        )  # not before there is a figure

        await page.unroute(re.compile(r"/jupyterlab-plotly/static/"))
        await page.keyboard.press("Control+Enter")
        shown = page.locator(".jp-OutputArea-output .plot-container")
        await expect(shown).to_be_visible()
        assert await drawn(await page.context.new_page(), shown) > 100
        await expect(page.locator(".jp-OutputArea-output")).not_to_contain_text("not shown")


SLIDER = """import ipywidgets as widgets
@widgets.interact(x=(0, 10))
def square(x=3):
    print("squared:", x * x)"""
LINKED = """slider = widgets.IntSlider(description="linked")
label = widgets.Label("none yet")
def changed(change):
    label.value = f"now {change.new}"
    print("observed", change.new)
slider.observe(changed, "value")
widgets.VBox([slider, label])"""


async def test_controls_call_the_kernel_back_and_are_the_same_everywhere(service: Service) -> None:
    async with opened(
        f"{service.url}workshops/introduction-to-python/", expected="strict mode|Security Policy"
    ) as page:
        before = set(await sessions(service))
        cells = page.locator(".tn-cell")
        outputs = await run(cells.nth(0), SLIDER)
        frame = outputs.frame_locator("iframe").frame_locator("iframe")
        await expect(frame.locator(".widget-output")).to_contain_text("squared: 9")
        await frame.get_by_role("slider").focus()
        await page.keyboard.press("ArrowRight")
        await expect(frame.locator(".widget-output")).to_contain_text("squared: 16")
        await expect(outputs).not_to_contain_text("squared")  # it is the control's, not the cell's

        outputs = await run(cells.nth(1), LINKED)
        first = outputs.frame_locator("iframe").frame_locator("iframe")
        await expect(first.locator(".widget-label").last).to_have_text("none yet")
        second = (await run(cells.nth(2), "slider")).frame_locator("iframe").frame_locator("iframe")
        await second.get_by_role("slider").focus()
        await page.keyboard.press("ArrowRight")
        await expect(first.get_by_role("slider")).to_have_attribute("aria-valuetext", "1")
        await expect(first.locator(".widget-label").last).to_have_text("now 1")
        await expect(cells.nth(2).locator(".tn-outputs")).to_contain_text("observed 1")
        await expect(await run(cells.nth(3), "slider.value")).to_have_text("1")
    for session in set(await sessions(service)) - before:
        await end(service, session)
