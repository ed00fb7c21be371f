"""One pipeline for structlog and the standard library, and no token in it."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from tmpnb_py.core import logs

SECRET = "s3cr3tvalue"  # in the alphabet of Jupyter's tokens


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    before = root.level
    yield
    structlog.reset_defaults()
    for handler in [handler for handler in root.handlers if isinstance(handler, logs._Handler)]:
        root.removeHandler(handler)
    root.setLevel(before)


def _lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines_elsewhere_than_on_a_terminal() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    structlog.get_logger("tmpnb_py.pools.pool").info("claimed", id="abc", seconds=0.5)
    (line,) = _lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "claimed",
        "id": "abc",
        "seconds": 0.5,
        "level": "info",
        "logger": "tmpnb_py.pools.pool",
    }


def test_readable_on_a_terminal() -> None:
    stream = Terminal()
    logs.configure(stream=stream)
    structlog.get_logger().warning("claimed", id="abc")
    assert "claimed" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


@pytest.mark.parametrize(("log_format", "is_json"), [("json", True), ("console", False)])
def test_the_format_can_be_forced(log_format: str, is_json: bool) -> None:
    for stream in (Terminal(), io.StringIO()):
        logs.configure(log_format, stream=stream)
        structlog.get_logger().info("claimed")
        assert stream.getvalue().startswith("{") is is_json


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    logs.configure(stream=stream)
    structlog.get_logger().info("claimed", id="abc")
    assert "\x1b" not in stream.getvalue()


def test_the_standard_library_takes_the_same_way() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    logging.getLogger("aiohttp.server").error("bad %s", f"?token={SECRET}", extra={"peer": "::1"})
    (line,) = _lines(stream)
    assert (line["event"], line["logger"], line["level"]) == ("bad ?token=***", "aiohttp.server", "error")
    assert line["peer"] == "::1"


def test_the_level_holds_for_both() -> None:
    stream = io.StringIO()
    logs.configure(log_level="warning", stream=stream)
    structlog.get_logger().info("no")
    logging.getLogger("asyncio").info("no")
    structlog.get_logger().warning("yes")
    assert [line["event"] for line in _lines(stream)] == ["yes"]


def test_configured_twice_it_logs_once_and_to_the_new_place() -> None:
    first, second = io.StringIO(), io.StringIO()
    logs.configure(stream=first)
    logs.configure(stream=second)
    structlog.get_logger().info("once")
    assert first.getvalue() == ""
    assert len(_lines(second)) == 1


def test_it_logs_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json")
    structlog.get_logger().info("here")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "here" in captured.err


@dataclasses.dataclass
class Spec:
    token: str


@pytest.mark.parametrize(
    "event",
    [
        {"token": SECRET},
        {"Token": SECRET},
        {"admin_auth_token": SECRET},
        {"Authorization": f"token {SECRET}"},
        {"proxy-authorization": SECRET},
        {"cookie": f"a={SECRET}"},
        {"Set-Cookie": f"a={SECRET}"},
        {"token": {"value": SECRET}},
        {"event": f"GET /user/x/lab?token={SECRET}&reset HTTP/1.1"},
        {"url": f"/user/x/lab?a=1&token={SECRET}"},
        {"url": f"/login?next=%2Flab%3Ftoken%3D{SECRET}"},
        {"url": f"/x#TOKEN={SECRET}"},
        {"command": f"jupyter lab --IdentityProvider.token={SECRET} --ip=0.0.0.0"},
        {"command": f"jupyter lab --IdentityProvider.token='{SECRET}'"},
        {"command": f'sh -c "jupyter --NotebookApp.token=\\"{SECRET}\\""'},
        {"body": f'{{"id": "x", "token": "{SECRET}"}}'},
        {"body": f"{{'token': '{SECRET}'}}".encode()},
        {"headers": [("Authorization", f"token {SECRET}")]},
        {"headers": f"Authorization: Bearer {SECRET}\r\nHost: x"},
        {"headers": f"Cookie: a=b; c={SECRET}\r\nHost: x"},
        {"nested": {"deep": [{"token": SECRET}, (f"token={SECRET}",)]}},
        {"nested": {f"token={SECRET}": 1}},
        {"spec": Spec(SECRET)},
        {"set": {f"token={SECRET}"}},
        {"path": Path(f"/x?token={SECRET}")},
    ],
)
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_token_is_ever_logged(event: dict[str, Any], log_format: str) -> None:
    stream = io.StringIO()
    logs.configure(log_format, stream=stream)
    structlog.get_logger().info(**{"event": "x", **event})
    logging.getLogger("other").info("x", extra={f"x_{key}": value for key, value in event.items()})
    assert stream.getvalue().count("\n") == 2
    assert SECRET not in stream.getvalue()
    assert "***" in stream.getvalue()


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_token_is_in_a_stack_trace(log_format: str) -> None:
    stream = io.StringIO()
    logs.configure(log_format, stream=stream)
    local = f"/lab?token={SECRET}"
    try:
        raise ValueError(local)
    except ValueError:
        structlog.get_logger().exception("failed")
    assert "Traceback" in stream.getvalue()
    assert "token=***" in stream.getvalue()
    assert SECRET not in stream.getvalue()


def test_the_rest_is_kept() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    structlog.get_logger().info(
        "x",
        use_tokens=True,
        tokens=3,
        note="token missing",
        token="",
        path=Path("/a"),
        none=None,
        list=[1, "a"],
    )
    (line,) = _lines(stream)
    assert line["use_tokens"] is True
    assert (line["tokens"], line["note"], line["token"]) == (3, "token missing", "")
    assert (line["path"], line["none"], line["list"]) == ("/a", None, [1, "a"])


def test_a_value_without_end_is_cut() -> None:
    stream = io.StringIO()
    logs.configure(stream=stream)
    endless: list[Any] = []
    endless.append(endless)
    structlog.get_logger().info("x", endless=endless)
    assert "…" in stream.getvalue()


def test_control_characters_neither_drive_the_terminal_nor_forge_a_line() -> None:
    stream = io.StringIO()
    logs.configure("console", stream=stream)
    structlog.get_logger().info("GET /\n2030-01-01 forged \x1b[2J", path="a\r\nb\x9b1m")
    assert stream.getvalue().count("\n") == 1
    assert not {"\x1b", "\r", "\x9b"} & set(stream.getvalue())
    assert "\\x1b[2J" in stream.getvalue()


@given(
    st.text(alphabet="abcXYZ019_-.~", min_size=1),
    st.sampled_from(["?token=", "&token=", "Token=", "%3Ftoken%3D"]),
)
def test_whatever_the_token_is(token: str, prefix: str) -> None:
    assert logs.redact_text(f"/lab{prefix}{token}&x=1") == f"/lab{prefix}***&x=1"


@given(st.text())
def test_any_text_can_be_redacted_and_again_to_the_same(text: str) -> None:
    assert logs.redact_text(logs.redact_text(text)) == logs.redact_text(text)


def test_handlers_of_others_stay() -> None:
    other = logging.StreamHandler(sys.stdout)
    logging.getLogger().addHandler(other)
    try:
        logs.configure(stream=io.StringIO())
        assert other in logging.getLogger().handlers
    finally:
        logging.getLogger().removeHandler(other)
