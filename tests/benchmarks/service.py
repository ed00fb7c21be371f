"""Measure the whole service as its visitors and its operator meet it, and print one table.

    python -m tests.benchmarks.service [--only spawn|refill|footprint|proxy] [--json]

Needs Linux, a Docker engine with the workshop image, and for `proxy` wrk, node and npm; what is missing is said
in the table. Everything runs on loopback and is bounded in time; nothing is left behind. Figures of a busy machine
are worth little: the table ends with the load it was measured under.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import platform
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import structlog

from tests.benchmarks import against_chp, claiming, footprint, refill
from tests.benchmarks.rig import MissingError, Row

_LIMIT_SECONDS = 900.0


def main() -> None:
    """Run what was asked for; status 1 if something could not be measured."""
    options = _options()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    measurements: dict[str, Callable[[], Awaitable[list[Row]]]] = {
        "spawn": lambda: claiming.measure(options.pool_size),
        "refill": lambda: refill.measure(options.rounds),
        "footprint": lambda: footprint.measure(options.footprint_size, options.idle_seconds),
        "proxy": lambda: against_chp.measure(options.rounds, options.wrk_seconds, options.chp_dir),
    }
    names = options.only or list(measurements)
    with contextlib.suppress(KeyboardInterrupt):
        rows, failed = asyncio.run(_all([(name, measurements[name]) for name in names]))
        print(_as_json(rows) if options.json else _as_table(rows))
        sys.exit(1 if failed else 0)
    sys.exit(130)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure a real tmpnb-py serve.")
    names = ("spawn", "refill", "footprint", "proxy")
    parser.add_argument("--only", action="append", choices=names, help="measure only this; may be repeated")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--pool-size", type=int, default=10, help="pool for the measurement of spawn")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of refill and proxy")
    parser.add_argument("--footprint-size", type=int, default=50, help="ready containers for the footprint")
    parser.add_argument("--idle-seconds", type=float, default=30.0, help="how long idle CPU is measured")
    parser.add_argument("--wrk-seconds", type=float, default=5.0, help="length of each of wrk's runs")
    parser.add_argument("--chp-dir", type=Path, help="where `npm install configurable-http-proxy` was run before")
    return parser.parse_args()


async def _all(measurements: Sequence[tuple[str, Callable[[], Awaitable[list[Row]]]]]) -> tuple[list[Row], bool]:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    rows, failed = [], False
    for name, measure in measurements:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        try:
            async with asyncio.timeout(_LIMIT_SECONDS):
                rows += await measure()
        except MissingError as error:
            rows.append(Row(name, "not measured", note=str(error)))
            failed = True
        except (RuntimeError, OSError, ExceptionGroup) as error:  # TimeoutError is an OSError
            rows.append(Row(name, "failed", note=f"{type(error).__name__}: {error}"))
            failed = True
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    rows.append(Row("machine", f"{os.cpu_count()} CPUs", note=f"Linux {platform.release()}, load {load} at the end"))
    return rows, failed


def _as_json(rows: Sequence[Row]) -> str:
    return json.dumps([dataclasses.asdict(row) for row in rows], indent=1)


def _as_table(rows: Sequence[Row]) -> str:
    cells = [("what", "measured", "aim", "", "note")]
    marks = {None: "", True: "met", False: "MISSED"}
    cells += [(row.what, row.value, row.aim, marks[row.met], row.note) for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([lines[0], "-" * len(max(lines, key=len)), *lines[1:]])


if __name__ == "__main__":
    main()
