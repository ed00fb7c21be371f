"""Pages of other sites and the notebooks: what reaches a container of their requests, and what they may read."""

from __future__ import annotations

import pytest
from aiohttp import web

from tests.integration import proxy_support
from tests.integration.proxy_support import (
    HANDSHAKE,
    SWITCHING,
    Message,
    Rig,
    Wire,
    answering,
    echo,
    request,
    response,
)

rig = proxy_support.rig

SITE = "https://workshops.example"
OTHER = "https://evil.example"
CORS = {"allow_origin": (SITE,), "allow_credentials": True, "expose_headers": "X-A"}
OLD = {"tokenless_origin": (SITE,)}
COOKIE = "Cookie: username-t=secret; _xsrf=x\r\n"


def origin(site: str) -> str:
    return f"Origin: {site}\r\n"


def received(answer: Message) -> dict[str, str]:
    """The headers that the echoing container got, by their names in lower case."""
    lines = answer.body.partition(b"\n\n")[0].decode().split("\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


async def application(request: web.Request) -> web.Response:
    return web.Response(text=f"{request.method} {request.raw_path}", headers={"X-Own": "1"})


@pytest.mark.parametrize("shown", ["Authorization: token token\r\n", "Authorization: Bearer token\r\n", ""])
async def test_with_the_token_an_allowed_page_uses_the_notebook(rig: Rig, shown: str) -> None:
    await rig.start()
    rig.set(**CORS)
    server = await rig.server(echo)
    path = "api/kernels" if shown else "api/kernels?token=token"
    headers = origin(SITE) + "Referer: https://workshops.example/\r\nX-XSRFToken: y\r\n" + COOKIE + shown
    answer = await rig.ask(server, path, method="POST", headers=headers, body=b"{}")
    got = received(answer)
    assert "origin" not in got
    assert "referer" not in got
    assert got["cookie"] == "_xsrf=" + got["x-xsrftoken"]
    assert "secret" not in answer.body.decode()
    assert answer.get(b"Access-Control-Allow-Origin") == SITE.encode()
    assert answer.get(b"Access-Control-Allow-Credentials") == b"true"
    assert answer.get(b"Access-Control-Expose-Headers") == b"X-A"
    assert answer.get(b"Vary") == b"Origin"


@pytest.mark.parametrize("path", ["api/kernels", "api/kernels?token=", "api/kernels?token=guess"])
async def test_without_it_the_cookie_does_not_count(rig: Rig, path: str) -> None:
    await rig.start()
    rig.set(**CORS)
    server = await rig.server(echo)
    got = received(await rig.ask(server, path, headers=origin(SITE) + COOKIE + "Authorization: token guess\r\n"))
    assert "cookie" not in got
    assert got["origin"] == SITE
    assert got["authorization"] == "token guess"


@pytest.mark.parametrize(
    "headers", [origin(OTHER), "", origin("http://t"), origin(SITE) + origin(SITE), origin("null")]
)
@pytest.mark.parametrize("cors", [CORS, OLD, {}])
async def test_everybody_else_is_treated_as_ever(rig: Rig, headers: str, cors: dict[str, object]) -> None:
    await rig.start()
    rig.set(**cors)
    server = await rig.server(echo)
    server.container.tokenless_origin = SITE
    answer = await rig.ask(server, headers=headers + COOKIE)
    got = received(answer)
    assert got["cookie"] == "username-t=secret; _xsrf=x"
    assert "authorization" not in got
    assert ("origin" in got) == bool(headers)
    assert not [name for name, _ in answer.headers if name.startswith(b"Access-Control")]
    assert answer.all(b"Vary") == ([b"Origin"] if cors else [])  # a cache must not mix the answers up


@pytest.mark.parametrize("site", [SITE, OTHER, ""])
async def test_a_container_opens_itself_to_nobody(rig: Rig, site: str) -> None:
    await rig.start()
    rig.set(**CORS)
    hostile = (
        f"Access-Control-Allow-Origin: {OTHER}\r\nAccess-Control-Allow-Credentials: true\r\n"
        "Access-Control-Expose-Headers: *\r\nTiming-Allow-Origin: *\r\nSet-Cookie: a=b\r\nVary: Accept\r\n"
    )
    server = await rig.server(answering(response(headers=hostile)))
    answer = await rig.ask(server, headers=origin(site) if site else "")
    expected = [SITE.encode()] if site == SITE else []
    assert answer.all(b"Access-Control-Allow-Origin") == expected
    assert answer.all(b"Access-Control-Expose-Headers") == [b"X-A"] * len(expected)
    assert answer.all(b"Timing-Allow-Origin") == []
    assert answer.all(b"Vary") == [b"Accept", b"Origin"]
    # An allowed site's page gets no cookie: the browser would send it with every later request to this host.
    assert bool(answer.all(b"Set-Cookie")) == (site != SITE)


async def test_every_site_may_be_allowed_and_none_with_credentials(rig: Rig) -> None:
    await rig.start()
    rig.set(allow_origin=("*",), allow_credentials=True)
    server = await rig.server(echo)
    answer = await rig.ask(server, "x?token=token", headers=origin(OTHER) + COOKIE)
    assert answer.all(b"Access-Control-Allow-Origin") == [b"*"]
    assert answer.all(b"Access-Control-Allow-Credentials") == []
    assert "secret" not in answer.body.decode()
    own = received(await rig.ask(server, headers=origin("http://t") + COOKIE))
    assert own["cookie"] == "username-t=secret; _xsrf=x"


async def test_preflights_are_our_own_affair(rig: Rig) -> None:
    await rig.start()
    await rig.application(application)
    server = await rig.server(echo)
    asks = "Access-Control-Request-Method: POST\r\n"
    for cors, site, answered in ((CORS, SITE, True), (CORS, OTHER, False), ({}, SITE, False)):
        rig.set(**cors)
        answer = await rig.ask(server, "/api/kernels", method="OPTIONS", headers=origin(site) + asks)
        assert bool(answer.all(b"X-Own")) == answered
        assert not answered or answer.body == f"OPTIONS /user/{server.container.id}/api/kernels".encode()
    rig.set(**CORS)
    assert not (await rig.ask(server, method="OPTIONS", headers=origin(SITE))).all(b"X-Own")
    assert not server.container.open_connections


async def test_a_preflight_is_no_visit(rig: Rig) -> None:
    await rig.start()
    rig.set(**CORS)
    await rig.application(application)
    server = await rig.server(echo)
    await rig.ask(server, method="OPTIONS", headers=origin(SITE) + "Access-Control-Request-Method: GET\r\n")
    assert not server.container.visited


async def test_a_websocket_of_an_allowed_page(rig: Rig) -> None:
    await rig.start()
    rig.set(**CORS)
    seen: list[Message] = []

    async def script(wire: Wire) -> None:
        seen.append(await wire.request())
        await wire.send(SWITCHING[:-2] + b"Set-Cookie: a=b\r\nAccess-Control-Allow-Origin: *\r\n\r\n")
        await wire.reader.read()

    server = await rig.server(script)
    for path, headers, origins in (
        ("api/kernels/1/channels?token=token", origin(SITE), []),
        ("api/kernels/1/channels", origin(SITE), [SITE.encode()]),
        ("api/kernels/1/channels?token=token", origin(OTHER), [OTHER.encode()]),
    ):
        client = await rig.client()
        await client.send(request(server, path, headers=HANDSHAKE + headers + COOKIE))
        answer = await client.head()
        assert answer.status == 101
        assert seen[-1].all(b"Origin") == origins
        assert (b"username-t=secret; _xsrf=x" in seen[-1].all(b"Cookie")) == (headers == origin(OTHER))
        assert bool(answer.all(b"Set-Cookie")) == (headers == origin(OTHER))
        client.close()


async def test_an_old_clients_page_needs_no_token_for_what_it_claimed(rig: Rig) -> None:
    await rig.start()
    await rig.application(application)
    rig.set(**OLD)
    own, others, unclaimed = [await rig.server(echo) for _ in range(3)]
    own.container.tokenless_origin = SITE
    others.container.tokenless_origin = "https://another.example"
    got = received(await rig.ask(own, "/api/kernels", method="POST", headers=origin(SITE) + COOKIE, body=b"{}"))
    assert got["authorization"] == "token token"
    assert got["cookie"] == "_xsrf=" + got["x-xsrftoken"]
    for server in (others, unclaimed):
        answer = await rig.ask(server, "api/kernels", headers=origin(SITE) + COOKIE)
        assert answer.all(b"X-Own")
        assert not answer.all(b"Access-Control-Allow-Origin")  # the application has its own
        assert server.accepted == 0
        # With its token it is as good as any other allowed page.
        assert received(await rig.ask(server, "api?token=token", headers=origin(SITE)))["host"] == "t"
    # Nobody adds anything where a browser does not say whose page it is (an image, a script, a link).
    assert "authorization" not in received(await rig.ask(own, "api/kernels"))
    # The option was taken away again: what was remembered counts no longer.
    rig.set(**CORS)
    assert "authorization" not in received(await rig.ask(own, "api/kernels", headers=origin(SITE)))


async def test_where_notebooks_have_no_tokens_the_id_is_enough(rig: Rig) -> None:
    await rig.start()
    rig.set(**CORS)
    server = await rig.server(echo)
    server.container.token = ""
    got = received(await rig.ask(server, method="POST", headers=origin(SITE) + COOKIE))
    assert "origin" not in got
    assert got["cookie"] == "_xsrf=" + got["x-xsrftoken"]
    assert "origin" in received(await rig.ask(server, method="POST", headers=origin(OTHER) + COOKIE))


async def test_errors_of_the_proxy_can_be_read_over_there(rig: Rig) -> None:
    await rig.start()
    rig.set(**CORS)

    async def hang_up(wire: Wire) -> None:
        await wire.request()

    server = await rig.server(hang_up)
    for site in (SITE, OTHER):
        answer = await rig.ask(server, "x?token=token", method="POST", headers=origin(site))
        assert answer.status == 502
        assert answer.all(b"Access-Control-Allow-Origin") == ([SITE.encode()] if site == SITE else [])
        assert answer.all(b"Vary") == [b"Origin"]
