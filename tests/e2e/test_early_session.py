"""JupyterLab attaches to the session that began with its page (`workshop_image/server/tmpnb_early.py`)."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import BrowserContext, Page, expect
from yarl import URL

from tests.attacks.web.world import ALL_NAMES_ARE_HERE, MAIN
from tests.e2e.jupyter import Notebook
from tests.e2e.service import Deployment, Service
from tests.e2e.sites import site
from tests.integration.browser_support import browser

pytestmark = [pytest.mark.engine, pytest.mark.browser]

R = "introduction-to-r/Introduction to R.ipynb"
OCTAVE = "introduction-to-octave/Introduction to Octave.ipynb"
TEXT = "text.md"


async def paths(notebook: Notebook) -> dict[str, str]:
    """Kernels' names by the paths of their sessions; no kernel has no session, and no path two."""
    sessions = await notebook.call("GET", "api/sessions")
    kernels = await notebook.call("GET", "api/kernels")
    assert sorted(one["id"] for one in kernels) == sorted(one["kernel"]["id"] for one in sessions)
    assert len({one["path"] for one in sessions}) == len(sessions)
    return {one["path"]: one["kernel"]["name"] for one in sessions}


async def run_first_cell(page: Page, kernel: str, code: str, output: str) -> None:
    """Once the document is there whose kernel that is: until then a tab of before may be shown, or an empty cell."""
    await expect(page.get_by_role("button", name=kernel, exact=True)).to_be_visible()
    cell = page.locator(".jp-Notebook:visible .jp-CodeCell").first
    await cell.locator(".cm-content").click()
    await page.keyboard.press("Control+a")
    await page.keyboard.insert_text(code)
    await page.keyboard.press("Control+Enter")
    await expect(cell.locator(".jp-OutputArea-output")).to_contain_text(output)


async def test_one_session_for_each_document_that_is_opened(lab: Service) -> None:
    async with lab.http() as client, browser() as context:
        notebook = Notebook.of(client, await lab.spawn(client, f"lab/tree/{R}"))
        address = f"{lab.url}user/{notebook.id}/{{}}?token={notebook.token}"
        page = await context.new_page()

        # Before the page's scripts have asked for anything, and with them.
        await page.goto(address.format(f"lab/tree/{R}"), wait_until="commit")
        await run_first_cell(page, "R", "cat('the answer is', 6 * 7)", "the answer is 42")
        assert await paths(notebook) == {R: "ir"}

        # A visitor who goes on to another document keeps the first one's; and comes back to what it knows.
        await page.goto(address.format(f"lab/tree/{OCTAVE}"))
        await run_first_cell(page, "Octave", "printf('the answer is %d', 6 * 7)", "the answer is 42")
        assert await paths(notebook) == {R: "ir", OCTAVE: "octave"}
        await page.goto(address.format(f"doc/tree/{R}"))
        await run_first_cell(page, "R", "cat('still', exists('iris'))", "still TRUE")
        assert await paths(notebook) == {R: "ir", OCTAVE: "octave"}

        # In the classic interface, where the image has it, too.
        await page.goto(address.format(f"notebooks/{R}"))
        await run_first_cell(page, "R", "cat('classic')", "classic")
        assert await paths(notebook) == {R: "ir", OCTAVE: "octave"}


@pytest.mark.long
async def test_text_that_opens_as_a_notebook(lab: Service) -> None:
    kernel = "{name: bash, display_name: Bash, language: bash}"
    text = f"---\njupyter:\n  kernelspec: {kernel}\n---\n\n```bash\necho\n```\n"
    async with lab.http() as client, browser() as context:
        notebook = Notebook.of(client, await lab.spawn(client))
        body = {"type": "file", "format": "text", "content": text}
        await notebook.call("PUT", f"api/contents/{TEXT}", body, status=201)
        page = await context.new_page()
        address = f"{lab.url}user/{notebook.id}/lab/tree/{TEXT}?{{}}token={notebook.token}"
        await page.goto(address.format(""))
        await page.locator(".jp-FileEditor:visible").wait_for()
        assert await paths(notebook) == {}
        await page.goto(address.format("reset&factory=Notebook&"))
        await run_first_cell(page, "Bash", "echo the answer is $((6 * 7))", "the answer is 42")
        assert await paths(notebook) == {TEXT: "bash"}


@pytest.mark.long
async def test_a_launcher_begins_none(lab: Service) -> None:
    async with lab.http() as client, browser() as context:
        notebook = Notebook.of(client, await lab.spawn(client))
        page = await context.new_page()
        await page.goto(f"{lab.url}user/{notebook.id}/lab?token={notebook.token}")
        await page.locator(".jp-LauncherCard").first.wait_for()
        assert await paths(notebook) == {}


# --- where notebooks have hosts of their own, and where several pools have them


class Opened:
    """A notebook as its visitor's browser has it, and what its page asked for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.begun: list[str] = []  # sessions that JupyterLab asked for
        page.on(
            "request",
            lambda one: (
                self.begun.append(one.url)
                if one.method == "POST" and one.url.partition("?")[0].endswith("/api/sessions")
                else None
            ),
        )

    @property
    def base(self) -> str:
        """The notebook's address."""
        return self.page.url.partition("/lab/")[0] + "/"

    async def ask(self, path: str) -> list[dict[str, object]]:
        """What the notebook's API tells its visitor."""
        found: list[dict[str, object]] = await self.page.evaluate(
            "async (url) => (await fetch(url)).json()", f"{self.base}api/{path}"
        )
        return found

    async def paths(self) -> list[object]:
        """Of the sessions, of which each kernel has one."""
        sessions, kernels = await self.ask("sessions"), await self.ask("kernels")
        assert len(kernels) == len(sessions)
        return [one["path"] for one in sessions]


async def opened(context: BrowserContext, address: str) -> Opened:
    """The page that a link leads to, once it is a notebook's."""
    seen = Opened(await context.new_page())
    await seen.page.goto(address)
    await seen.page.wait_for_url(re.compile("/user/[a-z0-9]+/lab/tree/"))
    return seen


# What another site's page can make a browser ask for, each waited for until it has failed or come.
FOREIGN = """(url) => Promise.all([
    fetch(url, { mode: "no-cors", credentials: "include" }).catch(() => {}),
    ...["img", "iframe", "script"].map((kind) => new Promise((done) => {
        const one = document.body.appendChild(document.createElement(kind));
        one.onload = one.onerror = () => done();
        one.src = url;
    })),
])"""


async def test_under_a_host_of_its_own_the_session_begins_with_the_page_for_its_visitor_only(
    deployment: Deployment, workshop_image: str
) -> None:
    hosts = ("--session-host={name}.nb.example.net", f"--allowed-hosts={MAIN}")
    service = deployment.start(f"--image={workshop_image}", "--pool-size=1", "--cpu-quota=0", *hosts)
    await service.ready(1)
    async with browser(flags=(ALL_NAMES_ARE_HERE,)) as context:
        seen = await opened(context, f"http://{MAIN}:{URL(service.url).port}/spawn/lab/tree/{R}")
        assert str(URL(seen.base).host).endswith(".nb.example.net")
        await run_first_cell(seen.page, "R", "cat('the answer is', 6 * 7)", "the answer is 42")
        assert (await seen.paths(), seen.begun) == ([R], [])

        # Nobody else's page begins one there, however it asks.
        with site("elsewhere.example.org") as elsewhere:
            elsewhere.content["/"] = "<!doctype html><title>Elsewhere</title><body>"
            stranger = await context.new_page()
            await stranger.goto(f"{elsewhere.origin}/")
            await stranger.evaluate(FOREIGN, f"{seen.base}lab/tree/{OCTAVE}")
        assert await seen.paths() == [R]


@pytest.mark.long
async def test_in_each_pool_the_page_gets_the_kernel_that_its_own_pool_has_warm(
    workshop_image: str, pool: str
) -> None:
    with Deployment(pool, tables=["python", "r"]).ended() as deployment:
        file = deployment.directory / "pools.toml"
        slugs = '["introduction-to-r", "graphics-with-ggplot2"]'
        file.write_text(
            'pool_size = 1\n[pools.python]\nwarm_kernels = "python3"\n'
            f'[pools.r]\nworkshops = {slugs}\nwarm_kernels = "ir"\n'
        )
        service = deployment.start(f"--config={file}", f"--image={workshop_image}", "--cpu-quota=0")
        await service.event("ready", count=2)
        async with browser() as context:
            documents = {
                "introduction-to-python": ("Python 3", "print('the answer is', 6 * 7)", "python3"),
                "introduction-to-r": ("R", "cat('the answer is', 6 * 7)", "ir"),
            }
            for slug, (kernel, code, name) in documents.items():
                seen = await opened(context, f"{service.url}spawn?workshop={slug}")
                await run_first_cell(seen.page, kernel, code, "the answer is 42")
                assert seen.begun == []
                (path,) = await seen.paths()
                assert str(path).startswith(slug)
                told = await seen.page.evaluate(
                    "async (url) => (await (await fetch(url)).json()).kernels", f"{seen.base}api/tmpnb/warm"
                )
                assert [(one["name"], one["state"]) for one in told] == [(name, "taken")]
        async with service.http() as client, client.get("/metrics") as response:
            text = await response.text()
        taken = re.findall(r"^tmpnb_warm_claims_total\{(.*)\} 1\.0$", text, re.MULTILINE)
        assert sorted(taken) == ['outcome="warm",pool="python"', 'outcome="warm",pool="r"']
