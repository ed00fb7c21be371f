"""Clients that exist, in a real browser on pages of other sites, with real JupyterLabs.

What is allowed works as those clients do it, and what is not allowed does not, however a page tries.
"""

from __future__ import annotations

import dataclasses
import html
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any

import playwright.async_api as playwright
import pytest

from tests.e2e.npm import package
from tests.e2e.service import Service, run_service
from tests.e2e.sites import Site, site
from tests.integration.browser_support import browser, picture

pytestmark = [pytest.mark.browser, pytest.mark.engine]

EMPTY = "<!doctype html><title>A page</title><p>Nothing here."


# Each says where it works: in the folder of its workshop, whatever path a client sends.
CELLS = {
    "python3": (
        "python",
        "import pathlib\nprint('Python says', 6 * 7, 'in', pathlib.Path.cwd().name)",
        "Python says 42 in introduction-to-python",
    ),
    "ir": ("r", 'cat("R says", sum(1:4), "in", basename(getwd()))', "R says 10 in introduction-to-r"),
}


@dataclasses.dataclass(frozen=True)
class World:
    """A service and other people's sites: two that the operator allows, one with an old client, one of somebody's.

    `near` and `evil` are on the service's own host, at other ports: there a browser sends its cookies along.
    """

    service: Service
    allowed: Site
    near: Site
    old: Site
    evil: Site


@pytest.fixture(scope="module")
def world(workshop_image: str) -> Iterator[World]:
    with site("localhost") as allowed, site("localhost") as old, site() as near, site() as evil:
        for one in (allowed, near, old, evil):
            one.content["/"] = EMPTY
        options = [f"--image={workshop_image}", "--pool-size=2", "--cpu-quota=0"]
        options.append(f"--allow-origin={allowed.origin},{near.origin}")
        options += [f"--tokenless-origin={old.origin}", f"--frame-ancestors={allowed.origin}"]
        with run_service(f"clients{secrets.token_hex(4)}", *options) as service:
            yield World(service, allowed, near, old, evil)


@pytest.fixture
async def context(world: World) -> AsyncIterator[playwright.BrowserContext]:
    """A fresh browser, with two notebooks waiting for it. At its end no session is left."""
    await world.service.ready(2)
    async with browser() as started:
        started.set_default_timeout(60_000)
        yield started
    await end_all(world.service)


async def page_at(context: playwright.BrowserContext, where: Site) -> playwright.Page:
    page = await context.new_page()
    await page.goto(where.origin + "/")
    await page.evaluate(TOOLS)
    return page


async def end_all(service: Service) -> None:
    """End every session, and wait until they are gone."""
    async with service.http(admin=True) as admin:
        async with admin.get("/api/sessions") as response:
            sessions = (await response.json())["sessions"]
        for session in sessions:
            async with admin.delete(f"/api/sessions/{session['id']}") as response:
                assert response.status == 200
    await service.stats_when(lambda stats: (stats["claimed"], stats["removing"]) == (0, 0))


# What a page's script can do: a request that it may read or not, and a kernel's WebSocket.
TOOLS = """
window.ask = async (method, url, options = {}) => {
    try {
        const answer = await fetch(url, {method, ...options});
        return {status: answer.status, text: await answer.text()};
    } catch (error) {
        return {status: 0, text: String(error)};
    }
};
window.runCell = (url, code) => new Promise((resolve) => {
    const socket = new WebSocket(url), session = crypto.randomUUID ? crypto.randomUUID() : "one";
    let text = "", opened = false;
    socket.onopen = () => {
        opened = true;
        socket.send(JSON.stringify({
            header: {msg_id: "cell", username: "", session, msg_type: "execute_request", version: "5.0"},
            metadata: {}, parent_header: {}, buffers: [], channel: "shell",
            content: {code, silent: false, store_history: true, user_expressions: {}, allow_stdin: false},
        }));
    };
    socket.onmessage = (event) => {
        const message = JSON.parse(event.data);
        if (message.parent_header.msg_id !== "cell") return;
        if (message.msg_type === "stream") text += message.content.text;
        if (message.msg_type === "status" && message.content.execution_state === "idle") socket.close();
    };
    socket.onclose = () => resolve({opened, text});
});
"""

# All events until the client fails, or has been told twice that it is ready.
WATCH_EVENTS = """(url) => new Promise((resolve) => {
    const source = new EventSource(url), said = [];
    source.onmessage = (event) => {
        said.push(JSON.parse(event.data));
        const {phase} = said.at(-1);
        if (phase === "failed" || said.filter((one) => one.phase === "ready").length === 2) {
            source.close();
            resolve(said);
        }
    };
    source.onerror = () => source.readyState === EventSource.CLOSED && resolve(said);
})"""


# --- clients of BinderHub, from npm, unchanged


async def without_the_web(context: playwright.BrowserContext, *allowed: str) -> None:
    """No CDN answers: a page that needs one must still run."""
    await context.route(lambda url: not url.startswith(allowed), lambda route: route.abort())


def binder_options(world: World, workshop: str) -> str:
    return json.dumps({"binderUrl": world.service.url, "repo": f"anybody/{workshop}", "ref": "HEAD"})


async def run_in_thebe(page: playwright.Page, expected: str) -> None:
    """Press its buttons as a reader does, and read what comes."""
    await page.get_by_role("button", name="Activate").click()
    await page.wait_for_function("window.thebe.session")  # it has a kernel now: before, a click does nothing
    await page.get_by_role("button", name="run", exact=True).click()
    await playwright.expect(page.locator(".thebe-output").first).to_contain_text(expected)


@pytest.mark.parametrize("kernel", CELLS)
async def test_thebe(world: World, context: playwright.BrowserContext, kernel: str) -> None:
    language, code, expected = CELLS[kernel]
    world.allowed.content |= {
        "/thebe/": package("thebe@0.9.3") / "lib",
        "/book.html": f"""<!doctype html><title>A book</title>
            <script type="text/x-thebe-config">
            {{
                "requestKernel": true, "mountActivateWidget": true, "mountStatusWidget": true,
                "binderOptions": {binder_options(world, "introduction-to-" + language)},
                "kernelOptions": {{"kernelName": "{kernel}"}}
            }}
            </script>
            <script src="/thebe/index.js"></script>
            <div class="thebe-activate"></div><div class="thebe-status"></div>
            <pre data-executable="true" data-language="{language}">{html.escape(code)}</pre>""",
    }
    await without_the_web(context, world.allowed.origin, world.service.url)
    page = await context.new_page()
    await page.goto(f"{world.allowed.origin}/book.html")
    await run_in_thebe(page, expected)
    await picture(page, f"thebe-{kernel}")
    assert (await world.service.stats())["claimed"] == 1

    if kernel != "ir":
        return

    # It keeps the session in the page's own storage, asks whether it still runs, and uses it again.
    await page.reload()
    await run_in_thebe(page, expected)
    assert (await world.service.stats())["claimed"] == 1

    # One that has ended is forgotten, and it asks for another.
    await end_all(world.service)
    await page.reload()
    await run_in_thebe(page, expected)
    assert await context.cookies() == []


THEBE_CORE = """async ([options, kernelName, source]) => {
    const {api} = window.thebeCore;
    const config = api.makeConfiguration({...options, kernelOptions: {kernelName, path: "/"}});
    const rendermime = api.makeRenderMimeRegistry();
    const server = api.connectToBinder(config);
    await server.ready;
    const session = await server.startNewSession(rendermime);
    const notebook = api.setupNotebookFromBlocks([{id: "one", source}], config, rendermime);
    notebook.attachSession(session);
    const place = document.body.appendChild(document.createElement("div"));
    place.id = "output";
    notebook.cells[0].attachToDOM(place);
    await notebook.executeAll();
    const specs = await server.getKernelSpecs();
    const alive = await server.check();
    return {alive, specs: Object.keys(specs.kernelspecs)};
}"""


async def test_thebe_core(world: World, context: playwright.BrowserContext) -> None:
    kernel = "python3"
    language, code, expected = CELLS[kernel]
    world.allowed.content |= {
        "/core/": package("thebe-core@0.5.0") / "dist" / "lib",
        "/core.html": '<!doctype html><title>A book</title><script src="/core/thebe-core.min.js"></script>',
    }
    await without_the_web(context, world.allowed.origin, world.service.url)
    page = await context.new_page()
    await page.goto(f"{world.allowed.origin}/core.html")
    options = {"binderOptions": json.loads(binder_options(world, "introduction-to-" + language))}
    told: dict[str, Any] = await page.evaluate(THEBE_CORE, [options, kernel, code])
    assert told["alive"]
    assert kernel in told["specs"]
    await playwright.expect(page.locator("#output")).to_contain_text(expected)


async def test_thebelab(world: World, context: playwright.BrowserContext) -> None:
    _, code, expected = CELLS["ir"]
    options = binder_options(world, "introduction-to-r")
    world.allowed.content |= {
        "/thebelab/": package("thebelab@0.5.1") / "lib",
        "/thebelab.html": f"""<!doctype html><title>A book</title>
            <script type="text/x-thebe-config">
            {{bootstrap: true, requestKernel: true, binderOptions: {options}, kernelOptions: {{kernelName: "ir"}}}}
            </script>
            <script src="/thebelab/index.js"></script>
            <pre data-executable="true" data-language="r">{html.escape(code)}</pre>""",
    }
    await without_the_web(context, world.allowed.origin, world.service.url)
    page = await context.new_page()
    await page.goto(f"{world.allowed.origin}/thebelab.html")
    await page.wait_for_function("window.thebeKernel !== undefined")
    await page.get_by_role("button", name="run", exact=True).click()
    await playwright.expect(page.locator("body")).to_contain_text(expected)
    await picture(page, "thebelab")


# MyST's launch button as it is on npm, without what draws it: what it asks of a service, and the link that it makes.
MYST_STUB = """export default {};
export const [jsx, jsxs, useRef, useCallback, useState] = [];
export const [RocketIcon, Cross2Icon, ClipboardCopyIcon, ExternalLinkIcon, QuestionMarkCircledIcon] = [];
export const [UpdateIcon, Link2Icon, ChevronRightIcon, BinderIcon, JupyterIcon] = [];"""
MYST_IMPORTS = (
    "react/jsx-runtime", "react", "classnames", "@radix-ui/react-popover", "@radix-ui/react-icons",
    "@heroicons/react/24/solid", "@scienceicons/react/24/solid", "@radix-ui/react-form",
)  # fmt: skip
MYST_LAUNCH = """async ([url, location]) => {
    const button = await import("/launch.mjs");
    const kind = await button.interrogateProviderType(url);
    const options = {provider: "github", repo: "org/introduction-to-python", url};
    return {kind, link: button.makeBinderURL(options, location)};
}"""


async def test_the_launch_button_of_myst(world: World, context: playwright.BrowserContext) -> None:
    """Jupyter Book 2 has it: its reader names a service, and the button asks that for its kind, from any site."""
    source = (package("@myst-theme/frontmatter@1.4.1") / "dist" / "LaunchButton.js").read_text()
    imports = json.dumps({"imports": dict.fromkeys(MYST_IMPORTS, "/stub.mjs")})
    world.evil.content |= {
        "/launch.mjs": f"{source}\nexport {{ interrogateProviderType, makeBinderURL }};",
        "/stub.mjs": MYST_STUB,
        "/book.html": f'<!doctype html><title>A book</title><script type="importmap">{imports}</script>',
    }
    page = await context.new_page()
    await page.goto(f"{world.evil.origin}/book.html")
    made = await page.evaluate(MYST_LAUNCH, [world.service.url, "/Introduction to Python.ipynb"])
    assert made["kind"] == "binderhub"
    assert "urlpath=%2Flab%2Ftree%2F%2FIntroduction" in made["link"]
    await page.goto(made["link"])
    await page.wait_for_url("**/user/**")
    document = "/lab/tree/introduction-to-python/Introduction%20to%20Python.ipynb"
    assert document in page.url
    await playwright.expect(page.locator(".jp-NotebookPanel .jp-Cell").first).to_be_visible()


async def test_what_is_not_offered_is_said_by_the_client(world: World, context: playwright.BrowserContext) -> None:
    page = await page_at(context, world.allowed)
    said = await page.evaluate(WATCH_EVENTS, f"{world.service.url}build/gh/org/unknown/HEAD")
    assert [one["phase"] for one in said] == ["failed"]
    assert said[0]["message"].startswith("gh/org/unknown/HEAD is not offered here")
    assert (await world.service.stats())["claimed"] == 0


async def test_a_browsers_reconnecting_gets_the_same_notebook(
    world: World, context: playwright.BrowserContext
) -> None:
    """An EventSource that nobody closes comes back by itself at the stream's end."""
    page = await page_at(context, world.allowed)
    said = await page.evaluate(WATCH_EVENTS, f"{world.service.url}build/gh/org/introduction-to-r/HEAD")
    assert [one["phase"] for one in said] == ["launching", "ready", "launching", "ready"]
    assert said[1] == said[3]
    assert (await world.service.stats())["claimed"] == 1


# --- the notes in a frame of a page of another site, whose frames get none of our cookies


def framed_page(world: World) -> str:
    notes = f"{world.service.url}workshops/introduction-to-python/"
    return f"""<!doctype html><title>A course</title><h1>A course</h1>
        <iframe src="{notes}" title="Introduction to Python" style="width: 100%; height: 300px; border: 0"></iframe>
        <script src="{world.service.url}frame.js" defer></script>"""


async def test_notes_in_a_frame(world: World, context: playwright.BrowserContext) -> None:
    world.allowed.content["/course.html"] = framed_page(world)
    page = await context.new_page()
    await page.goto(f"{world.allowed.origin}/course.html")
    notes = page.frame_locator("iframe")
    cell = notes.locator(".tn-cell").first
    await playwright.expect(cell).to_be_visible()
    await page.wait_for_function("document.querySelector('iframe').offsetHeight > 3000")
    await playwright.expect(notes.locator("header.site")).to_be_hidden()
    before = await page.evaluate("document.querySelector('iframe').offsetHeight")
    await notes.locator(".contents a").nth(2).click()  # the page around it is what scrolls
    await page.wait_for_function("scrollY > 500")

    await cell.get_by_role("button", name="Run example 1").click()
    await playwright.expect(cell.locator(".tn-status")).to_contain_text("Done", timeout=60_000)
    await page.wait_for_function("before => document.querySelector('iframe').offsetHeight !== before", arg=before)
    await picture(page, "framed-notes")
    assert [one for one in await context.cookies() if one["name"].startswith("tmpnb")] == []

    # A reload finds the session, though no cookie tells of it, where the browser keeps anything for such a frame.
    (frame,) = page.main_frame.child_frames
    is_kept = await frame.evaluate("() => { try { return Boolean(sessionStorage.length); } catch { return false; } }")
    await page.reload()
    cell = page.frame_locator("iframe").locator(".tn-cell").first
    await cell.get_by_role("button", name="Run example 1").click()
    await playwright.expect(cell.locator(".tn-status")).to_contain_text("Done", timeout=60_000)
    assert (await world.service.stats())["claimed"] == (1 if is_kept else 2)

    # JupyterLab is in no frame: it opens in a tab, in the same notebook.
    async with context.expect_page() as opened:
        await page.frame_locator("iframe").locator("#tn-open").click()
    lab = await opened.value
    await playwright.expect(lab.locator(".jp-NotebookPanel")).to_be_visible()
    assert (await world.service.stats())["claimed"] == (1 if is_kept else 2)


async def test_no_other_site_and_no_other_page_is_framed(world: World, context: playwright.BrowserContext) -> None:
    world.evil.content["/course.html"] = framed_page(world)
    page = await context.new_page()
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text) if "frame-ancestors" in message.text else None)
    await page.goto(f"{world.evil.origin}/course.html")
    await playwright.expect(page.frame_locator("iframe").locator(".tn-cell")).to_have_count(0)
    assert refused
    async with world.service.http() as client:
        for path in ("", "spawn", "info", "nowhere", "workshops/nowhere/"):
            async with client.get(world.service.url + path, headers={"Accept": "text/html"}) as response:
                assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"], path


# --- the old thebe (O'Reilly's), which is on no registry: the requests that it makes, in its order and its form

OLD_THEBE = """async ([service, kernel, code]) => {
    const request = (method, url, body, type) => new Promise((resolve) => {
        const xhr = new XMLHttpRequest();
        xhr.open(method, url, true);
        if (type) xhr.setRequestHeader("Content-Type", type);
        xhr.onloadend = () => resolve([xhr.status, xhr.responseText]);
        xhr.send(body);
    });
    const form = "application/x-www-form-urlencoded; charset=UTF-8";
    const seen = {};
    seen.stats = await request("GET", service + "api/stats");
    seen.spawn = await request("POST", service + "api/spawn/", JSON.stringify({image_name: "jupyter/notebook"}));
    const url = service + JSON.parse(seen.spawn[1]).url + "/";
    seen.existing = await request("GET", url + "api/kernels");
    seen.start = await request("POST", url + "api/kernels", JSON.stringify({name: kernel}), form);
    const id = JSON.parse(seen.start[1]).id;
    const socket = url.replace("http", "ws") + "api/kernels/" + id + "/channels?session_id=0123456789ABCDEF";
    seen.cell = await runCell(socket, code);
    seen.interrupt = await request("POST", url + "api/kernels/" + id + "/interrupt");
    seen.kill = await request("DELETE", url + "api/kernels/" + id);
    seen.url = url;
    return seen;
}"""


@pytest.mark.parametrize(
    ("kernel", "code"), [("python3", "print('The answer is', 6 * 7)"), ("ir", 'cat("The answer is", 6 * 7)')]
)
async def test_the_old_thebe(world: World, context: playwright.BrowserContext, kernel: str, code: str) -> None:
    page = await page_at(context, world.old)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(f"{request.method} {request.url}"))
    seen: dict[str, Any] = await page.evaluate(OLD_THEBE, [world.service.url, kernel, code])
    assert [seen[name][0] for name in ("stats", "spawn", "existing", "start", "interrupt", "kill")] == [
        200, 200, 200, 201, 204, 204,
    ]  # fmt: skip
    assert seen["cell"]["text"].strip() == "The answer is 42"
    assert "//user/" in seen["url"]
    assert "token" not in " ".join(asked)
    assert await context.cookies() == []

    # What it finds of its cookie after the session's end is no JSON: it asks for a fresh notebook then.
    session = seen["url"].split("/user/")[1].split("/")[0]
    async with world.service.http(admin=True) as admin, admin.delete(f"/api/sessions/{session}") as response:
        assert response.status == 200
    gone = await page.evaluate("url => ask('GET', url)", seen["url"] + "api/kernels")
    assert gone["status"] == 410
    assert gone["text"].startswith("<!doctype html>")


# --- hostile pages


@dataclasses.dataclass(frozen=True)
class Victim:
    """A visitor's own session, opened in this very browser, which has its cookies."""

    url: str
    token: str
    kernel: str

    def socket(self, query: str = "") -> str:
        return f"{self.url.replace('http', 'ws')}api/kernels/{self.kernel}/channels?session_id=1{query}"

    async def kernels(self, service: Service) -> int:
        """How many run in it, as its owner sees it."""
        headers = {"Authorization": f"token {self.token}"}
        async with service.http() as client, client.get(f"{self.url}api/kernels", headers=headers) as response:
            return len(await response.json())


async def visit(world: World, context: playwright.BrowserContext) -> Victim:
    async with world.service.http() as client:
        spawned = await world.service.spawn(client)
        url = world.service.url.rstrip("/") + spawned["url"]
        headers = {"Authorization": f"token {spawned['token']}"}
        async with client.post(f"{url}api/kernels", json={"name": "python3"}, headers=headers) as response:
            assert response.status == 201
            kernel = (await response.json())["id"]
    page = await context.new_page()
    answer = await page.goto(f"{url}api/contents?token={spawned['token']}")
    assert answer is not None
    assert answer.ok
    assert await context.cookies()
    # The cookie is as good as the token, for its own visitor.
    answer = await page.goto(f"{url}api/contents")
    assert answer is not None
    assert answer.ok
    await page.close()
    return Victim(url, spawned["token"], kernel)


REFUSED_BY_JUPYTER = 404  # for a foreign origin without the token
COOKIES = {"credentials": "include"}
BLIND = {"mode": "no-cors", "credentials": "include"}  # what no CORS header can prevent; the page reads nothing


async def test_a_hostile_page_of_a_site_that_is_not_named(world: World, context: playwright.BrowserContext) -> None:
    victim = await visit(world, context)
    page = await page_at(context, world.evil)

    async def ask(method: str, url: str, **options: Any) -> int:
        answer = await page.evaluate("([m, u, o]) => ask(m, u, o)", [method, url, options])
        return int(answer["status"])

    service = world.service.url
    # No notebook: not from the API, in a line, from a form, or from BinderHub's stream, whoever pretends to ask.
    for path in ("api/spawn", "api/tickets", "spawn", "build/gh/org/introduction-to-r/HEAD"):
        for options in (COOKIES, BLIND):
            assert await ask("POST", service + path, **options) == 0
    events = {"headers": {"Accept": "text/event-stream"}}
    build = f"{service}build/gh/org/introduction-to-r/HEAD"
    assert await ask("GET", build, **events, **COOKIES) == 0
    assert await ask("GET", build, **events, **BLIND) == 0
    assert await page.evaluate(WATCH_EVENTS, build) == []
    await page.evaluate(LOAD_IN_EVERY_WAY, build)
    await page.evaluate(POST_A_FORM, f"{service}spawn")
    stats = await world.service.stats()
    assert (stats["claimed"], stats["waiting"]) == (1, 0)

    # Nothing of the visitor's notebook, though the page has found out its id.
    for path in ("api", "api/kernels", "api/contents", "lab", "files/"):
        assert await ask("GET", victim.url + path, **COOKIES) == 0
    body = json.dumps({"name": "python3"})
    for options in (COOKIES, BLIND):
        await ask("POST", f"{victim.url}api/kernels", body=body, **options)
        await ask("DELETE", f"{victim.url}api/kernels/{victim.kernel}", **options)
    await page.evaluate(POST_A_FORM, f"{victim.url}api/kernels")
    assert await victim.kernels(world.service) == 1
    assert (await page.evaluate("u => runCell(u, '1')", victim.socket()))["opened"] is False
    # With the token, Jupyter itself would let any origin read. It is not for a notebook to say.
    assert await ask("GET", f"{victim.url}api/contents?token={victim.token}") == 0
    assert await ask("GET", f"{victim.url}api/contents", headers={"Authorization": f"token {victim.token}"}) == 0


async def test_a_hostile_page_of_a_site_that_is_named(world: World, context: playwright.BrowserContext) -> None:
    victim = await visit(world, context)
    before = await context.cookies()
    page = await page_at(context, world.near)

    async def ask(method: str, url: str, **options: Any) -> int:
        answer = await page.evaluate("([m, u, o]) => ask(m, u, o)", [method, url, options])
        return int(answer["status"])

    # The browser sends the visitor's cookies; they get no further.
    body = json.dumps({"name": "python3"})
    assert await ask("GET", f"{victim.url}api/contents", **BLIND) == 0
    assert await ask("GET", f"{victim.url}api/contents") == REFUSED_BY_JUPYTER
    assert await ask("POST", f"{victim.url}api/kernels", body=body) == REFUSED_BY_JUPYTER
    for options in (COOKIES, BLIND):  # no credentials: the operator did not say so
        assert await ask("GET", f"{victim.url}api/contents", **options) == 0
        assert await ask("POST", f"{victim.url}api/kernels", body=body, **options) == 0
    assert await victim.kernels(world.service) == 1
    assert (await page.evaluate("u => runCell(u, '1')", victim.socket()))["opened"] is False
    assert (await page.evaluate("u => runCell(u, '1')", victim.socket("&token=guess")))["opened"] is False
    # Only our own pages' form gives a notebook, and the visitor's others are not told of.
    assert await ask("POST", f"{world.service.url}spawn") == 0
    assert await ask("GET", f"{world.service.url}") == 0

    # With the token it is let in, and still no cookie is set.
    shown = {"Authorization": f"token {victim.token}"}
    assert await ask("GET", f"{victim.url}api/contents", headers=shown) == 200
    assert await ask("POST", f"{victim.url}api/kernels", headers=shown, body=body) == 201
    ran = await page.evaluate("u => runCell(u, 'print(6 * 7)')", victim.socket(f"&token={victim.token}"))
    assert ran["text"] == "42\n"
    assert await context.cookies() == before


async def test_a_hostile_page_of_a_tokenless_site(world: World, context: playwright.BrowserContext) -> None:
    victim = await visit(world, context)
    page = await page_at(context, world.old)
    # What another way than its own gave is none of its business, whatever the address looks like.
    for path in ("api/kernels", "/api/kernels"):
        answer = await page.evaluate("u => ask('GET', u)", victim.url + path)
        assert (answer["status"], "did not start that notebook" in answer["text"]) == (403, True)
    body = {"body": json.dumps({"name": "python3"}), "mode": "no-cors"}
    assert (await page.evaluate("([u, o]) => ask('POST', u, o)", [f"{victim.url}api/kernels", body]))["status"] == 0
    assert await victim.kernels(world.service) == 1
    assert (await page.evaluate("u => runCell(u, '1')", victim.socket()))["opened"] is False
    # And what a tokenless page started is for pages of that origin only.
    spawned = json.loads((await page.evaluate("u => ask('POST', u)", f"{world.service.url}api/spawn"))["text"])
    own = world.service.url.rstrip("/") + spawned["url"]
    assert (await page.evaluate("u => ask('GET', u)", f"{own}api/contents"))["status"] == 200
    for where, status in ((world.near, REFUSED_BY_JUPYTER), (world.evil, 0)):
        other = await page_at(context, where)
        assert (await other.evaluate("u => ask('GET', u)", f"{own}api/contents"))["status"] == status


LOAD_IN_EVERY_WAY = """async (url) => {
    const made = [
        ["img", "src"], ["script", "src"], ["iframe", "src"], ["embed", "src"], ["object", "data"], ["video", "src"],
    ].map(([tag, name]) => Object.assign(document.createElement(tag), {[name]: url}));
    for (const rel of ["prefetch", "preload", "stylesheet", "modulepreload"]) {
        made.push(Object.assign(document.createElement("link"), {rel, href: url, as: "fetch"}));
    }
    const settled = made.map((one) => new Promise((resolve) => {
        one.onload = one.onerror = resolve;
        setTimeout(resolve, 1000);  // a preload that is never used may say nothing
    }));
    document.body.append(...made);
    await Promise.all(settled);
}"""
POST_A_FORM = """(action) => new Promise((resolve) => {
    const frame = Object.assign(document.createElement("iframe"), {name: "sink" + Math.random()});
    const form = Object.assign(document.createElement("form"), {method: "post", action, target: frame.name});
    document.body.append(frame, form);
    frame.onload = resolve;
    form.submit();
    setTimeout(resolve, 2000);  // a frame whose content may not be framed may say nothing
})"""
