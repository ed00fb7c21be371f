"""What is a person's doing, and what a page's own: requests and messages as clients really send them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmpnb_py.pools.activity import (
    Attempt,
    Channel,
    Familiar,
    Rule,
    channel,
    is_persons_message,
    may_reach_kernels,
    rule,
)


def judged(method: str, path: str, query: str = "", *, navigates: bool = False, by_hand: bool = False) -> Rule:
    return rule(method.encode(), path.encode(), query.encode(), navigates=navigates, by_hand=by_hand)


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("POST", "api/kernels", ""),
        ("POST", "/api/sessions", "1700000000"),
        ("POST", "api/terminals", ""),
        ("POST", "api/kernels/1/interrupt", ""),
        ("DELETE", "api/terminals/1", ""),
        ("POST", "api/contents", ""),
        ("POST", "api/contents/x.ipynb/checkpoints", ""),
        ("PATCH", "api/contents", ""),
        ("DELETE", "api/contents/x.ipynb", ""),
        ("POST", "api/kernels", "q=no_track_activity"),
        ("POST", "api/kernels", "not_no_track_activity=1"),
    ],
)
def test_a_persons_orders(method: str, path: str, query: str) -> None:
    assert judged(method, path, query) is Rule.ALWAYS


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("GET", "api", ""),
        ("GET", "api/contents/x.ipynb", "content=0&hash=0"),
        ("GET", "api/contents", "content=1"),
        ("GET", "/api/kernels", "1700000000"),
        ("HEAD", "api/status", ""),
        ("GET", "api/sessions", ""),
        ("GET", "api/terminals", ""),
        ("GET", "api/metrics/v1", ""),
        ("GET", "metrics", ""),
        ("GET", "dask/clusters", "1700000000"),
        ("GET", "proxy/8050/_reload-hash", ""),
        ("GET", "files/plot.png", ""),
        ("GET", "lab/api/workspaces/default", ""),
        ("PUT", "lab/api/workspaces/default", ""),
        ("OPTIONS", "api/contents", ""),
        ("POST", "api/kernels", "no_track_activity=1"),
        ("PUT", "api/contents/x", "no_track_activity"),
        ("GET", "lab", "a=b&no_track_activity=1"),
    ],
)
def test_what_an_open_page_asks_for(method: str, path: str, query: str) -> None:
    assert judged(method, path, query) is Rule.NEVER


@pytest.mark.parametrize("path", ["lab/tree/x.ipynb", "", "files/x.html", "proxy/8787/", "lab"])
def test_pages_that_a_browser_loads(path: str) -> None:
    """The first time; again only where the browser says that its user wants it, for pages reload themselves."""
    assert judged("GET", path, navigates=True) is Rule.NEW
    assert judged("GET", path, navigates=True, by_hand=True) is Rule.ALWAYS


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "api/contents/x.ipynb"), ("PUT", "lab/api/settings/theme"), ("PATCH", "api/sessions/1")],
)
def test_what_is_saved_counts_by_its_content(method: str, path: str) -> None:
    assert judged(method, path) is Rule.CHANGED


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "git/x/status"), ("PUT", "dask/clusters/1"), ("POST", "proxy/8787/rpc/console_input")],
)
def test_what_is_unknown_counts_by_its_novelty(method: str, path: str) -> None:
    assert judged(method, path) is Rule.NEW


def test_opening_a_document_counts_once() -> None:
    assert judged("GET", "api/contents/x.ipynb", "type=notebook&content=1") is Rule.NEW


def sent(familiar: Familiar, rule: Rule, path: str, *parts: bytes) -> bool:
    attempt = Attempt(rule, familiar, b"PUT", path.encode())
    for part in parts:
        attempt.feed(part)
    return attempt.is_persons()


def test_saving_counts_when_the_content_changed() -> None:
    familiar = Familiar()
    assert sent(familiar, Rule.CHANGED, "a", b"1" * 100_000, b"2")
    assert not sent(familiar, Rule.CHANGED, "a", b"1" * 99_999, b"12")
    assert sent(familiar, Rule.CHANGED, "a", b"1" * 100_000, b"3")
    assert sent(familiar, Rule.CHANGED, "b", b"1" * 100_000, b"3")
    assert sent(familiar, Rule.CHANGED, "a", b"1" * 100_000, b"2"), "and back again"


def test_to_unknown_servers_repeating_oneself_is_no_news() -> None:
    familiar = Familiar()
    poll = b'{"method":"get_events","params":[%d],"clientId":"33e600bb-c1b1-46bf-b562-ab5cba070b0e"}'
    assert sent(familiar, Rule.NEW, "rpc", poll % 1)
    assert not any(sent(familiar, Rule.NEW, "rpc", poll % number) for number in range(500))
    assert sent(familiar, Rule.NEW, "rpc", b'{"method":"console_input","params":["x <- rnorm(9)"]}')
    assert sent(familiar, Rule.NEW, "rpc", b'{"method":"console_input","params":["plot(x)"]}')
    assert not sent(familiar, Rule.NEW, "rpc", poll % 1)


def test_what_is_remembered_is_bounded() -> None:
    familiar = Familiar()
    for number in range(1000):
        familiar.is_new_request(number)
        familiar.is_changed(number, number)
        familiar.is_new_message(b"u" * number)
    assert [len(familiar._requests), len(familiar._bodies), len(familiar._messages)] == [64, 64, 24]


@pytest.mark.parametrize(
    ("path", "may"),
    [
        ("api/kernels", False),
        ("api/contents/a", False),
        ("lab", False),
        ("api/metrics/v1/kernel_usage/get_usage/1", True),
        ("", False),
    ],
)
def test_which_requests_may_reach_a_kernel(path: str, may: bool) -> None:
    assert may_reach_kernels(path.encode()) is may


# --- Messages


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("api/kernels/1234-ab/channels", Channel.KERNEL),
        ("/api/kernels/1/channels", Channel.KERNEL),
        ("api/kernels/1/2/channels", Channel.OTHER),
        ("terminals/websocket/1", Channel.TERMINAL),
        ("api/collaboration/room/json:notebook:1", Channel.DOCUMENT),
        ("api/events/subscribe", Channel.OTHER),
        ("rstudio/websocket", Channel.OTHER),
    ],
)
def test_what_a_websocket_is_for(path: str, expected: Channel) -> None:
    assert channel(path.encode()) is expected


def protocol_v1(kind: str, content: object) -> bytes:
    """`v1.kernel.websocket.jupyter.org`: offsets, then the channel and the parts of the message."""
    parts = [b"shell", json.dumps({"msg_id": "1", "msg_type": kind}).encode(), b"{}", b"{}"]
    parts.append(json.dumps(content, separators=(",", ":")).encode())
    ends = [8 * (len(parts) + 2)]
    for part in parts:
        ends.append(ends[-1] + len(part))
    return b"".join(one.to_bytes(8, "little") for one in (len(ends), *ends)) + b"".join(parts)


def header_first(kind: str, content: object) -> bytes:
    """As the classic Notebook and programs send it."""
    return json.dumps({"header": {"msg_id": "1", "msg_type": kind}, "content": content, "parent_header": {}}).encode()


def content_first(kind: str, content: object) -> bytes:
    """As @jupyterlab/services sends it without that protocol."""
    return json.dumps({"buffers": [], "content": content, "header": {"msg_type": kind}}).encode()


Protocol = Callable[[str, object], bytes]
protocols = pytest.mark.parametrize("protocol", [protocol_v1, header_first, content_first])
RUN = {"silent": False, "store_history": True, "code": "1"}


def says(where: Channel, start: bytes, *, whole: bool = True) -> bool:
    return is_persons_message(where, start, Familiar(), whole=whole)


@protocols
@pytest.mark.parametrize(
    ("kind", "content", "persons"),
    [
        ("execute_request", RUN, True),
        ("execute_request", {"code": "1"}, True),
        ("execute_request", {**RUN, "code": '"silent": true, "store_history": false'}, True),
        ("execute_request", {**RUN, "silent": True}, False),
        ("execute_request", {**RUN, "store_history": False}, False),
        ("complete_request", {"code": "pr", "cursor_pos": 2}, True),
        ("inspect_request", {"code": "print"}, True),
        ("is_complete_request", {"code": "print"}, True),
        ("input_reply", {"value": "me"}, True),
        ("comm_msg", {"comm_id": "1", "data": {"method": "update", "state": {"value": 3}}}, True),
        ("comm_msg", {"comm_id": "1", "data": {"method": "request_states"}}, False),
        ("comm_open", {"comm_id": "1", "target_name": "jupyter.widget.control"}, False),
        ("kernel_info_request", {}, False),
        ("comm_info_request", {"target_name": "jupyter.widget"}, False),
        ("history_request", {"hist_access_type": "tail", "n": 500}, False),
        ("debug_request", {"command": "debugInfo"}, False),
        ("usage_request", {}, False),
    ],
)
def test_messages_to_a_kernel(protocol: Protocol, kind: str, content: object, persons: bool) -> None:
    assert says(Channel.KERNEL, protocol(kind, content)) is persons


@protocols
def test_long_code_is_a_persons(protocol: Protocol) -> None:
    start = protocol("execute_request", {**RUN, "code": "x" * 10_000})[:4096]
    assert says(Channel.KERNEL, start, whole=False)


TYPED = ["a", "\r", "\x1b[A", "\x1b[1;5D", "\x1bOP", "\x03", "\x1b[<0;3;4M", "\x1b[200~é\x1b[201~", '"]']


@pytest.mark.parametrize("typed", TYPED)
def test_what_is_typed_into_a_terminal(typed: str) -> None:
    assert says(Channel.TERMINAL, json.dumps(["stdin", typed]).encode())
    assert says(Channel.TERMINAL, json.dumps(["stdin", typed], separators=(",", ":"), ensure_ascii=False).encode())


@pytest.mark.parametrize(
    "message",
    [
        ["set_size", 24, 80, 500, 800],
        ["stdin", "\x1b[?1;2c"],
        ["stdin", "\x1b[>0;276;0c"],
        ["stdin", "\x1b[12;40R"],
        ["stdin", "\x1b[0n"],
        ["stdin", "\x1b[I"],
        ["stdin", "\x1b[O"],
        ["stdin", "\x1b[?2026;2$y"],
        ["stdin", "\x1b]11;rgb:1111/1111/1111\x07"],
        ["stdin", "\x1b]10;rgb:e0e0/e0e0/e0e0\x1b\\"],
        ["stdin", "\x1b[?1;2c\x1b[12;40R"],
    ],
)
def test_what_a_terminal_says_by_itself(message: object) -> None:
    assert not says(Channel.TERMINAL, json.dumps(message).encode())


def test_documents_edited_together() -> None:
    assert says(Channel.DOCUMENT, b"\0\2\5edits")
    assert not any(says(Channel.DOCUMENT, start) for start in (b"\0\0\1\0", b"\0\1\2\0\0", b"\1\20awareness", b""))


def test_messages_to_unknown_servers() -> None:
    familiar = Familiar()

    def new(text: bytes) -> bool:
        return is_persons_message(Channel.OTHER, text, familiar, whole=True)

    hello, beat = b'{"type":"hello","session":"33e600bb"}', b'{"type":"ping","at":%d}'
    assert [new(hello), new(beat % 1)] == [True, True]
    assert not any([new(hello), *(new(beat % number) for number in range(500))])
    assert not new(b"2")
    assert not new(b"")
    assert new(b'{"type":"input","name":"histogram"}')
    # What a person types one by one comes again and again, and yet is not always the same few.
    assert sum(new(b"0" + bytes([key])) for key in b"The Quick, Brown Fox Jumps (over) the Lazy Dog." * 5) > 25


@given(
    st.binary(max_size=300) | st.text(alphabet='[]",\\ stdinu01b[;cR', max_size=300).map(str.encode), st.booleans()
)
def test_nothing_raises(start: bytes, whole: bool) -> None:
    for where in Channel:
        says(where, start, whole=whole)


@pytest.mark.parametrize(
    "start",
    [
        b'["stdin","' + b" " * 4085 + b"x",
        b'["stdin","' + b"\\u001b[" + b";" * 4070,
        b'["stdin","' + b"\\u001b]" * 500 + b"x",
        b'["stdin","' + b"\\u001b[I" * 500 + b"x",
        b'"msg_type"' + b" " * 4085,
        b'"msg_type" ' * 370,
        b'"msg_type":"execute_request","silent"' + b" " * 4000,
    ],
)
def test_a_hostile_message_costs_no_more_than_others(start: bytes) -> None:
    began = time.process_time()
    for _ in range(100):
        for where in Channel:
            says(where, start, whole=False)
    assert time.process_time() - began < 2  # quadratic would be minutes
