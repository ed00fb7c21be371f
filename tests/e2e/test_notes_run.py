"""Notes that run in the page, and blocks of other sites that do: real Chromium, real kernels, a real service.

Screenshots go to tests/artifacts/, for people to look at.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import re
import secrets
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import BrowserContext, ConsoleMessage, Locator, Page, expect

from tests.e2e.service import Service, run_service
from tests.integration.browser_support import MILLISECONDS, browser, picture

pytestmark = [pytest.mark.engine, pytest.mark.browser]

PYTHON = "workshops/first-steps-in-python/"
DOCUMENT = "introduction-to-python/First steps in Python.ipynb"
SESSION = re.compile(r"/user/([a-z0-9]{26})/")

BLOG = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A blog</title>
<link rel="stylesheet" href="style.css">
<script src="{service}live.js" data-workshop="introduction-to-r" defer></script></head>
<body><h1>A blog</h1><p>Text.</p>
<pre data-executable data-language="r">
x &lt;- read.csv("data/students.csv")
nrow(x)</pre>
<pre data-executable="true" data-language="python">2 ** 70</pre>
<pre data-executable="false">left alone</pre>
<pre>left alone, too</pre></body></html>"""

SOCKET = "window.WebSocket = class extends WebSocket { constructor(to) { super(to); window.lastSocket = this; } };"


class Site(http.server.ThreadingHTTPServer):
    """Another site: an origin of its own, with a policy as strict as one that includes `live.js` can be."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), functools.partial(_Handler, self))
        self.service = ""

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, site: Site, *arguments: Any) -> None:
        self._site = site
        super().__init__(*arguments)

    def do_GET(self) -> None:
        service, is_page = self._site.service, self.path == "/"
        sockets = service.replace("http:", "ws:")
        body = BLOG.format(service=service) if is_page else "pre, button { color: #70003a !important }"
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if is_page else "text/css")
        self.send_header(
            "Content-Security-Policy",
            f"default-src 'none'; script-src {service}; style-src 'self'; connect-src {service} {sockets}; "
            f"frame-src {service}; img-src data:; require-trusted-types-for 'script'; trusted-types tmpnb-parse",
        )
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site() as site:
        thread = threading.Thread(target=site.serve_forever, daemon=True)
        thread.start()
        yield site
        site.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def service(workshop_image: str, site: Site) -> Iterator[Service]:
    options = ["--pool-size=2", "--cpu-quota=0", f"--allow-origin={site.origin}"]
    with run_service(f"notes{secrets.token_hex(4)}", *options) as service:
        site.service = service.url
        # From then on notebooks are of another configuration; a session of the former one is not opened again.
        service.wait_for("static_files_shared")
        yield service


@contextlib.asynccontextmanager
async def opened(address: str, *, expected: str = "", **options: Any) -> AsyncIterator[Page]:
    """A page in which nothing may go wrong unnoticed; `expected` is what may."""
    async with browser(**{"viewport": {"width": 1280, "height": 900}, **options}) as context:
        context.set_default_timeout(MILLISECONDS)
        page = await watched(context, expected)
        await page.goto(address)
        yield page
        assert page.faults == []  # type: ignore[attr-defined]


async def watched(context: BrowserContext, expected: str) -> Page:
    page = await context.new_page()
    faults: list[str] = []
    page.faults = faults  # type: ignore[attr-defined]

    def said(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not (expected and re.search(expected, message.text)):
            faults.append(message.text)

    page.on("console", said)
    page.on("pageerror", lambda error: faults.append(str(error)))
    return page


async def run(cell: Locator, code: str | None = None, *, ends: str = "Done") -> Locator:
    """Run a cell, perhaps with other code, and wait until it says so; returns its outputs."""
    if code is not None:
        await cell.get_by_role("textbox").fill(code)
    await cell.get_by_role("button", name=re.compile("^Run example")).click()
    outputs = cell.locator(".tn-outputs")
    await expect(cell).to_have_attribute("data-state", re.compile("done|failed"))
    said = await cell.locator(".tn-status").inner_text()
    assert ends in said, f"{said}: {await outputs.inner_text()}"
    return outputs


async def sessions(service: Service) -> list[str]:
    async with service.http(admin=True) as admin, admin.get("/api/sessions") as response:
        return [one["id"] for one in (await response.json())["sessions"]]


async def end(service: Service, session: str) -> None:
    async with service.http(admin=True) as admin, admin.delete(f"/api/sessions/{session}") as response:
        assert response.status == 200
    await service.event("removed", id=session)


async def serious(page: Page) -> list[tuple[str, list[str]]]:
    """What axe finds that keeps people out."""
    found = await Axe().run(page)
    return [
        (one["id"], [f"{node['html'][:200]}: {node['failureSummary'][:300]}" for node in one["nodes"][:3]])
        for one in found.response["violations"]
        if one["impact"] in ("serious", "critical")
    ]


async def test_python_from_reading_to_jupyterlab(service: Service) -> None:
    async with opened(service.url + PYTHON) as page:
        await picture(page, "notes-before")
        cells = page.locator(".tn-cell")
        cell = cells.first
        before = set(await sessions(service))

        # The first one claims a notebook and starts the kernel.
        await run(cell, "print('six times seven', 6 * 7)")
        await expect(cell.locator(".tn-outputs")).to_have_text("six times seven 42")
        (session,) = set(await sessions(service)) - before

        # By keyboard: the code keeps the focus, and Tab leads on.
        await cell.get_by_role("textbox").fill("for i in range(3):")
        await page.keyboard.press("End")
        await page.keyboard.press("Enter")
        await page.keyboard.insert_text("print(i)")
        await page.keyboard.press("Shift+Enter")
        await expect(cell.locator(".tn-outputs")).to_have_text("0\n1\n2\n")
        await expect(cell.get_by_role("textbox")).to_be_focused()
        await expect(cell.get_by_role("textbox")).to_have_value("for i in range(3):\n    print(i)")
        await page.keyboard.press("Tab")
        await expect(cell.get_by_role("button", name="Run example 1")).to_be_focused()

        # Pictures, errors, questions, progress, what is shown and changed.
        outputs = await run(cell, "import matplotlib.pyplot as plt\nplt.plot([1, 3, 2]);")
        await expect(outputs.get_by_role("img")).to_have_js_property("complete", True)
        assert await outputs.get_by_role("img").evaluate("image => image.naturalWidth") > 100
        outputs = await run(cell, "def f():\n    return 1 / 0\nf()", ends="There was an error")
        await expect(outputs.locator(".tn-error")).to_contain_text("ZeroDivisionError: division by zero")
        assert await outputs.locator(".tn-ansi-red").count() > 0
        await cell.get_by_role("textbox").fill("name = input('Who is there? ')\nprint('Hello', name)")
        await page.keyboard.press("Control+Enter")
        await cell.get_by_label("Who is there?").fill("Ann <b>")
        await page.keyboard.press("Enter")
        await expect(outputs).to_have_text("Who is there? Ann <b>\nHello Ann <b>\n")
        outputs = await run(cell, "for i in range(5):\n    print(f'\\r{i * 25} %', end='')\nprint(' done')")
        await expect(outputs).to_have_text("100 % done\n")
        outputs = await run(
            cell,
            "from IPython.display import display, clear_output\nprint('gone')\nclear_output(wait=True)\n"
            "shown = display('first', display_id=True)\nprint('kept')\nshown.update('second')",
        )
        await expect(outputs).to_have_text(re.compile(r"'second'\s*kept"))
        outputs = await run(cell, "import pandas as pd\npd.DataFrame({'a<b': [1.5, 2]})")
        await expect(outputs.get_by_role("columnheader", name="a<b")).to_be_visible()

        # Stop, and what waited behind it is not run.
        await cell.get_by_role("textbox").fill("print('on')\nwhile True: pass")
        await page.keyboard.press("Control+Enter")
        await expect(cell.locator(".tn-outputs")).to_have_text("on\n")  # before that it could not be interrupted
        await cells.nth(1).get_by_role("button", name="Run example 2").click()
        await cell.get_by_role("button", name="Stop example 1").click()
        await expect(cell.locator(".tn-status")).to_have_text("Stopped")
        await expect(cells.nth(1).locator(".tn-status")).to_contain_text("Not run")

        # A kernel that dies, and one that is restarted.
        await run(cell, "kept = 7\nimport os\nos._exit(1)", ends="The kernel died")
        outputs = await run(cell, "'kept' in dir()")
        await expect(outputs).to_have_text("False")
        await run(cell, "kept = 8")
        await page.get_by_role("region", name="Kernel").get_by_role("button", name="Restart").click()
        await expect(page.get_by_role("region", name="Kernel")).to_contain_text("Restarted")
        outputs = await run(cell, "'kept' in dir()")
        await expect(outputs).to_have_text("False")

        # All above, in order, up to where one fails.
        await cell.get_by_role("textbox").fill("answer = 42")
        await cells.nth(1).get_by_role("textbox").fill("answer += 1")
        await cells.nth(2).get_by_role("button", name="Run all above").click()
        await expect(cells.nth(1).locator(".tn-status")).to_contain_text("Done")
        await expect(await run(cells.nth(2), "answer")).to_have_text("43")
        await cells.nth(1).get_by_role("button", name="Undo my changes").click()
        assert await cells.nth(1).get_by_role("textbox").input_value() != "answer += 1"

        # A reload finds the same session, and the same kernel; so does a connection that breaks while a cell runs.
        await page.add_init_script(SOCKET)
        await page.reload()
        await cell.get_by_role("textbox").fill("import time\ntime.sleep(3)\nprint('late')")
        await page.keyboard.press("Control+Enter")
        await expect(cell.locator(".tn-status")).to_have_text("Running …")
        await page.evaluate("lastSocket.close()")
        await expect(cell.locator(".tn-status")).to_contain_text("Done in")
        await expect(cell.locator(".tn-outputs")).to_have_text("late\n")
        await expect(await run(cell, "answer")).to_have_text("43")
        assert set(await sessions(service)) - before == {session}
        # Scripts of other notebooks can read these: what was changed is in there, and nothing that opens anything.
        assert await page.evaluate("Object.keys(localStorage)") == []
        stored = await page.evaluate("Object.entries(sessionStorage).flat().join()")
        assert stored.startswith("tmpnb-drafts:/workshops/")
        assert re.search("[0-9a-f]{32}", stored) is None

        # JupyterLab goes on in the same session, with what was changed here.
        await page.get_by_role("region", name="Kernel").get_by_role("link", name="Open in JupyterLab").click()
        await page.wait_for_url(re.compile(f"/user/{session}/lab/tree/introduction-to-python"))
        await page.locator(".jp-Notebook .jp-Cell").first.wait_for()
        first = page.locator(".jp-Notebook .jp-CodeCell").first
        await expect(first.locator(".cm-content")).to_have_text("answer")
        page.faults.clear()  # type: ignore[attr-defined]  # JupyterLab says what it likes
    await end(service, session)


async def test_r_draws_and_shows_tables_and_its_end_is_said_in_words(service: Service) -> None:
    async with opened(service.url + "workshops/graphics-with-ggplot2/", expected="410|404") as page:
        before = set(await sessions(service))
        cells = page.locator(".tn-cell")
        await run(cells.first)
        (session,) = set(await sessions(service)) - before
        outputs = await run(cells.nth(1))
        await expect(outputs.get_by_role("cell", name="Harbour")).to_be_visible()
        outputs = await run(cells.nth(2))
        assert (
            await outputs.get_by_role("img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
        )
        await run(cells.nth(3))
        await cells.nth(2).scroll_into_view_if_needed()
        await picture(page, "notes-r")
        await run(cells.nth(3), "stop('no more')", ends="There was an error")

        await end(service, session)
        await expect(page.get_by_role("region", name="Kernel")).to_contain_text("who run this service ended it.")
        outputs = await run(cells.nth(3), "exists('weather')")
        await expect(outputs).to_have_text("FALSE")
        (fresh,) = set(await sessions(service)) - before
        assert fresh != session
    await end(service, fresh)


ATTACK = """
from IPython.display import HTML
HTML('''<p id="log"></p><script>
const log = document.getElementById("log"), say = (text) => (log.textContent += text + "; ");
const attempt = (name, action) => { try { say(name + " " + action()) } catch (error) { say(name + " refused") } };
attempt("parent", () => parent.document.title);
attempt("top", () => top.location.href);
attempt("cookie", () => document.cookie);
attempt("storage", () => localStorage.length);
attempt("popup", () => open("/") === null ? "refused" : "opened");
attempt("leave", () => { top.location = "/owned" });
say("origin " + origin);
parent.postMessage({tmpnb: "height", height: 1e9}, "*");
parent.postMessage({tmpnb: "ready"}, "*");
parent.postMessage(null, "*");
fetch("/api/stats").then(() => say("api fetched"), () => say("api refused"));
const image = new Image(); image.onload = () => say("image loaded"); image.onerror = () => say("image refused");
image.src = "/assets/x.png";
</script>''')
"""


async def test_what_a_kernel_sends_can_do_nothing_to_the_page(service: Service) -> None:
    async with opened(service.url + PYTHON, expected="Content Security Policy|Unsafe|sandbox|Blocked") as page:
        before = set(await sessions(service))
        cell = page.locator(".tn-cell").first
        outputs = await run(cell, ATTACK)
        (session,) = set(await sessions(service)) - before
        frame = outputs.frame_locator("iframe").frame_locator("iframe")
        log = frame.locator("#log")
        for name in ("parent", "top", "cookie", "storage", "leave", "api", "image"):
            await expect(log).to_contain_text(f"{name} refused")
        await expect(log).to_contain_text("popup refused")
        await expect(log).to_contain_text("origin null")
        assert page.url == service.url + PYTHON
        box = await outputs.locator("iframe").bounding_box()
        assert box is not None
        assert box["height"] <= 2000
        assert await outputs.locator("iframe").get_attribute("sandbox") == "allow-scripts"
        # Opened by itself, the frame's document is of no origin either.
        address = await outputs.locator("iframe").get_attribute("src")
        assert address is not None
        other = await page.context.new_page()
        await other.goto(address)
        assert await other.evaluate("origin") == "null"
        await other.close()

        # Pictures with scripts in them, and what looks like a table.
        outputs = await run(
            cell,
            "from IPython.display import SVG, HTML, display\n"
            'display(SVG(\'<svg xmlns="http://www.w3.org/2000/svg" onload="document.title=1"><script>document.title=1'
            "</script></svg>'))\n"
            "display(HTML('<table onclick=\"document.title=1\"><tr><td>a</td></tr></table>'))\n"
            "display(HTML('<table><tr><td class=tn-said title=x colspan=9999>b</td></tr></table>'))\n"
            "display({'image/png': '\"><script>', 'text/plain': '<b>plain</b>'}, raw=True)\n"
            "print('\\x1b[31mred\\x1b]0;title\\x07\\x1b[9999;9999H')",
        )
        await expect(outputs.locator("iframe")).to_have_count(1)
        await expect(outputs.locator("td")).to_have_text("b")
        assert await outputs.locator("td").evaluate("cell => cell.attributes.length") == 0
        await expect(outputs).to_contain_text("<b>plain</b>")
        assert await page.title() == "First steps in Python - Live notebooks"

    await end(service, session)


async def test_another_sites_page(service: Service, site: Site) -> None:
    async with opened(site.origin) as page:
        before = set(await sessions(service))
        r, python = page.locator(".tn-cell").nth(0), page.locator(".tn-cell").nth(1)
        assert await page.locator("pre[data-executable=false], pre:not([class])").count() >= 2
        await expect(await run(r)).to_have_text("240")
        await expect(await run(python)).to_have_text("1180591620717411303424")
        (session,) = set(await sessions(service)) - before
        # The page's own style does not reach into it.
        colour = await r.locator(".tn-run").evaluate("button => getComputedStyle(button).color")
        assert colour == "rgb(255, 255, 255)"
        await expect(r.get_by_role("link", name="Open in JupyterLab")).to_have_attribute("href", SESSION)
        await picture(page, "notes-embedded")
        assert await serious(page) == []

        await page.reload()
        await expect(await run(r, "ncol(x)")).to_have_text("6")  # in the same kernel
        assert set(await sessions(service)) - before == {session}

        # It has ended meanwhile: a new one.
        await end(service, session)
        await page.reload()
        await expect(await run(r, "exists('x')")).to_have_text("FALSE")
        (fresh,) = set(await sessions(service)) - before
    await end(service, fresh)


FORMULAS = r"""
from IPython.display import Latex, Markdown, Math, display
display(Math(r"\frac{a}{b}"), Latex(r"\begin{align} x &= 1 \label{one} \end{align}"), Latex(r"\textbf{none}"))
display(Markdown("**bold** $y_2$, \\eqref{one}\n\n| a |\n|---|\n| $|b|$ |\n\n```python\nif x: pass\n```"))
class Symbol:
    def _repr_latex_(self):
        return r"$\displaystyle \sqrt{x}$"
    def __repr__(self):
        return "sqrt(x)"
Symbol()
"""


async def test_mathematics_and_markdown_of_kernels_are_drawn(service: Service, site: Site) -> None:
    before = set(await sessions(service))
    for number, address in enumerate((service.url + PYTHON, site.origin)):
        async with opened(address) as page:
            cell = page.locator(".tn-cell").nth(number)
            for _again in range(2):  # which names the label once more
                outputs = await run(cell, FORMULAS)
                await expect(outputs.locator(".tn-math")).to_have_count(6)
                said = [await one.text_content() for one in await outputs.locator("math").all()]
                assert [re.sub(r"\s", "", one or "") for one in said] == [
                    "ab",
                    "(1)x=1",
                    "y2",
                    "(1)",
                    "|b|",
                    "x",
                ] or _again
                assert await outputs.locator(".tn-latex").count() == 0
            await expect(outputs.locator("strong")).to_have_text("bold")
            await expect(outputs.locator("pre code .tn-k").first).to_have_text("if")
            await expect(outputs).to_contain_text("\\textbf{none}")
            for box in await outputs.locator("svg").all():
                place = await box.bounding_box()
                assert place is not None
                assert place["width"] > 5
                assert place["height"] > 5
            displays = outputs.locator(".tn-display").first
            assert await displays.evaluate("one => getComputedStyle(one).textAlign") == "center"
            assert await serious(page) == []
            await picture(page, f"mathematics-live-{number}", full_page=bool(number))
    for session in set(await sessions(service)) - before:
        await end(service, session)


async def test_a_site_that_is_not_allowed_is_told_so(service: Service, site: Site) -> None:
    async with opened(site.origin.replace("127.0.0.1", "localhost"), expected="CORS|ERR_FAILED") as page:
        before = await sessions(service)
        await run(page.locator(".tn-cell").first, ends="not allowed to start notebooks")
        assert await sessions(service) == before


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
async def test_the_page_is_accessible_and_fits(service: Service, scheme: Any, width: int) -> None:
    async with opened(
        service.url + "workshops/introduction-to-octave/",
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
    ) as page:
        await page.locator("main details").evaluate_all("all => all.forEach((one) => (one.open = true))")
        assert await serious(page) == []
        shown = await picture(page, f"notes-{scheme}-{width}", full_page=True)
        assert int.from_bytes(shown[16:20], "big") == width, "it scrolls sideways"


async def test_without_scripts_the_page_is_there_to_read(service: Service) -> None:
    async with opened(service.url + PYTHON, java_script_enabled=False) as page:
        await expect(page.locator(".tn-cell").first).to_be_visible()
        await expect(page.get_by_role("link", name="Open in JupyterLab")).to_have_attribute(
            "href", f"/spawn/lab/tree/{DOCUMENT.replace(' ', '%20')}"
        )
        await expect(page.locator("#tn-hint")).to_be_hidden()


async def test_what_the_operator_announces_is_read_out_where_somebody_works(service: Service) -> None:
    async with opened(service.url + PYTHON) as page, service.http(admin=True) as admin:
        before = set(await sessions(service))
        await run(page.locator(".tn-cell").first, "1 + 1")
        (session,) = set(await sessions(service)) - before
        async with admin.post("/api/announcements", json={"text": "Maintenance <b>at</b> 18:00"}) as response:
            assert response.status == 201, await response.text()
            announced = (await response.json())["id"]
        alert = page.get_by_role("alert").filter(has_text="Maintenance")
        await expect(alert).to_contain_text("From the people who run this service")
        await expect(alert).to_contain_text("Maintenance <b>at</b> 18:00")
        assert await serious(page) == []
        async with admin.delete(f"/api/announcements/{announced}") as response:
            assert response.status == 200, await response.text()
        await expect(alert).to_have_count(0)
        await end(service, session)
