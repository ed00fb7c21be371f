"""How `/live.js` reads blocks of code as site generators write them, in Chromium."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import Page

from tests.integration.browser_support import browser
from tmpnb_py.core import languages
from tmpnb_py.web.assets import source

pytestmark = pytest.mark.browser

_READ = """
window.read = (selector) => [...document.querySelectorAll(selector)].map((block) => {
  const language = languageOf(block);
  return [language, canonical(language), codeOf(block, language)];
});
"""

# What a generator makes of a block, the selector for its blocks, and how they are to be read.
CASES = {
    "by hand": ('<pre data-executable data-language="R">x &lt;- 1\n</pre>', ("R", "r", "x <- 1")),
    "empty lines and blanks around it": (
        "<pre class='language-py'>\n\n  a = 1\n\n</pre>",
        ("py", "python", "  a = 1"),
    ),
    "CommonMark": ('<pre><code class="language-bash">echo 1\n</code></pre>', ("bash", "bash", "echo 1")),
    "Quarto": (
        (
            '<div class="sourceCode cell-code"><pre class="sourceCode r code-with-copy"><code class="sourceCode r">'
            '<span id="cb1-1"><a href="#cb1-1" aria-hidden="true"></a>x <span class="ot">&lt;-</span> <span '
            'class="dv">3</span></span>\n<span id="cb1-2"><a href="#cb1-2"></a>sqrt(x)</span></code><button '
            'title="Copy to Clipboard" class="code-copy-button"><i class="bi">Copy</i></button></pre></div>'
        ),
        ("r", "r", "x <- 3\nsqrt(x)"),
    ),
    "Sphinx": (
        (
            '<div class="highlight-r notranslate"><div class="highlight"><pre><span></span><span class="n">x</span>'
            '<span class="w"> </span><span class="o">&lt;-</span> 3\n</pre></div></div>'
        ),
        ("r", "r", "x <- 3"),
    ),
    "Sphinx without a language": ('<div class="highlight-default notranslate"><pre>x</pre></div>', ("", "", "x")),
    "Sphinx with prompts": (
        (
            '<div class="highlight-python"><div class="highlight"><pre><span></span><span class="gp">&gt;&gt;&gt; '
            '</span>print(1)\n<span class="go">1</span>\n<span class="gp">&gt;&gt;&gt; </span>x = 2\n</pre>'
        ),
        ("python", "python", "print(1)\nx = 2"),
    ),
    "Sphinx with line numbers": (
        (
            '<div class="highlight-ipython3"><pre><span class="linenos">1</span>print(5)\n'
            '<span class="linenos">2</span>x</pre></div>'
        ),
        ("ipython3", "python", "print(5)\nx"),
    ),
    "Jekyll": (
        (
            '<div class="language-r highlighter-rouge"><div class="highlight"><pre class="highlight"><code>x\n</code>'
            "</pre></div></div>"
        ),
        ("r", "r", "x"),
    ),
    "MkDocs": (
        (
            '<div class="language-python highlight"><pre><span></span><code><a id="__codelineno-0-1" '
            'href="#__codelineno-0-1"></a><span class="nb">print</span>(1)\n</code></pre></div>'
        ),
        ("python", "python", "print(1)"),
    ),
    "R Markdown": ('<pre class="r"><code>summary(cars$speed)</code></pre>', ("r", "r", "summary(cars$speed)")),
    "Docusaurus": (
        (
            '<div class="language-python codeBlockContainer"><pre tabindex="0" class="prism-code language-python '
            'codeBlock"><code><span class="token-line"><span class="token plain">for i in range(2):</span>'
            "<br></span>"
            '<span class="token-line"><span class="token plain">    print(i)</span><br></span></code></pre></div>'
        ),
        ("python", "python", "for i in range(2):\n    print(i)"),
    ),
    "GitHub": ('<div class="highlight highlight-source-shell"><pre>ls\n</pre></div>', ("shell", "bash", "ls")),
    "Hugo": ('<pre class="chroma"><code data-lang="python">x</code></pre>', ("python", "python", "x")),
    "a transcript in Python": (
        '<pre data-language="python">&gt;&gt;&gt; for i in (1,):\n...     print(i)\n...\n1\n&gt;&gt;&gt; 2</pre>',
        ("python", "python", "for i in (1,):\n    print(i)\n\n2"),
    ),
    "a transcript of a shell": ("<pre class='language-console'>$ echo a\na\n</pre>", ("console", "bash", "echo a")),
    "a transcript in R": ('<pre data-language="r">&gt; f(1,\n+ 2)\n[1] 3</pre>', ("r", "r", "f(1,\n2)")),
    "what only looks like a prompt": ('<pre data-language="r">1 +\n+ 2</pre>', ("r", "r", "1 +\n+ 2")),
    "another language": ('<pre class="language-julia"><code>1</code></pre>', ("julia", "julia", "1")),
    "classes of styles are no languages": ('<pre class="code-block dark wide"><code>1</code></pre>', ("", "", "1")),
}


@pytest.fixture(scope="module")
def script() -> str:
    table = f"const LANGUAGES = {json.dumps(languages.for_pages())};\n"
    return table + source("live/languages.js") + source("live/block.js") + _READ


async def read(page: Page, html: str, script: str) -> list[list[str]]:
    await page.set_content(f"<!doctype html><html lang='en'><body>{html}</body></html>")
    await page.add_script_tag(content=script)
    found: list[list[str]] = await page.evaluate("read('pre')")
    return found


async def test_blocks_of_site_generators(script: str) -> None:
    async with browser() as context:
        page = await context.new_page()
        for name, (html, expected) in CASES.items():
            assert await read(page, html, f"(() => {{{script}}})();") == [list(expected)], name
