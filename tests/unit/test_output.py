"""What commands print."""

from __future__ import annotations

import datetime
import io

import pytest

from tmpnb_py.cli.commands import output
from tmpnb_py.cli.commands.admin_client import admin_url
from tmpnb_py.core.units import GIB, MIB
from tmpnb_py.options.settings import Settings

NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (48 * MIB, "48 MiB"),
        (1.04 * GIB, "1.0 GiB"),
        (24 * GIB, "24 GiB"),
    ],
)
def test_sizes(value: float, shown: str) -> None:
    assert output.size(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-1, "0"), (0.4, "0"), (59.6, "1m"), (599, "9m59s"), (3661, "1h1m"), (90_000, "1d1h")]
)
def test_spans(seconds: float, shown: str) -> None:
    assert output.span(seconds) == shown


def test_moments() -> None:
    assert output.ago(NOW - datetime.timedelta(minutes=3), NOW) == "3m"
    assert output.ago(None, NOW) == "-"
    assert output.until(NOW + datetime.timedelta(hours=1), NOW) == "1h"
    assert output.until(None, NOW) == "never"


def test_a_table_in_a_pipe_is_neither_cut_nor_padded() -> None:
    stream = io.StringIO()
    target = output.console(stream)
    output.show(target, output.table(target, ("a", "b"), [("x" * 500, "[red]y[/red]"), ("1", "")]))
    lines = stream.getvalue().splitlines()
    assert lines == ["a" + " " * 500 + " b", "x" * 500 + "  [red]y[/red]", "1"]


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, "http://127.0.0.1:10000/"),
        ({"admin_ip": "0.0.0.0"}, "http://127.0.0.1:10000/"),
        ({"admin_ip": "::"}, "http://[::1]:10000/"),
        ({"admin_ip": "::1", "admin_port": 1}, "http://[::1]:1/"),
        ({"admin_ip": "10.0.0.1"}, "http://10.0.0.1:10000/"),
        ({"admin_ip": "admin.example.org"}, "http://admin.example.org:10000/"),
    ],
)
def test_where_the_admin_listener_is(options: dict[str, object], url: str) -> None:
    assert admin_url(Settings.model_validate(options)) == url
