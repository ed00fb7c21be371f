"""Notebooks' own hosts: names, codes, and what the proxy makes of requests."""

from __future__ import annotations

import urllib.parse

import pytest

from tests.unit.test_routing import Sessions, exchange, router
from tmpnb_py.core.host_names import FILES, Hosts, SessionHosts, new_session_name, session_name
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.container import Container
from tmpnb_py.proxy import origins
from tmpnb_py.proxy.routing import Router
from tmpnb_py.web.codes import SECONDS, Codes, Way

NAME, OTHER = "abcdefghij0123456789", "bbcdefghij0123456789"
HOST = f"{NAME}.nb.example.net:8000"
PATTERN = "{name}.nb.example.net"


def container(name: str = NAME) -> Container:
    return Container("abc", "digest", "token", created_at=0.0, session_name=name)


def test_names_are_random_labels_of_a_host() -> None:
    names = {new_session_name() for _ in range(200)}
    assert len(names) == 200
    assert all(session_name(name) == name for name in names)
    for wrong in ("", "a", NAME.upper(), "1" + NAME[1:], NAME + "x", "a-" + NAME[2:], NAME + "\n"):
        assert session_name(wrong) == ""


WRONG = ("nb.example.net", "x{name}.net", "{name}", "{name}.", "https://{name}.net", "{name}.net/", "{name}.net:0")


@pytest.mark.parametrize("pattern", [*WRONG, "{name}.net:x", "{name}.*.net", "{id}.net"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="session_host"):
        Settings(session_host=pattern)


def test_a_pattern_may_have_a_port() -> None:
    assert Settings(session_host="{name}.NB.example.net:8443").session_host == "{name}.nb.example.net:8443"
    hosts = SessionHosts.of("{name}.nb.example.net:8443")
    assert hosts is not None
    assert hosts.authority(NAME, "main.example:1") == f"{NAME}.nb.example.net:8443"
    assert SessionHosts("nb.example.net").authority(NAME, "main.example:1") == HOST.replace("8000", "1")
    assert SessionHosts("nb.example.net").authority(NAME, "main.example") == f"{NAME}.nb.example.net"
    assert SessionHosts("nb.example.net").authority(NAME, "[::1]:80") == f"{NAME}.nb.example.net:80"


def test_one_host_of_a_notebook_decides() -> None:
    hosts = Hosts(("main.example", "*.example.net"), session_host=PATTERN)
    own, other, main = HOST.encode(), f"{OTHER}.nb.example.net".encode(), b"main.example"
    assert hosts.session_of((own,)) == hosts.session_of((main, own)) == hosts.session_of((own, main)) == NAME
    assert hosts.session_of((main,)) == ""
    assert hosts.answer_to((main, own))
    assert not hosts.answer_to((own, other))
    assert hosts.knows(b"x.example.net")
    for below in (b"nb.example.net", b"x.nb.example.net", b"a." + own):  # their pages could make cookies for it
        assert not hosts.knows(below)
    assert hosts.is_main(main)
    assert not hosts.is_main(own)


@pytest.mark.parametrize(("host", "shared"), [
    ("notebooks.example.net", "example.net"), ("example.net", "example.net"), ("nb.example.net", "nb.example.net"),
    ("a.b.nb.example.net", "nb.example.net"), ("xexample.net", ""), ("notebooks.example.org", ""), ("other.net", ""),
    ("net", ""), ("", ""), ("127.0.0.1", ""), ("::1", ""), ("localhost", ""),
])  # fmt: skip
def test_hosts_below_the_same_domain(host: str, shared: str) -> None:
    assert SessionHosts("nb.example.net").shared_with(host) == shared
    assert SessionHosts("localhost").shared_with("localhost") == ""


HOST_AS_IT_MAY_BE_WRITTEN = [
    HOST.upper(),
    HOST.replace(":8000", ""),
    HOST.replace(":8000", "."),
    HOST.replace(":8000", ".:1"),
]


@pytest.mark.parametrize("host", HOST_AS_IT_MAY_BE_WRITTEN)
def test_a_host_in_another_spelling_is_the_same(host: str) -> None:
    hosts = Hosts(("main.example",), session_host=PATTERN)
    assert hosts.session_of((host.encode(),)) == NAME
    assert hosts.answer_to((host.encode(),))


@pytest.mark.parametrize("host", [
    b"main.example:80@evil.example", b"main.example@evil.example", b"evil@main.example", b"main.example/",
    b"main.example:80/x", b"main.example:x", b"main.example:999999",
    b"main.example ", b"[::1]x", b"m\xe4in.example", b"main.example:8,0",
])  # fmt: skip
def test_what_is_no_host_is_not_answered_to(host: bytes) -> None:
    """A proxy in front may pass on what a client wrote, and links are made of it."""
    assert not Hosts(("main.example", "*"), session_host=PATTERN).answer_to((host,))


def test_a_name_of_the_operators_is_no_notebooks() -> None:
    hosts = Hosts((f"{NAME}.nb.example.net", "nb.example.net"), session_host=PATTERN)
    assert hosts.session_of((HOST.encode(),)) == ""
    assert hosts.knows(b"nb.example.net")


def codes_of(*containers: Container) -> Codes:
    return Codes({one.id: one for one in containers}.get)


def shown(code: str) -> str:
    """A code as the query of the address is read."""
    return urllib.parse.parse_qs(f"code={code}")["code"][0]


@pytest.mark.parametrize("token", ["token", ""])
@pytest.mark.parametrize(
    "target", ["lab", "", "lab/tree/a%20b%2Fc.ipynb?x=1&y=+#z", "lab/tree/..%2f..//evil.example"]
)
@pytest.mark.parametrize("main", ["main.example", "[::1]:9000", ""])
def test_a_code_is_good_once_for_one_host_and_for_a_while(token: str, target: str, main: str) -> None:
    one = Container("abc", "digest", token, created_at=0.0, session_name=NAME)
    codes = codes_of(one)
    code = shown(codes.issue(one, target, main, 100.0))
    assert codes.redeem(code, NAME, 100 + SECONDS) is None
    assert codes.redeem(code, NAME, 99.9) is None, "of another boot of the machine"
    assert codes.redeem(code, NAME, 100 + SECONDS - 1) == Way(one, target, main)
    assert codes.redeem(code, NAME, 100 + SECONDS - 1) is None
    again = shown(codes.issue(one, target, main, 100.0))
    assert codes.redeem(again, NAME, 100.0) == Way(one, target, main)
    elsewhere = shown(codes.issue(one, target, main, 100.0))
    assert codes.redeem(elsewhere, OTHER, 100.0) is None
    assert codes.redeem(elsewhere, NAME, 100.0) is None
    assert codes.lately(one, 101.0) == 3
    assert codes.lately(one, 101 + SECONDS) == 0


def test_a_code_is_for_its_notebook_only_and_known_after_a_restart() -> None:
    one = container()
    code = shown(codes_of(one).issue(one, "lab", "main.example", 0.0))
    assert codes_of(one).redeem(code, NAME, 1.0) == Way(one, "lab", "main.example", is_earlier=True)
    assert codes_of().redeem(code, NAME, 1.0) is None
    other = Container("abc", "digest", "another", created_at=0.0, session_name=NAME)
    assert codes_of(other).redeem(code, NAME, 1.0) is None
    moved = Container("abc", "digest", "token", created_at=0.0, session_name=OTHER)
    assert codes_of(moved).redeem(code, OTHER, 1.0) is None


def test_no_part_of_a_code_can_be_another() -> None:
    one = container()
    codes = codes_of(one)
    code = shown(codes.issue(one, "lab", "main.example", 0.0))
    for at, char in enumerate(code):
        for wrong in ("0" if char != "0" else "1", "", "/", ".", "\udcff", "\u0660", "\n"):
            changed = code[:at] + wrong + code[at + 1 :]
            assert changed == code or codes.redeem(changed, NAME, 0.0) is None
    for wrong in (
        "",
        ".",
        "0" * 32,
        code + "x",
        code + "\n",
        " " + code,
        code.replace("lab", "//evil.example"),
        code * 2,
    ):
        assert codes.redeem(wrong, NAME, 0.0) is None


def test_used_codes_are_remembered_as_long_as_they_are_good() -> None:
    one = container()
    codes = codes_of(one)
    for number in range(100):
        code = shown(codes.issue(one, "lab", "", float(number)))
        assert codes.redeem(code, NAME, number + 0.5) is not None
        assert codes.redeem(code, NAME, number + SECONDS - 0.1) is None
    assert len(codes) <= SECONDS + 1


def _router() -> tuple[Router, Container]:
    sessions = Sessions()
    sessions.container.session_name = NAME
    made, _ = router(sessions, session_host=PATTERN)
    return made, sessions.container


def test_under_its_host_a_notebook_is_shown_the_token_and_none_of_our_cookies() -> None:
    made, one = _router()
    cookie = f"Cookie: a=b; tmpnb-session={origins.entry(one)}; tmpnb-home=main.example; c=d\r\n"
    sent = exchange(made, "/old/user/abc/api", host=HOST, more=cookie)
    assert sent.container is one
    assert b"\r\nAuthorization: token token\r\n" in sent.head
    assert b"Cookie: a=b; c=d\r\n" in sent.head
    assert b"tmpnb-" not in sent.head
    socket = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    socket += "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    target = "/old/user/abc/api/kernels/0b9c5a0e-0000-0000-0000-000000000000/channels"
    sent = exchange(made, target, host=HOST, more=cookie + socket)
    assert b"\r\nAuthorization: token token\r\n" in sent.head
    given = "Authorization: Basic eDp5\r\n"
    sent = exchange(made, "/old/user/abc/api", host=HOST, more=cookie + given)
    assert b"token token" not in sent.head


@pytest.mark.parametrize("cookie", ["", "tmpnb-session=", "tmpnb-session=0; ", "__Host-tmpnb-session=PROOF",
                                    "tmpnb-session=PROOF; tmpnb-session=x", "tmpnb-session=OTHER"])  # fmt: skip
def test_without_its_cookie_nothing_is_reached(cookie: str) -> None:
    made, one = _router()
    value = cookie.replace("PROOF", origins.entry(one)).replace("OTHER", origins.entry(container(OTHER)))
    more = f"Cookie: {value}\r\n" if value else ""
    assert exchange(made, "/old/user/abc/api", host=HOST, more=more).container is None


def test_under_the_main_host_no_cookie_goes_on() -> None:
    made, one = _router()
    shown = "Cookie: a=b\r\nAuthorization: token token\r\n"
    sent = exchange(made, "/old/user/abc/api", more=shown)
    assert sent.container is one
    assert b"a=b" not in sent.head
    assert sent.request.admitted
    assert (b"Content-Security-Policy", b"sandbox") in sent.request.answer_headers
    sent = exchange(made, "/old/user/abc/api", more="Cookie: a=b\r\n")
    assert sent.container is one
    assert b"ookie" not in sent.head
    navigation = shown + "Sec-Fetch-Mode: navigate\r\n"
    assert exchange(made, "/old/user/abc/lab", more=navigation).container is None


FILES_HOST = b"tmpnb-static.nb.example.net:8000"


def test_one_more_host_has_the_files_that_notebooks_share() -> None:
    hosts = Hosts(("main.example",), session_host=PATTERN)
    assert hosts.session_of((FILES_HOST,)) == FILES
    assert hosts.answer_to((FILES_HOST,))
    assert not hosts.is_main(FILES_HOST)
    assert not hosts.answer_to((FILES_HOST, HOST.encode()))
    assert hosts.files_host((HOST.encode(),)) == FILES_HOST
    assert hosts.files_host((b"10.0.0.1:8000", HOST.partition(":")[0].encode())) == FILES_HOST.partition(b":")[0]
    assert hosts.files_host((b"main.example",)) == b""
    assert Hosts(session_host=PATTERN + ":8443").files_host((HOST.encode(),)) == FILES_HOST.replace(b"8000", b"8443")
    # Where each notebook is a site of its own, or the name is the operator's, each page has the files itself.
    assert Hosts(session_host="{name}.localhost").files_host((f"{NAME}.localhost".encode(),)) == b""
    assert Hosts(("tmpnb-static.nb.example.net",), session_host=PATTERN).files_host((HOST.encode(),)) == b""
    assert Hosts().session_of((FILES_HOST,)) == ""


def test_a_notebook_is_told_of_it_for_its_own_page_only() -> None:
    made, one = _router()
    entered = f"Cookie: tmpnb-session={origins.entry(one)}\r\nX-Tmpnb-Static-Host: evil.example\r\n"
    page = f"{entered}Accept: text/html\r\n"
    sent = exchange(made, "/old/user/abc/lab", host=HOST, more=page)
    assert b"\r\nX-Tmpnb-Static-Host: %b\r\n" % FILES_HOST in sent.head
    assert b"evil" not in sent.head
    assert b"Static-Host" not in exchange(made, "/old/user/abc/api", host=HOST, more=entered).head
    assert exchange(made, "/old/user/abc/lab", host=FILES_HOST.decode(), more=page).container is None
