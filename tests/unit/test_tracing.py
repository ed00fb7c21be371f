"""Traces: what of a header is believed, what a visit is bounded by, and that nothing is loaded while it is off."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.unit.test_frames import BINARY, TEXT, Frame
from tmpnb_py.core.installation import PACKAGE
from tmpnb_py.proxy import traces
from tmpnb_py.proxy.traces import FirstReply
from tmpnb_py.tracing import spans, switch
from tmpnb_py.tracing.context import SpanContext, read_traceparent
from tmpnb_py.tracing.spans import NO_SPAN, Attributes, Kind, Links, Span, Value, current, using, within
from tmpnb_py.tracing.visits import MOST_ALIKE, MOST_REQUESTS, SECONDS, Visit, taken_up, visit_of

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADER = f"00-{TRACE}-{SPAN}-01"


class Recorded:
    """A span that remembers what was done with it."""

    def __init__(self, name: str = "", *, sampled: bool = True) -> None:
        self.name = name
        self.context: SpanContext | None = SpanContext(1, 2, sampled)
        self.children: list[Recorded] = []
        self.attributes: dict[str, Value] = {}
        self.failed = ""
        self.ended = 0

    def child(
        self, name: str, kind: Kind = Kind.INTERNAL, attributes: Attributes | None = None, links: Links = ()
    ) -> Span:
        self.children.append(Recorded(name))
        return self.children[-1]

    def set(self, name: str, value: Value) -> None:
        self.attributes[name] = value

    def event(self, name: str) -> None: ...

    def fail(self, kind: str) -> None:
        self.failed = kind

    def end(self) -> None:
        self.ended += 1


# --- the header


def test_a_header_says_where_a_span_stands() -> None:
    found = read_traceparent(HEADER)
    assert found == SpanContext(int(TRACE, 16), int(SPAN, 16), sampled=True)
    assert found.traceparent == HEADER
    assert read_traceparent(HEADER[:-1] + "0") == SpanContext(int(TRACE, 16), int(SPAN, 16), sampled=False)


@pytest.mark.parametrize(
    "text",
    [
        "", "00", HEADER.upper(), HEADER + "-more", HEADER + " ", " " + HEADER, HEADER[:-1], HEADER + "0",
        "ff" + HEADER[2:], f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"{HEADER},{HEADER}",
        HEADER.replace("a", "\u0661"),
        "01" + HEADER[2:] + "-" + "x" * 1000,
    ],
)  # fmt: skip
def test_what_is_no_header_of_that_kind_says_nothing(text: str) -> None:
    """W3C Trace Context §3.2.2: a field that is not as it has to be is as if it was not there."""
    assert read_traceparent(text) is None


def test_a_later_version_may_say_more() -> None:
    assert read_traceparent("01" + HEADER[2:] + "-more") == read_traceparent(HEADER)


@given(st.text() | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?", fullmatch=True))
def test_whatever_is_read_is_written_as_a_header(text: str) -> None:
    found = read_traceparent(text)
    assert found is None or read_traceparent(found.traceparent) == found


def test_several_headers_are_none() -> None:
    one = (b"Traceparent", HEADER.encode())
    assert traces.of_trusted([one]) == read_traceparent(HEADER)
    assert traces.of_trusted([one, one]) is None
    assert traces.of_trusted([]) is None


# --- the current span


def test_without_tracing_there_is_one_span_for_everything() -> None:
    assert current() is NO_SPAN
    assert NO_SPAN.child("x") is NO_SPAN
    with using(NO_SPAN), within("x") as span:
        assert span is NO_SPAN
    assert visit_of(NO_SPAN) is None


def test_work_is_below_the_current_span_and_fails_with_it() -> None:
    root = Recorded("root")

    def work_on() -> None:
        with within("work"):
            assert current() is root.children[0]
            raise ValueError("x")

    with using(root), pytest.raises(ValueError, match="x"):
        work_on()
    (work,) = root.children
    assert (work.name, work.failed, work.ended) == ("work", "ValueError", 1)
    assert current() is NO_SPAN


def test_lines_of_the_log_name_a_span_that_is_recorded() -> None:
    assert spans.named(Recorded()) == {"trace_id": f"{1:032x}", "span_id": f"{2:016x}"}
    assert spans.named(Recorded(sampled=False)) == {}
    assert spans.named(NO_SPAN) == {}


# --- visits


def test_a_visit_has_a_bounded_number_of_requests() -> None:
    root = Recorded()
    visit = visit_of(root)
    assert visit is not None
    begun = [visit.request(f"GET {number}", {}) for number in range(MOST_REQUESTS + 5)]
    assert begun[MOST_REQUESTS:] == [None] * 5
    assert len(root.children) == MOST_REQUESTS
    assert visit.take() is None
    assert not visit.is_over, "a cell may yet be run"


def test_what_a_page_asks_again_and_again_is_traced_some_times() -> None:
    """JupyterLab polls from the first minute on, and its visitor may read before they run anything."""
    visit = Visit(Recorded(), HEADER)
    begun = [visit.request("GET /user/{id}/api/kernels", {}) for _ in range(MOST_ALIKE + 2)]
    assert begun[MOST_ALIKE:] == [None, None]
    assert visit.request("GET /user/{id}/lab", {}) is not None


def test_a_visit_does_not_last(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("tmpnb_py.tracing.visits.time.monotonic", lambda: now)
    visit = Visit(Recorded(), HEADER)
    now += SECONDS
    assert not visit.is_over
    now += 1
    assert visit.request("GET", {}) is None


def test_what_is_not_sampled_begins_no_visit() -> None:
    assert visit_of(Recorded(sampled=False)) is None
    assert taken_up(HEADER, None) is None
    assert taken_up("", None) is None


# --- what is asked of a notebook


@pytest.mark.parametrize(
    ("path", "route"),
    [
        (b"api/kernels/1/channels", "/user/{id}/api/kernels/{kernel}/channels"),
        (b"api/kernels", "/user/{id}/api/kernels"),
        (b"api/kernels/1/interrupt", "/user/{id}/api/kernels/{kernel}"),
        (b"api/contents/my%20diary.txt", "/user/{id}/api/contents/{path}"),
        (b"api", "/user/{id}/api"),
        (b"lab", "/user/{id}/lab"),
        (b"lab/tree/my diary", "/user/{id}/lab/{path}"),
        (b"lab/api/settings/x", "/user/{id}/lab/api/{path}"),
        (b"static/lab/main.js", "/user/{id}/static/{path}"),
        (b"", "/user/{id}/{path}"),
        (b"proxy/8080/secret", "/user/{id}/{path}"),
        (b"api/kernels/\n/channels", "/user/{id}/api/kernels/{kernel}/channels"),
        (b"\xff" * 8000, "/user/{id}/{path}"),
    ],
)
def test_a_path_is_one_of_few(path: bytes, route: str) -> None:
    """Span names have few values, and nobody's file names in them."""
    assert traces.route_of(path) == route


@given(st.binary(max_size=200))
def test_no_path_gets_into_a_trace(path: bytes) -> None:
    assert traces.route_of(path) in {
        traces.route_of(known)
        for known in (
            *(b"api/kernels/1/channels", b"api/kernels/1", b"api/sessions/1", b"api/terminals/1", b"api/contents"),
            *(b"api/kernels", b"api/kernelspecs", b"api/me", b"api/sessions", b"api/status", b"api/terminals"),
            *(b"api", b"lab", b"tree", b"login", b"lab/api/x", b"lab/x", b"notebooks/x", b"tree/x", b"files/x"),
            *(b"static/x", b"x"),
        )
    }


@pytest.mark.parametrize(("method", "name"), [(b"GET", "GET"), (b"MADEUP", "_OTHER"), (b"\xff", "_OTHER")])
def test_unknown_methods_are_one(method: bytes, name: str) -> None:
    assert traces.method_of(method) == name


# --- the kernel's first reply


def said(kind: str, **more: Any) -> bytes:
    return json.dumps({"header": {"msg_type": kind}, "msg_type": kind, **more}).encode()


def sent(*messages: bytes, opcode: int = TEXT) -> bytes:
    return b"".join(bytes(Frame(opcode, one, masked=False)) for one in messages)


EXECUTE = said("execute_request", content={"code": "1"})
ECHO = said("status", parent_header={"msg_type": "execute_request"})


@pytest.mark.parametrize("kind", ["stream", "display_data", "execute_result", "error", "execute_reply"])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_the_first_output_ends_the_visit(kind: str, size: int) -> None:
    root = Recorded()
    visit = Visit(root, HEADER)
    reply = FirstReply(visit, root)
    reply.feed(sent(said("kernel_info_reply")))
    assert root.children == []
    reply.asked(EXECUTE)
    reply.asked(EXECUTE)
    (span,) = root.children
    stream = sent(ECHO, said("execute_input"), said(kind), opcode=BINARY)
    for at in range(0, len(stream) - 1, size):
        assert not reply.is_over
        reply.feed(stream[at : min(at + size, len(stream) - 1)])
    reply.feed(stream[-1:])
    assert (span.attributes, span.ended, span.failed) == ({"tmpnb.kernel.message": kind}, 1, "")
    assert reply.is_over
    assert visit.is_over
    reply.feed(sent(said(kind)))
    reply.ended()
    reply.asked(EXECUTE)
    assert span.ended == len(root.children) == 1


def test_output_that_nobody_asked_for_is_no_reply() -> None:
    root = Recorded()
    reply = FirstReply(Visit(root, HEADER), root)
    reply.asked(said("kernel_info_request"))
    reply.feed(sent(said("stream")))
    assert root.children == []
    assert not reply.is_over


def test_a_connection_that_ends_before_has_had_no_reply() -> None:
    root = Recorded()
    reply = FirstReply(Visit(root, HEADER), root)
    reply.asked(EXECUTE)
    reply.ended()
    assert [(one.failed, one.ended) for one in root.children] == [("no_reply", 1)]


def test_a_kernel_that_says_other_things_without_end_is_listened_to_for_a_while() -> None:
    root = Recorded()
    reply = FirstReply(Visit(root, HEADER), root)
    reply.asked(EXECUTE)
    noise = sent(*[ECHO] * 50)
    for _ in range(21):
        reply.feed(noise)
    assert reply.is_over
    assert root.children[0].failed == "no_reply"


@given(st.lists(st.binary(max_size=400), max_size=20))
def test_whatever_a_kernel_sends_does_no_harm(chunks: list[bytes]) -> None:
    reply = FirstReply(Visit(Recorded(), HEADER), Recorded())
    reply.asked(EXECUTE)
    for chunk in chunks:
        reply.feed(chunk)
    reply.ended()


# --- the switch

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/x"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:9/x"}, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "console"}, False),
    ],
)
def test_the_environment_says_whether_there_are_traces(environ: dict[str, str], wanted: bool) -> None:
    assert switch.is_wanted(environ) is wanted


def test_another_protocol_is_not_spoken() -> None:
    with capture_logs() as logs:
        assert switch.tracing_of({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}) is None
    assert [one["event"] for one in logs] == ["tracing_unavailable"]


def test_where_the_sdk_is_not_installed_the_service_runs_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tmpnb_py.tracing.otel", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with capture_logs() as logs:
        assert switch.tracing_of(ENDPOINT) is None
    assert [(one["event"], one["hint"]) for one in logs] == [
        ("tracing_unavailable", "pip install 'tmpnb-py[otel]'; the service runs without traces")
    ]


def test_while_it_is_off_nothing_of_the_sdk_is_imported() -> None:
    """The whole program: what it does not import costs nothing, and need not be installed."""
    code = (
        "import sys; import tmpnb_py.service.serve, tmpnb_py.service.front, tmpnb_py.cli.main; "
        "from tmpnb_py.tracing.switch import tracing_of; assert tracing_of({}) is None; "
        "print([one for one in sys.modules if one.split('.')[0] in ('opentelemetry', 'google', 'requests')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# --- the page


def test_every_span_is_documented() -> None:
    """By the names that the code gives them; an engine's calls are those of a notebook's life."""
    source = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    names = set(re.findall(r"(?:within|\.child|\.begin)\(\s*\"([^\"]+)\"", source))
    assert len(names) >= 6
    page = (Path(__file__).parents[2] / "docs" / "tracing.md").read_text()
    for name in {*names, "engine start", "engine mark_ready", "engine claim"}:
        assert f"`{name}`" in page, name
    for attribute in set(re.findall(r"\"(tmpnb\.[a-z.]+)\"", source)):
        assert f"`{attribute}`" in page, attribute
