"""Mathematics and Markdown as browsers show them on notes pages, saved and live. Needs Chromium, and no engine.

Screenshots go to tests/artifacts/, for people to look at.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, Request

from tests.e2e.inprocess import running
from tests.e2e.test_notes import PAGE, host, notebook
from tests.integration.browser_support import browser, picture
from tests.unit.test_math import VECTORS
from tests.unit.test_notes import FORMULAS, HOSTILE, SAFE_TAGS
from tmpnb_py.web.assets import source
from tmpnb_py.web.pages import live_script

pytestmark = pytest.mark.browser


def text(*paragraphs: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": "\n\n".join(paragraphs)}


def shown(**forms: str) -> dict[str, Any]:
    data = {f"text/{name}": content for name, content in forms.items()}
    output = {"output_type": "display_data", "metadata": {}, "data": data}
    return {"cell_type": "code", "metadata": {}, "source": "1", "execution_count": 1, "outputs": [output]}


@contextlib.asynccontextmanager
async def opened(*cells: dict[str, Any], **options: Any) -> AsyncIterator[tuple[Page, list[str], list[str]]]:
    """A notes page with its formulas drawn, what was loaded for it, and what the console complained of."""
    async with host(notebook(text("# Title"), *cells)) as machine, running(machine, pool_size=0) as rig:
        async with rig.client.get("/") as response:
            await response.read()
        await rig.until(lambda: rig.service.served.catalogue.image is not None)
        async with browser(**options) as context:
            page = await context.new_page()
            loaded: list[str] = []
            troubles: list[str] = []

            def note(request: Request) -> None:
                loaded.append(re.sub(r"-[0-9a-f]{12}", "", request.url.rpartition("/")[2]))

            page.on("request", note)
            page.on("console", lambda one: troubles.append(one.text) if one.type in ("error", "warning") else None)
            page.on("pageerror", lambda error: troubles.append(str(error)))
            await page.goto(f"http://127.0.0.1:{rig.service.port}{PAGE}")
            await drawn(page)
            yield page, loaded, troubles


async def drawn(page: Page) -> None:
    """Wait until each formula is drawn, or says why it is not."""
    await page.locator("code.tn-latex:not([title])").first.wait_for(state="hidden")
    while await page.locator("code.tn-latex:not([title])").count():
        await page.wait_for_timeout(50)
    await page.wait_for_timeout(200)  # what is too wide is found a moment later


LOOK = """() => [...document.querySelectorAll(".tn-math")].map((one) => {
    const box = (element) => {
        const { left, top, right, bottom } = element.getBoundingClientRect();
        return { left, top, right, bottom, d: element.getAttribute("d") || element.localName };
    };
    return {
        said: one.querySelector("math").textContent,
        rows: one.querySelectorAll("mtr").length,
        text: box(one), picture: box(one.querySelector("svg")),
        marks: [...one.querySelectorAll("svg path[d]:not([d='']), svg line, svg rect[stroke-width]")].map(box),
        wider: one.scrollWidth > one.clientWidth, focusable: one.tabIndex === 0,
        link: one.querySelector("a")?.getAttribute("href") || "",
        ids: [...one.querySelectorAll("[id]")].map(({ id }) => id),
        red: one.querySelectorAll("[fill='red']").length,
    };
})"""


async def test_formulas_look_as_in_jupyterlab() -> None:
    cells = [
        text("as \\eqref{later} says", "$x_2$", "$x^2$", "| p |\n|---|\n| $P(A|B)$ |"),
        text(
            "\\begin{align*} x &= y \\\\ xxx &= z\\end{align*}",
            "\\begin{equation}\\label{later} a = b\\end{equation}",
        ),
        text("\\begin{align} a &= b \\nonumber \\\\ &= c \\tag{*} \\\\ &= d \\end{align}"),
        text("$\\newcommand{\\E}[1]{\\mathbb{E}[#1]}$"),
        text(
            "$\\E{X}$", "$$\\begin{array}{c|c} a & b \\\\ \\hline c & d \\end{array}$$", "$\\cancel{y}$ $\\boxed{y}$"
        ),
        text("\\\\(\\boldsymbol{\\beta}\\\\)", "\\\\[\\begin{dcases} \\frac12 & x \\\\ 0 & y \\end{dcases}\\\\]"),
        text(
            "$$\\begin{alignat}{2} a&=b &\\quad c&=d\\end{alignat}$$",
            "$$s \\label{s}$$ \\ref{s}",
            "$" + "x + " * 60 + "x$",
        ),
        shown(latex="$\\displaystyle \\frac{1}{2}$", plain="1/2"),
    ]
    size = {"width": 390, "height": 800}
    async with opened(*cells, viewport=size, color_scheme="dark") as (page, loaded, troubles):
        assert troubles == []
        assert await page.locator("code.tn-latex").count() == 0
        assert "math.html" in loaded
        assert "markdown.html" not in loaded
        formulas = await page.evaluate(LOOK)
        for one in formulas:
            if "newcommand" in one["said"] or not one["marks"]:
                continue
            assert one["picture"]["right"] - one["picture"]["left"] > 4, one
            assert one["picture"]["bottom"] - one["picture"]["top"] > 4, one
            assert one["red"] == 0, one
            for mark in one["marks"]:
                assert mark["top"] > one["picture"]["top"] - 3, one
                assert mark["bottom"] < one["picture"]["bottom"] + 3, one
        (
            reference,
            below,
            above,
            table,
            align,
            equation,
            several,
            _macro,
            use,
            array,
            cancel,
            boxed,
            bold,
            cases,
            *rest,
        ) = formulas
        assert (reference["said"], equation["said"]) == ("(1)", "(1)a=b")
        assert reference["link"] == "#mjx-eqn%3Alater"
        assert "mjx-eqn:later" in equation["ids"]
        for script, edge, sign in ((below, "bottom", 1), (above, "top", -1)):
            base, number = script["marks"]
            assert (number[edge] - base[edge]) * sign > 1, script
            assert number["bottom"] - number["top"] < base["bottom"] - base["top"] + 4
        assert table["said"] == "P(A|B)"
        (first,), (second,) = ([one for one in marks if one["d"] == equals] for marks, equals in _rows(align))
        assert abs(first["left"] - second["left"]) < 0.5
        assert first["bottom"] < second["top"]
        assert "(*)" in several["said"]
        assert several["said"].count("(") == 2
        assert use["said"] == "E[X]" or "X" in use["said"]
        assert [one["d"] for one in array["marks"]].count("line") == 2
        assert [one["d"] for one in cancel["marks"]].count("line") == 1
        assert [one["d"] for one in boxed["marks"]].count("rect") == 1
        assert bold["marks"]
        assert cases["rows"] == 2
        assert [one["said"] for one in rest][1:3] == ["(4)s", "4"], [one["said"] for one in rest]
        long, saved = rest[-2:]
        assert long["wider"]
        assert long["focusable"]
        assert saved["said"] == "12"
        assert await page.evaluate("document.documentElement.scrollWidth") == size["width"]
        results = await Axe().run(page)
        assert results.violations_count == 0, results.generate_report()
        await picture(page, "mathematics-phone-dark", full_page=True)


def _rows(align: dict[str, Any]) -> list[tuple[list[dict[str, Any]], str]]:
    """The marks of two lines, with the sign that both of them have in the middle."""
    middle = (align["picture"]["top"] + align["picture"]["bottom"]) / 2
    lines = [[one for one in align["marks"] if (one["top"] < middle) == upper] for upper in (True, False)]
    shared = {one["d"] for one in lines[0]} & {one["d"] for one in lines[1]}
    (equals,) = [d for d in shared if d.startswith("M56 347")]  # that of this font
    return [(line, equals) for line in lines]


async def test_a_page_without_mathematics_loads_nothing_for_it_and_broken_or_hostile_formulas_harm_nobody() -> None:
    async with opened(text("no formulas: $5 and $6"), shown(plain="$x$")) as (page, loaded, _):
        await page.wait_for_timeout(300)
        assert sorted(set(loaded)) == ["", "notes.css", "notes.js"]
    hostile = [
        "\\href{javascript:alert(1)}{x} \\class{tn-cell}{x} \\cssId{main}{x}",
        "\\style{position:fixed}{x} \\unicode{65}",
        "\\color{url(//evil.example/x)}{y}",
        "\\text{<img src=x onerror=alert(1)></text></svg><script>alert(1)</script>}",
        '\\begin{align}x\\label{\\" onload=alert(1) }\\end{align}',
        "\\require{html} \\bbox[position:fixed;inset:0;background:url(//evil.example/y)]{z}",
        "\\mmlToken{mi}[onclick='x()' href='javascript:x' style='color:red' class='tn-run' id='main']{q}",
        "\\data{x=y}{z} \\toggle{a}{b}\\endtoggle \\tooltip{a}{b}",
    ]
    bombs = [
        "\\def\\a{\\a\\a}\\a",
        "\\frac{1}{",
        "\\sqrt{" * 900 + "}" * 900,
        "\\rule{99999999em}{9999999em}",
        "\\begin{matrix}" + "a&" * 3000 + "\\end{matrix}",
    ]
    cells = [text(*(f"$${one}$$" for one in (*hostile, *bombs))), text("$l_{ast}$")]
    async with opened(*cells) as (page, loaded, troubles):
        assert troubles == []
        assert not any("evil" in one for one in loaded)
        assert await page.locator("code.tn-latex[title]").count() >= len(bombs)
        last = page.locator(".tn-math").last
        assert await last.locator("math").text_content() == "last"
        found = await page.evaluate(
            """() => [...document.querySelectorAll(".tn-math *")].flatMap((one) => [one.localName,
                ...[...one.attributes].map(({ name, value }) => `${name}=${value}`)])"""
        )
        bad = re.compile(
            r"script|img|^on|javascript|url\(|^id=(?!mjx-eqn:)|^href=(?!#mjx-eqn)|^class=(?!mjx-)"
            r"|^style=.*(?:position|color)"
        )
        assert [one for one in found if bad.search(one)] == []


SAME = [
    "# One\n\n## Two *with* `code`\n\ntext  \nbreak **bold** ~~gone~~ \\* &amp; &nbsp; <b>html</b> ©\n\n---",
    "- [ ] a\n- [x] b\n- c\n  1. d\n  2. e\n\n3. start\n4. on",
    "| a | b |\n|--:|:-:|\n| $P(A|B)$ | `x` |\n| 1 | 2 |",
    "> quote $x$\n> $$\n> y\n> $$\n\n    indented $z$\n\n```\nplain $w$\n```",
    "$a_1$ and *$b_1$* \\\\(c\\\\) \\begin{align} d &= e \\\\ f \\end{align} \\ref{g}",
    "<div align='center' style='color: red'>in $h$ <kbd>$k$</kbd></div>\n\n<font color='red'>r</font>",
    "<script>alert(1)</script><style>p {}</style><iframe src='https://www.youtube.com/embed/abc'></iframe> after",
    "[l](https://example.org/?a=b&c) <https://example.org> https://example.org/$x$ me@example.org [j](javascript:x)",
    "![p](https://example.org/p.png) ![](//example.org/q.png) <video src='https://example.org/v.mp4'></video>",
    "<div class='alert alert-info other'>box</div>\n<details open><summary>s</summary>\n\ninside\n\n</details>",
    "<table><tr><td colspan=2 rowspan=x>1</td></tr></table><ol start=3><li>x</ol> <a href='https://x.example'>a</a>",
    "tnmath0x0x $x$ a $5 and $6 <!-- $c$ --> <b title='$t$'>$u$</b>",
    "<constructor src='https://example.org/x'>named</constructor> <tostring>as what objects have</tostring>",
    "*a **b** _c_ ***d*** a_b_c [ref] [x][ref]\n\n[ref]: https://example.org 'Title $q$'\n\n<b>unclosed <i>tags",
    '1) one\n2) two\n\n* * *\n\nSetext\n===\n\nEnd\\\nbreak "quotes" -- ... (c)',
]

# Elements in their order, with attributes in theirs; texts next to each other as one.
CANONICAL = """(element) => {
    const write = (node) => {
        if (node.nodeType === Node.TEXT_NODE) return node.data;
        if (node.nodeType !== Node.ELEMENT_NODE) return "";
        const isCode = node.localName === "code";
        const attributes = [...node.attributes].filter(({ name, value }) => value && (!isCode || name !== "title"))
            .map(({ name, value }) => `${name}=${value}`).sort().join(" ");
        const kind = node.classList.contains("tn-math") ? node.className : node.localName;
        if (node.classList.contains("tn-math")) return `<${kind}>${node.querySelector("math").textContent}`;
        return `<${kind} ${attributes}>${[...node.childNodes].map(write).join("")}</>`;
    };
    return [...element.childNodes].map(write).join("").replace(/\\s*\\n\\s*/g, "\\n").trim();
}"""

LIVE = """async ([kind, source, address]) => {
    const { Renderer } = await import(address);
    window.renderer ||= new Renderer((code) => code, (text) => text);
    const element = document.createElement("div");
    document.querySelector("main").append(element);
    window.renderer.show(kind, source, element);
    const started = performance.now();
    const waits = () => !element.className || element.querySelector("code.tn-latex:not([title])");
    while (waits() && performance.now() - started < 20000) await new Promise((resolve) => setTimeout(resolve, 20));
    return CANONICAL(element);
}""".replace("CANONICAL", f"({CANONICAL})")


# What is in the page behind its first elements, except within formulas.
LEFT = """(count) => [...document.querySelectorAll("main *")].slice(count).filter((one) => !one.closest(".tn-math"))
    .map((one) => [one.localName, Object.fromEntries([...one.attributes].map(({ name, value }) => [name, value]))])"""


async def test_live_outputs_look_as_saved_ones() -> None:
    sources = [
        *(("markdown", one) for one in SAME),
        ("latex", "$\\frac{a}{b}$ and \\[x\\]"),
        ("latex", "\\(y\\) & <z>"),
    ]
    cells = [shown(**{kind: content}) for kind, content in sources]
    async with opened(*cells, text("$x$")) as (page, _, troubles):
        saved = [await one.evaluate(CANONICAL) for one in await page.locator(".tn-outputs > .tn-text").all()]
        assert len(saved) == len(sources)
        script = await page.evaluate(
            "performance.getEntriesByType('resource').find(({ name }) => name.includes('renderer')).name"
        )
        live = [await page.evaluate(LIVE, [kind, content, script]) for kind, content in sources]
        for before, now, (_kind, content) in zip(saved, live, sources, strict=True):
            assert now == before, content
        assert troubles == []
        await picture(page, "mathematics-saved-and-live", full_page=True)
        before = await page.locator("main *").count()
        for content in HOSTILE:
            await page.evaluate(LIVE, ["markdown", f"$x$ {content} $y$", script])
        found = await page.evaluate(LEFT, before)
        assert {name for name, _ in found} <= {*SAFE_TAGS, "ins", "s", "font"}
        for _name, attributes in found:
            known = {"href", "src", "rel", "title", "class", "tabindex", "role", "aria-label", "open", "alt"}
            assert set(attributes) <= known, attributes
            assert re.match(r"data:image/|$", attributes.get("src", "")), attributes
            assert re.match(r"https?:|mailto:|#|$", attributes.get("href", "")), attributes


HANGING = """onmessage = ({ data }) => {
    for (const { number, tex } of data) {
        postMessage({ at: number });
        if (tex === "die") throw new Error("x");
        while (tex === "hang");
        postMessage({ number, made: [tex] });
    }
    postMessage({ done: true });
};"""


@pytest.mark.parametrize("is_ordered", [True, False])
async def test_what_takes_for_ever_is_given_up_and_the_rest_is_drawn(is_ordered: bool) -> None:
    sandbox = live_script.sandbox(HANGING, is_ordered=is_ordered).replace("MAX_SECONDS = 10", "MAX_SECONDS = 0.5")
    async with browser() as context:
        page = await context.new_page()
        await page.set_content("<iframe sandbox='allow-scripts'></iframe>")
        made = await page.evaluate(
            """([html, sources]) => new Promise((resolve) => {
                const frame = document.querySelector("iframe");
                const made = {};
                let sent = 0;
                const numbered = (some) => some.map((tex) => ({ tex, number: sent++ }));
                const send = (some) => frame.contentWindow.postMessage(numbered(some), "*");
                addEventListener("message", ({ data: { ready, number, error, made: trees } }) => {
                    if (ready) sources.forEach(send);
                    else made[number] = error ? "failed" : trees[0];
                    if (Object.keys(made).length === sources.flat().length) resolve(Object.values(made));
                });
                frame.srcdoc = html;
            })""",
            [sandbox, [["a", "hang", "b"], ["die", "c"], ["hang", "d"]]],
        )
        assert made == ["a", "failed", "b", "failed", "c", "failed", "d"]


async def test_libraries_are_kept_by_browsers_and_can_reach_nothing() -> None:
    async with host() as machine, running(machine, pool_size=0) as rig:
        for name, large in (("math", True), ("markdown", False)):
            path = next(one for one in live_script.bundle().assets.names if one.startswith(f"{name}-"))
            for coding, most in (("gzip", 800_000), ("identity", 2_200_000)):
                async with rig.client.get(f"/assets/{path}", headers={"Accept-Encoding": coding}) as response:
                    assert response.status == 200
                    assert 10_000 < int(response.headers["Content-Length"]) < (most if large else most / 10)
                    assert response.headers["Cache-Control"].endswith("immutable")
                    policy = response.headers["Content-Security-Policy"]
            for rule in ("sandbox allow-scripts;", "default-src 'none'", "script-src 'sha256-", "worker-src blob:"):
                assert rule in policy
            assert "connect-src" not in policy


async def test_browsers_find_the_same_formulas() -> None:
    async with browser() as context:
        page = await context.new_page()
        find = f"([text, isMarkdown]) => {{ {source('live/delimiters.js')}; return formulasIn(text, isMarkdown); }}"
        for vector in VECTORS:
            found = await page.evaluate(find, [vector["source"], True])
            assert [[one["tex"], one["display"]] for one in found] == vector["formulas"], vector
        for formulas, count in FORMULAS:
            found = await page.evaluate(find, [formulas, True])
            assert len(found) == (count or len(re.findall(r"^# ", formulas)) * 2), formulas
        for latex in ("$x$ \\(y\\)", "\\\\(a\\\\)", "$5 and $6", "\\begin{tabular}x\\end{tabular}"):
            assert len(await page.evaluate(find, [latex, False])) == {"$x$ \\(y\\)": 2, "$5 and $6": 1}.get(latex, 0)
