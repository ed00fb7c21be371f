"""Who asks: everything that handlers decide by, read from headers and cookies alone."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from multidict import CIMultiDict
from pydantic import SecretStr

from tests.web_support import ADDRESS, World, serving
from tmpnb_py.core.models import EndReason
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.container import Container
from tmpnb_py.web import cookies
from tmpnb_py.web.visitor import Visitor

HOST = "notebooks.example"
OURS, THEIRS = f"https://{HOST}", "https://other.example"
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
ROBOT = "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"


@dataclasses.dataclass(frozen=True)
class Asked:
    """A request as far as a visitor is read from it."""

    headers: CIMultiDict[str]
    cookies: Mapping[str, str]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with serving(tmp_path) as world:
        yield world


def visitor(world: World, headers: Mapping[str, str] | None = None, **jar: str) -> Visitor:
    """Who sends these headers, with these cookies."""
    given = CIMultiDict({"Host": HOST, "X-Forwarded-For": ADDRESS, **(headers or {})})
    return Visitor(Asked(given, {name.replace("_", "-"): value for name, value in jar.items()}), world.context)


def change(world: World, **options: Any) -> None:
    """Put other values of these options in force."""
    options_now = world.context.options
    options_now.replace(Settings(**{**options_now.current.model_dump(), **options}))


def cookie_of(*sessions: Any) -> str:
    """The cookie that names these sessions."""
    return ".".join(map(cookies.entry, sessions))


async def test_a_visitor_does_not_keep_the_request(world: World) -> None:
    """The request keeps its visitor. In a circle, both would be left to the garbage collector."""
    asked = Asked(CIMultiDict({"Host": HOST}), {})
    who, request = Visitor(asked, world.context), weakref.ref(asked)
    del asked
    assert request() is None
    assert who.sessions == []


@pytest.mark.parametrize(
    ("headers", "is_foreign", "is_on_our_page"),
    [
        ({}, False, False),  # a program
        ({"Origin": OURS}, False, True),
        ({"Origin": OURS.upper()}, False, True),
        ({"Origin": THEIRS}, True, False),
        ({"Origin": "null"}, True, False),
        ({"Origin": f"https://{HOST}.evil.example"}, True, False),
        ({"Origin": OURS, "Sec-Fetch-Site": "cross-site"}, False, True),
        ({"Sec-Fetch-Site": "same-origin"}, False, True),
        ({"Sec-Fetch-Site": "none"}, False, False),  # typed in
        ({"Sec-Fetch-Site": "same-site"}, True, False),
        ({"Sec-Fetch-Site": "cross-site"}, True, False),
    ],
)
def test_whose_page_asks(world: World, headers: dict[str, str], is_foreign: bool, is_on_our_page: bool) -> None:
    asks = visitor(world, headers)
    assert (asks.is_foreign, asks.is_on_our_page) == (is_foreign, is_on_our_page)
    assert asks.is_refused_site is is_foreign


def test_a_site_that_the_operator_allows_is_foreign_and_not_refused(world: World) -> None:
    change(world, allow_origin=(THEIRS,))
    asks = visitor(world, {"Origin": THEIRS})
    assert (asks.is_foreign, asks.is_allowed_origin, asks.is_refused_site) == (True, True, False)


@pytest.mark.parametrize(
    ("headers", "hides"),
    [
        ({}, False),
        ({"User-Agent": "curl/8.9.1"}, False),
        ({"User-Agent": BROWSER}, True),
        ({"User-Agent": BROWSER, "Referer": f"{OURS}/spawn"}, False),
        ({"User-Agent": BROWSER, "Referer": f"{THEIRS}/page"}, True),
        ({"User-Agent": BROWSER, "Referer": "http://[broken"}, True),
        ({"User-Agent": BROWSER, "Sec-Fetch-Site": "cross-site"}, False),  # says it, and is refused for that
        ({"User-Agent": BROWSER, "Origin": THEIRS}, False),
    ],
)
def test_a_browser_that_says_of_no_page_that_it_asks(world: World, headers: dict[str, str], hides: bool) -> None:
    assert visitor(world, headers).hides_its_page is hides
    change(world, allow_origin=("*",))  # a notebook's page may say nothing of itself, too
    assert visitor(world, headers).hides_its_page is hides


@pytest.mark.parametrize(("agent", "is_robot"), [(ROBOT, True), (BROWSER, False), ("curl/8.9.1", False), ("", False)])
def test_robots_say_so(world: World, agent: str, is_robot: bool) -> None:
    assert visitor(world, {"User-Agent": agent}).is_robot is is_robot


@pytest.mark.parametrize(
    ("shown", "has_it"),
    [("token secret", True), ("Bearer secret", True), ("token other", False), ("Basic secret", False), ("", False)],
)
def test_the_api_token(world: World, shown: str, has_it: bool) -> None:
    assert not visitor(world, {"Authorization": shown}).shows_api_token, "none is set"
    world.context.options.current = Settings(api_auth_token=SecretStr("secret"))  # a reload does not take that on
    assert visitor(world, {"Authorization": shown}).shows_api_token is has_it


def test_whom_a_notebook_counts_for(world: World) -> None:
    assert visitor(world).quota_key == "", "nobody counts"
    change(world, max_notebooks_per_address=2)
    key = visitor(world).quota_key
    assert len(key) == 32
    assert ADDRESS not in key
    assert visitor(world, {"X-Forwarded-For": f"198.51.100.9, {ADDRESS}"}).quota_key == key, "what it says is ignored"
    assert visitor(world, {"X-Forwarded-For": "198.51.100.9"}).quota_key != key
    world.context.options.current = Settings(api_auth_token=SecretStr("secret"), max_notebooks_per_address=2)
    assert visitor(world, {"Authorization": "token secret"}).quota_key == ""


def test_an_address_of_any_bytes_can_be_logged(world: World) -> None:
    assert visitor(world, {"X-Forwarded-For": "\udcff"}).address.encode() == b"\\udcff"


@pytest.mark.parametrize(
    ("destination", "may_be_told"), [(None, True), ("document", True), ("iframe", False), ("empty", False)]
)
def test_who_may_be_told_of_sessions(world: World, destination: str | None, may_be_told: bool) -> None:
    headers = {} if destination is None else {"Sec-Fetch-Dest": destination}
    assert visitor(world, headers).may_be_told is may_be_told


async def test_the_sessions_that_the_cookie_proves(world: World) -> None:
    old, new = await world.claimed("a"), await world.claimed("b")
    asks = visitor(world, tmpnb_sessions=f"{cookie_of(new, old)}.c-{'0' * 32}.nonsense")
    assert asks.brings_sessions
    assert asks.sessions == [new, old]
    assert asks.usable_session() is asks.usable_session(world.pool) is asks.offered_session() is new
    assert asks.page_key() == cookies.page_key(new)
    assert asks.session_with_key(asks.page_key()) is new
    assert asks.session_with_key(cookies.page_key(old)) is asks.session_with_key("") is None
    world.pool.end(new, EndReason.IDLE, 0.0)
    assert asks.sessions == [old], "what has ended meanwhile is no session"
    forged = visitor(world, tmpnb_sessions=f"{old.id}-{'0' * 32}")
    assert (forged.sessions, forged.page_key()) == ([], "")


async def test_what_a_notebooks_script_loads_names_no_session(world: World) -> None:
    container = await world.claimed("a")
    asks = visitor(world, {"Sec-Fetch-Dest": "iframe"}, tmpnb_sessions=cookie_of(container))
    assert (asks.usable_session(), asks.offered_session(), asks.page_key()) == (container, None, "")


async def test_where_sessions_are_not_remembered_nobody_has_any(world: World) -> None:
    container = await world.claimed("a")
    change(world, remember_sessions=False)
    asks = visitor(world, tmpnb_sessions=cookie_of(container))
    assert (asks.sessions, asks.brings_sessions, asks.keeps_sessions) == ([], False, False)


async def test_an_older_images_session_is_not_usable(world: World) -> None:
    container = await world.claimed("a")
    container.config_digest = "yesterday"
    asks = visitor(world, tmpnb_sessions=cookie_of(container))
    assert (asks.sessions, asks.usable_session()) == ([container], None)


def test_the_tickets_of_a_browser(world: World) -> None:
    ids = [f"{number:032x}" for number in range(6)]
    asks = visitor(world, tmpnb_line=".".join([*ids[:2], "nonsense", *ids[2:]]), tmpnb_place=ids[0])
    assert asks.ticket_ids == [*ids[:2], ids[2]], "of the first four, those that can be one"
    assert asks.holds(ids[0])
    assert not asks.holds(ids[1])


# --- cookies' names, which depend on options

TLS = {"X-Forwarded-Proto": "https"}
OWN_DOMAIN = "{name}.nb.example.net"


def with_cookie(world: World, name: str, value: str, **headers: str) -> Visitor:
    """Who brings one cookie, over TLS."""
    given = CIMultiDict({"Host": HOST, **TLS, **headers, "Cookie": f"{name}={value}"})
    return Visitor(Asked(given, {name: value}), world.context)


@pytest.mark.parametrize(
    ("session_host", "name", "knows"),
    [
        (None, "tmpnb-sessions", True),
        (None, "__Host-tmpnb-sessions", False),  # switched off: any notebook's page can make it
        (OWN_DOMAIN, "__Host-tmpnb-sessions", True),
        (OWN_DOMAIN, "tmpnb-sessions", True),  # switched on: no notebook can have made it
        ("{name}.notebooks.example", "__Host-tmpnb-sessions", True),
        ("{name}.notebooks.example", "tmpnb-sessions", False),  # a notebook can
        ("{name}.nb.allowed.example", "tmpnb-sessions", False),  # and perhaps so it can here
        (OWN_DOMAIN, "__Host-tmpnb-sessions~other", False),
    ],
)
async def test_sessions_are_remembered_over_a_reload(
    world: World, session_host: str | None, name: str, knows: bool
) -> None:
    change(world, session_host=session_host, allowed_hosts=(HOST, "x.allowed.example"))
    container = await world.claimed("a")
    assert (with_cookie(world, name, cookie_of(container)).sessions == [container]) is knows
    twice = CIMultiDict({"Host": HOST, **TLS, "Cookie": f"{name}={cookie_of(container)}; {name}=x"})
    assert Visitor(Asked(twice, {name: cookie_of(container)}), world.context).sessions == []


async def test_the_sessions_of_two_names_count(world: World) -> None:
    change(world, session_host=OWN_DOMAIN)
    first, second = await world.claimed("a"), await world.claimed("b")
    jar = {"tmpnb-sessions": cookie_of(first), "__Host-tmpnb-sessions": cookie_of(second, first)}
    line = "; ".join(f"{name}={value}" for name, value in jar.items())
    given = CIMultiDict({"Host": HOST, **TLS, "Cookie": line})
    assert Visitor(Asked(given, jar), world.context).sessions == [second, first]


@pytest.mark.parametrize(("base", "name"), [("/", "tmpnb-line"), ("/a/b/", "tmpnb-line~a~b")])
def test_two_services_on_one_host_name_their_cookies_apart(base: str, name: str) -> None:
    """`__Host-` allows no path but the whole host."""
    response = web.Response()
    jar = cookies.Jar({}, "", base=base, secure=True, host_only=True, alone=True)
    cookies.set_tickets(response, jar, ["0" * 32], path=base, waiting_path=f"{base}wait")
    (made,) = response.cookies.values()
    assert (made.key, made["path"]) == (f"__Host-{name}", "/")
    line = f"{made.key}={made.value}"
    again = cookies.Jar({made.key: made.value}, line, base=base, secure=True, host_only=True, alone=True)
    assert cookies.held_tickets(again) == ["0" * 32]
    cookies.set_entry(response, again, Container("abc", "", "token", created_at=0.0), "main", max_age=1)
    assert {"__Host-tmpnb-session", "__Host-tmpnb-home"} < set(response.cookies)


# --- links between the hosts: with the port that the visitor used


@pytest.mark.parametrize(
    ("main", "headers", "session_host", "origin"),
    [
        ("localhost:9000", {}, "{name}.localhost", "http://NAME.localhost:9000"),  # ssh -L 9000:localhost:8000
        ("127.0.0.1:9000", {}, "{name}.localhost", "http://NAME.localhost:9000"),
        ("[::1]:9000", {}, "{name}.localhost", "http://NAME.localhost:9000"),
        ("[::1]", {}, "{name}.localhost", "http://NAME.localhost"),
        ("localhost", TLS, "{name}.localhost:8443", "https://NAME.localhost:8443"),
        ("box", {**TLS, "X-Forwarded-Host": "notebooks.example:8443, inner:80"}, OWN_DOMAIN,
         "https://NAME.nb.example.net:8443"),
        (HOST, TLS, OWN_DOMAIN, "https://NAME.nb.example.net"),
    ],
)  # fmt: skip
def test_links_to_and_from_a_notebooks_host(
    world: World, main: str, headers: dict[str, str], session_host: str, origin: str
) -> None:
    change(world, session_host=session_host, allowed_hosts=(HOST, "box", "inner"))
    container = Container("abc", "", "token", created_at=0.0, session_name="a123456789b123456789")
    there = visitor(world, {"Host": main, **headers})
    assert there.origin_of(container) == origin.replace("NAME", container.session_name)
    own = there.origin_of(container).partition("://")[2]
    scheme = {name: value for name, value in headers.items() if name == "X-Forwarded-Proto"}
    home = f"{'__Host-' if scheme else ''}tmpnb-home={there.authority}"
    given = CIMultiDict({"Host": own, **scheme, "Cookie": home})
    back = Visitor(Asked(given, dict([home.split("=")])), world.context)
    assert back.session_name == container.session_name
    assert back.main_origin == f"{'https' if scheme else 'http'}://{there.authority}"


@pytest.mark.parametrize(
    "home",
    [
        "evil.example",
        "box:80@evil.example",
        "box@evil.example",
        "box/x",
        "box:80/",
        "a123456789b123456789.nb.example.net",
    ],
)
def test_a_notebooks_page_leads_nowhere_else(world: World, home: str) -> None:
    """A neighbour can make the cookie that says where the visitor came from, without TLS."""
    change(world, session_host=OWN_DOMAIN, allowed_hosts=(HOST, "box"))
    given = CIMultiDict({"Host": "a123456789b123456789.nb.example.net:8000", "Cookie": f"tmpnb-home={home}"})
    assert Visitor(Asked(given, {"tmpnb-home": home}), world.context).main_origin == f"http://{HOST}:8000"
