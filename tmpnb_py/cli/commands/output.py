"""Formats the commands' output: tables and colours on a terminal, plain text in a pipe."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from tmpnb_py.core.units import MINUTE, format_duration

_PIPE_WIDTH = 100_000  # in a pipe a table is as wide as its content, without line breaks


def console(stream: TextIO | None = None) -> Console:
    """The console to print to. rich omits colours without a terminal or with NO_COLOR."""
    stream = sys.stdout if stream is None else stream
    made = Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=False)
    if not made.is_terminal:
        made.width = _PIPE_WIDTH
    return made


def table(
    target: Console, columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, right: Sequence[str] = ()
) -> Table:
    """A table that fits the target. The columns in `right` contain numbers."""
    plain = not target.is_terminal
    made = Table(box=None if plain else box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def with_pools(
    columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], pools: Sequence[str]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows of a table, with the pool of each row at the end where there are several."""
    if len(set(pools)) < 2:
        return columns, list(rows)
    return (*columns, "pool"), [(*row, pool) for row, pool in zip(rows, pools, strict=True)]


def show(target: Console, *parts: RenderableType) -> None:
    """Print the parts; in a pipe, without a table's trailing blanks."""
    if target.is_terminal:
        for part in parts:
            target.print(part)
        return
    with target.capture() as capture:
        for part in parts:
            target.print(part)
    target.file.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))


def span(seconds: float) -> str:
    """A readable duration: "3m", "1h20m"."""
    whole = max(0, round(seconds))
    return format_duration(whole if whole < 10 * MINUTE else whole - whole % MINUTE)


def ago(moment: datetime.datetime | None, now: datetime.datetime) -> str:
    """The time since a moment; "-" if unknown."""
    return "-" if moment is None else span((now - moment).total_seconds())


def until(moment: datetime.datetime | None, now: datetime.datetime) -> str:
    """The time until a moment, or "never"."""
    return "never" if moment is None else span((moment - now).total_seconds())


def ends_in(expires: datetime.datetime | None, latest: datetime.datetime | None, now: datetime.datetime) -> str:
    """The time a session has left without activity. "busy" if only its kernel keeps it alive."""
    if expires is None or expires > now:
        return until(expires, now)
    return "busy" if latest is None else f"busy, {until(latest, now)} at most"


def size(value: float) -> str:
    """Bytes in the largest unit with a number of at least 1: "1.5 GiB"."""
    amount, unit = float(value), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.0f} {unit}" if amount >= 10 or unit == "B" else f"{amount:.1f} {unit}"
