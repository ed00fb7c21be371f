"""A stand-in for a notebook's server, as strict as Jupyter's: token, login cookie, XSRF.

Every notebook has a secret, which its own page (`lab`) leaves wherever a browser keeps things by origin; and each
serves the hostile page (`evil`), too. What was written into a notebook is in `Notebooks.written`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import parse_qs

from aiohttp import web

from tmpnb_py.core.models import ContainerSpec

_ATTACKS = (Path(__file__).parent / "attacks.js").read_text()
_LAB = """<!doctype html><title>Notebook</title><style>:root {}</style><p id="secret">SECRET</p><script>
"use strict";
const secret = "SECRET";
window.name = "the-other-notebook";
if (parent !== window) parent.postMessage("here " + location.pathname, "*");
localStorage.setItem("secret", secret);
const asked = indexedDB.open("lab");
asked.onupgradeneeded = () => asked.result.createObjectStore("kept");
asked.onsuccess = () => asked.result.transaction("kept", "readwrite").objectStore("kept").put(secret, "secret");
globalThis.caches?.open("lab").then((cache) => cache.put("kept", new Response(secret)));
const channel = new BroadcastChannel("lab");
setInterval(() => channel.postMessage(secret), 100);
navigator.locks?.request(secret, () => new Promise(() => {}));
addEventListener("message", (event) => event.source?.postMessage("heard " + event.data, "*"));
const save = async () => {
  const xsrf = (document.cookie.match(/_xsrf=([^;]*)/) ?? [])[1] ?? "";
  return (await fetch("api/contents/saved", { method: "POST", headers: { "X-XSRFToken": xsrf } })).status;
};
</script>"""
_FILES = {
    "secret.js": ("text/javascript", 'window.stolen = "SECRET";'),
    "secret.mjs": ("text/javascript", 'export const secret = "SECRET";'),
    "secret.css": ("text/css", ':root { --stolen: "SECRET"; }'),
    "secret.svg": ("image/svg+xml", '<svg xmlns="http://www.w3.org/2000/svg" width="321" height="20"/>'),
    "worker.js": ("text/javascript", 'postMessage("SECRET");'),
    "shared.js": ("text/javascript", 'onconnect = (event) => event.ports[0].postMessage("SECRET");'),
}
_PUBLIC = {"api": {"version": "stand-in"}, "api/kernels": [], "api/terminals": []}


class Notebooks:
    """The servers of all notebooks of a test. `written` is what was saved, by the notebook's id."""

    def __init__(self) -> None:
        self.written: dict[str, list[str]] = defaultdict(list)

    def secret(self, container_id: str) -> str:
        """What nobody but its visitor may learn of a notebook."""
        return "precious" + hashlib.sha256(container_id.encode()).hexdigest()[:12]

    def answering(self, spec: ContainerSpec) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """The handler of one notebook."""

        async def answer(request: web.Request) -> web.StreamResponse:
            return await _Server(self, spec).answer(request)

        return answer


class _Server:
    def __init__(self, notebooks: Notebooks, spec: ContainerSpec) -> None:
        self._all = notebooks
        self._spec = spec
        self._login = hashlib.sha256(spec.token.encode()).hexdigest()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        rest = request.path.removeprefix(self._spec.base_path)
        if rest in _PUBLIC:
            return web.json_response(_PUBLIC[rest])
        if rest == "evil" or rest.startswith("evil/"):
            return self._evil(rest)
        if not (self._by_token(request) or request.cookies.get("login") == self._login):
            return web.Response(status=403)
        response = await self._inside(request, rest)
        if self._by_token(request) and not response.prepared:
            response.set_cookie("login", self._login, path=self._spec.base_path, httponly=True)
            response.set_cookie("_xsrf", self._login[:16], path=self._spec.base_path)
        return response

    def _by_token(self, request: web.Request) -> bool:
        shown = request.headers.get("Authorization", "").removeprefix("token ")
        return self._spec.token in (shown, request.query.get("token"))

    def _evil(self, rest: str) -> web.Response:
        if rest == "evil/worker.js":
            return web.Response(text="onfetch = () => {};", content_type="text/javascript")
        if rest == "evil/clear":
            return web.Response(headers={"Clear-Site-Data": '"*"', "Access-Control-Allow-Origin": "*"})
        if rest == "evil/cookies":
            response = web.Response()
            for domain in ("example.org", "example.net", "nb.example.org", "nb.example.net"):
                response.headers.add("Set-Cookie", f"planted-domain=1; Domain={domain}; Path=/")
            response.headers.add("Set-Cookie", "planted-root=1; Path=/")
            return response
        page = f"<!doctype html><title>Evil</title><body><script>{_ATTACKS}</script>"
        unfenced = {"Cross-Origin-Opener-Policy": "unsafe-none"}
        return web.Response(text=page, content_type="text/html", headers=unfenced)

    async def _inside(self, request: web.Request, rest: str) -> web.StreamResponse:  # noqa: PLR0911
        secret = self._all.secret(self._spec.id)
        fenced = {"Content-Security-Policy": "frame-ancestors 'self'"}
        if rest == "lab":
            text = _LAB.replace("SECRET", secret)
            return web.Response(text=text, content_type="text/html", headers=fenced)
        if rest == "api/contents/secret":
            return web.Response(text=secret)
        if rest.startswith("api/contents/") and request.method == "POST":
            return await self._save(request, rest)
        if rest == "api/kernels/1/channels":
            return await self._channels(request, secret)
        if rest == "api/events":
            return web.Response(text=f"data: {secret}\n\n", content_type="text/event-stream")
        if rest.startswith("files/") and (found := _FILES.get(rest.removeprefix("files/"))):
            return web.Response(text=found[1].replace("SECRET", secret), content_type=found[0])
        return web.json_response({"path": rest})

    async def _save(self, request: web.Request, rest: str) -> web.Response:
        body = await request.text()
        shown = request.headers.get("X-XSRFToken") or parse_qs(body).get("_xsrf", [""])[0]
        if not self._by_token(request) and (not shown or shown != request.cookies.get("_xsrf")):
            return web.Response(status=403)
        self._all.written[self._spec.id].append(rest.rpartition("/")[2])
        return web.json_response({}, status=201)

    async def _channels(self, request: web.Request, secret: str) -> web.StreamResponse:
        origin = request.headers.get("Origin", "").partition("://")[2]
        if origin and origin != request.headers["Host"]:
            return web.Response(status=403)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(json.dumps({"secret": secret}))
        await asyncio.sleep(0.2)
        await socket.close()
        return socket
