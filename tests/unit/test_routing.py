"""Where requests go: by their target, their host and their origin."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from tmpnb_py.core.host_names import Hosts
from tmpnb_py.core.models import State
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.container import Container
from tmpnb_py.proxy.exchange import ClientSide, Exchange
from tmpnb_py.proxy.header_rules import ClientFacts
from tmpnb_py.proxy.request_reader import RequestReader
from tmpnb_py.proxy.routing import Router
from tmpnb_py.proxy.strictness import BadRequestError
from tmpnb_py.proxy.upstream import UpstreamConnection
from tmpnb_py.proxy.upstreams import Upstreams

CLIENT = ClientFacts("192.0.2.1")


class Sessions:
    """One session, `abc`, of a container that was started below another base."""

    def __init__(self) -> None:
        self.container = Container("abc", "digest", "token", created_at=0.0, changed_at=0.0, base_url="/old/")
        self.container.state = State.CLAIMED

    def session(self, container_id: str) -> Container | None:
        return self.container if container_id == "abc" else None


async def _dial(_factory: Callable[[], UpstreamConnection]) -> UpstreamConnection:
    raise OSError


def router(sessions: Sessions, **options: object) -> tuple[Router, Upstreams]:
    settings = Settings.model_validate({"allowed_hosts": "ours.example", "base_url": "/new/", **options})
    live, upstreams = LiveOptions(settings), Upstreams(_dial)
    hosts = live.derive(lambda settings: Hosts(settings.allowed_hosts, (), settings.session_host or ""))
    made = Router(sessions, upstreams, live, hosts)
    made.know(sessions.container)
    return made, upstreams


def exchange(
    made: Router, target: str, *, method: str = "GET", host: str = "ours.example", more: str = ""
) -> Exchange:
    reader = RequestReader()
    reader.received = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode()
    request = reader.head(CLIENT, 8192)
    assert request is not None
    return made.exchange(cast(ClientSide, None), request, CLIENT)


@pytest.mark.parametrize(
    "target", ["/old/user/abc/lab?x", "/new/user/abc/lab?x", "/user/abc/lab?x", "//us%65r/abc//lab?x"]
)
def test_a_session_is_reached_below_each_base_and_gets_its_own(target: str) -> None:
    sessions = Sessions()
    made, upstreams = router(sessions)
    one = exchange(made, target)
    assert one.container is sessions.container
    assert one.upstream is upstreams.of(sessions.container)
    assert one.head.startswith(b"GET /old/user/abc/lab?x HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("target", "passed_on"),
    [
        ("/new/api/stats", "/api/stats"),
        ("/new/user/xyz/lab", "/user/xyz/lab"),
        ("/user/abc", "/user/abc"),
        ("/", "/"),
    ],
)
def test_all_else_is_for_our_own_application_which_sees_no_base(target: str, passed_on: str) -> None:
    made, upstreams = router(Sessions())
    one = exchange(made, target)
    assert (one.container, one.upstream) == (None, upstreams.application)
    assert one.head.startswith(f"GET {passed_on} HTTP/1.1\r\n".encode())


def test_so_is_what_was_sent_to_a_name_that_is_none_of_ours() -> None:
    made, _ = router(Sessions())
    assert exchange(made, "/user/abc/lab", host="evil.example").container is None


def test_a_method_of_a_notebook_server_is_refused_elsewhere() -> None:
    made, _ = router(Sessions())
    assert exchange(made, "/user/abc/x", method="PURGE").container is not None
    with pytest.raises(BadRequestError) as refused:
        exchange(made, "/api/x", method="PURGE")
    assert refused.value.status == 501


def test_a_browser_that_was_sent_to_the_login_page_is_told_whose_notebook_it_is() -> None:
    made, _ = router(Sessions())
    login = "/user/abc/login?next=%2Fuser%2Fabc%2Flab"
    assert exchange(made, login, more="Accept: text/html\r\n").container is None
    assert exchange(made, login).container is not None


def test_another_sites_page_needs_the_token() -> None:
    sessions = Sessions()
    made, _ = router(sessions, allow_origin="https://site.example")
    origin = "Origin: https://site.example\r\nCookie: a=b\r\n"
    shown = exchange(made, "/user/abc/api", more=origin + "Authorization: token token\r\n")
    assert b"Cookie: _xsrf=" in shown.head
    assert shown.request.answer_headers
    assert b"ookie" not in exchange(made, "/user/abc/api", more=origin).head
    preflight = exchange(
        made, "/user/abc/x", method="OPTIONS", more=origin + "Access-Control-Request-Method: PUT\r\n"
    )
    assert preflight.container is None


def test_a_session_that_has_ended_has_no_connections() -> None:
    sessions = Sessions()
    made, upstreams = router(sessions)
    exchange(made, "/user/abc/lab")
    assert upstreams.state.keys() == {"", "abc"}
    upstreams.drop("abc")
    assert upstreams.state.keys() == {""}
