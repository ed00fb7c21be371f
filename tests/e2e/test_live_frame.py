"""What a kernel's HTML may send to anybody from its frame in a page: nothing, as far as browsers can be told.

Somebody listens, and every way that a document has of asking for something is tried against them, in a page that has
no policy of its own, as most have.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import re
import socket
from collections.abc import AsyncIterator, Mapping

import pytest
from aiohttp import web
from playwright.async_api import Page, expect

from tests.e2e.inprocess import Rig, running
from tests.integration.browser_support import browser

pytestmark = pytest.mark.browser

# Each gets a frame of its own, as many of them end the document that they are in. LISTENER is their address.
WAYS = {
    "location": "<script>location.href = '//LISTENER/?location'</script>",
    "location, later": "<script>setTimeout(() => location.assign('//LISTENER/?later'), 300)</script>",
    "navigation": "<script>navigation.navigate('http://LISTENER/?navigation')</script>",
    "refresh": "<meta http-equiv=refresh content='0;url=http://LISTENER/?refresh'>",
    "link": "<a href='http://LISTENER/?link'>x</a><script>document.querySelector('a').click()</script>",
    "link to the top": "<a target=_top href='http://LISTENER/?top'>x</a><script>document.querySelector('a').click()</script>",
    "link elsewhere": "<a target=_blank href='http://LISTENER/?blank'>x</a><script>document.querySelector('a').click()</script>",
    "ping": "<a ping='http://LISTENER/?ping' href='#x'>x</a><script>document.querySelector('a').click()</script>",
    "base": "<base href='http://LISTENER/'><a href='?base'>x</a><script>document.querySelector('a').click()</script>",
    "form": "<form action='http://LISTENER/?form'></form><script>document.forms[0].submit()</script>",
    "form to a frame": "<form target=f method=post action='http://LISTENER/?post'></form><iframe name=f></iframe>"
    "<script>document.forms[0].submit()</script>",
    "popup": "<script>open('http://LISTENER/?popup')</script>",
    "parent": "<script>parent.location = 'http://LISTENER/?parent'</script>",
    "grandparent": "<script>parent.parent.location = 'http://LISTENER/?grandparent'</script>",
    "top": "<script>top.location = 'http://LISTENER/?outermost'</script>",
    "frame": "<iframe src='http://LISTENER/?frame'></iframe>",
    "frame in a frame": "<iframe srcdoc=\"<script>location = 'http://LISTENER/?srcdoc'</script>\"></iframe>",
    "parent of a frame": "<iframe srcdoc=\"<script>parent.location = 'http://LISTENER/?up'</script>\"></iframe>",
    "data": "<script>location = 'data:text/html,<script>location=\"http://LISTENER/?data\"<' + '/script>'</script>",
    "blob": "<script>location = URL.createObjectURL(new Blob(['<script>fetch(\"http://LISTENER/?blob\");"
    "location=\"http://LISTENER/?blob\"<' + '/script>'], {type: 'text/html'}))</script>",
    "blob in a frame": "<iframe></iframe><script>document.querySelector('iframe').src = URL.createObjectURL(new Blob("
    "['<img src=\"http://LISTENER/?blobframe\">'], {type: 'text/html'}))</script>",
    "object": "<object data='http://LISTENER/?object'></object><embed src='http://LISTENER/?embed'>",
    "pictures": "<img src='http://LISTENER/?img'><input type=image src='http://LISTENER/?input'><svg><image "
    "href='http://LISTENER/?svg'/></svg><video poster='http://LISTENER/?poster' src='http://LISTENER/?video'></video>",
    "styles": "<link rel=stylesheet href='http://LISTENER/?css'><style>@import 'http://LISTENER/?import'; "
    "@font-face { font-family: f; src: url('http://LISTENER/?font') } "
    "p { background: url('http://LISTENER/?url'); font-family: f }"
    "</style><p>x</p>",
    "scripts": "<script src='http://LISTENER/?script'></script><script>import('http://LISTENER/?module').catch(String);"
    "new Worker(URL.createObjectURL(new Blob(['importScripts(\"http://LISTENER/?worker\")'])))</script>",
    "requests": "<script>fetch('http://LISTENER/?fetch', {mode: 'no-cors', keepalive: true}).catch(String);"
    "navigator.sendBeacon('http://LISTENER/?beacon'); new EventSource('http://LISTENER/?events');"
    "new WebSocket('ws://LISTENER/?socket')</script>",
    "transport": "<script>new WebTransport('https://LISTENER/?transport').ready.catch(String)</script>",
    "preconnect": "<link rel=preconnect href='http://LISTENER/'><link rel=dns-prefetch href='http://LISTENER/'>",
    "prefetch": "<link rel=prefetch href='http://LISTENER/?prefetch'><link rel=preload as=image "
    "href='http://LISTENER/?preload'><link rel=modulepreload href='http://LISTENER/?modulepreload'>"
    "<link rel=prerender href='http://LISTENER/?prerender'><link rel=icon href='http://LISTENER/?icon'>"
    "<link rel=manifest href='http://LISTENER/?manifest'>",
    "speculation": "<script type=speculationrules>{\"prefetch\": [{\"urls\": [\"http://LISTENER/?speculation\"], "
    "\"eagerness\": \"immediate\"}], \"prerender\": [{\"urls\": [\"http://LISTENER/?prerendering\"]}]}</script>",
}  # fmt: skip
# What no policy of a page's governs in today's browsers (see docs/embedding.md).
OPEN = {
    "connection": "<script>location.href = '//LISTENER/?location'</script>",
    "stun": "<script>const c = new RTCPeerConnection({iceServers: [{urls: 'stun:LISTENER'}]});"
    "c.createDataChannel('x'); c.createOffer().then((offer) => c.setLocalDescription(offer))</script>",
}


CONNECTION = "a connection"


@dataclasses.dataclass
class Listener:
    """Everything that reaches an address, by TCP and UDP."""

    port: int
    heard: list[str]


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[Listener]:
    heard: list[str] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        index = len(heard)
        heard.append(CONNECTION)
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(5):
                heard[index] = (await reader.readline()).decode(errors="replace").strip() or CONNECTION
        writer.close()

    class Datagrams(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            del addr
            heard.append(f"a datagram of {len(data)} bytes")

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        Datagrams, local_addr=("127.0.0.1", port), family=socket.AF_INET
    )
    try:
        async with server:
            yield Listener(port, heard)
    finally:
        transport.close()
        await asyncio.sleep(0)  # it is closed on the loop's next turn


def embedding(frame: str, contents: list[str]) -> str:
    """Another site's page that does with outputs what `live.js` does, and has no policy."""
    values = json.dumps(contents).replace("<", "\\u003c")
    return f"""<!doctype html><title>blog</title><body><script>
        window.told = 0;
        for (const html of {values}) {{
          const frame = document.createElement("iframe");
          frame.setAttribute("sandbox", "allow-scripts");
          frame.src = {json.dumps(frame)};
          addEventListener("message", (event) => {{
            if (event.source !== frame.contentWindow) return;
            if (event.data.tmpnb !== "ready") return;
            const part = {{tmpnb: "part", scripts: [], before: [], part: {{html}}, dark: false}};
            frame.contentWindow.postMessage(part, "*");
            window.told += 1;
          }});
          document.body.append(frame);
        }}
        </script>"""


async def frame_address(rig: Rig) -> str:
    """Where the frame for outputs is, as `live.js` says."""
    async with rig.client.get("/live.js") as response:
        found = re.search(r'const FRAME = "([^"]+)"', await response.text())
    assert found is not None
    return f"http://127.0.0.1:{rig.service.port}/{found[1]}"


@contextlib.asynccontextmanager
async def embedded(contents: list[str]) -> AsyncIterator[Page]:
    """The page, opened. It is served from loopback, where Chromium lets pages ask loopback."""
    async with running() as rig, browser() as context:
        body = embedding(await frame_address(rig), contents)

        async def blog(_: web.BaseRequest) -> web.StreamResponse:
            return web.Response(text=body, content_type="text/html")

        runner = web.ServerRunner(web.Server(blog))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            page = await context.new_page()
            await page.goto(f"http://127.0.0.1:{runner.addresses[0][1]}/")
            yield page
        finally:
            await runner.cleanup()


async def leaks(ways: Mapping[str, str]) -> dict[str, list[str]]:
    """What was heard of each way that was heard of, after a while. The page stays where it is."""
    async with contextlib.AsyncExitStack() as stack:
        listeners = {name: await stack.enter_async_context(listening()) for name in ways}
        contents = [html.replace("LISTENER", f"127.0.0.1:{listeners[name].port}") for name, html in ways.items()]
        page = await stack.enter_async_context(embedded([*contents, "<p>shown</p>"]))
        address = page.url
        await page.wait_for_function(f"window.told > {len(ways)}")
        await expect(page.frame_locator("iframe").last.frame_locator("iframe").locator("p")).to_have_text("shown")
        await asyncio.sleep(5)  # for whatever is slower
        assert page.url == address
        return {name: listener.heard for name, listener in listeners.items() if listener.heard}


async def test_nothing_is_asked_for_from_the_frame() -> None:
    """Chromium opens a connection for a navigation before it asks whether it may, and sends nothing there."""
    heard = await leaks(WAYS)
    assert {name: said for name, said in heard.items() if set(said) != {CONNECTION}} == {}


async def test_what_the_documents_call_open_is_open() -> None:
    """Where a browser closes it one day, the documents can say so."""
    assert set(await leaks(OPEN)) == set(OPEN)
