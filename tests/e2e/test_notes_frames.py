"""Outputs with scripts share what they need and reach nothing else: real Chromium, and kernels of the test's own."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pytest
from playwright.async_api import FrameLocator, Page, expect

from tests.e2e.test_notes import host, notebook
from tests.e2e.test_notes_hostile import Kernel, Said, done, message, opened, run

pytestmark = pytest.mark.browser

LIBRARY = "application/vnd.tmpnb.library"
FAKE_PLOTLY = """window.Plotly = { newPlot: async (element, data, layout) => {
    element.style.height = "300px";
    element.textContent = `drawn ${data.length} ${layout.title}`;
} };"""
FIGURE = {"application/vnd.plotly.v1+json": {"data": [{}, {}], "layout": {"title": "x</script>"}}}
WIDGET = "application/vnd.jupyter.widget-view+json"


def inner(page: Page, number: int = 0) -> FrameLocator:
    return page.locator(".tn-outputs").frame_locator("iframe").nth(number).frame_locator("iframe")


def brings(kernel: Kernel, library: str, *parts: tuple[str, Any]) -> None:
    """A kernel whose cells have these outputs, and which has this library when it is asked for one."""

    def script(request: dict[str, Any]) -> Iterable[Said]:
        parent = request["header"]["msg_id"]
        if request["content"].get("silent"):
            if library:
                yield message("display_data", {"data": {LIBRARY: library}}, parent)
        else:
            yield from (message(kind, content, parent) for kind, content in parts)
        yield from done(parent)

    kernel.script = script


def displays(**forms: Any) -> tuple[str, Any]:
    return "display_data", {"data": {name.replace("__", "/"): text for name, text in forms.items()}}


async def test_what_follows_finds_what_was_shown_and_prepared_before() -> None:
    async with opened() as (_, page, kernel):
        # One library prepares, another output of the same cell is the place for what the third draws (as Bokeh does).
        kernel.says(
            displays(text__html="<script>window.prepared = 'ready'</script>"),
            displays(text__html="<div id=place style='height: 77px'></div>"),
            displays(application__javascript="document.getElementById('place').textContent = window.prepared;"),
            displays(application__javascript="element.append('and here')"),
        )
        await run(page)
        await expect(inner(page).locator("#place")).to_have_text("ready")
        await expect(inner(page).locator("body")).to_contain_text("and here")
        await expect(page.locator(".tn-outputs iframe")).to_have_count(1)
        # A later run, in a frame of its own, and a whole document.
        for start in ("", "<!doctype html><html><body>"):
            kernel.says(displays(text__html=f"{start}<p id=b></p><script>b.textContent = prepared</script>"))
            await run(page)
            await expect(inner(page).locator("#b")).to_have_text("ready")
        # Text between them ends a document.
        shown = displays(text__html="<p style='color: red'>a</p>")
        kernel.says(shown, ("stream", {"name": "stdout", "text": "between"}), shown)
        await run(page)
        await expect(page.locator(".tn-outputs iframe")).to_have_count(2)


async def test_a_frame_is_as_high_as_what_is_in_it() -> None:
    heights = {
        "<p style='height: 700px; margin: 0'>a</p>": 700,
        "<p style='height: 23px; margin: 0'>a</p>": 23,
        # What fills its frame has no height of its own: it gets one.
        "<!doctype html><style>html, body, div { height: 100%; margin: 0 }</style><body><div>a</div></body>": 450,
        "<p style='height: 9000px; margin: 0'>a</p>": 2000,
    }
    async with opened() as (_, page, kernel):
        for html, height in heights.items():
            kernel.says(displays(text__html=html))
            await run(page)
            await expect(page.locator(".tn-outputs iframe")).to_have_js_property("height", str(height))


async def test_plotly_is_drawn_with_what_the_kernel_has() -> None:
    async with opened() as (_, page, kernel):
        brings(kernel, "", ("display_data", {"data": FIGURE}))
        await run(page)
        await expect(page.locator(".tn-outputs")).to_contain_text("This plot needs plotly.js")
        brings(kernel, FAKE_PLOTLY, ("display_data", {"data": FIGURE}))
        await run(page)
        await expect(inner(page).locator("body")).to_have_text("drawn 2 x</script>")
        tag = '<script charset="utf-8" src="https://cdn.plot.ly/plotly-4.1.1.min.js" integrity="a"></script>'
        html = f"{tag}<div id=a></div><script>Plotly.newPlot(a, [], {{title: 'html'}})</script>"
        brings(kernel, "not asked for twice", displays(text__html=html))
        await run(page)
        await expect(inner(page).locator("#a")).to_have_text("drawn 0 html")
        assert [one["content"]["silent"] for one in kernel.heard if one["content"].get("silent")] == [True, True]
        # R's document brings its own along, and what it says of itself is not read.
        whole = {**FIGURE, "text/html": "<html><body><p id=r>of R</p></body></html>"}
        kernel.says(("display_data", {"data": whole, "metadata": {"text/html": {"isolated": True}}}))
        await run(page)
        await expect(inner(page).locator("#r")).to_have_text("of R")


async def test_altair_draws_without_a_network() -> None:
    spec = {"mark": "bar", "data": {"values": [{"a": "x", "b": 2}]}, "encoding": {"x": {"field": "a"}}}
    async with opened() as (_, page, kernel):
        kernel.says(("display_data", {"data": {"application/vnd.vegalite.v6.json": spec}}))
        await run(page)
        await expect(inner(page).locator("canvas, svg.marks")).to_be_visible()


async def test_what_was_not_loaded_is_said() -> None:
    folium = '<div>Make this Notebook Trusted<iframe srcdoc="&lt;script src=&quot;https://cdn.example/l.js&quot;&gt;"></iframe></div>'
    async with opened() as (_, page, kernel):
        for html in (folium, "<p>a</p><script src='https://cdn.example/x.js'></script>"):
            kernel.says(displays(text__html=html))
            await run(page)
            await expect(page.locator(".tn-framed .tn-note")).to_contain_text("would be loaded from cdn.example,")
        kernel.says(displays(text__html="<p style='color: red'>a</p>"))
        await run(page)
        await expect(page.locator(".tn-framed .tn-note")).to_have_count(0)


def comm(kind: str, content: dict[str, Any], parent: str) -> str:
    return message(kind, {"comm_id": "c1", **content}, parent)


LABEL = {
    "_model_module": "@jupyter-widgets/controls", "_model_module_version": "2.0.0", "_model_name": "TextModel",
    "_view_module": "@jupyter-widgets/controls", "_view_module_version": "2.0.0", "_view_name": "TextView",
    "value": "of the kernel",
}  # fmt: skip


async def test_controls_speak_with_their_kernel_and_other_frames_do_not() -> None:
    async with opened() as (_, page, kernel):

        def shows(request: dict[str, Any]) -> Iterable[Said]:
            parent = request["header"]["msg_id"]
            if request["header"]["msg_type"] == "execute_request":
                opens = {"target_name": "jupyter.widget", "data": {"state": LABEL}}
                yield comm("comm_open", opens, parent)
                yield comm("comm_msg", {"data": {"method": "update", "state": {"value": "changed"}}}, parent)
                yield message("display_data", {"data": {WIDGET: {"model_id": "c1"}, "text/plain": "Text()"}}, parent)
            if "reader" in str(request["content"]):
                yield message("stream", {"name": "stdout", "text": "observed"}, parent)
            yield from done(parent)

        kernel.script = shows
        await run(page)
        field = inner(page).get_by_role("textbox")
        await expect(field).to_have_value("changed")
        await field.fill("of the reader")
        await field.press("Enter")
        said: list[dict[str, Any]] = []
        while not said:
            await page.wait_for_timeout(100)
            said = [one for one in kernel.heard if "reader" in str(one["content"])]
        assert said[-1]["content"]["data"]["state"]["value"] == "of the reader"
        assert said[-1]["content"]["comm_id"] == "c1"
        await expect(page.locator(".tn-outputs pre")).to_have_text("observed")

        # A frame without controls says the same, and one with them says what is no message about controls.
        attack = """<script>
            const said = {kind: "comm_msg", id: "0".repeat(32), comm: "c1", buffers: []};
            const content = {data: {method: "update", state: {value: "forged"}}};
            parent.postMessage({tmpnb: "comm", ...said, content}, "*");
            parent.postMessage({tmpnb: "comm", ...said, content, kind: "execute_request"}, "*");
            </script><p style='color: red'>a</p>"""
        kernel.says(displays(text__html=attack))
        await run(page)
        await expect(inner(page).locator("p")).to_have_text("a")
        await page.wait_for_timeout(500)
        assert "forged" not in str(kernel.heard)
        assert {one["header"]["msg_type"] for one in kernel.heard} <= {"execute_request", "comm_msg"}


async def test_a_control_that_nobody_knows_is_said() -> None:
    async with opened() as (_, page, kernel):
        kernel.says(("display_data", {"data": {WIDGET: {"model_id": "nobody"}, "text/plain": "Text()"}}))
        await run(page)
        await expect(inner(page).locator("body")).to_have_text(re.compile("This control cannot be shown here"))


async def test_what_was_saved_without_its_scripts_is_run_with_what_it_needs() -> None:
    figure: dict[str, Any] = {"output_type": "display_data", "data": FIGURE, "metadata": {}}
    code: dict[str, Any] = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    cells = [
        {**code, "source": "first"},
        {**code, "source": "second", "outputs": [figure]},
        {**code, "source": "third"},
    ]
    async with host(notebook(*cells)) as machine, opened(machine=machine) as (_, page, kernel):
        saved = page.locator(".tn-cell").nth(1).locator(".tn-outputs")
        await expect(saved).to_have_text(re.compile("This output is interactive.*Run up to here"))
        brings(kernel, FAKE_PLOTLY, ("display_data", {"data": FIGURE}))
        await saved.get_by_role("button", name="Run up to here").click()
        drawn = saved.frame_locator("iframe").frame_locator("iframe").locator("body")
        await expect(drawn).to_have_text("drawn 2 x</script>")
        asked = [one["content"]["code"] for one in kernel.heard if not one["content"].get("silent", True)]
        assert asked == ["first", "second"]
