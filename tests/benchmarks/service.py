"""Measure the whole service as its visitors and its operator meet it, and print one table.

    python -m tests.benchmarks.service [--only spawn|refill|footprint] [--json]

Needs Linux and a Docker engine with the workshop image; what is missing is said in the table. Everything runs on
loopback and is bounded in time; nothing is left behind. Figures of a busy machine are worth little: the table ends
with the load it was measured under. The proxy has a benchmark of its own: `tests.benchmarks.proxy`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import platform
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence

import structlog

from tests.benchmarks import claiming, footprint, refill, rig
from tests.benchmarks.rig import MissingError, Row

_LIMIT_SECONDS = 900.0

Measure = Callable[[], Awaitable[list[Row]]]
Prepare = Callable[[], Coroutine[object, object, None]]


def main() -> None:
    """Run what was asked for; status 1 if something could not be measured."""
    options = _options()
    rig.need(images=[rig.IMAGE])
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    measurements: dict[str, Measure] = {
        "spawn": lambda: claiming.measure(options.pool_size),
        "refill": lambda: refill.measure(options.rounds),
        "footprint": lambda: footprint.measure(options.footprint_size, options.idle_seconds),
    }
    names = options.only or list(measurements)
    run([(name, measurements[name]) for name in names], as_json=options.json)


def run(measurements: Sequence[tuple[str, Measure]], *, as_json: bool, prepare: Prepare | None = None) -> None:
    """Measure one after the other, print the table, and end with status 1 if something could not be measured.

    What `prepare` cannot make all measurements lack: then none is tried.
    """
    with contextlib.suppress(KeyboardInterrupt):
        if prepare is not None:
            try:
                asyncio.run(prepare())
            except (AssertionError, RuntimeError, OSError) as error:
                sys.exit(f"not measured: {error}")
        rows, failed = asyncio.run(_all(measurements))
        print(rig.as_json(rows) if as_json else rig.as_table(rows))
        sys.exit(1 if failed else 0)
    sys.exit(130)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure a real tmpnb-py serve.")
    names = ("spawn", "refill", "footprint")
    parser.add_argument("--only", action="append", choices=names, help="measure only this; may be repeated")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--pool-size", type=int, default=10, help="pool for the measurement of spawn")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of refill")
    parser.add_argument("--footprint-size", type=int, default=50, help="ready containers for the footprint")
    parser.add_argument("--idle-seconds", type=float, default=30.0, help="how long idle CPU is measured")
    return parser.parse_args()


async def _all(measurements: Sequence[tuple[str, Measure]]) -> tuple[list[Row], bool]:
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


if __name__ == "__main__":
    main()
